"""Scores of one method on the subjects of a store, and how much of the other tracer leaks in.

Shape letters: N sample (slice), K tracer (2), T frame, Y X pixel, P scored voxel,
R run (seed), S subject, Q region, D draw of subjects.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from dtsinn.core.protocol import Protocol
from dtsinn.core.seeds import generator
from dtsinn.data.body import body_mask, truth_of
from dtsinn.data.store import Samples, Store
from dtsinn.evaluation.metrics import FEWEST, Interval, bootstrap_interval, paired_difference
from dtsinn.evaluation.score import SubjectScore, score_subject
from dtsinn.kinetics.curves import enough_subjects
from dtsinn.kinetics.measure import SubjectMeter
from dtsinn.networks.method import SeparateSubject

Statistic = Literal["kinetic_error", "kinetic_bias", "worst_error"]
"""As :mod:`dtsinn.kinetics.agreement` defines them: mean of the tracers, or the worst region."""
STATISTICS: tuple[Statistic, ...] = get_args(Statistic)
METRICS = ("psnr", "ssim", "mse")
"""Of images, by subject."""
RESAMPLES = 1000
Floats = npt.NDArray[np.floating[Any]]


def score(separate: SeparateSubject, store: Store, split: str) -> list[dict[str, Any]]:
    """What is kept of each subject of a split; pairs are in the order of the tracers.

    Returns:
        ``subject``; ``psnr`` in dB; ``ssim``; ``mse`` of the images over their peak, times 10,000,
        which says what the PSNR says; ``nrmse``, RMS error over RMS truth, percent;
        ``crosstalk``, see :func:`crosstalk`, percent; ``sum_residual``, RMS of the answers' sum
        less the mixture over RMS of the mixture, percent; ``readouts``, see :func:`ratios`.

    Raises:
        RunError: An answer is not finite.
    """
    found, meter = [], SubjectMeter.of(store)
    for samples in store.subjects(split):
        answer = separate(samples)
        one = score_subject(samples, answer, store.header, meter)
        found.append(
            {
                "subject": one.subject,
                "psnr": one.psnr,
                "ssim": one.ssim,
                "mse": [1e4 * 10 ** (-psnr / 10) for psnr in one.psnr],
                "nrmse": (100 * one.nrmse[0], 100 * one.nrmse[1]),
                "crosstalk": crosstalk(samples, answer, store.header.protocol),
                "sum_residual": 100 * one.sum_residual,
                "readouts": ratios(one),
            }
        )
    return found


def ratios(one: SubjectScore) -> dict[str, dict[str, float]]:
    """Answer over truth of the quantity that a tracer is judged by: tracer -> region -> ratio."""
    if one.measures is None:
        return {}
    read = one.measures.readouts
    return {
        tracer: {
            region: answer / truth
            for region, (answer, truth) in read.values[tracer].get(quantity, {}).items()
            if truth > 0 and np.isfinite(answer)
        }
        for tracer, quantity in read.quantity.items()
    }


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


def by_subject(runs: Runs, metric: str) -> list[float]:
    """A metric by subject, mean over seeds and tracers."""
    value_RS = values(runs, metric)
    if value_RS.ndim == 3:
        value_RS = value_RS.mean(axis=2)
    return [float(value) for value in value_RS.mean(axis=0)]


def interval(runs: Runs, metric: str, tracer: int | None = None) -> Interval | None:
    """Mean over seeds and subjects, and its interval over subjects; None without a finite run.

    Args:
        runs: Of one method.
        metric: A field of the scores.
        tracer: Which one; None is the mean of both, or a metric that is not by tracer.
    """
    if not scored(runs):
        return None
    if tracer is None:
        return bootstrap_interval(by_subject(runs, metric))
    return bootstrap_interval([float(v) for v in values(runs, metric)[:, :, tracer].mean(axis=0)])


def difference(first: Runs, second: Runs, metric: str = "psnr") -> Interval | None:
    """A metric of first - second, paired by subject; None where one gave nothing finite."""
    if not scored(first) or not scored(second):
        return None
    return paired_difference(by_subject(first, metric), by_subject(second, metric))


def shown(found: Interval | None, digits: int = 2, sign: str = "") -> str:
    """An interval as text; ``sign`` is ``+`` or empty."""
    return "none" if found is None else found.text(digits, sign)


def kinetic(runs: Runs, statistic: Statistic, less: Runs = ()) -> Interval | None:
    """A kinetic number, mean over seeds, with its bootstrap interval over subjects; percent.

    Regions that too few subjects have are left out, as everywhere.

    Args:
        runs: Of one method.
        statistic: Which number.
        less: Of another method on the same subjects, whose number is taken off, pair by pair.

    Returns:
        None where nothing can be read, or nothing was finite.
    """
    first, second = _readout_errors(runs), _readout_errors(less) if less else None
    if first is None or (less and second is None):
        return None

    n = first.shape[1]
    there_SKQ = np.isfinite(first[0])
    enough_K = [enough_subjects(count) for count in there_SKQ.any(axis=2).sum(axis=0)]
    rare_KQ = there_SKQ.sum(axis=0) < np.array(enough_K)[:, None]
    first[..., rare_KQ] = np.nan
    if bool(rare_KQ.all()):
        return None
    draws = generator(0, "bootstrap").integers(n, size=(RESAMPLES, n))
    drawn = np.concatenate([np.arange(n)[None], draws])  # everybody once, then the draws
    value = _kinetic(first[:, drawn], statistic)
    if second is not None:
        second[..., rare_KQ] = np.nan
        value = value - _kinetic(second[:, drawn], statistic)
    mean = float(value[0])
    if n < FEWEST:
        return Interval(mean, n=n)
    low, high = np.nanquantile(value[1:], (0.025, 0.975))
    return Interval(mean, float(low), float(high), n)


def summarise(runs: Runs) -> dict[str, dict[str, Any]]:
    """PSNR and kinetic numbers of a method with their intervals, as plain data."""
    every: dict[str, Interval | None] = {"psnr": interval(runs, "psnr")}
    every |= {name: kinetic(runs, name) for name in STATISTICS}
    return {name: one._asdict() for name, one in every.items() if one is not None}


def _readout_errors(runs: Runs) -> Floats | None:
    """[R, S, K, Q] of 100 (answer / truth - 1); NaN where a subject lacks a region."""
    kept = [[one.get("readouts", {}) for one in run] for run in scored(runs)]
    tracers = sorted({tracer for run in kept for one in run for tracer in one})
    regions = sorted({q for run in kept for one in run for own in one.values() for q in own})
    if not regions:
        return None
    return np.array(
        [
            [
                [[100 * (own.get(t, {}).get(q, np.nan) - 1) for q in regions] for t in tracers]
                for own in run
            ]
            for run in kept
        ]
    )


def _kinetic(error_RDSKQ: Floats, statistic: Statistic) -> Floats:
    """[D] the number of each draw of subjects, mean over seeds."""
    with warnings.catch_warnings():  # a tracer, or a draw of subjects, may lack a region
        warnings.simplefilter("ignore", RuntimeWarning)
        if statistic == "kinetic_bias":
            value_RDKQ = np.abs(np.nanmean(error_RDSKQ, axis=2))
        else:
            value_RDKQ = np.nanmean(np.abs(error_RDSKQ), axis=2)
        if statistic == "worst_error":
            return np.asarray(np.nanmax(value_RDKQ, axis=(2, 3)).mean(axis=0))
        return np.asarray(np.nanmean(np.nanmean(value_RDKQ, axis=3), axis=2).mean(axis=0))
