"""Subjects of a simulated study: body, doses, kinetics and curves; no images."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
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
    vary_input,
)
from dtsinn.simulation.kinetics import GRID_STEP_S, frame_averages, time_grid
from dtsinn.simulation.population import (
    OTHER_KINETICS,
    Group,
    draw_dose,
    draw_group,
    reshape_input,
)
from dtsinn.simulation.request import StudyRequest, random_of

WEIGHT_KG = (74.0, 12.0, 45.0)
"""Mean, standard deviation and lower limit of the body weight, kg (uncited default)."""
BLOOD_VOLUME_LIMIT = 0.2
"""Largest blood volume that a spread may give to a tissue (uncited default)."""
VOXELWISE = ("k2", "k3", "k4")
"""Rate constants that differ between the voxels of a region, where the population says so."""
CHANGE_STEP_S = 5.0
"""Longest interval of the grid for differences of curves, s: these are right to 0.4 % (measured),
and a few percent of the curves themselves."""
_NO_EXCHANGE = {NOTHING: (0.0, 0.0, 0.0, 0.0, 0.0), BLOOD: (0.0, 0.0, 0.0, 0.0, 1.0)}
"""Kinetics of the tissues that no tracer describes."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One subject without images.

    Attributes:
        index: Number within the study.
        group: Of the population.
        weight_kg: Body weight.
        dose_MBq: Injected dose of each tracer.
        kinetics: [K, R, P] K1 (mL/cm3/min), k2, k3, k4 (1/min), vB; row r is label r + 1.
        plasma: [K, I] parent in plasma, kBq/mL, activity actually present (not
            decay-corrected), at :func:`input_time`; where the request asks for a mismatch, not
            quite what made the images.
        blood: [K, I] whole blood with metabolites, same unit and times.
    """

    index: int
    group: str
    weight_kg: float
    dose_MBq: tuple[float, float]
    kinetics: FloatArray
    plasma: FloatArray
    blood: FloatArray


def slice_positions(request: StudyRequest, index: int) -> FloatArray:
    """[S] axial positions of a subject's slices, ascending, mm; cheap."""
    rng = random_of(request, index, "slices")
    levels = request.parts.phantom.slice_positions(rng, request.slices)
    if request.slice_spacing is None:
        return levels
    steps = np.arange(request.slices) - (request.slices - 1) / 2.0
    return np.asarray((levels[0] + levels[-1]) / 2.0 + request.slice_spacing * steps)


def subject_group(request: StudyRequest, index: int) -> tuple[Group, float]:
    """A subject's group in the population, and its severity there; cheap."""
    return draw_group(request.parts.groups, random_of(request, index, "group"))


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
    if request.input_mismatch:
        first, second = (
            vary_input(
                curve, random_of(request, index, "mismatch", tracer.name), request.input_mismatch
            )
            for curve, tracer in zip(inputs, parts.tracers, strict=True)
        )
        inputs = (first, second)
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
    return np.array([_curves(request, k, subject.kinetics[k], inputs[k]) for k in range(2)])


def curve_changes(request: StudyRequest, index: int, cv: float) -> list[dict[str, FloatArray]]:
    """By tracer and rate constant: how the curves of regions change with it.

    Args:
        request: The study.
        index: Number of the subject.
        cv: Spread of the logarithm of k2, k3 and k4.

    Returns:
        Of each tracer half the difference [R, T] between the curves at one standard deviation
        above and below, kBq/mL: what one standard deviation adds, to second order.
    """
    subject, inputs = _draw(request, index)
    changes = []
    for k in range(2):
        kinetics = subject.kinetics[k]
        moving = [
            p for p, name in enumerate(PARAMETERS) if name in VOXELWISE and kinetics[:, p].any()
        ]
        factors = np.ones((len(moving), 2, 1, len(PARAMETERS)))
        for row, p in enumerate(moving):
            factors[row, :, 0, p] = np.exp([cv, -cv])
        curves = _curves(request, k, kinetics * factors, inputs[k], CHANGE_STEP_S)
        above, below = curves.swapaxes(0, 1)
        names = [PARAMETERS[p] for p in moving]
        changes.append(dict(zip(names, (above - below) / 2.0, strict=True)))
    return changes


def _curves(
    request: StudyRequest,
    k: int,
    kinetics_RP: FloatArray,
    curve: InputFunction,
    step_s: float = GRID_STEP_S,
) -> FloatArray:
    """[..., R, T] frame-averaged curves of tracer ``k``; leading axes are those of kinetics."""
    parts = request.parts
    injection, decay = parts.protocol.injection_time[k], parts.tracers[k].decay_constant
    edges = np.array(parts.protocol.frame_edges)
    activity_R1 = np.array([[region.activity] for region in parts.phantom.regions[1:]])
    knots = np.array([*edges, injection, injection + 60.0 * curve.delay_min])
    times = time_grid(parts.protocol.end, knots, step_s)
    plasma, blood = plasma_and_blood(curve, decay, injection, times)
    return activity_R1 * frame_averages(kinetics_RP, times, plasma, blood, decay, edges)


def _draw(request: StudyRequest, index: int) -> tuple[Subject, tuple[InputFunction, InputFunction]]:
    """A subject without sampled curves, and the input functions that these come from."""
    if not 0 <= index < request.subjects:
        raise InputError("subject", got=index, wanted=f"a number from 0 to {request.subjects - 1}")
    mean, sd, lowest = WEIGHT_KG
    weight = max(lowest, mean + sd * float(clipped_normal(random_of(request, index, "body"), 1)[0]))
    parts, population = request.parts, request.parts.population
    group, severity = subject_group(request, index)
    doses, kinetics, inputs = [], [], []
    for tracer in parts.tracers:
        # By name, so that a tracer behaves the same in a subject whatever it is paired with.
        rng = random_of(request, index, "tracer", tracer.name)
        dose = tracer.dose_MBq * float(log_normal(rng, tracer.spread.dose)) * request.dose
        # Of another generator, so that a population moves no draw of the tracer's own spread.
        more = random_of(request, index, "population", tracer.name)
        dose *= draw_dose(population, more)
        doses.append(dose)
        curve = draw_input(tracer, rng, dose, weight)
        if population.input is not None:
            curve = reshape_input(population.input, curve, more)
        inputs.append(curve)
        factors = _tissue_factors(request, tracer, group, severity)
        kinetics.append(_draw_kinetics(tracer, rng, parts.phantom.regions[1:], factors))
    subject = Subject(
        index=index,
        group=group.name,
        weight_kg=weight,
        dose_MBq=(doses[0], doses[1]),
        kinetics=np.array(kinetics),
        plasma=np.empty((2, 0)),
        blood=np.empty((2, 0)),
    )
    return subject, (inputs[0], inputs[1])


def _tissue_factors(
    request: StudyRequest, tracer: Tracer, group: Group, severity: float
) -> dict[str, FloatArray]:
    """By tissue: [P] factors on the tracer's table, of the group and of the request."""
    by_group = group.of_tracer(tracer.name)
    factors = {tissue: one.row**severity for tissue, one in by_group.items()}
    if request.kinetics == "other":
        everywhere = OTHER_KINETICS.row
        return {name: everywhere * factors.get(name, 1.0) for name in tracer.tissues}
    return factors


def _draw_kinetics(
    tracer: Tracer,
    rng: np.random.Generator,
    regions: tuple[Region, ...],
    factors: Mapping[str, FloatArray],
) -> FloatArray:
    """[R, P] the tracer's kinetics times a factor of the subject, and two of each tissue.

    Regions of one tissue share its draw, so that a contrast between them is the phantom's.
    """
    tissues = list(dict.fromkeys(region.tissue for region in regions))
    typical = np.array([_typical(tracer, tissue) for tissue in tissues])
    for row, tissue in enumerate(tissues):
        typical[row] *= factors.get(tissue, 1.0)
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
