"""Which suggestions are refused before a trial is started with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dtsinn.core.errors import InputError
from dtsinn.networks.build import METHODS, build_network, parameter_count
from dtsinn.search.space.constraints import MiB
from dtsinn.search.space.space import SearchSpace
from dtsinn.training.footprint import footprint


@dataclass(frozen=True, kw_only=True)
class FeasibilityCheck:
    """Finds the reason why no trial should be started with a suggestion.

    Attributes:
        space: Where suggestions come from.
        frames: T of the store.
        size: Y and X of the store's slices.
        most_bytes: Memory that a training may take so that it fits its GPU; None asks for none.
    """

    space: SearchSpace
    frames: int
    size: tuple[int, int]
    most_bytes: int | None = None

    def __call__(self, suggestion: Mapping[str, Any]) -> str:
        """The reason in words, or nothing."""
        try:
            config = self.space.config(suggestion)
        except InputError as error:
            return str(error)
        if not METHODS[config.model.kind].has_weights:
            return ""
        if self.most_bytes is not None:
            takes = footprint(config, self.frames, self.size).total
            if takes > self.most_bytes:
                return f"{takes / MiB:.0f} MiB; the GPU has {self.most_bytes / MiB:.0f} to spare"
        # The cheap constraints first: to know the memory, a step must be taken.
        for constraint in sorted(self.space.constraints, key=lambda one: one.quantity == "memory"):
            if constraint.quantity == "parameters":
                count = parameter_count(build_network(config.model, self.frames))
                if count > constraint.most:
                    return f"{count} parameters; wanted {constraint.text}"
            else:
                takes = footprint(config, self.frames, self.size).total
                if takes > constraint.most:
                    return f"{takes / MiB:.0f} MiB; wanted {constraint.text}"
        return ""
