"""Intervals of regional curves and of what is read from them, by split conformal prediction.

The error of a read-out is measured on calibration subjects, whose truth is known, and an interval
is as wide as the quantile ceil((n + 1) (1 - a)) / n of these errors: it then holds the truth of a
new subject of the same population with a probability of at least 1 - a, whatever the model (Vovk,
Gammerman and Shafer 2005, "Algorithmic learning in a random world"; for numbers that are read from
images, arXiv 2404.15274). A subject gives one error of each class of regions, that of a region
drawn at random, since regions of one subject do not err independently (arXiv 1809.07441).

Shape letters: R region, T frame.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from dtsinn.core.config import STRICT
from dtsinn.core.tracer import load_tracer, tracer_names
from dtsinn.separation.population import conformal_rank
from dtsinn.separation.regions import BODY
from dtsinn.separation.tables import TracerCurves

FloatArray = npt.NDArray[np.float64]
MISSES = 0.1
"""Share of new subjects whose truth lies outside of an interval: those of 90 %."""
SECTIONS_MM2 = {"small": 250.0, "medium": 1000.0, "large": math.inf}
"""Class of a region -> up to which mean area in the slices that it lies in (uncited): a small one
is 16 mm across and blurred as a whole."""


@dataclass(frozen=True, kw_only=True)
class Errors:
    """What one subject was wrong by.

    Attributes:
        curves: Tracer -> class of regions -> [T] absolute error over the peak of the curve.
        values: Tracer -> quantity -> class -> absolute error over the answer's value.
        regional: Tracer -> what it is judged by, mean absolute error over its read-out regions, %.
    """

    curves: dict[str, dict[str, FloatArray]] = field(default_factory=dict)
    values: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    regional: dict[str, float] = field(default_factory=dict)

    @property
    def kinetic_error(self) -> float:
        """Mean over tracers, %, as evaluations have it; NaN where nothing can be read."""
        return float(np.mean(list(self.regional.values()))) if self.regional else math.nan

    def add(self, other: Errors) -> None:
        """Take over what is measured in other classes of regions."""
        for tracer, curves in other.curves.items():
            self.curves.setdefault(tracer, {}).update(curves)
        self.values.update(other.values)
        self.regional.update(other.regional)


@dataclass(frozen=True, kw_only=True)
class TracerIntervals:
    """Half-widths of one tracer, by class of regions; classes of too few subjects are not there.

    Attributes:
        curves: Class -> [T] over the peak of the region's curve.
        values: Quantity -> class -> half-width over the value.
    """

    __pydantic_config__ = STRICT

    curves: dict[str, tuple[float, ...]] = field(default_factory=dict)
    values: dict[str, dict[str, float]] = field(default_factory=dict)


Intervals = dict[str, TracerIntervals]
"""Tracer -> its intervals."""


def section_classes(section_R: FloatArray, *, given: bool) -> list[str]:
    """The class of each region.

    Args:
        section_R: Mean area in the slices that a region lies in, mm2.
        given: They are regions; else the one is the body, a class of its own.
    """
    if not given:
        return [BODY] * len(section_R)
    return [
        next(name for name, most in SECTIONS_MM2.items() if area <= most)
        for area in section_R.tolist()
    ]


def measure_errors(
    found: Sequence[TracerCurves],
    true: Sequence[TracerCurves],
    classes: Sequence[str],
    rng: np.random.Generator,
) -> Errors:
    """What the answer of one subject is wrong by, in one region of each class.

    Args:
        found: Curves of the answer.
        true: Those of the truth, of the same regions.
        classes: Of the regions.
        rng: Draws the region.
    """
    errors = Errors()
    for own, wanted in zip(found, true, strict=True):
        if own.frames is not None:
            for name in dict.fromkeys(classes):
                r = int(rng.choice([r for r, one in enumerate(classes) if one == name]))
                error_T = np.abs(own.curve_RT[r] - wanted.curve_RT[r])
                errors.curves.setdefault(own.name, {})[name] = error_T / _peak(own.curve_RT[r])
        by_region = dict(zip(own.regions, classes, strict=True))
        for quantity, values in own.values.items():
            truth = wanted.values.get(quantity, {})
            both = [region for region in values if region in truth]
            for name in dict.fromkeys(by_region[region] for region in both):
                region = str(rng.choice([one for one in both if by_region[one] == name]))
                value = values[region]
                error = abs(value - truth[region]) / value if value > 0 else math.inf
                errors.values.setdefault(own.name, {}).setdefault(quantity, {})[name] = error
        regional = _read_regions(own, wanted)
        if regional:
            errors.regional[own.name] = 100 * float(np.mean(regional))
    return errors


def coverage(known: Intervals, errors: Errors) -> dict[str, list[float]]:
    """Read-out -> of each class whether its interval holds the truth; of curves in how many frames.

    Args:
        known: Intervals.
        errors: Of a subject.
    """
    held: dict[str, list[float]] = {}
    for tracer, own in known.items():
        for name, error_T in errors.curves.get(tracer, {}).items():
            if name in own.curves:
                share = np.mean(error_T <= np.array(own.curves[name]))
                held.setdefault(f"{tracer} curves", []).append(float(share))
        for quantity, halves in own.values.items():
            for name, error in errors.values.get(tracer, {}).get(quantity, {}).items():
                if name in halves:
                    held.setdefault(f"{tracer} {quantity}", []).append(float(error <= halves[name]))
    return held


def _read_regions(found: TracerCurves, true: TracerCurves) -> list[float]:
    """|answer / truth - 1| of what the tracer is judged by, of each of its read-out regions."""
    tracer = load_tracer(found.name) if found.name in tracer_names() else None
    if tracer is None or tracer.readout is None:
        return []
    answers = found.values.get(tracer.readout.quantity, {})
    truth = true.values.get(tracer.readout.quantity, {})
    return [
        abs(answers[region] / truth[region] - 1)
        for region in tracer.readout_regions
        if region in answers and truth.get(region, 0.0) > 0
    ]


def fit_intervals(subjects: Sequence[Errors]) -> Intervals:
    """Half-widths that hold all but :data:`MISSES` of new subjects."""
    found: Intervals = {}
    for tracer in _keys(one.curves for one in subjects):
        own = [one.curves.get(tracer, {}) for one in subjects]
        curves = {
            name: _quantile(np.array([one[name] for one in own if name in one]))
            for name in _keys(own)
        }
        read = [one.values.get(tracer, {}) for one in subjects]
        values: dict[str, dict[str, float]] = {}
        for quantity in _keys(read):
            per = [one.get(quantity, {}) for one in read]
            for name in _keys(per):
                half = _quantile(np.array([[one[name]] for one in per if name in one]))
                if half is not None:
                    values.setdefault(quantity, {})[name] = half[0]
        found[tracer] = TracerIntervals(
            curves={name: half for name, half in curves.items() if half is not None},
            values=values,
        )
    return found


def add_intervals(
    curves: Sequence[TracerCurves], intervals: Mapping[str, TracerIntervals], classes: Sequence[str]
) -> list[TracerCurves]:
    """The curves with lower and upper bounds; NaN, or none, where no interval is known.

    Args:
        curves: Of both tracers.
        intervals: By tracer.
        classes: Of the regions.
    """
    return [_add(own, intervals.get(own.name, TracerIntervals()), classes) for own in curves]


def _add(own: TracerCurves, known: TracerIntervals, classes: Sequence[str]) -> TracerCurves:
    half_RT = np.full_like(own.curve_RT, np.nan)
    for r, name in enumerate(classes):
        half_T = known.curves.get(name, ())
        if len(half_T) == half_RT.shape[1] and len(half_T):
            half_RT[r] = np.array(half_T) * _peak(own.curve_RT[r])
    by_region = dict(zip(own.regions, classes, strict=True))
    bounds = {}
    for quantity, values in own.values.items():
        halves = known.values.get(quantity, {})
        bounds[quantity] = {
            region: (value * (1 - halves[name]), value * (1 + halves[name]))
            for region, value in values.items()
            if (name := by_region[region]) in halves and value > 0
        }
    return replace(
        own, lower_RT=own.curve_RT - half_RT, upper_RT=own.curve_RT + half_RT, bounds=bounds
    )


def _quantile(error_NT: FloatArray) -> tuple[float, ...] | None:
    """[T] the conformal quantile of each column; None of too few rows, or where it is no number."""
    rank = conformal_rank(len(error_NT), MISSES)
    if rank > len(error_NT):
        return None
    half_T = np.sort(error_NT, axis=0)[rank - 1]
    return tuple(half_T.tolist()) if np.isfinite(half_T).all() else None


def _keys(mappings: Iterable[Mapping[str, object]]) -> list[str]:
    return list(dict.fromkeys(key for one in mappings for key in one))


def _peak(curve_T: FloatArray) -> float:
    return max(float(curve_T.max(initial=0.0)), float(np.finfo(np.float32).tiny))
