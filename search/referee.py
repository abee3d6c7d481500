"""Which suggestions are refused before a trial is started with them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dtsinn.core.errors import InputError
from dtsinn.networks.config import SpectralConfig
from dtsinn.search.limits import MiB
from dtsinn.search.space import SearchSpace
from dtsinn.training.footprint import footprint


@dataclass(frozen=True, kw_only=True)
class Referee:
    """Says of a suggestion why no trial should be started with it.

    Attributes:
        space: Where suggestions come from.
        frames: T of the store.
        size: Y and X of the store's slices.
    """

    space: SearchSpace
    frames: int
    size: tuple[int, int]

    def __call__(self, suggestion: Mapping[str, Any]) -> str:
        """The reason in words, or nothing."""
        try:
            config = self.space.config(suggestion)
            if not self.space.limits or isinstance(config.model, SpectralConfig):
                return ""
            takes = footprint(config, self.frames, self.size)
        except InputError as error:
            return str(error)
        for limit in self.space.limits:
            if limit.quantity == "parameters" and takes.parameters > limit.most:
                return f"{takes.parameters} parameters; wanted {limit.text}"
            if limit.quantity == "memory" and takes.total > limit.most:
                return f"{takes.total / MiB:.0f} MiB; wanted {limit.text}"
        return ""
