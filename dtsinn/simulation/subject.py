"""Subjects of a simulated study: body, doses, kinetics and curves; no images."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from dtsinn.core.errors import InputError
from dtsinn.core.input_function import InputFunction
from dtsinn.core.tracer import PARAMETERS, Tracer
from dtsinn.simulation.anatomy.anatomy import BLOOD, NOTHING, Region
from dtsinn.simulation.input_function import (
    FloatArray,
    clipped_normal,
    draw_input,
    log_normal,
    plasma_and_blood,
)
from dtsinn.simulation.kinetics import frame_averages, time_grid
from dtsinn.simulation.request import StudyRequest, random_of

WEIGHT_KG = (74.0, 12.0, 45.0)
"""Mean, standard deviation and lower limit of the body weight, kg (uncited default)."""
BLOOD_VOLUME_LIMIT = 0.2
"""Largest blood volume that a spread may give to a tissue (uncited default)."""
_NO_EXCHANGE = {NOTHING: (0.0, 0.0, 0.0, 0.0, 0.0), BLOOD: (0.0, 0.0, 0.0, 0.0, 1.0)}
"""Kinetics of the tissues that no tracer describes."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One subject without images.

    Attributes:
        index: Number within the study.
        weight_kg: Body weight.
        dose_MBq: Injected dose of each tracer.
        kinetics: [K, R, P] K1 (mL/cm3/min), k2, k3, k4 (1/min), vB; row r is label r + 1.
        plasma: [K, I] parent in plasma, kBq/mL, activity actually present (not
            decay-corrected), at :func:`input_time`.
        blood: [K, I] whole blood with metabolites, same unit and times.
    """

    index: int
    weight_kg: float
    dose_MBq: tuple[float, float]
    kinetics: FloatArray
    plasma: FloatArray
    blood: FloatArray


def slice_positions(request: StudyRequest, index: int) -> FloatArray:
    """[S] axial positions of a subject's slices, ascending, mm; cheap."""
    rng = random_of(request, index, "slices")
    return request.parts.phantom.slice_positions(rng, request.slices)


def input_time(request: StudyRequest) -> FloatArray:
    """[I] s from the start of the scan at which input functions are given.

    Every second for three minutes after each injection, then every 5 s for twelve minutes more,
    every 30 s elsewhere; from 0 to the end of the scan.
    """
    protocol = request.parts.protocol
    parts = [np.arange(0.0, protocol.end, 30.0), np.array([protocol.end])]
    for injection in protocol.injection_time:
        parts += [injection + np.arange(0.0, 180.0, 1.0), injection + np.arange(180.0, 900.0, 5.0)]
    times = np.unique(np.concatenate(parts))
    return times[times <= protocol.end]


def draw_subject(request: StudyRequest, index: int) -> Subject:
    """One subject's body, doses, kinetics and input functions; no images.

    Args:
        request: The study.
        index: Number of the subject; the draw depends on it, not on what was drawn before.

    Raises:
        InputError: The study has no such subject.
    """
    subject, inputs = _draw(request, index)
    parts, times = request.parts, input_time(request)
    curves = np.array(
        [
            plasma_and_blood(curve, tracer.decay_constant, injection, times)
            for curve, tracer, injection in zip(
                inputs, parts.tracers, parts.protocol.injection_time, strict=True
            )
        ]
    )
    return dataclasses.replace(subject, plasma=curves[:, 0], blood=curves[:, 1])


def tissue_curves(request: StudyRequest, index: int) -> FloatArray:
    """[K, R, T] a subject's frame-averaged curves by region, kBq/mL, not decay-corrected."""
    subject, inputs = _draw(request, index)
    parts = request.parts
    edges = np.array(parts.protocol.frame_edges)
    activity_R1 = np.array([[region.activity] for region in parts.phantom.regions[1:]])
    curves = []
    for kinetics, curve, tracer, injection in zip(
        subject.kinetics, inputs, parts.tracers, parts.protocol.injection_time, strict=True
    ):
        knots = np.array([*edges, injection, injection + 60.0 * curve.delay_min])
        times = time_grid(parts.protocol.end, knots)
        plasma, blood = plasma_and_blood(curve, tracer.decay_constant, injection, times)
        average = frame_averages(kinetics, times, plasma, blood, tracer.decay_constant, edges)
        curves.append(activity_R1 * average)
    return np.array(curves)


def _draw(request: StudyRequest, index: int) -> tuple[Subject, tuple[InputFunction, InputFunction]]:
    """A subject without sampled curves, and the input functions that these come from."""
    if not 0 <= index < request.subjects:
        raise InputError("subject", got=index, wanted=f"a number from 0 to {request.subjects - 1}")
    mean, sd, lowest = WEIGHT_KG
    weight = max(lowest, mean + sd * float(clipped_normal(random_of(request, index, "body"), 1)[0]))
    parts = request.parts
    doses, kinetics, inputs = [], [], []
    for tracer in parts.tracers:
        # By name, so that a tracer behaves the same in a subject whatever it is paired with.
        rng = random_of(request, index, "tracer", tracer.name)
        dose = tracer.dose_MBq * float(log_normal(rng, tracer.spread.dose))
        doses.append(dose)
        inputs.append(draw_input(tracer, rng, dose, weight))
        kinetics.append(_draw_kinetics(tracer, rng, parts.phantom.regions[1:]))
    subject = Subject(
        index=index,
        weight_kg=weight,
        dose_MBq=(doses[0], doses[1]),
        kinetics=np.array(kinetics),
        plasma=np.empty((2, 0)),
        blood=np.empty((2, 0)),
    )
    return subject, (inputs[0], inputs[1])


def _draw_kinetics(
    tracer: Tracer, rng: np.random.Generator, regions: tuple[Region, ...]
) -> FloatArray:
    """[R, P] the tracer's kinetics times a factor of the subject and one of each tissue.

    Regions of one tissue share its draw, so that a contrast between them is the phantom's.
    """
    tissues = list(dict.fromkeys(region.tissue for region in regions))
    typical = np.array([_typical(tracer, tissue) for tissue in tissues])
    by_subject = np.array([getattr(tracer.spread.subject, p) for p in PARAMETERS])
    by_region = np.array([getattr(tracer.spread.region, p) for p in PARAMETERS])
    kinetics = typical * log_normal(rng, by_subject, by_subject.shape)
    kinetics *= log_normal(rng, by_region, typical.shape)
    limit = np.maximum(BLOOD_VOLUME_LIMIT, typical[:, 4])
    kinetics[:, 4] = np.minimum(kinetics[:, 4], limit)
    for row, tissue in enumerate(tissues):
        if tissue in _NO_EXCHANGE:
            kinetics[row] = _NO_EXCHANGE[tissue]
    return kinetics[[tissues.index(region.tissue) for region in regions]]


def _typical(tracer: Tracer, tissue: str) -> tuple[float, ...]:
    if tissue in _NO_EXCHANGE:
        return _NO_EXCHANGE[tissue]
    return tuple(getattr(tracer.tissues[tissue], parameter) for parameter in PARAMETERS)
