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
from dtsinn.kinetics.measure import SubjectMeasures


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
    measures: Mapping[str, SubjectMeasures], protocol: Protocol, lacking: Mapping[str, str]
) -> KineticSummary | None:
    """Put subjects together; None where nobody measured them.

    Args:
        measures: Of one series, by subject.
        protocol: Frames and injections.
        lacking: What the store cannot tell, and why.
    """
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


def kinetic_metrics(
    measures: Mapping[str, SubjectMeasures], protocol: Protocol
) -> dict[str, float]:
    """What a validation reports beside the PSNR, in percent, as far as it can be told.

    Returns:
        ``val_kinetic_error`` and ``val_kinetic_bias``, means over the tracers; and
        ``val_conservation``: the region and frame whose sum misses the noise-free one most, as a
        mean over subjects.
    """
    found = summarise_kinetics(measures, protocol, {})
    if found is None:
        return {}
    told = {
        "val_kinetic_error": found.kinetic_error,
        "val_kinetic_bias": found.kinetic_bias,
        "val_conservation": None if found.conservation is None else found.conservation.regions,
    }
    return {name: value for name, value in told.items() if value is not None}


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
