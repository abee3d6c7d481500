"""How well values that were read agree with true ones, over subjects and regions.

Shape letters: S subject, R region. A subject that lacks a region holds NaN there.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from dtsinn.kinetics.curves import FloatArray, enough_subjects

ICC_SUBJECTS = 20
"""Subjects from which an ICC is given."""
LIMITS_SD = 1.96
"""Standard deviations to the limits of agreement (Bland and Altman 1986)."""
Values = Mapping[str, tuple[float, float]]
"""Region -> answer and truth of one subject."""


@dataclass(frozen=True, kw_only=True)
class RegionAgreement:
    """One region, over the subjects that have it; percent of the truth."""

    n: int
    error: float
    """Mean over subjects of |answer / truth - 1|."""
    bias: float
    """Mean over subjects of answer / truth - 1, with its sign."""
    sd: float | None
    """Standard deviation over subjects of the same; None of one."""


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """One quantity of one tracer: answers against truth."""

    quantity: str
    subjects: int
    """That have any value."""
    left_out: int
    """Subject-regions that do not count: too few pixels, no positive truth, or of a region that
    is rare."""
    error: float
    """kinetic_error: mean over subjects, then over regions, of |answer / truth - 1|, percent."""
    bias: float
    """kinetic_bias: mean over regions of |signed mean over subjects|, percent."""
    sd: float | None
    """Mean over regions of the standard deviation over subjects, percent."""
    worst_error: float
    """Largest region of the error, percent."""
    worst_error_region: str
    worst_bias: float
    """Largest region of the bias, without its sign, percent."""
    worst_bias_region: str
    worst_subject: str
    """Who has the largest single error,"""
    worst_subject_region: str
    """where,"""
    worst_subject_error: float
    """and how large it is, with its sign, percent."""
    slope: float | None
    """Of the least-squares line of answer over truth, all subject-regions; 1 is best."""
    intercept: float | None
    """Of that line, in the unit of the quantity."""
    difference: float
    """Mean of answer - truth, in the unit of the quantity (Bland-Altman)."""
    limits: tuple[float, float] | None
    """Limits of agreement: that mean -+ 1.96 standard deviations of the differences."""
    icc: float | None
    """ICC(3,1), mean over regions; None under 20 subjects."""
    regions: dict[str, RegionAgreement] = field(default_factory=dict)
    rare: tuple[str, ...] = ()
    """Regions that are left out of all this, as too few subjects have them
    (:func:`dtsinn.kinetics.curves.enough_subjects`)."""


def agreement(quantity: str, subjects: Mapping[str, Values], left_out: int = 0) -> Agreement | None:
    """Compare answers with truth; None where no region has values with a positive truth.

    Regions that too few subjects have are left out and counted.

    Args:
        quantity: What was read.
        subjects: Values by subject.
        left_out: Subject-regions that had no value.
    """
    names = list(dict.fromkeys(region for values in subjects.values() for region in values))
    pairs = np.full((2, len(subjects), len(names)), np.nan)
    for row, values in enumerate(subjects.values()):
        for region, pair in values.items():
            pairs[:, row, names.index(region)] = pair
    answer_SR, truth_SR = np.where(pairs[1] > 0, pairs, np.nan)
    there_SR = np.isfinite(answer_SR)
    count_R = there_SR.sum(axis=0)
    kept_R = count_R >= enough_subjects(int(there_SR.any(axis=1).sum()))
    if not kept_R.any():
        return None
    lost = int(np.isfinite(pairs[0]).sum() - there_SR[:, kept_R].sum())
    kept, rare = (
        [name for name, holds in zip(names, those_R, strict=True) if holds]
        for those_R in (kept_R, ~kept_R & (count_R > 0))
    )
    answer_SR, truth_SR = answer_SR[:, kept_R], truth_SR[:, kept_R]
    error_SR = 100 * (answer_SR / truth_SR - 1)
    with warnings.catch_warnings():  # a region of one subject has no SD
        warnings.simplefilter("ignore", RuntimeWarning)
        error_R = np.nanmean(np.abs(error_SR), axis=0)
        bias_R = np.nanmean(error_SR, axis=0)
        sd_R = np.nanstd(error_SR, axis=0, ddof=1)
    flat = error_SR.ravel()
    worst = int(np.nanargmax(np.abs(flat)))
    there = np.isfinite(answer_SR)
    answers, truths = answer_SR[there], truth_SR[there]
    rise, start = line(truths, answers)
    differences = answers - truths
    spread = float(differences.std(ddof=1)) if differences.size > 1 else None
    middle = float(differences.mean())
    return Agreement(
        quantity=quantity,
        subjects=int(there.any(axis=1).sum()),
        left_out=left_out + lost,
        error=float(error_R.mean()),
        bias=float(np.abs(bias_R).mean()),
        sd=_number(float(np.mean(sd_R[np.isfinite(sd_R)])) if np.isfinite(sd_R).any() else None),
        worst_error=float(error_R.max()),
        worst_error_region=kept[int(error_R.argmax())],
        worst_bias=float(np.abs(bias_R).max()),
        worst_bias_region=kept[int(np.abs(bias_R).argmax())],
        worst_subject=list(subjects)[worst // len(kept)],
        worst_subject_region=kept[worst % len(kept)],
        worst_subject_error=float(flat[worst]),
        slope=rise,
        intercept=start,
        difference=middle,
        limits=None
        if spread is None
        else (middle - LIMITS_SD * spread, middle + LIMITS_SD * spread),
        icc=_mean_icc(answer_SR, truth_SR),
        regions={
            name: RegionAgreement(
                n=int(there[:, r].sum()),
                error=float(error_R[r]),
                bias=float(bias_R[r]),
                sd=_number(float(sd_R[r])),
            )
            for r, name in enumerate(kept)
        },
        rare=tuple(rare),
    )


def line(x: FloatArray, y: FloatArray) -> tuple[float | None, float | None]:
    """Slope and intercept of the least-squares line; None where all x are one."""
    spread = np.square(x - x.mean()).sum()
    if not spread > 0:
        return None, None
    rise = float(((x - x.mean()) * (y - y.mean())).sum() / spread)
    return rise, float(y.mean() - rise * x.mean())


def icc31(ratings_SK: FloatArray) -> float:
    """ICC(3,1): two-way mixed effects, consistency, one rating (Shrout and Fleiss 1979).

    Args:
        ratings_SK: [S, K] of S subjects by K raters.
    """
    subjects, raters = ratings_SK.shape
    rest = ratings_SK - ratings_SK.mean(axis=1, keepdims=True)
    rest = rest - ratings_SK.mean(axis=0) + ratings_SK.mean()
    error = np.square(rest).sum() / ((subjects - 1) * (raters - 1))
    between = raters * np.square(ratings_SK.mean(axis=1) - ratings_SK.mean()).sum() / (subjects - 1)
    return float((between - error) / (between + (raters - 1) * error))


def headline(found: Sequence[Agreement]) -> dict[str, float]:
    """The one number of several tracers: errors and bias as their mean, the worst of all.

    Returns:
        ``kinetic_error``, ``kinetic_bias``, ``worst_error``, ``worst_bias`` in percent; empty
        where no tracer was read.
    """
    if not found:
        return {}
    return {
        "kinetic_error": float(np.mean([one.error for one in found])),
        "kinetic_bias": float(np.mean([one.bias for one in found])),
        "worst_error": max(one.worst_error for one in found),
        "worst_bias": max(one.worst_bias for one in found),
    }


def _mean_icc(answer_SR: FloatArray, truth_SR: FloatArray) -> float | None:
    """Over the regions that enough subjects have."""
    found = []
    for answer_S, truth_S in zip(answer_SR.T, truth_SR.T, strict=True):
        there = np.isfinite(answer_S)
        if there.sum() >= ICC_SUBJECTS:
            found.append(icc31(np.stack([answer_S[there], truth_S[there]], axis=1)))
    return float(np.mean(found)) if found else None


def _number(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
