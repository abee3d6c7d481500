"""How many trials share a GPU: found from the memory that each one's training needs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from dtsinn.core.errors import InputError
from dtsinn.data.store import Store
from dtsinn.networks.build import METHODS
from dtsinn.search.plan import SearchPlan
from dtsinn.search.space.space import SearchSpace
from dtsinn.training.footprint import footprint

CONTEXT_BYTES = 600 * 2**20
"""What CUDA and its libraries take for themselves in each process, bytes (uncited)."""
SPARE = 0.1
"""Part of a GPU's memory that is left for the allocator's gaps (uncited)."""
PARTS = 20
"""Shares are multiples of one over this."""


@dataclass(frozen=True, kw_only=True)
class GpuShare:
    """Tells how much of a GPU a trial takes.

    Attributes:
        space: Where suggestions come from.
        frames: T of the store.
        size: Y and X of the store's slices.
        gpu_bytes: Memory of the smallest GPU.
    """

    space: SearchSpace
    frames: int
    size: tuple[int, int]
    gpu_bytes: int

    @property
    def most_bytes(self) -> int:
        """That a training may need, so that it fits alone."""
        return max(0, int(self.gpu_bytes * (1 - SPARE)) - CONTEXT_BYTES)

    def of(self, suggestion: Mapping[str, Any]) -> float:
        """The part of a GPU that a trial asks for, in (0, 1]; one that cannot fit asks for all."""
        config = self.space.config(suggestion)
        if METHODS[config.model.kind].learning != "gradient":
            return 1 / PARTS
        needed = footprint(config, self.frames, self.size).total + CONTEXT_BYTES
        part = needed / (self.gpu_bytes * (1 - SPARE))
        return min(PARTS, math.ceil(part * PARTS)) / PARTS


def share_of_gpus(plan: SearchPlan, store: Store) -> GpuShare | None:
    """How trials share GPUs, where the plan leaves that to their memory; else None.

    Raises:
        InputError: No node of the cluster has a GPU that answers.
    """
    if not plan.pack_gpus:
        return None
    return GpuShare(
        space=plan.space,
        frames=store.header.protocol.frames,
        size=store.header.size,
        gpu_bytes=_smallest_gpu(),
    )


def _smallest_gpu() -> int:
    """Memory of the smallest GPU of the connected cluster, bytes."""
    import ray  # here, as in `cluster`

    nodes = [n for n in ray.nodes() if n["Alive"] and n["Resources"].get("GPU", 0) > 0]
    if not nodes:
        raise InputError("--gpus-per-trial auto", got="no GPU", hint="--gpus-per-trial 0")
    at = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
    asked = ray.remote(num_cpus=0, num_gpus=0.01)(_memory_here)
    found = [
        asked.options(scheduling_strategy=at(node["NodeID"], soft=False)).remote() for node in nodes
    ]
    return int(min(ray.get(found)))


def _memory_here() -> int:
    """Memory of the smallest GPU that this process sees, bytes."""
    number = torch.cuda.device_count()
    return min(torch.cuda.get_device_properties(i).total_memory for i in range(number))
