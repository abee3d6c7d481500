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
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from benchmarks import published
from benchmarks.report import Result, Say, make_table
from dtsinn.networks.build import build_network
from dtsinn.networks.invertible import InvertibleConfig, InvertibleSeparator
from dtsinn.networks.memory import Memory
from tests.support.memory import growths

FRAMES = 18
MODES: tuple[Memory, ...] = ("plain", "checkpoint", "reversible")
DENSE = replace(published.ARCHITECTURE, start="tame")
"""The published arithmetic."""
MODELS = {"dense, width 32": DENSE, "dtsinn default": InvertibleConfig()}
SIZES = ((2, 64), (8, 64), (32, 64), (8, 128))
"""Blocks, and pixels on each side."""
QUIET = {"KINETO_LOG_LEVEL": "99"}
"""Keeps the profiler's own messages off the terminal; read where torch is imported."""


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
        name="memory",
        title="Memory of a training step",
        notes=[
            f"Peak growth of one forward and backward pass, batch 1, {FRAMES} frames, float32, in "
            "MiB: every allocation and release of torch's allocator, counted by its profiler.",
            "Activations: parameters and gradients are allocated before. Total: only parameters "
            "are, so gradients count.",
            "The published step runs forward and in reverse in one loss.",
        ],
        tables=[
            make_table(
                found,
                {
                    "network": lambda one: one["network"],
                    "blocks": lambda one: one["blocks"],
                    "pixels": lambda one: f"{one['size']} x {one['size']}",
                    "kept": lambda one: one["memory"],
                    "activations": lambda one: f"{one['activations']:.1f}",
                    "total": lambda one: f"{one['total']:.1f}",
                },
            )
        ],
        data={"growth_MiB": found},
    )


def measure(name: str, model: InvertibleConfig, size: int, memory: Memory) -> dict[str, Any]:
    """Both growths of one of our steps; see :func:`describe`."""
    network = make_separator(model)
    network.memory = memory
    mixture_BTYX = noise(FRAMES, size).contiguous(memory_format=torch.channels_last)
    found = growths(network, lambda: network(mixture_BTYX).square().mean())
    return describe(name, model.blocks, size, memory, found)


def measure_published(size: int) -> dict[str, Any]:
    """Both growths of the published step; see :func:`describe`."""
    network = published.PublishedNetwork(FRAMES)
    mixture_BTYX = noise(FRAMES, size)
    tracers_BKTYX = noise(2 * FRAMES, size).reshape(1, 2, FRAMES, size, size)
    found = growths(network, lambda: published.published_loss(network, mixture_BTYX, tracers_BKTYX))
    return describe("published step", published.ARCHITECTURE.blocks, size, "plain", found)


def describe(
    network: str, blocks: int, size: int, memory: str, found: tuple[float, float]
) -> dict[str, Any]:
    """Peak growth of one forward and backward pass over what was allocated before, MiB.

    Returns:
        ``size`` in pixels on each side; ``activations``, with parameters and gradients allocated
        before; ``total``, with parameters allocated before: gradients are part of the growth.
    """
    case = {"network": network, "blocks": blocks, "size": size, "memory": memory}
    return case | dict(zip(("activations", "total"), found, strict=True))


def make_separator(model: InvertibleConfig) -> InvertibleSeparator:
    """A fresh network, channels last, as training makes it."""
    network = build_network(replace(model, start="tame"), FRAMES)
    moved: InvertibleSeparator = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return moved


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
