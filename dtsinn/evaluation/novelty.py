"""What of a cell a separator's training had seen: pair, protocol, phantom and so on, one by one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Literal

from dtsinn.data.store import StoreHeader
from dtsinn.deploy.info import SeparatorInfo

Seen = Literal["as trained", "new", "unknown"]
VAGUE = ("", "measured")
"""Anatomy and noise that are not stated: two measured stores may differ in both."""


@dataclass(frozen=True, kw_only=True)
class Novelty:
    """How a cell compares with the training of a separator; ``unknown`` where either is."""

    pair: Seen = "unknown"
    protocol: Seen = "unknown"
    """By the times of frames and injections; of a known pair, those that it was trained in."""
    phantom: Seen = "unknown"
    population: Seen = "unknown"
    noise: Seen = "unknown"
    conditions: Seen = "unknown"
    """Dose, kinetics, input functions and motion."""

    @property
    def trained_on(self) -> bool:
        """Pair and protocol are those of the training, and nothing else is known to be new."""
        known = self.pair == self.protocol == "as trained"
        return known and "new" not in vars(self).values()

    def text(self) -> str:
        """In words: ``pair, protocol as trained; phantom, noise new``."""
        names: dict[str, list[str]] = {}
        for name, seen in vars(self).items():
            names.setdefault(seen, []).append(name)
        return "; ".join(f"{', '.join(of)} {seen}" for seen, of in names.items())


def novelty(info: SeparatorInfo, header: StoreHeader) -> Novelty:
    """Compare a store with what a separator was trained on.

    A store that it was trained on is as trained in every respect, whatever was written down. A
    package of an older version knows its pair and its protocol only.

    Args:
        info: Of the separator.
        header: Of the cell's store, or of what it will be.
    """
    lineage, protocol = info.lineage, header.protocol
    own = {lineage.store_digest, *lineage.further_stores.split(",")}
    if header.digest and header.digest in own:
        seen: Seen = "as trained"
        return Novelty(**dict.fromkeys((one.name for one in fields(Novelty)), seen))
    edges = (*info.frame_start, info.frame_start[-1] + info.frame_duration[-1])
    data = lineage.trained_on
    known = {(one.tracers, (one.frame_edges, one.injection_time)) for one in data}
    known.add((info.tracers, (edges, info.injection_time)))
    with_pair = {one for one in known if one[0] == header.tracers}
    return Novelty(
        pair="as trained" if with_pair else "new",
        protocol=_compare(
            (protocol.frame_edges, protocol.injection_time),
            {times for _, times in with_pair or known},
        ),
        phantom=_compare(header.phantom, {one.phantom for one in data}),
        population=_compare(header.population, {one.population for one in data}),
        noise=_compare(header.noise, {one.noise for one in data}),
        conditions=_compare(header.conditions, {one.conditions for one in data}),
    )


def _compare(value: object, known: Iterable[object]) -> Seen:
    known = set(known)
    if value in VAGUE or not known:
        return "unknown"
    if value in known:
        return "as trained"
    return "unknown" if "" in known else "new"
