"""What subjects' read-outs and conserved activity say together: of one series in one cell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from dtsinn.core.protocol import Protocol
from dtsinn.evaluation.score import SubjectScore
from dtsinn.kinetics.agreement import Agreement, agreement, headline
from dtsinn.kinetics.conservation import Conservation, summarise_conservation
from dtsinn.kinetics.lesions import LesionScore


@dataclass(frozen=True, kw_only=True)
class KineticSummary:
    """Read-outs, conservation and lesions over the subjects of a cell."""

    kinetic_error: float | None = None
    """Mean over tracers of the judged quantity's error, percent; None where none can be read."""
    kinetic_bias: float | None = None
    """The same of its bias, percent."""
    worst_error: float | None = None
    """Largest region of either tracer, percent."""
    worst_bias: float | None = None
    """The same of the bias, percent."""
    worst_bias_region: str = ""
    """Which region that is, and of which tracer."""
    judged: dict[str, str] = field(default_factory=dict)
    """Tracer -> the quantity that it is judged by."""
    readouts: dict[str, dict[str, Agreement]] = field(default_factory=dict)
    """Tracer -> quantity -> how answers agree with truth."""
    conservation: Conservation | None = None
    lesions: dict[str, LesionScore] = field(default_factory=dict)
    """Tracer -> means over the subjects that have lesions."""
    lacking: dict[str, str] = field(default_factory=dict)
    """What is not applicable -> why."""


def summarise_kinetics(
    scores: Sequence[SubjectScore], protocol: Protocol, lacking: Mapping[str, str]
) -> KineticSummary | None:
    """Put subjects together; None where nobody measured them.

    Args:
        scores: Of one series, one of each subject.
        protocol: Frames and injections.
        lacking: What the store cannot tell, and why.
    """
    measures = {score.subject: score.measures for score in scores if score.measures is not None}
    if not measures:
        return None
    quantities = {
        tracer: list(
            dict.fromkeys(
                q for one in measures.values() for q in one.readouts.values.get(tracer, {})
            )
        )
        for tracer in dict.fromkeys(t for one in measures.values() for t in one.readouts.values)
    }
    readouts: dict[str, dict[str, Agreement]] = {}
    for tracer, own in quantities.items():
        left_out = sum(len(one.readouts.small.get(tracer, [])) for one in measures.values())
        for quantity in own:
            values = {
                subject: one.readouts.values.get(tracer, {}).get(quantity, {})
                for subject, one in measures.items()
            }
            found = agreement(quantity, values, left_out)
            if found is not None:
                readouts.setdefault(tracer, {})[quantity] = found
    judged: dict[str, str] = {}
    for one in measures.values():
        judged |= one.readouts.quantity
    told = {
        tracer: readouts[tracer][quantity]
        for tracer, quantity in judged.items()
        if quantity in readouts.get(tracer, {})
    }
    worst = max(told, key=lambda tracer: told[tracer].worst_bias, default="")
    lesions = {
        tracer: _mean_lesion(
            [one.lesions[tracer] for one in measures.values() if tracer in one.lesions]
        )
        for tracer in dict.fromkeys(t for one in measures.values() for t in one.lesions)
    }
    conserved = [one.conservation for one in measures.values()]
    return KineticSummary(
        **headline(list(told.values())),
        worst_bias_region=f"{told[worst].worst_bias_region}, {worst}" if worst else "",
        judged=judged,
        readouts=readouts,
        conservation=summarise_conservation(conserved, protocol),
        lesions=lesions,
        lacking=dict(lacking),
    )


def subject_error(score: SubjectScore, tracer: str) -> float | None:
    """Mean over regions of |answer / truth - 1| of one subject's judged quantity, percent."""
    if score.measures is None:
        return None
    read = score.measures.readouts
    values = read.values.get(tracer, {}).get(read.quantity.get(tracer, ""), {}).values()
    errors = [100 * abs(answer / truth - 1) for answer, truth in values if truth > 0]
    return float(np.mean(errors)) if errors else None


def _mean_lesion(scores: Sequence[LesionScore]) -> LesionScore:
    def mean(name: str) -> float | None:
        values = [v for one in scores if (v := getattr(one, name)) is not None]
        return float(np.mean(values)) if values else None

    return LesionScore(
        contrast_recovery=mean("contrast_recovery"),
        contrast_to_noise=mean("contrast_to_noise") or 0.0,
        true_contrast_to_noise=mean("true_contrast_to_noise") or 0.0,
        cross_talk=mean("cross_talk"),
    )
