"""``speed``: seconds of a training step, like for like against the published step.

Like for like: the same convolutions (8 blocks, dense subnets of width 32), image size and batch.
The published step runs its network forward and in reverse, and differentiates through both; an
exact network's reverse gives the input back without any gradient, so that half of the work is left
out, or spent on the true tracers instead.

Shape letters: B batch, K tracer (2), T frame, Y X pixel.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks import published
from benchmarks.memory import DENSE, FRAMES, make_separator
from benchmarks.report import Result, Rounds, Say, describe_machine, make_table
from dtsinn.networks.coupling import Precision
from dtsinn.networks.invertible import InvertibleConfig
from dtsinn.networks.memory import Memory
from dtsinn.training.terms import backward_loss, forward_loss

SIZE = 128
"""Pixels on each side."""
LEARNING_RATE = 1e-4
TAIL_SD = 0.02
"""Of the last convolutions where rounding is measured: at the start they are zero, and hide it."""
PUBLISHED = "published step"
PRECISIONS: tuple[Precision, ...] = ("float32", "bf16")


@dataclass(frozen=True, kw_only=True)
class Make:
    """What one of our steps does."""

    name: str
    model: InvertibleConfig = DENSE
    backward: bool = False
    """A second pass runs the true tracers backwards."""
    precision: Precision = "float32"
    memory: Memory = "plain"


MAKES = (
    Make(name="forward"),
    Make(name="forward, bf16", precision="bf16"),
    Make(name="forward, checkpoint", memory="checkpoint"),
    Make(name="forward, reversible", memory="reversible"),
    Make(name="both directions", backward=True),
    Make(name="both directions, bf16", backward=True, precision="bf16"),
    Make(name="dtsinn default", model=InvertibleConfig()),
    Make(name="dtsinn default, bf16", model=InvertibleConfig(), precision="bf16"),
)


def run(*, rounds: Rounds = 5, say: Say, makes: Sequence[Make] = MAKES, size: int = SIZE) -> Result:
    """Time all steps, interleaved, and report.

    Args:
        rounds: Timed steps of each kind, after one that is not counted.
        say: Told what is being done.
        makes: Our steps.
        size: Pixels on each side.
    """
    costs = measure(makes, rounds, size, say)
    found = rounding(makes[0].model, size)
    arithmetic = "native" if native_bf16() else "emulated"
    return Result(
        name="speed",
        title=f"A training step of {size} x {size} pixels and {FRAMES} frames",
        machine=describe_machine(**{"bf16 arithmetic": arithmetic}),
        notes=[
            f"Batch 1, Adam, process CPU seconds, {rounds} rounds after a warm one, the steps "
            "interleaved; the gain is the median over rounds of published over ours.",
            f"Published: {makes[0].model.blocks} blocks, dense subnets of width "
            f"{makes[0].model.width}, forward and reverse in one loss, float32, contiguous. Ours: "
            "the same convolutions, exact, channels last; `forward` has the loss on the tracers "
            "alone, `both directions` adds the true tracers run backwards, in a second pass.",
            "checkpoint and reversible save memory (see `memory`) and pay with time.",
            f"bf16 against float32, last convolutions of SD {TAIL_SD}: the output differs by "
            f"{found['output']:.1e} and the gradient by {found['gradient']:.1e} of its norm. Only "
            "training uses it.",
        ],
        tables=[
            make_table(
                costs,
                {
                    "step": lambda one: one["name"],
                    "CPU s, median": lambda one: f"{one['median']:.3f}",
                    "low": lambda one: f"{one['low']:.3f}",
                    "high": lambda one: f"{one['high']:.3f}",
                    "times faster": lambda one: f"{one['gain']:.2f}",
                },
            )
        ],
        data={
            "steps": costs,
            "native_bf16": native_bf16(),
            "bf16_rounding": found,
        },
    )


def measure(makes: Sequence[Make], rounds: int, size: int, say: Say) -> list[dict[str, Any]]:
    """Process CPU seconds of the published step and of each of ours.

    Returns:
        ``name``, ``median``, ``low`` and ``high``; ``gain``, the published step's seconds over this
        one's, median of the rounds.
    """
    steps = [(PUBLISHED, published_step(size, makes[0].model))]
    steps += [(make.name, own_step(make, size)) for make in makes]
    taken = []
    for number in range(rounds + 1):
        say(f"round {number} of {rounds}" if number else "warming up")
        taken.append([_timed(step) for _, step in steps])
    seconds = np.array(taken)[1:]
    gains = np.median(seconds[:, :1] / seconds, axis=0)
    return [
        {
            "name": name,
            "median": float(np.median(column)),
            "low": float(column.min()),
            "high": float(column.max()),
            "gain": float(gain),
        }
        for (name, _), column, gain in zip(steps, seconds.T, gains, strict=True)
    ]


def published_step(size: int, model: InvertibleConfig) -> Callable[[], None]:
    """Forward, reverse, gradient through both, Adam."""
    network = published.PublishedNetwork(FRAMES, config=replace(model, start="xavier"))
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    mixture_BTYX, tracers_BKTYX = images(size)

    def step() -> None:
        optimizer.zero_grad()
        published.published_loss(network, mixture_BTYX, tracers_BKTYX).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def own_step(make: Make, size: int) -> Callable[[], None]:
    """Forward and its gradient, backward and its gradient where it is asked for, Adam."""
    network = make_separator(make.model)
    network.memory, network.precision = make.memory, make.precision
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    mixture_BTYX, tracers_BKTYX = images(size)
    mixture_BTYX = mixture_BTYX.contiguous(memory_format=torch.channels_last)

    def step() -> None:
        optimizer.zero_grad()
        forward_loss(network(mixture_BTYX), tracers_BKTYX).backward()  # type: ignore[no-untyped-call]
        if make.backward:
            backward_loss(network, tracers_BKTYX, mixture_BTYX).backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def rounding(model: InvertibleConfig, size: int) -> dict[str, float]:
    """``output`` and ``gradient`` with bf16 subnets against float32, norm over norm.

    The network is away from its start, which would hide the difference.
    """
    network = make_separator(model)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if ".tail." in name:
                parameter.normal_(0, TAIL_SD, generator=generator)
    mixture_BTYX, tracers_BKTYX = images(size)
    found = []
    for precision in PRECISIONS:
        network.precision = precision
        network.zero_grad()
        predicted_BKTYX = network(mixture_BTYX)
        forward_loss(predicted_BKTYX, tracers_BKTYX).backward()  # type: ignore[no-untyped-call]
        gradients = [p.grad.flatten() for p in network.parameters() if p.grad is not None]
        found.append((predicted_BKTYX.detach(), torch.cat(gradients)))
    output, gradient = (
        float((bf16 - exact).norm() / exact.norm()) for exact, bf16 in zip(*found, strict=True)
    )
    return {"output": output, "gradient": gradient}


def images(size: int) -> tuple[Tensor, Tensor]:
    """Two tracers [1, K, T, Y, X] of noise, and their sum, in units of the scale."""
    generator = torch.Generator().manual_seed(0)
    tracers_BKTYX = torch.rand(1, 2, FRAMES, size, size, generator=generator)
    return tracers_BKTYX.sum(dim=1), tracers_BKTYX


def native_bf16() -> bool:
    """Whether this processor multiplies bf16 itself (AVX-512 BF16 or AMX)."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def _timed(step: Callable[[], None]) -> float:
    begun = time.process_time()
    step()
    return time.process_time() - begun
