"""How far a scan lies from those of a population, by numbers that need no labels.

Some checks have one number each, such as how much the answers' sum misses. Others have many, such
as the shape of curves: their distance is that of Mahalanobis under the probabilistic principal
components of the population (Tipping and Bishop 1999, J R Stat Soc B 61:611). All are brought to
one measure, how extreme a value is for the population, and one limit on the most extreme of them
holds the share of false alarms of all together: it is a quantile of split conformal prediction
(Vovk, Gammerman and Shafer 2005, "Algorithmic learning in a random world"), taken on subjects that
nothing else was computed from.

Shape letters: N subject, F feature, K tracer (2), L level of activity, T frame.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from dtsinn.core.config import STRICT
from dtsinn.core.errors import InputError
from dtsinn.core.protocol import Protocol
from dtsinn.separation.run import Totals

FloatArray = npt.NDArray[np.float64]

FALSE_ALARMS = 0.03
"""Share of the population's own scans outside that is aimed at: 5 % is promised, and the limit is
an estimate of 200 subjects, whose own standard deviation is 1.3 %."""
FEWEST_SUBJECTS = 20
"""For which the largest of all gives false alarms in 1 of 21 scans."""
MOST_COMPONENTS = 12
"""Principal components of a check (uncited)."""
FOLDS = 5
"""Of the subjects that fit, so that their own distances are those of subjects not fitted to."""
MOST_FOLDS = 20
"""Of all subjects, where they are few: more only take longer."""
LEAST_SPREAD = 0.25
"""Of a share (uncited): of what hardly any subject has, a percent or two raise no alarm."""
LARGEST = 50.0
"""Logarithm of a limit that nothing reaches."""
FLOOR = 1e-3
"""Least part of a scan's mean that a logarithm is taken of (uncited)."""


@dataclass(frozen=True, kw_only=True)
class Features:
    """What is compared of a separated scan, by the name of a check.

    Attributes:
        shares: In percent, never below 0; more is worse.
        shapes: [F] numbers of any unit; whatever is far from the population is worse.
    """

    shares: Mapping[str, float]
    shapes: Mapping[str, FloatArray]


@dataclass(frozen=True, kw_only=True)
class CheckModel:
    """What a check finds in the population.

    Attributes:
        mean: [F]; empty of a share, which is its own distance.
        scale: [F] standard deviations.
        components: [C, F] principal components of the scaled features.
        variances: [C] along them.
        rest: Variance along every other direction.
        middle: Median of log(1 + distance).
        spread: Standard deviation that its upper half has by its 97.5 % quantile: by it extremes
            are counted.
    """

    __pydantic_config__ = STRICT

    mean: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    components: tuple[tuple[float, ...], ...] = ()
    variances: tuple[float, ...] = ()
    rest: float = 1.0
    middle: float = 0.0
    spread: float = 1.0

    def distance(self, features_F: FloatArray) -> float:
        """Distance of Mahalanobis over the root of the number of features."""
        scaled_F = (features_F - np.array(self.mean)) / np.array(self.scale)
        along_C = np.array(self.components).reshape(-1, len(self.mean)) @ scaled_F
        rest = max(float(scaled_F @ scaled_F - along_C @ along_C), 0.0)
        square = float((along_C**2 / np.array(self.variances)).sum()) + rest / self.rest
        return math.sqrt(square / len(self.mean))

    def extremity(self, distance: float) -> float:
        """By how many spreads a distance is above the median."""
        return (math.log1p(distance) - self.middle) / self.spread

    def limit(self, extremity: float) -> float:
        """The distance of that extremity."""
        return math.expm1(min(self.middle + self.spread * extremity, LARGEST))


@dataclass(frozen=True, kw_only=True)
class Population:
    """The calibration subjects, as far as checks need them.

    Attributes:
        checks: By name.
        extremity: The limit of all checks.
        extremities: Most extreme of all checks, ascending, of the subjects that gave the limit,
            each by checks that were fitted without it.
    """

    __pydantic_config__ = STRICT

    checks: dict[str, CheckModel]
    extremity: float
    extremities: tuple[float, ...]

    def distances(self, features: Features) -> dict[str, float]:
        """Of each check that the scan has finite numbers for; shares as they are."""
        found = {
            name: model.distance(features.shapes[name])
            for name, model in self.checks.items()
            if name in features.shapes
        }
        found |= {name: one for name, one in features.shares.items() if name in self.checks}
        return {name: one for name, one in found.items() if math.isfinite(one)}

    def limit(self, name: str) -> float:
        """The largest distance, or share in percent, with which a check passes."""
        return self.checks[name].limit(self.extremity)

    def most_extreme(self, features: Features) -> float:
        """The largest extremity of all checks."""
        found = self.distances(features)
        return max(
            (self.checks[name].extremity(one) for name, one in found.items()), default=-math.inf
        )

    def p_value(self, features: Features) -> float:
        """Share of the population, the scan with it, that is as extreme: a conformal p-value."""
        above = sum(one >= self.most_extreme(features) for one in self.extremities)
        return (above + 1) / (len(self.extremities) + 1)


def scan_shapes(totals: Totals, protocol: Protocol) -> dict[str, FloatArray]:
    """The numbers of a separated scan that tell of its population, by check.

    Args:
        totals: Of the scan and its answer.
        protocol: Frames and injections.
    """
    begun_T = np.array(protocol.starts_after(0))
    both_T = np.array(protocol.starts_after(1))
    duration_T = np.array(protocol.frame_duration)
    mean_T = totals.mixture_T
    mean = max(float(np.average(mean_T, weights=duration_T)), FLOOR)
    tiny = FLOOR * mean
    level_3LT = totals.level_3LT
    mixture_LT = np.maximum(level_3LT[0], tiny)
    rough_3LT = np.maximum(totals.rough_3LT, tiny**2)
    coarse_LT = np.maximum(totals.coarse_LT, tiny**2)
    sum_LT = level_3LT[1:].sum(axis=0)
    tracer_KT = totals.tracers_KT[:, both_T] * duration_T[both_T]
    return {
        "activity": np.log(np.maximum(tracer_KT.sum(axis=1) / duration_T[both_T].sum(), tiny)),
        "curves of the mixture": np.log(mixture_LT / mean)[:, begun_T].ravel(),
        "noise of the mixture": np.concatenate(
            [
                np.log(rough_3LT[0] * duration_T / np.maximum(mean_T, tiny))[:, begun_T],
                np.log(coarse_LT / rough_3LT[0])[:, begun_T],
            ]
        ).ravel(),
        "curves of the tracers": np.concatenate(
            [
                (level_3LT[1] / mixture_LT)[:, both_T].ravel(),
                (sum_LT / mixture_LT)[:, begun_T].ravel(),
            ]
        ),
        "noise of the tracers": np.log(rough_3LT[1:, 1:] / rough_3LT[0, 1:])[:, :, both_T].ravel(),
    }


def fit_population(subjects: Sequence[Features]) -> Population:
    """Fit the checks, and take the limit of subjects that they were not fitted to.

    Half of the subjects fit and half give the limit. Where a half is too few for
    :data:`FALSE_ALARMS`, all do both: each is measured by checks fitted without its fold
    (cross-conformal prediction, Vovk 2015, Ann Math Artif Intell 74:9), and the largest gives the
    limit. That has no exact law as the halves have, but twice the subjects: of 20, 5 % of new ones
    are outside and not 9 % (measured).

    Args:
        subjects: Features of each, in an order that tells nothing.

    Raises:
        InputError: They are too few.
    """
    if len(subjects) < FEWEST_SUBJECTS:
        raise InputError(
            "calibration subjects", got=len(subjects), wanted=f"{FEWEST_SUBJECTS} or more"
        )
    half = len(subjects) // 2
    proving = len(subjects) - half
    if conformal_rank(proving, FALSE_ALARMS) <= proving:
        checks = _fit_checks(subjects[:half])
        extremities = _measure(checks, subjects[half:])
    else:
        checks, extremities = _fit_checks(subjects), []
        folds = min(len(subjects), MOST_FOLDS)
        for fold in range(folds):
            others = [one for n, one in enumerate(subjects) if n % folds != fold]
            extremities += _measure(_fit_checks(others), subjects[fold::folds])
    place = min(conformal_rank(len(extremities), FALSE_ALARMS), len(extremities))
    ascending = sorted(extremities)
    return Population(checks=checks, extremity=ascending[place - 1], extremities=tuple(ascending))


def _fit_checks(subjects: Sequence[Features]) -> dict[str, CheckModel]:
    """The checks that all subjects have finite numbers for."""
    first = subjects[0]
    shares = {name: np.array([one.shares.get(name, math.nan) for one in subjects])
              for name in first.shares}  # fmt: skip
    checks = {name: _fit_share(one_N) for name, one_N in shares.items() if np.isfinite(one_N).all()}
    return checks | {
        name: _fit_shape(np.array([one.shapes[name] for one in subjects])) for name in first.shapes
    }


def _measure(checks: dict[str, CheckModel], subjects: Sequence[Features]) -> list[float]:
    """How extreme subjects are at most, by each check."""
    fitted = Population(checks=checks, extremity=math.inf, extremities=())
    return [fitted.most_extreme(one) for one in subjects]


def conformal_rank(subjects: int, misses: float) -> int:
    """Which of ascending scores covers a new one in all but a share ``misses`` of cases.

    ceil((n + 1) (1 - a)), counted from 1; above ``subjects`` there are too few for such a promise.
    """
    return math.ceil(round((subjects + 1) * (1 - misses), 9))


def _fit_share(share_N: FloatArray) -> CheckModel:
    middle, spread = _find_extremes(share_N, LEAST_SPREAD)
    return CheckModel(middle=middle, spread=spread)


def _fit_shape(features_NF: FloatArray) -> CheckModel:
    """Components of all subjects, and how far from such components others lie."""
    fold_N = np.arange(len(features_NF)) % FOLDS
    distances: list[float] = []
    for fold in range(FOLDS):
        fitted = _fit_components(features_NF[fold_N != fold])
        distances += [fitted.distance(one) for one in features_NF[fold_N == fold]]
    middle, spread = _find_extremes(np.array(distances), FLOOR)
    return replace(_fit_components(features_NF), middle=middle, spread=spread)


def _find_extremes(distance_N: FloatArray, least: float) -> tuple[float, float]:
    """Middle and spread of a check, see :class:`CheckModel`."""
    middle, high = np.quantile(np.log1p(distance_N), [0.5, 0.975])
    spread = (high - middle) / NormalDist().inv_cdf(0.975)
    return float(middle), max(float(spread), least)


def _fit_components(features_NF: FloatArray) -> CheckModel:
    """Probabilistic principal components."""
    subjects, count = features_NF.shape
    mean_F = features_NF.mean(axis=0)
    scale_F = np.maximum(features_NF.std(axis=0), np.finfo(np.float32).eps)
    values, vectors = np.linalg.svd((features_NF - mean_F) / scale_F, full_matrices=False)[1:]
    variances = np.maximum(values**2 / max(subjects - 1, 1), FLOOR)
    kept = min(MOST_COMPONENTS, count, subjects // 4)
    rest = max(float(count - variances[:kept].sum()) / max(count - kept, 1), FLOOR)
    return CheckModel(
        mean=tuple(mean_F.tolist()),
        scale=tuple(scale_F.tolist()),
        components=tuple(tuple(row) for row in vectors[:kept].tolist()),
        variances=tuple(variances[:kept].tolist()),
        rest=rest,
    )
