"""Scores of a separator on the subjects of a store.

Shape letters: N sample (slice), K tracer (2), T frame, Y X pixel. A subject's score is always
that of all its slices together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import nan
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dtsinn.core.errors import RunError
from dtsinn.data.store import Samples, StoreHeader
from dtsinn.evaluation import metrics
from dtsinn.kinetics.measure import SubjectMeasures, SubjectMeter

Floats = NDArray[np.floating[Any]]
Separate = Callable[[NDArray[np.float32]], Floats]
"""Mixtures [N, T, Y, X] in kBq/mL -> tracers [N, K, T, Y, X] in kBq/mL."""


class SubjectSource(Protocol):
    """What scores are taken on: an open store, or its subjects kept in memory."""

    @property
    def header(self) -> StoreHeader:
        """What the samples are."""

    def subjects(self, split: str) -> Iterator[Samples]:
        """The subjects of a split in order, each with all its slices."""


@dataclass(frozen=True, kw_only=True)
class SubjectScore:
    """How well one subject was separated; pairs are in the order of the tracers."""

    subject: str
    psnr: tuple[float, float]
    """dB, per tracer."""
    ssim: tuple[float, float]
    """Per tracer, 1 is best."""
    nrmse: tuple[float, float]
    """RMS error over RMS truth, per tracer, a fraction."""
    regional_bias: dict[str, dict[str, float]]
    """Tracer -> region -> bias of the area under the regional curve, percent."""
    before_injection: tuple[float, float]
    """RMS of what stands before each tracer's injection and should not, kBq/mL."""
    sum_residual: float
    """RMS of (sum of the answers - mixture) over RMS of the mixture, a fraction."""
    measures: SubjectMeasures | None = None
    """Read-outs, conservation and lesions; None where nobody measured them."""

    @property
    def mean_psnr(self) -> float:
        """Mean PSNR of the two tracers, dB."""
        return sum(self.psnr) / 2


def halve(mixture_NTYX: NDArray[np.float32]) -> NDArray[np.float32]:
    """Half of the mixture for each tracer: the weakest of the baselines."""
    half_NTYX = mixture_NTYX / 2
    halved: NDArray[np.float32] = np.stack((half_NTYX, half_NTYX), axis=1)
    return halved


def psnr_of_subjects(
    separate: Separate,
    store: SubjectSource,
    split: str,
    look: Callable[[Samples, Floats], None] = lambda samples, predicted_NKTYX: None,
) -> dict[str, tuple[float, float]]:
    """PSNR alone, by subject, in dB per tracer: what a training validates with.

    NaN where the answer is not finite; see :func:`dtsinn.evaluation.metrics.psnr`. ``look`` is
    shown every finite answer.
    """
    found = {}
    for samples in store.subjects(split):
        predicted_NKTYX = separate(samples.mixture_NTYX)
        psnr = metrics.psnr(samples, predicted_NKTYX, store.header.protocol)
        found[str(samples.subject_N[0])] = psnr
        if np.isfinite(psnr).all():
            look(samples, predicted_NKTYX)
    return found


def score_subject(
    samples: Samples,
    predicted_NKTYX: Floats,
    header: StoreHeader,
    meter: SubjectMeter | None = None,
    *,
    structure: bool = True,
) -> SubjectScore:
    """All metrics of one subject.

    Args:
        samples: All slices of the subject, with the truth.
        predicted_NKTYX: The answer in kBq/mL.
        header: Of the store that the subject comes from.
        meter: Of that store, for what is beyond pixels; None spares it.
        structure: The SSIM too, which takes most of the time; else it is NaN.

    Raises:
        RunError: The answer is not finite or has the wrong shape.
        StoreError: The subject cannot be scored (no truth, no body, no activity).
    """
    protocol, subject = header.protocol, str(samples.subject_N[0])
    psnr = metrics.psnr(samples, predicted_NKTYX, protocol)
    if not np.isfinite(predicted_NKTYX).all():
        raise RunError(f"the separator's answer for subject {subject!r} is not finite")
    biases = metrics.regional_bias(samples, predicted_NKTYX, protocol, header.region_names)
    return SubjectScore(
        subject=subject,
        psnr=psnr,
        ssim=metrics.ssim(samples, predicted_NKTYX, protocol) if structure else (nan, nan),
        nrmse=metrics.nrmse(samples, predicted_NKTYX, protocol),
        regional_bias=dict(zip(header.tracers, biases, strict=True)),
        before_injection=metrics.before_injection(samples, predicted_NKTYX, protocol),
        sum_residual=metrics.sum_residual(samples, predicted_NKTYX, protocol),
        measures=None if meter is None else meter.measure(samples, predicted_NKTYX),
    )


def score_subjects(
    separate: Separate,
    store: SubjectSource,
    split: str,
    meter: SubjectMeter | None = None,
    *,
    structure: bool = True,
) -> list[SubjectScore]:
    """All metrics of every subject of a split, in the order of the store.

    ``meter`` and ``structure`` are those of :func:`score_subject`.
    """
    header = store.header
    return [
        score_subject(samples, separate(samples.mixture_NTYX), header, meter, structure=structure)
        for samples in store.subjects(split)
    ]
