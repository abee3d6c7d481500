"""What a run reads: the micro-batches of each step, and of those only this process's own.

Samples come in one order, whatever the batch size and the number of processes: step k takes the
next ``accumulate`` micro-batches. With several stores the steps take them in turn.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from torch import Tensor

from dtsinn.core.seeds import generator
from dtsinn.data.loader import Reading, SampleStream, stack
from dtsinn.data.store import Store
from dtsinn.training.config import RunConfig
from dtsinn.training.schedule import batch_size, samples_before
from dtsinn.training.team import Team

Batch = dict[str, Tensor]
"""``mixture`` [B, T, Y, X] and ``tracers`` [B, K, T, Y, X], kBq/mL, ``index`` [B], and where the
store has them ``regions`` [B, Y, X]."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One micro-batch."""

    batch: Batch
    partner: Batch | None
    """As many other samples to recombine with, where the augmentation asks for them."""
    number: int
    """Its number in the whole run; with the seed it fixes the augmentation's draws."""


class Feed:
    """The micro-batches of a run from a step on."""

    def __init__(self, stores: Sequence[Store], config: RunConfig, team: Team, step: int) -> None:
        self.config, self.team = config, team
        self._waited = 0.0
        starts = [samples_before(config, step, store, len(stores)) for store in range(len(stores))]
        self.streams = _streams(stores, config.seed, starts)
        self.partners = (
            _streams(stores, _partner_seed(config.seed), starts)
            if config.augmentation.recombination > 0
            else None
        )

    def parts(self, step: int) -> Iterator[Part]:
        """This process's micro-batches of a step; to be taken step after step, each whole."""
        store, size = step % len(self.streams), batch_size(self.config, step)
        for place in range(self.config.accumulate):
            begin = time.perf_counter()
            own = place % self.team.ranks == self.team.rank
            batch = _next(self.streams[store], size, own)
            partner = _next(self.partners[store], size, own) if self.partners else None
            self._waited += time.perf_counter() - begin
            if batch is not None:
                number = step * self.config.accumulate + place
                yield Part(batch=batch, partner=partner, number=number)

    def take_wait_seconds(self) -> float:
        """Seconds spent waiting for data since this was last asked."""
        waited, self._waited = self._waited, 0.0
        return waited


def _streams(stores: Sequence[Store], seed: int, starts: list[int]) -> list[Iterator[Batch]]:
    return [
        iter(SampleStream(store, Reading(seed=seed, start=start)))
        for store, start in zip(stores, starts, strict=True)
    ]


def _partner_seed(seed: int) -> int:
    return int(generator(seed, "partner").integers(2**63))


def _next(stream: Iterator[Batch], size: int, own: bool) -> Batch | None:
    """The next ``size`` samples; another process's are passed over without a copy."""
    if not own:
        deque(islice(stream, size), maxlen=0)
        return None
    return stack(list(islice(stream, size)))
