"""The memory that is told before a training against what torch's own profiler counts in it."""

from __future__ import annotations

import pytest
import torch

from dtsinn.core.errors import InputError
from dtsinn.networks.conditioning import FEATURES
from dtsinn.training.config import RunConfig, load_run_config
from dtsinn.training.footprint import footprint
from dtsinn.training.loss_term import LossTiming
from dtsinn.training.losses import loss_passes, total
from dtsinn.training.state import TrainingState
from tests.support.memory import peak_growth

FRAMES = 6
NEAR = 0.05
"""Relative: kernels take some memory for themselves, which only the profiler sees."""


def profiled(config: RunConfig, size: tuple[int, int], batch: int) -> int:
    """Bytes that a step takes beside weights and gradients."""
    state = TrainingState(config, FRAMES)
    generator = torch.Generator().manual_seed(0)
    tracers = torch.rand(batch, 2, FRAMES, *size, generator=generator)
    mixture = tracers.sum(dim=1).contiguous(memory_format=torch.channels_last)
    timing = LossTiming(
        duration_T=torch.ones(FRAMES), scored_KT=torch.ones(2, FRAMES, dtype=torch.bool)
    )
    state.network.train()
    state.network.condition_on(torch.zeros(FRAMES, FEATURES))

    def step() -> None:
        for terms in loss_passes(state.network, mixture, tracers, timing, config.loss, 0.9):
            total(terms).backward()  # type: ignore[no-untyped-call]
            del terms

    step()  # leaves the gradients
    return peak_growth(step)


@pytest.mark.parametrize(
    "changes",
    [
        [],
        ["model.blocks=4", "memory=reversible"],
        ["model.blocks=4", "memory=checkpoint"],
        ["model.squeeze=haar", "model.coupling=two-sided", "model.subnet=residual"],
        ["loss.backward=0.1", "loss.structure=0.1", "loss.time_activity=0.1", "loss.ramp=0.5"],
        ["model.kind=unet"],
    ],
)
@pytest.mark.parametrize(("size", "batch"), [((96, 80), 1), ((64, 64), 3)])
def test_it_is_what_a_step_takes(changes: list[str], size: tuple[int, int], batch: int) -> None:
    config = load_run_config("invertible", [*changes, f"batch={batch}"])
    told = footprint(config, FRAMES, size)
    assert told.activations == pytest.approx(profiled(config, size, batch), rel=NEAR)


def test_weights_and_what_is_kept_of_them() -> None:
    plain = footprint(load_run_config("invertible"), FRAMES, (64, 64))
    # Weight, gradient, two moments, and the best weights, in float32.
    assert plain.weights == plain.parameters * 4 * 5
    averaged = footprint(load_run_config("invertible", ["optimizer.ema=0.99"]), FRAMES, (64, 64))
    assert averaged.weights == plain.parameters * 4 * 6
    assert averaged.total == averaged.weights + averaged.activations


def test_a_method_without_weights_has_none_to_tell() -> None:
    with pytest.raises(InputError, match="nothing to train"):
        footprint(load_run_config("invertible", ["model.kind=spectral"]), FRAMES, (64, 64))
