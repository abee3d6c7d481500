"""Scores of one method on the subjects of a store, and how much of the other tracer leaks in.

Shape letters: N sample (slice), K tracer (2), T frame, Y X pixel, P scored voxel,
R run (seed), S subject.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dtsinn.core.protocol import Protocol
from dtsinn.data.body import body_mask, truth_of
from dtsinn.data.store import Samples, Store
from dtsinn.evaluation.metrics import Interval, bootstrap_interval, paired_difference
from dtsinn.evaluation.score import score_subject
from dtsinn.networks.method import SeparateSubject

Floats = npt.NDArray[np.floating[Any]]


def score(separate: SeparateSubject, store: Store, split: str) -> list[dict[str, Any]]:
    """What is kept of each subject of a split; pairs are in the order of the tracers.

    Returns:
        ``subject``; ``psnr`` in dB; ``ssim``; ``nrmse``, RMS error over RMS truth, percent;
        ``crosstalk``, see :func:`crosstalk`, percent; ``sum_residual``, RMS of the answers' sum
        less the mixture over RMS of the mixture, percent.

    Raises:
        RunError: An answer is not finite.
    """
    found = []
    for samples in store.subjects(split):
        answer = separate(samples)
        one = score_subject(samples, answer, store.header)
        found.append(
            {
                "subject": one.subject,
                "psnr": one.psnr,
                "ssim": one.ssim,
                "nrmse": (100 * one.nrmse[0], 100 * one.nrmse[1]),
                "crosstalk": crosstalk(samples, answer, store.header.protocol),
                "sum_residual": 100 * one.sum_residual,
            }
        )
    return found


def crosstalk(samples: Samples, predicted_NKTYX: Floats, protocol: Protocol) -> tuple[float, float]:
    """How much of the other tracer is in the answer for each tracer, percent.

    The slope of the error on the true other tracer over the scored set (body, frames from the
    tracer's injection on). A constant and the true tracer itself are regressed with it: without
    them, an answer that is only too small would seem to leak, since the tracers resemble each
    other. Halving the mixture leaks 50 %.

    Raises:
        StoreError: There is no truth.
    """
    truth_NKTYX, body_NYX = truth_of(samples), body_mask(samples, protocol)
    first, second = (
        _slope(truth_NKTYX, predicted_NKTYX, body_NYX, tracer, protocol.first_frame(tracer))
        for tracer in (0, 1)
    )
    return first, second


def _slope(
    truth_NKTYX: Floats,
    predicted_NKTYX: Floats,
    body_NYX: npt.NDArray[np.bool_],
    tracer: int,
    first: int,
) -> float:
    own_P, other_P, found_P = (
        np.moveaxis(image[:, :, first:], 2, -1)[:, k][body_NYX].ravel().astype(np.float64)
        for image, k in (
            (truth_NKTYX, tracer),
            (truth_NKTYX, 1 - tracer),
            (predicted_NKTYX, tracer),
        )
    )
    regressors = np.stack((other_P, own_P, np.ones_like(own_P)))
    # Normal equations of three unknowns: quick for millions of voxels; the least-norm answer
    # where a regressor is missing.
    gram, right = regressors @ regressors.T, regressors @ (found_P - own_P)
    return float(100 * np.linalg.lstsq(gram, right, rcond=None)[0][0])


Runs = Sequence[tuple[Any, Mapping[str, Any]]]
"""Jobs of one method with what they gave."""


def scored(runs: Runs) -> list[list[dict[str, Any]]]:
    """Scores by run and subject, of the runs that gave finite answers."""
    return [result["test"] for _, result in runs if result["test"]]


def values(runs: Runs, metric: str) -> npt.NDArray[np.float64]:
    """A metric [R, S], or [R, S, K] where it is one of each tracer."""
    return np.array([[one[metric] for one in run] for run in scored(runs)], dtype=np.float64)


def psnr_by_subject(runs: Runs) -> list[float]:
    """PSNR by subject, mean over seeds and tracers, dB."""
    return [float(value) for value in values(runs, "psnr").mean(axis=(0, 2))]


def interval(runs: Runs, metric: str, tracer: int | None = None) -> Interval | None:
    """Mean over seeds and subjects, and its interval over subjects; None without a finite run.

    Args:
        runs: Of one method.
        metric: A field of the scores.
        tracer: Which one; None is the mean of both, or a metric that is not by tracer.
    """
    if not scored(runs):
        return None
    value_RS = values(runs, metric)
    if value_RS.ndim == 3:
        value_RS = value_RS.mean(axis=2) if tracer is None else value_RS[:, :, tracer]
    return bootstrap_interval([float(value) for value in value_RS.mean(axis=0)])


def difference(first: Runs, second: Runs) -> Interval | None:
    """PSNR of first - second, paired by subject, dB; None where one gave nothing finite."""
    if not scored(first) or not scored(second):
        return None
    return paired_difference(psnr_by_subject(first), psnr_by_subject(second))


def shown(found: Interval | None, digits: int = 2, sign: str = "") -> str:
    """An interval as text; ``sign`` is ``+`` or empty."""
    return "not finite" if found is None else found.text(digits, sign)
