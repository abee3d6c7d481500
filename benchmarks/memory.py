"""``memory``: what one training step allocates, by depth and by way of keeping activations.

torch's profiler reports every allocation and release of torch's allocator, so the peak is exact,
the same on each run, and untouched by what else the process holds; a process's resident size is
neither. What the convolution library allocates for itself while it works is not in it.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor

from benchmarks import published
from benchmarks.report import Result, Say, Table
from dtsinn.networks.build import build_network
from dtsinn.networks.invertible import InvertibleConfig, InvertibleSeparator
from dtsinn.networks.memory import Memory
from tests.support.memory import growths

NAME = "memory"
FRAMES = 18
MODES: tuple[Memory, ...] = ("plain", "checkpoint", "reversible")
DENSE = replace(published.ARCHITECTURE, start="tame")
"""The published arithmetic."""
MODELS = {"dense, width 32": DENSE, "dtsinn default": InvertibleConfig()}
SIZES = ((2, 64), (8, 64), (32, 64), (8, 128))
"""Blocks, and pixels on each side."""
QUIET = {"KINETO_LOG_LEVEL": "99"}
"""Keeps the profiler's own messages off the terminal; read where torch is imported."""


@dataclass(frozen=True, kw_only=True)
class Growth:
    """Peak growth of one forward and backward pass over what was allocated before, MiB."""

    network: str
    blocks: int
    size: int
    """Pixels on each side."""
    memory: str
    activations: float
    """With parameters and gradients allocated before."""
    total: float
    """With parameters allocated before: gradients are part of the growth."""


def run(
    *, say: Say, sizes: Sequence[tuple[int, int]] = SIZES, with_published: bool = True
) -> Result:
    """Measure all models, sizes and modes, and report.

    Args:
        say: Told what is being done.
        sizes: Blocks, and pixels on each side.
        with_published: Measure the published step too, at sizes with its number of blocks.
    """
    found = []
    with _quiet_process() as process:
        for name, model in MODELS.items():
            for blocks, size in sizes:
                say(f"{name}, {blocks} blocks, {size} x {size}")
                for mode in MODES:
                    deep = replace(model, blocks=blocks)
                    found.append(process.submit(measure, name, deep, size, mode).result())
        for blocks, size in sizes if with_published else ():
            if blocks == published.ARCHITECTURE.blocks:
                say(f"published step, {blocks} blocks, {size} x {size}")
                found.append(process.submit(measure_published, size).result())
    return Result(
        name=NAME,
        title="Memory of a training step",
        notes=[
            f"Peak growth of one forward and backward pass, batch 1, {FRAMES} frames, float32, in "
            "MiB: every allocation and release of torch's allocator, counted by its profiler.",
            "Activations: parameters and gradients are allocated before. Total: only parameters "
            "are, so gradients count.",
            "The published step runs forward and in reverse in one loss.",
        ],
        tables=[
            Table(
                title="",
                columns=["network", "blocks", "pixels", "kept", "activations", "total"],
                rows=[
                    [
                        one.network,
                        str(one.blocks),
                        f"{one.size} x {one.size}",
                        one.memory,
                        f"{one.activations:.1f}",
                        f"{one.total:.1f}",
                    ]
                    for one in found
                ],
            )
        ],
        data={"growth_MiB": [asdict(one) for one in found]},
    )


def measure(name: str, model: InvertibleConfig, size: int, memory: Memory) -> Growth:
    """Both growths of one of our steps."""
    network = build_network(model, FRAMES)
    assert isinstance(network, InvertibleSeparator)  # noqa: S101 (for the type checker)
    network.memory = memory
    moved: InvertibleSeparator = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    mixture_BTYX = noise(FRAMES, size).contiguous(memory_format=torch.channels_last)
    activations, total = growths(moved, lambda: moved(mixture_BTYX).square().mean())
    return Growth(
        network=name,
        blocks=model.blocks,
        size=size,
        memory=memory,
        activations=activations,
        total=total,
    )


def measure_published(size: int) -> Growth:
    """Both growths of the published step."""
    network = published.PublishedNetwork(FRAMES)
    mixture_BTYX = noise(FRAMES, size)
    tracers_BKTYX = noise(2 * FRAMES, size).reshape(1, 2, FRAMES, size, size)
    activations, total = growths(
        network, lambda: published.published_loss(network, mixture_BTYX, tracers_BKTYX)
    )
    return Growth(
        network="published step",
        blocks=published.ARCHITECTURE.blocks,
        size=size,
        memory="plain",
        activations=activations,
        total=total,
    )


def noise(channels: int, size: int) -> Tensor:
    """[1, C, Y, X]."""
    return torch.rand(1, channels, size, size, generator=torch.Generator().manual_seed(0))


def _quiet_process() -> ProcessPoolExecutor:
    """One fresh process, on one thread, whose profiler says nothing."""
    os.environ |= QUIET
    return ProcessPoolExecutor(
        max_workers=1,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=torch.set_num_threads,
        initargs=(1,),
    )
