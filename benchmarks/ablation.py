"""``ablation``: what the backward loss teaches, on what input and towards what target.

The published loss inverts the network's own output; in an exact network that is the mixture
itself, so the term is zero and has no gradient. The true tracers, run backwards, do teach the
inverse. All rows are trainings of the product, equal but for these loss terms.
Shape letters: B batch, K tracer (2), T frame, C channel, Y X pixel.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from benchmarks.ablation_chart import Row, ablation_chart
from benchmarks.report import Result, Say, Seeds, Steps, Table
from dtsinn.core.errors import RunError
from dtsinn.data.body import truth_of
from dtsinn.data.loader import Reading, batches
from dtsinn.data.store import Samples, Store
from dtsinn.evaluation.metrics import psnr, sum_residual
from dtsinn.networks.invertible import InvertibleSeparator
from dtsinn.networks.normalisation import per_sample, sample_scale
from dtsinn.training.config import load_run_config
from dtsinn.training.loop import train
from dtsinn.training.loss_term import loss_timing
from dtsinn.training.losses import LossConfig, loss_passes
from dtsinn.training.state import TrainingState

NAME = "ablation"
BACKWARD, CONSISTENCY = 0.1, 0.1
"""Weights of the terms where they are used (uncited)."""
VALIDATIONS = 3
Target = Literal["sum", "mixture", "own"]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One row: which terms stand beside the forward loss."""

    name: str
    target: Target | None
    """Of the backward term; none leaves it out."""
    consistency: bool = False

    @property
    def overrides(self) -> list[str]:
        """The settings of its loss."""
        return [
            f"loss.backward={BACKWARD if self.target else 0}",
            f"loss.backward_target={self.target or 'sum'}",
            f"loss.consistency={CONSISTENCY if self.consistency else 0}",
        ]


BACKWARD_TERMS: dict[str, Target | None] = {
    "no backward loss": None,
    "cycle on own output": "own",
    "true tracers to sum": "sum",
    "true tracers to mixture": "mixture",
}
VARIANTS = tuple(
    Variant(name=name + suffix, target=target, consistency=bool(suffix))
    for name, target in BACKWARD_TERMS.items()
    for suffix in ("", " + consistency")
)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One training with its scores on the ``test`` subjects; relative errors are fractions."""

    variant: str
    seed: int
    val_psnr: float
    """Of the weights that were kept, dB."""
    test_psnr: tuple[float, float]
    """Per tracer, dB."""
    sum_residual: float
    """Sum of the answers against the measured mixture, relative."""
    sum_error: float
    """Sum of the answers against the noise-free sum, relative."""
    mixing_error: float
    """True tracers, mixed by the inverse, against their sum, relative."""
    inconsistency: float
    """Part of the inverse's channels that no mixture has, for true tracers, relative."""
    gradient: float | None
    """Norm of the backward term's gradient over that of the forward term, both of weight 1."""
    step_ms: float
    """Process CPU time of a step, the median."""
    cpu_seconds: float
    """Of the whole training, validations included."""


def run(
    store: Store,
    *,
    steps: Steps = 600,
    seeds: Seeds = 3,
    say: Say,
    variants: Sequence[Variant] = VARIANTS,
) -> Result:
    """Train every variant with every seed for ``steps`` steps, measure, and report."""
    trials = []
    for seed in range(seeds):
        for number, variant in enumerate(variants, start=1):
            found = measure(store, variant, seed, steps)
            trials.append(found)
            say(
                f"seed {seed}, {number} of {len(variants)}: {variant.name}: "
                f"{np.mean(found.test_psnr):.2f} dB, mixing error {found.mixing_error:.1e}"
            )
    noise = float(np.mean([_noise(samples, store) for samples in store.subjects("test")]))
    groups = {v.name: [t for t in trials if t.variant == v.name] for v in variants}
    rows = [
        Row(
            name=name,
            psnr=[float(np.mean(trial.test_psnr)) for trial in group],
            mixing_error=[trial.mixing_error for trial in group],
        )
        for name, group in groups.items()
    ]
    return Result(
        name=NAME,
        title="What the backward loss teaches",
        notes=_notes(steps, seeds, noise),
        tables=[_separation(groups), _mixing(groups)],
        data={"steps": steps, "noise": noise, "trials": [asdict(trial) for trial in trials]},
        pictures={f"{NAME}.png": ablation_chart(rows, steps)},
    )


def measure(store: Store, variant: Variant, seed: int, steps: int) -> Trial:
    """Train one separator and score it."""
    every = -(-steps // VALIDATIONS)
    config = load_run_config(
        "default",
        [f"steps={steps}", f"validate_every={every}", f"seed={seed}", *variant.overrides],
    )
    state = TrainingState(config, store.header.protocol.frames)
    clock: list[float] = []
    for _ in train(store, state, pulse=lambda *_: clock.append(time.process_time())):
        pass
    network = state.best_network()
    if not isinstance(network, InvertibleSeparator):
        raise RunError(f"{NAME} needs an inverse", got=config.model.kind, wanted="invertible")
    scores = [_score(network, samples, store) for samples in store.subjects("test")]
    means = np.mean(scores, axis=0)
    return Trial(
        variant=variant.name,
        seed=seed,
        val_psnr=state.progress.best_psnr,
        test_psnr=(float(means[0]), float(means[1])),
        sum_residual=float(means[2]),
        sum_error=float(means[3]),
        mixing_error=float(means[4]),
        inconsistency=float(means[5]),
        gradient=None if variant.target is None else gradient_share(network, store, variant.target),
        step_ms=1e3 * float(np.median(np.diff(clock))),
        cpu_seconds=state.progress.cpu_seconds,
    )


def gradient_share(network: InvertibleSeparator, store: Store, target: Target) -> float:
    """Norm of the backward term's gradient over the forward term's, on one training sample."""
    timing = loss_timing(store.header.protocol, "cpu")
    batch = next(batches(store, Reading(), 1))
    scale_B = sample_scale(batch["mixture"], timing.duration_T)
    mixture_BTYX, tracers_BKTYX = (
        batch[name] / per_sample(scale_B, batch[name]) for name in ("mixture", "tracers")
    )
    config = LossConfig(backward=1.0, backward_target=target)
    weights = [p for p in network.parameters() if p.requires_grad]
    norms = []
    for terms in loss_passes(network, mixture_BTYX, tracers_BKTYX, timing, config, 0.0):
        (term,) = terms.values()
        parts = torch.autograd.grad(term, weights, allow_unused=True)
        squares = [part.double().square().sum() for part in parts if part is not None]
        norms.append(float(torch.stack(squares).sum().sqrt()))
    forward, backward = norms
    return backward / forward


def _score(network: InvertibleSeparator, samples: Samples, store: Store) -> tuple[float, ...]:
    """Of one subject: both PSNR, sum residual, sum error, mixing error, inconsistency."""
    protocol = store.header.protocol
    mixture_BTYX = torch.from_numpy(samples.mixture_NTYX)
    tracers_BKTYX = torch.from_numpy(truth_of(samples))
    scale_B = sample_scale(mixture_BTYX, torch.tensor(protocol.frame_duration))
    with torch.no_grad():
        predicted = network(mixture_BTYX / per_sample(scale_B, mixture_BTYX))
        predicted_BKTYX = predicted * per_sample(scale_B, predicted)
        back_BCYX = network.inverse_channels(tracers_BKTYX / per_sample(scale_B, tracers_BKTYX))
    decoded_BTYX = network.variables.decode(back_BCYX)
    true_BTYX = tracers_BKTYX.sum(dim=1)
    scaled_BTYX = true_BTYX / per_sample(scale_B, true_BTYX)
    answer: Floats = predicted_BKTYX.numpy()
    return (
        *psnr(samples, answer, protocol),
        sum_residual(samples, answer, protocol),
        _relative(predicted_BKTYX.sum(dim=1), true_BTYX),
        _relative(decoded_BTYX, scaled_BTYX),
        _relative(network.variables.encode(decoded_BTYX), back_BCYX),
    )


def _noise(samples: Samples, store: Store) -> float:
    """The sum residual of a perfect answer: the noise of the mixture."""
    return sum_residual(samples, truth_of(samples), store.header.protocol)


def _relative(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


def _separation(groups: dict[str, list[Trial]]) -> Table:
    return Table(
        title="Separating: mean of the seeds, with the lowest and the highest; errors in percent",
        columns=[
            "beside the forward loss",
            "val PSNR dB",
            "test PSNR dB",
            "sum - mixture",
            "sum - true sum",
            "step, CPU ms",
            "CPU s",
        ],
        rows=[
            [
                name,
                _span([trial.val_psnr for trial in group]),
                _span([float(np.mean(trial.test_psnr)) for trial in group]),
                _percent([trial.sum_residual for trial in group]),
                _percent([trial.sum_error for trial in group]),
                f"{np.median([trial.step_ms for trial in group]):.0f}",
                f"{np.mean([trial.cpu_seconds for trial in group]):.0f}",
            ]
            for name, group in groups.items()
        ],
    )


def _mixing(groups: dict[str, list[Trial]]) -> Table:
    gradients = {
        name: [trial.gradient for trial in group if trial.gradient is not None]
        for name, group in groups.items()
    }
    return Table(
        title="Mixing: means of the seeds; errors in percent",
        columns=[
            "beside the forward loss",
            "mixing true tracers",
            "inconsistency",
            "backward gradient / forward",
        ],
        rows=[
            [
                name,
                _percent([trial.mixing_error for trial in group]),
                _percent([trial.inconsistency for trial in group]),
                f"{np.mean(gradients[name]):.1e}" if gradients[name] else "-",
            ]
            for name, group in groups.items()
        ],
    )


def _percent(values: Sequence[float]) -> str:
    return f"{100 * np.mean(values):.2f}"


def _span(values: Sequence[float]) -> str:
    return f"{np.mean(values):.2f} [{min(values):.2f}, {max(values):.2f}]"


def _notes(steps: int, seeds: int, noise: float) -> list[str]:
    return [
        f"The default separator, {steps} steps, {seeds} seeds; backward weight {BACKWARD:g}, "
        f"consistency weight {CONSISTENCY:g}. Equal steps, not equal time: see the last columns.",
        "Test subjects, but for the first column; PSNR is the mean of both tracers.",
        "Sum - mixture: the predictions' sum against the measured mixture in the body; a perfect "
        f"answer has {100 * noise:.2f} %, the noise. Sum - true sum: against the noise-free sum.",
        "Mixing true tracers: the inverse's mixture of them against their sum. Inconsistency: the "
        "part of the inverse's channels that no mixture has (0 where both parts agree).",
        "Backward gradient: norm over that of the forward term, both of weight 1, at the trained "
        "weights on one training sample, float32. The cycle on the own output has rounding only.",
    ]
