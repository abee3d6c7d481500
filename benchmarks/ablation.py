"""``ablation``: what the backward loss teaches, on what input and towards what target.

The published loss inverts the network's own output; in an exact network that is the mixture
itself, so the term is zero and has no gradient. The true tracers, run backwards, do teach the
inverse. All rows are trainings of the product, equal but for these loss terms.
Shape letters: B batch, K tracer (2), T frame, C channel, Y X pixel.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from matplotlib.figure import Figure
from torch import Tensor

from benchmarks.chart import X_LABEL, draw_dots, frame_rows
from benchmarks.prepare import train_state
from benchmarks.report import Result, Say, Seeds, Steps, Table, make_table, span
from dtsinn.core.errors import RunError
from dtsinn.data.body import truth_of
from dtsinn.data.loader import Reading, batches
from dtsinn.data.store import Samples, Store
from dtsinn.evaluation.metrics import psnr, sum_residual
from dtsinn.networks.invertible import InvertibleSeparator
from dtsinn.networks.normalisation import per_sample, sample_scale
from dtsinn.plots.style import SERIES, heading, png
from dtsinn.training.loss_term import loss_timing
from dtsinn.training.losses import LossConfig, loss_passes

BACKWARD, CONSISTENCY = 0.1, 0.1
"""Weights of the terms where they are used (uncited)."""
ERRORS = ("sum_residual", "sum_error", "mixing_error", "inconsistency")
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


Trial = dict[str, Any]
"""One training with its scores on the ``test`` subjects; see :func:`measure`."""


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
                f"{np.mean(found['test_psnr']):.2f} dB, mixing error {found['mixing_error']:.1e}"
            )
    protocol = store.header.protocol
    noise = float(  # the sum residual of a perfect answer
        np.mean([sum_residual(one, truth_of(one), protocol) for one in store.subjects("test")])
    )
    groups = {v.name: [t for t in trials if t["variant"] == v.name] for v in variants}
    return Result(
        name="ablation",
        title="What the backward loss teaches",
        notes=_notes(steps, seeds, noise),
        tables=[_separation(groups), _mixing(groups)],
        data={"steps": steps, "noise": noise, "trials": trials},
        pictures={"ablation.png": _chart(groups, steps)},
    )


def measure(store: Store, variant: Variant, seed: int, steps: int) -> Trial:
    """Train one separator and score it.

    Returns:
        ``val_psnr`` of the weights that were kept and ``test_psnr`` per tracer, dB. Relative
        errors: ``sum_residual`` and ``sum_error``, the answers' sum against the measured mixture
        and against the noise-free sum; ``mixing_error``, the true tracers, mixed by the inverse,
        against their sum; ``inconsistency``, the part of the inverse's channels that no mixture
        has, for true tracers. ``gradient``, norm of the backward term's gradient over that of the
        forward term, both of weight 1; ``step_ms``, process CPU time of a step, the median;
        ``cpu_seconds`` of the whole training, validations included.
    """
    clock: list[float] = []
    state = train_state(
        store,
        [f"seed={seed}", *variant.overrides],
        steps,
        on_step=lambda *_: clock.append(time.process_time()),
    )
    network = state.best_network()
    if not isinstance(network, InvertibleSeparator):
        raise RunError(
            "ablation needs an inverse", got=state.config.model.kind, wanted="invertible"
        )
    scores = [_score(network, samples, store) for samples in store.subjects("test")]
    first, second, *errors = (float(mean) for mean in np.mean(scores, axis=0))
    return {
        "variant": variant.name,
        "seed": seed,
        "val_psnr": state.progress.best_psnr,
        "test_psnr": (first, second),
        **dict(zip(ERRORS, errors, strict=True)),
        "gradient": variant.target and gradient_share(network, store, variant.target),
        "step_ms": 1e3 * float(np.median(np.diff(clock))),
        "cpu_seconds": state.progress.cpu_seconds,
    }


def gradient_share(network: InvertibleSeparator, store: Store, target: Target) -> float:
    """Norm of the backward term's gradient over the forward term's, on one training sample."""
    timing = loss_timing(store.header.protocol, "cpu")
    batch = next(batches(store, Reading(), 1))
    scale_B = sample_scale(batch["mixture"], timing.duration_T)
    mixture_BTYX, tracers_BKTYX = (
        batch[name] / per_sample(scale_B, batch[name]) for name in ("mixture", "tracers")
    )
    config = LossConfig(backward=1.0, backward_target=target, time_activity=0.0)
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


def _relative(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


def _separation(groups: dict[str, list[Trial]]) -> Table:
    return make_table(
        groups.values(),
        {
            "beside the forward loss": lambda group: group[0]["variant"],
            "val PSNR dB": lambda group: span(_all(group, "val_psnr")),
            "test PSNR dB": lambda group: span(_test_psnr(group)),
            "sum - mixture": lambda group: _percent(group, "sum_residual"),
            "sum - true sum": lambda group: _percent(group, "sum_error"),
            "step, CPU ms": lambda group: f"{np.median(_all(group, 'step_ms')):.0f}",
            "CPU s": lambda group: f"{np.mean(_all(group, 'cpu_seconds')):.0f}",
        },
        "Separating: mean of the seeds, with the lowest and the highest; errors in percent",
    )


def _mixing(groups: dict[str, list[Trial]]) -> Table:
    def gradient(group: list[Trial]) -> str:
        found = _all(group, "gradient")
        return "-" if None in found else f"{np.mean(found):.1e}"

    return make_table(
        groups.values(),
        {
            "beside the forward loss": lambda group: group[0]["variant"],
            "mixing true tracers": lambda group: _percent(group, "mixing_error"),
            "inconsistency": lambda group: _percent(group, "inconsistency"),
            "backward gradient / forward": gradient,
        },
        "Mixing: means of the seeds; errors in percent",
    )


def _all(group: list[Trial], what: str) -> list[Any]:
    return [trial[what] for trial in group]


def _test_psnr(group: list[Trial]) -> list[float]:
    """Mean of both tracers for each seed, dB."""
    return [float(np.mean(trial["test_psnr"])) for trial in group]


def _percent(group: list[Trial], what: str) -> str:
    return f"{100 * np.mean(_all(group, what)):.2f}"


def _notes(steps: int, seeds: int, noise: float) -> list[str]:
    return [
        f"Coupling blocks, {steps} steps, {seeds} seeds; backward weight {BACKWARD:g}, "
        f"consistency weight {CONSISTENCY:g}. Equal steps, not equal time: see the last columns.",
        "Test subjects, but for the first column; PSNR is the mean of both tracers.",
        "Sum - mixture: the predictions' sum against the measured mixture in the body; a perfect "
        f"answer has {100 * noise:.2f} %, the noise. Sum - true sum: against the noise-free sum.",
        "Mixing true tracers: the inverse's mixture of them against their sum. Inconsistency: the "
        "part of the inverse's channels that no mixture has (0 where both parts agree).",
        "Backward gradient: norm over that of the forward term, both of weight 1, at the trained "
        "weights on one training sample, float32. The cycle on the own output has rounding only.",
    ]


def _chart(groups: dict[str, list[Trial]], steps: int) -> bytes:
    """Two dot charts side by side as PNG: one row a variant, ticks the seeds, dots their means."""
    height = 0.36 * len(groups) + 1.5
    figure = Figure(figsize=(10.0, height))
    figure.subplots_adjust(
        left=0.27, right=0.98, top=1 - 0.72 / height, bottom=0.62 / height, wspace=0.08
    )
    left, right = figure.subplots(1, 2, sharey=True)
    for place, group in enumerate(groups.values()):
        draw_dots(left, place, _test_psnr(group), SERIES[0])
        draw_dots(right, place, [100 * one for one in _all(group, "mixing_error")], SERIES[1])
    frame_rows(left, list(groups), X_LABEL)
    frame_rows(right, list(groups), "error of mixing the true tracers, %")
    right.tick_params(axis="y", labelleft=False)
    right.set_xlim(left=0)
    heading(
        figure,
        "What the backward loss teaches",
        f"{steps} steps each; dots: mean of the seeds, ticks: single seeds",
    )
    return png(figure, dpi=150)
