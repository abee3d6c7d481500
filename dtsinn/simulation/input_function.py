"""Input functions: what a subject's blood brings to the tissue after an injection."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from dtsinn.core.tracer import InputFunction, ParentFraction, Tracer

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
    amplitude, l1, l2, l3, delay, metabolism = log_normal(rng, tracer.spread.input, (6,)).tolist()
    scale = given * amplitude
    parent = typical.parent
    if parent is not None:
        parent = dataclasses.replace(parent, half_time_min=parent.half_time_min * metabolism)
    return dataclasses.replace(
        typical,
        A1=typical.A1 * scale,
        A2=typical.A2 * scale,
        A3=typical.A3 * scale,
        l1=typical.l1 * l1,
        l2=typical.l2 * l2,
        l3=typical.l3 * l3,
        delay_min=typical.delay_min * delay,
        reference_dose_MBq=dose_MBq,
        reference_weight_kg=weight_kg,
        parent=parent,
    )


def feng(curve: InputFunction, minutes: FloatArray) -> FloatArray:
    """Total activity in blood, decay-corrected to the injection, kBq/mL.

    Args:
        curve: Feng's model 2, as it is: no scaling with dose or weight.
        minutes: [I] time after the injection.
    """
    s = np.maximum(minutes - curve.delay_min, 0.0)
    early = (curve.A1 * s - curve.A2 - curve.A3) * np.exp(-curve.l1 * s)
    late = curve.A2 * np.exp(-curve.l2 * s) + curve.A3 * np.exp(-curve.l3 * s)
    return np.asarray(np.maximum(early + late, 0.0))


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
    blood = feng(curve, minutes) * np.exp(-decay_constant * np.maximum(since, 0.0))
    return blood * parent_fraction(curve.parent, minutes), blood
