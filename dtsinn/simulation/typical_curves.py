"""What a tracer does in a typical subject: SUV curves of its tissues, its blood and its plasma.

Shape letters: R tissue, T point in time, I input sample, P kinetic parameter.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dtsinn.core.tracer import PARAMETERS, Tracer
from dtsinn.simulation.input_function import FloatArray, plasma_and_blood
from dtsinn.simulation.kinetics import frame_averages, time_grid

MINUTES = 90.0
"""Length of the curves."""
STABLE = math.log(2.0) / (365.0 * 86400.0)
"""Decay constant that stands for none, 1/s: the half-life is a year. The curves of a tracer that
does not decay are the decay-corrected ones; the kinetics divides by rates, so 0 will not do."""


@dataclass(frozen=True, kw_only=True)
class Curves:
    """A tracer's typical curves after an injection, as SUV, decay-corrected to the injection.

    Attributes:
        minutes: [T] middle of short intervals, minutes after the injection.
        tissues: [T] by name of the tissue.
        blood: [T] whole blood with metabolites.
        plasma: [T] parent in plasma.
    """

    minutes: FloatArray
    tissues: Mapping[str, FloatArray]
    blood: FloatArray
    plasma: FloatArray


def typical_curves(tracer: Tracer) -> Curves:
    """The curves of typical kinetics, without any spread.

    SUV = activity concentration (kBq/mL) x body weight (kg) / injected dose (MBq), at 1 g/mL. All
    curves are proportional to dose over weight, so that they hold for any of them.

    Args:
        tracer: What is injected.
    """
    edges_T = np.concatenate([np.arange(0.0, 300.0, 5.0), np.arange(300.0, 60 * MINUTES + 1, 30.0)])
    grid_I = time_grid(edges_T[-1], np.array([*edges_T, 60.0 * tracer.input.delay_min]))
    plasma_I, blood_I = plasma_and_blood(tracer.input, STABLE, 0.0, grid_I)
    kinetics_RP = np.array([[getattr(t, p) for p in PARAMETERS] for t in tracer.tissues.values()])
    tissue_RT = frame_averages(kinetics_RP, grid_I, plasma_I, blood_I, STABLE, edges_T)
    middle_T = (edges_T[1:] + edges_T[:-1]) / 2
    suv = tracer.input.reference_weight_kg / tracer.input.reference_dose_MBq
    return Curves(
        minutes=middle_T / 60,
        tissues=dict(zip(tracer.tissues, suv * tissue_RT, strict=True)),
        blood=suv * np.interp(middle_T, grid_I, blood_I),
        plasma=suv * np.interp(middle_T, grid_I, plasma_I),
    )
