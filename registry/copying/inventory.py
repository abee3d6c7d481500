"""What a place holds, counted and fingerprinted, so that two places can be compared."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Inventory:
    """Rows of each kind by the thing that they belong to, as counts and digests."""

    held: dict[str, dict[str, tuple[int, str]]] = field(default_factory=dict)

    def note(self, kind: str, owner: str, rows: Iterable[Any]) -> None:
        """Take note of all rows of a kind that a thing has."""
        texts = sorted(json.dumps(row, sort_keys=True) for row in rows)
        if texts:
            digest = hashlib.sha256("\n".join(texts).encode()).hexdigest()
            self.held.setdefault(kind, {})[owner] = len(texts), digest

    def add(self, other: Inventory) -> None:
        """Take over what another one holds."""
        for kind, held in other.held.items():
            self.held.setdefault(kind, {}).update(held)


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One kind on both sides."""

    kind: str
    source: int
    """How many there are."""
    destination: int
    differing: list[str]
    """Whose are not the same."""
    equal: bool
    """Whether the destination has all of them, unchanged."""


def compare_inventories(source: Inventory, there: Inventory) -> list[Compared]:
    """What the source holds against what the destination has of it, kind by kind."""
    rows = []
    for kind in source.held | there.held:
        ours, theirs = source.held.get(kind, {}), there.held.get(kind, {})
        differing = sorted(
            one for one in ours.keys() | theirs.keys() if ours.get(one) != theirs.get(one)
        )
        rows.append(
            Compared(
                kind=kind,
                source=sum(count for count, _ in ours.values()),
                destination=sum(count for count, _ in theirs.values()),
                differing=differing,
                equal=not differing,
            )
        )
    return rows
