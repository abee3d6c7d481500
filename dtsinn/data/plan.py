"""The plan of a store: all of it but what its blocks hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dtsinn.core.errors import InputError, StoreError
from dtsinn.core.protocol import Protocol
from dtsinn.data.layout import DTYPES


@dataclass(frozen=True, kw_only=True)
class StorePlan:
    """All of a store but its images."""

    tracers: tuple[str, str]
    protocol: Protocol
    half_life: tuple[float, float]
    """s"""
    size: tuple[int, int]
    """Rows Y and columns X of a slice."""
    voxel_size: tuple[float, float]
    """Along y and x, mm."""
    subject: tuple[str, ...]
    """[N] subject id of each sample; the samples of a subject stand together."""
    slice_position: tuple[float, ...]
    """[N] mm"""
    split: tuple[str, ...]
    """[N] one of :data:`.layout.SPLITS`, the same for all samples of a subject."""
    region_names: tuple[str, ...] = ()
    """Label -> name, "outside" first; empty without ``regions``."""
    has_truth: bool = True
    block: int
    """Samples per shard."""
    dtype: str = "float32"
    """How mixture and tracers are stored, one of :data:`dtsinn.data.layout.DTYPES`."""
    small: Mapping[str, Any] = field(default_factory=dict)
    """Arrays of :data:`dtsinn.data.layout.KINETICS` without a subject axis, by name."""
    per_subject: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """Those with one, which are written with the blocks: their shapes without that axis. The
    blocks then hold whole subjects, all of them but the last equally many."""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """How the samples came about: phantom, noise, seed, generator version, ..."""

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise InputError("dtype", got=repr(self.dtype), wanted=" or ".join(DTYPES))

    @property
    def samples(self) -> int:
        """Number of samples N."""
        return len(self.subject)

    @property
    def blocks(self) -> int:
        """Number of shards."""
        return -(-self.samples // self.block)

    @property
    def images(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the images by name."""
        frames = self.protocol.frames
        shapes: dict[str, tuple[int, ...]] = {"mixture": (self.samples, frames, *self.size)}
        if self.has_truth:
            shapes["tracers"] = (self.samples, 2, frames, *self.size)
        if self.region_names:
            shapes["regions"] = (self.samples, *self.size)
        return shapes

    def block_samples(self, block: int) -> slice:
        """The samples of shard ``block``."""
        return slice(block * self.block, min((block + 1) * self.block, self.samples))


def subjects_per_block(plan: StorePlan) -> int:
    """How many subjects a block holds, where arrays are written per subject; else 0.

    Raises:
        StoreError: Blocks cut subjects, or hold unequal numbers of them.
    """
    if not plan.per_subject:
        return 0
    counts = [len(set(plan.subject[plan.block_samples(b)])) for b in range(plan.blocks)]
    whole = sum(counts) == len(set(plan.subject))
    if not whole or set(counts[:-1]) > {counts[0]} or counts[-1] > counts[0]:
        raise StoreError(
            "blocks of a store with arrays per subject",
            got=f"{plan.block} samples",
            wanted="whole subjects, equally many in each block",
        )
    return counts[0]
