"""Results of an evaluation: which models, in which cells, how well, subject by subject."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from dtsinn.core.protocol import Protocol
from dtsinn.evaluation.kinetics import KineticSummary, summarise_kinetics
from dtsinn.evaluation.metrics import Interval, Pair, bootstrap_interval, paired_difference
from dtsinn.evaluation.novelty import Novelty
from dtsinn.evaluation.score import SubjectScore

FLOOR = "linear map"
"""Name of the floor: the best linear map of a neighbourhood's frames, in closed form."""
HALVES = "halved mixture"
"""Name of the baseline that halves the mixture: no training."""
SINGLE_TRACER = "single-tracer scan"
"""Name of what two separate scans would have shown: same doses, frames and noise law."""
SUMMARY = "summary.png"
"""Picture of all cells among those of a report, where there is room for one only."""
Verdict = Literal["beats", "level with", "loses to", "no verdict"]


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """A separator that took part."""

    name: str
    """As the user called it."""
    digest: str
    """Digest of its weights and configuration."""
    tracers: tuple[str, str]
    protocol: str
    lineage: dict[str, str | int]
    """Run, search, trial, seed, steps, store digest and code version of its training."""


@dataclass(frozen=True, kw_only=True)
class BaselineInfo:
    """A rival without training that took part."""

    name: str
    settings: dict[str, Any]
    """All that decides its answers, as plain data."""


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Means over subjects with their bootstrap intervals; pairs are per tracer."""

    psnr: Interval
    """Mean of the two tracers, dB."""
    psnr_by_tracer: tuple[Interval, Interval]
    """dB"""
    ssim: tuple[Interval, Interval]
    nrmse: tuple[Interval, Interval]
    """Fractions."""
    before_injection: tuple[Interval, Interval]
    """kBq/mL"""
    sum_residual: Interval
    """A fraction."""
    kinetics: KineticSummary | None = None
    """Read-outs, conservation and lesions; None where nobody measured them."""


@dataclass(frozen=True, kw_only=True)
class ModelScores:
    """One model, baseline or floor in one cell: scores, or the reason why there are none."""

    model: str
    reason: str = ""
    """Why the cell is not applicable; empty when it is."""
    novelty: Novelty | None = None
    """What of the cell the model's training had seen; None of what is not trained."""
    fitted: str = ""
    """Of the floor: with the model, or for this cell."""
    subjects: tuple[SubjectScore, ...] = ()
    summary: Summary | None = None

    @property
    def applicable(self) -> bool:
        """Whether there are scores."""
        return self.summary is not None

    @property
    def trained_on(self) -> bool:
        """Whether the model was trained on such data, as far as is known."""
        return self.novelty is not None and self.novelty.trained_on


ROUNDING_dB = 1e-4
"""Differences below this are float32 rounding, which may fall out otherwise in every process."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Two series compared in pairs: mean PSNR of ``first`` minus ``second``, same subjects."""

    first: str
    second: str
    psnr: Interval
    """dB; above 0 the first is better."""

    @property
    def verdict(self) -> Verdict:
        """Whether the interval, if there is one, is above, below or around 0, rounding apart."""
        if self.psnr.low is None:
            return "no verdict"
        if self.psnr.lies_above(ROUNDING_dB):
            return "beats"
        return "loses to" if self.psnr.lies_below(-ROUNDING_dB) else "level with"


@dataclass(frozen=True, kw_only=True)
class CellResult:
    """One cell of the grid: a set of subjects and what every model made of it."""

    key: str
    """Its unique name, safe in a file name."""
    source: Literal["store", "simulated"]
    tracers: tuple[str, str]
    protocol: str
    noise: str
    phantom: str
    population: str = ""
    """How the subjects differ; empty where not known."""
    conditions: str = ""
    """What of population, dose, kinetics, inputs and motion is varied, in words."""
    store_digest: str
    """Empty where nothing was simulated, as no model fits."""
    models: tuple[ModelScores, ...]
    baselines: tuple[ModelScores, ...] = ()
    """Halving and rivals without training; none where no model fits."""
    floor: ModelScores | None
    """The linear map; None where no model fits."""
    single_tracer: ModelScores | None = None
    """What separate scans of each tracer would have shown; None where no model fits."""
    differences: tuple[Difference, ...]
    """Each model and baseline against the floor, each model against each baseline, then each
    pair of models."""

    @property
    def series(self) -> tuple[ModelScores, ...]:
        """Models, baselines and floor, in the order in which they are shown."""
        floor = () if self.floor is None else (self.floor,)
        return (*self.models, *self.baselines, *floor)

    @property
    def every(self) -> tuple[ModelScores, ...]:
        """The series, and the single-tracer scans beside them."""
        return self.series if self.single_tracer is None else (*self.series, self.single_tracer)

    @property
    def title(self) -> str:
        """What people read."""
        pair = " + ".join(tracer.upper() for tracer in self.tracers)
        start = "Store: " if self.source == "store" else ""
        noise = f", {self.noise} noise" if self.noise else ""
        anatomy = f", {self.phantom}" if self.phantom else ""
        varied = f", {self.conditions}" if self.conditions else ""
        return f"{start}{pair}, {self.protocol}{anatomy}{noise}{varied}"

    @property
    def applicable(self) -> bool:
        """Whether any model has scores here."""
        return any(scores.applicable for scores in self.models)

    @property
    def subjects(self) -> int:
        """How many were scored."""
        return max((len(scores.subjects) for scores in self.series), default=0)

    def over_floor(self, scores: ModelScores) -> list[float | None]:
        """Mean PSNR over that of the floor of each subject of a series, dB; None without one."""
        floor = {} if self.floor is None else {s.subject: s.mean_psnr for s in self.floor.subjects}
        return [
            score.mean_psnr - floor[score.subject] if score.subject in floor else None
            for score in scores.subjects
        ]

    def difference(self, first: str, second: str = FLOOR) -> Difference | None:
        """The paired comparison of two series, if both were scored."""
        for difference in self.differences:
            if (difference.first, difference.second) == (first, second):
                return difference
        return None


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Everything that an evaluation found out."""

    suite: str
    description: str
    split: str
    """Split of the store whose subjects were scored."""
    models: tuple[ModelInfo, ...]
    baselines: tuple[BaselineInfo, ...] = ()
    cells: tuple[CellResult, ...]
    code_version: str

    @property
    def headline(self) -> CellResult | None:
        """The cell to judge by: of those that apply the store's, else a trained-on one.

        It applies to the first model, where any does.
        """
        applicable = [cell for cell in self.cells if cell.applicable]
        applicable.sort(
            key=lambda c: (
                not c.models[0].applicable,
                c.source != "store",
                not c.models[0].trained_on,
            )
        )
        return applicable[0] if applicable else None

    @property
    def losses(self) -> list[tuple[CellResult, Difference]]:
        """Where a model is level with the floor or worse, as far as is known."""
        names = {model.name for model in self.models}
        return [
            (cell, difference)
            for cell in self.cells
            for difference in cell.differences
            if difference.first in names
            and difference.second == FLOOR
            and difference.verdict in ("level with", "loses to")
        ]


def summarise(
    scores: Sequence[SubjectScore],
    protocol: Protocol | None = None,
    lacking: Mapping[str, str] | None = None,
) -> Summary:
    """Means and intervals of all metrics over subjects.

    Args:
        scores: One of each subject.
        protocol: Frames and injections, for what is beyond pixels.
        lacking: What the store cannot tell of that, and why.
    """

    def by_tracer(pairs: Sequence[Pair]) -> tuple[Interval, Interval]:
        first, second = zip(*pairs, strict=True)
        return bootstrap_interval(first), bootstrap_interval(second)

    measures = {score.subject: score.measures for score in scores if score.measures is not None}
    return Summary(
        psnr=bootstrap_interval([score.mean_psnr for score in scores]),
        psnr_by_tracer=by_tracer([score.psnr for score in scores]),
        ssim=by_tracer([score.ssim for score in scores]),
        nrmse=by_tracer([score.nrmse for score in scores]),
        before_injection=by_tracer([score.before_injection for score in scores]),
        sum_residual=bootstrap_interval([score.sum_residual for score in scores]),
        kinetics=None
        if protocol is None
        else summarise_kinetics(measures, protocol, lacking or {}),
    )


def compare(first: ModelScores, second: ModelScores) -> Difference:
    """Two series of the same subjects, in pairs."""
    return Difference(
        first=first.model,
        second=second.model,
        psnr=paired_difference(
            [score.mean_psnr for score in first.subjects],
            [score.mean_psnr for score in second.subjects],
        ),
    )
