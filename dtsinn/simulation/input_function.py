"""Input functions: what a subject's blood brings to the tissue after an injection."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from dtsinn.core.errors import InputError
from dtsinn.core.input_function import Feng, InputFunction, MeasuredCurve, ParentFraction
from dtsinn.core.tracer import Tracer

FloatArray = NDArray[np.float64]

SPREAD_CLIP = 2.5
"""Standard deviations at which every drawn spread is clipped (uncited): no absurd subjects."""


def clipped_normal(rng: np.random.Generator, shape: int | tuple[int, ...]) -> FloatArray:
    """Standard normal numbers, clipped at :data:`SPREAD_CLIP`."""
    return np.asarray(np.clip(rng.standard_normal(shape), -SPREAD_CLIP, SPREAD_CLIP))


def log_normal(
    rng: np.random.Generator, cv: FloatArray | float, shape: tuple[int, ...] = ()
) -> FloatArray:
    """Positive factors with median 1 and about the coefficient of variation ``cv``.

    Args:
        rng: Source of randomness.
        cv: Coefficient of variation, of a shape that broadcasts with ``shape``.
        shape: Shape of the result.
    """
    sigma = np.sqrt(np.log1p(np.square(cv)))
    return np.asarray(np.exp(sigma * clipped_normal(rng, shape)), dtype=np.float64)


def draw_input(
    tracer: Tracer, rng: np.random.Generator, dose_MBq: float, weight_kg: float
) -> InputFunction:
    """The input function of one subject: the tracer's, scaled to dose over weight and varied.

    Args:
        tracer: What is injected.
        rng: Source of the subject's own amplitude, rates and metabolism.
        dose_MBq: Injected dose, MBq.
        weight_kg: Body weight, kg.
    """
    typical = tracer.input
    given = (dose_MBq / typical.reference_dose_MBq) * (typical.reference_weight_kg / weight_kg)
    own = vary_input(typical, rng, tracer.spread.input, given)
    return dataclasses.replace(own, reference_dose_MBq=dose_MBq, reference_weight_kg=weight_kg)


def vary_input(
    curve: InputFunction, rng: np.random.Generator, cv: float, scale: float = 1.0
) -> InputFunction:
    """An input function with another amplitude, other rates, delay and metabolism.

    Args:
        curve: The input function.
        rng: Source of randomness.
        cv: Coefficient of variation of each.
        scale: Factor on the amplitude.
    """
    amplitude, l1, l2, l3, delay, metabolism = log_normal(rng, cv, (6,)).tolist()
    scale *= amplitude
    parent = curve.parent
    if parent is not None:
        parent = dataclasses.replace(parent, half_time_min=parent.half_time_min * metabolism)
    return dataclasses.replace(
        curve,
        feng=None if curve.feng is None else _scale_feng(curve.feng, scale, (l1, l2, l3)),
        table=None if curve.table is None else _scale_table(curve.table, scale, l2),
        delay_min=curve.delay_min * delay,
        parent=parent,
    )


def blood_curve(curve: InputFunction, minutes: FloatArray) -> FloatArray:
    """Total activity in blood, decay-corrected to the injection, kBq/mL; 0 before the arrival.

    Args:
        curve: The input function as it is: no scaling with dose or weight.
        minutes: [I] time after the injection.
    """
    s = np.maximum(minutes - curve.delay_min, 0.0)
    if curve.table is not None:
        return _interpolate(curve.table, s)
    if curve.feng is None:
        raise InputError("input function", got="neither feng nor table", wanted="one of them")
    if not curve.infusion_s:
        return np.asarray(np.maximum(_feng(curve.feng, s), 0.0))
    length = curve.infusion_s / 60.0
    before = np.maximum(s - length, 0.0)
    gained = _feng_integral(curve.feng, s) - _feng_integral(curve.feng, before)
    return np.asarray(np.maximum(gained / length, 0.0))


def parent_fraction(parent: ParentFraction | None, minutes: FloatArray) -> FloatArray:
    """Unmetabolised part of the activity in plasma, 1 before and at the injection.

    Args:
        parent: The Hill curve, or None for a tracer without metabolites.
        minutes: [I] time after the injection.
    """
    if parent is None:
        return np.ones_like(minutes)
    ratio = np.maximum(minutes, 0.0) / parent.half_time_min
    return np.asarray(1.0 / (1.0 + ratio**parent.exponent))


def plasma_and_blood(
    curve: InputFunction, decay_constant: float, injection_s: float, time_s: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Activity actually present (not decay-corrected) in plasma as parent, and in whole blood.

    Metabolites stay in whole blood, which is taken to carry the same activity per mL as plasma
    (uncited default).

    Args:
        curve: The subject's input function.
        decay_constant: Of the isotope, 1/s.
        injection_s: Time of injection, s from the start of the scan.
        time_s: [I] s from the start of the scan.

    Returns:
        Parent in plasma and total in blood, [I] kBq/mL each; 0 before the injection.
    """
    since = time_s - injection_s
    minutes = since / 60.0
    blood = blood_curve(curve, minutes) * np.exp(-decay_constant * np.maximum(since, 0.0))
    return blood * parent_fraction(curve.parent, minutes), blood


def _feng(curve: Feng, s: FloatArray) -> FloatArray:
    """Feng's model 2 at ``s`` minutes after the arrival."""
    early = np.exp(-curve.l1 * s)
    # Ordered so that it is exactly 0 at the arrival.
    late = curve.A2 * (np.exp(-curve.l2 * s) - early) + curve.A3 * (np.exp(-curve.l3 * s) - early)
    return np.asarray(curve.A1 * s * early + late)


def _feng_integral(curve: Feng, s: FloatArray) -> FloatArray:
    """Integral of Feng's model 2 from the arrival to ``s``, kBq/mL min."""

    def exponential(rate: float) -> FloatArray:
        return np.asarray(-np.expm1(-rate * s) / rate)

    first = exponential(curve.l1)
    ramp = (first - s * np.exp(-curve.l1 * s)) / curve.l1  # of u e^(-l1 u)
    late = curve.A2 * exponential(curve.l2) + curve.A3 * exponential(curve.l3)
    return np.asarray(curve.A1 * ramp - (curve.A2 + curve.A3) * first + late)


def _interpolate(table: MeasuredCurve, s: FloatArray) -> FloatArray:
    """A measured curve at ``s`` minutes after the arrival; its tail never rises."""
    times, values = np.array(table.time_min), np.array(table.blood)
    inside = np.interp(s, times, values)
    (t0, t1), (v0, v1) = times[-2:], values[-2:]
    rate = max(np.log(v0 / v1) / (t1 - t0), 0.0) if v0 > 0 and v1 > 0 else 0.0
    return np.asarray(np.where(s > t1, v1 * np.exp(-rate * np.maximum(s - t1, 0.0)), inside))


def _scale_feng(feng: Feng, scale: float, rates: tuple[float, float, float]) -> Feng:
    """Amplitudes times ``scale``, each rate times its own factor."""
    return Feng(
        A1=feng.A1 * scale,
        A2=feng.A2 * scale,
        A3=feng.A3 * scale,
        l1=feng.l1 * rates[0],
        l2=feng.l2 * rates[1],
        l3=feng.l3 * rates[2],
    )


def _scale_table(table: MeasuredCurve, scale: float, rate: float) -> MeasuredCurve:
    """Values times ``scale``; the whole curve runs ``rate`` times as fast."""
    return MeasuredCurve(
        time_min=tuple(time / rate for time in table.time_min),
        blood=tuple(value * scale for value in table.blood),
    )
