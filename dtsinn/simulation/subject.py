"""Subjects of a simulated study: what they are is drawn cheaply, their images on demand."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dtsinn.core.config import STRICT
from dtsinn.core.errors import InputError
from dtsinn.core.protocol import Protocol, load_protocol
from dtsinn.core.seeds import generator
from dtsinn.core.tracer import PARAMETERS, InputFunction, Tracer, load_tracer
from dtsinn.simulation.anatomy import kernel_sigma
from dtsinn.simulation.fields import (
    Float32Array,
    blur_matrix,
    pixel_centres,
    smooth_field,
)
from dtsinn.simulation.input_function import (
    FloatArray,
    clipped_normal,
    draw_input,
    log_normal,
    plasma_and_blood,
)
from dtsinn.simulation.kinetics import frame_averages, time_grid
from dtsinn.simulation.noise import correlated_noise, load_scanner, noise_level, noise_sd
from dtsinn.simulation.phantom import PHANTOMS, Phantom

WEIGHT_KG = (74.0, 12.0, 45.0)
"""Mean, standard deviation and lower limit of the body weight, kg (uncited default)."""
BLOOD_VOLUME_LIMIT = 0.2
"""Largest blood volume that a spread may give to a tissue (uncited default)."""


@dataclass(frozen=True, kw_only=True)
class StudyRequest:
    """What to simulate; two equal requests give bit-identical subjects.

    Attributes:
        tracers: Names or YAML files, by order of injection.
        protocol: Name or YAML file.
        phantom: A key of :data:`dtsinn.simulation.phantom.PHANTOMS`.
        noise: A level of ``configs/noise.yaml``: low, mid or high.
        subjects: How many.
        slices: Axial slices per subject.
        size: Pixels along each edge of the square images.
        seed: Of all draws.
        purpose: A word mixed into every seed: studies and suites never share subjects.
    """

    __pydantic_config__ = STRICT

    tracers: tuple[str, str] = ("fmz", "fdg")
    protocol: str = "p1"
    phantom: str = "brain"
    noise: str = "mid"
    subjects: int = 60
    slices: int = 8
    size: int = 64
    seed: int = 0
    purpose: str = "study"

    def __post_init__(self) -> None:
        for key, lowest in {"subjects": 1, "slices": 1, "size": 8, "seed": 0}.items():
            value = getattr(self, key)
            if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
                raise InputError(key, got=repr(value), wanted=f"a whole number from {lowest} on")
        if not self.purpose:
            raise InputError("purpose", got="an empty word", wanted="a word, such as study")
        if self.phantom not in PHANTOMS:
            raise InputError(
                "no such phantom", got=repr(self.phantom), wanted=f"one of {', '.join(PHANTOMS)}"
            )
        noise_level(self.noise)
        if len(self.tracers) != 2:
            raise InputError("tracers", got=f"{len(self.tracers)} names", wanted="two")
        load_protocol(self.protocol)
        regions = PHANTOMS[self.phantom]().regions[1:]
        names = []
        for name in self.tracers:
            tracer = load_tracer(name)
            missing = [region for region in regions if region not in tracer.tissues]
            if missing:
                raise InputError(
                    f"tracer {name!r} does not fit phantom {self.phantom!r}",
                    got=f"no kinetics for {', '.join(missing)}",
                    wanted=f"tissues {', '.join(regions)}",
                )
            names.append(tracer.name)
        if names[0] == names[1]:  # curves, scores and metrics are told apart by name
            raise InputError("tracers", got=f"{names[0]} twice", wanted="two that differ")


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


@dataclass(frozen=True, kw_only=True)
class SubjectImages:
    """One subject's images; activity is frame-averaged and not decay-corrected.

    Attributes:
        mixture: [S, T, Y, X] kBq/mL, sum of both tracers with noise.
        tracers: [S, K, T, Y, X] kBq/mL, each tracer without noise.
        regions: [S, Y, X] labels, see :func:`region_names`.
        slice_position: [S] mm.
    """

    mixture: Float32Array
    tracers: Float32Array
    regions: NDArray[np.uint8]
    slice_position: FloatArray


@dataclass(frozen=True, kw_only=True)
class _Study:
    """The parts that a request names, loaded once per process."""

    tracers: tuple[Tracer, Tracer]
    protocol: Protocol
    phantom: Phantom


def voxel_size(request: StudyRequest) -> float:
    """Edge of a pixel, mm."""
    return _study(request).phantom.field_of_view_mm / request.size


def slice_positions(request: StudyRequest, index: int) -> FloatArray:
    """[S] axial positions of a subject's slices, ascending, mm; cheap."""
    rng = _random(request, index, "slices")
    return _study(request).phantom.slice_positions(rng, request.slices)


def region_names(request: StudyRequest) -> tuple[str, ...]:
    """Names of the labels; index 0 is ``outside``."""
    return _study(request).phantom.regions


def input_time(request: StudyRequest) -> FloatArray:
    """[I] s from the start of the scan at which input functions are given.

    Every second for three minutes after each injection, then every 5 s for twelve minutes more,
    every 30 s elsewhere; from 0 to the end of the scan.
    """
    protocol = _study(request).protocol
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
    study, times = _study(request), input_time(request)
    curves = np.array(
        [
            plasma_and_blood(curve, tracer.decay_constant, injection, times)
            for curve, tracer, injection in zip(
                inputs, study.tracers, study.protocol.injection_time, strict=True
            )
        ]
    )
    return dataclasses.replace(subject, plasma=curves[:, 0], blood=curves[:, 1])


def tissue_curves(request: StudyRequest, index: int) -> FloatArray:
    """[K, R, T] a subject's frame-averaged curves by region, kBq/mL, not decay-corrected."""
    subject, inputs = _draw(request, index)
    study = _study(request)
    edges = np.array(study.protocol.frame_edges)
    curves = []
    for kinetics, curve, tracer, injection in zip(
        subject.kinetics, inputs, study.tracers, study.protocol.injection_time, strict=True
    ):
        knots = np.array([*edges, injection, injection + 60.0 * curve.delay_min])
        times = time_grid(study.protocol.end, knots)
        plasma, blood = plasma_and_blood(curve, tracer.decay_constant, injection, times)
        curves.append(frame_averages(kinetics, times, plasma, blood, tracer.decay_constant, edges))
    return np.array(curves)


def render_subject(request: StudyRequest, index: int) -> SubjectImages:
    """One subject's images: anatomy, both tracers as the scanner blurs them, and noise.

    Args:
        request: The study.
        index: Number of the subject.

    Raises:
        InputError: The study has no such subject.
    """
    study, scanner = _study(request), load_scanner()
    size, pixel = request.size, voxel_size(request)
    curves_KRT = tissue_curves(request, index)
    positions = slice_positions(request, index)
    anatomy = study.phantom.draw(_random(request, index, "anatomy"), positions, size)
    spread_KSYX = _voxel_spread(request, index, anatomy.slice_position)
    blur = blur_matrix(size, pixel, scanner.resolution_fwhm_mm)
    tracers = np.empty((request.slices, 2, study.protocol.frames, size, size), dtype=np.float32)
    for k in range(2):
        share_SRYX = anatomy.fractions[:, 1:] * spread_KSYX[k][:, None]
        seen_SRYX = blur @ share_SRYX @ blur.T
        weights_TR = curves_KRT[k].T.astype(np.float32)
        flat = seen_SRYX.reshape(request.slices, weights_TR.shape[1], size * size)
        tracers[:, k] = (weights_TR @ flat).reshape(request.slices, -1, size, size)
    truth = tracers.sum(axis=1)
    sd = noise_sd(truth, np.array(study.protocol.frame_duration), noise_level(request.noise))
    unit = correlated_noise(
        _random(request, index, "noise"), truth.shape, pixel, scanner.noise_fwhm_mm
    )
    return SubjectImages(
        mixture=(truth + sd * unit).astype(np.float32),
        tracers=tracers,
        regions=anatomy.labels,
        slice_position=anatomy.slice_position,
    )


def _draw(request: StudyRequest, index: int) -> tuple[Subject, tuple[InputFunction, InputFunction]]:
    """A subject without sampled curves, and the input functions that these come from."""
    if not 0 <= index < request.subjects:
        raise InputError("subject", got=index, wanted=f"a number from 0 to {request.subjects - 1}")
    mean, sd, lowest = WEIGHT_KG
    weight = max(lowest, mean + sd * float(clipped_normal(_random(request, index, "body"), 1)[0]))
    doses, kinetics, inputs = [], [], []
    for tracer in _study(request).tracers:
        # By name, so that a tracer behaves the same in a subject whatever it is paired with.
        rng = _random(request, index, "tracer", tracer.name)
        dose = tracer.dose_MBq * float(log_normal(rng, tracer.spread.dose))
        doses.append(dose)
        inputs.append(draw_input(tracer, rng, dose, weight))
        kinetics.append(_draw_kinetics(tracer, rng, region_names(request)[1:]))
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
    tracer: Tracer, rng: np.random.Generator, regions: tuple[str, ...]
) -> FloatArray:
    """[R, P] the tracer's kinetics times a factor of the subject and one of each region."""
    typical = np.array([[getattr(tracer.tissues[r], p) for p in PARAMETERS] for r in regions])
    by_subject = np.array([getattr(tracer.spread.subject, p) for p in PARAMETERS])
    by_region = np.array([getattr(tracer.spread.region, p) for p in PARAMETERS])
    kinetics = typical * log_normal(rng, by_subject, by_subject.shape)
    kinetics *= log_normal(rng, by_region, typical.shape)
    kinetics[:, 4] = np.minimum(kinetics[:, 4], BLOOD_VOLUME_LIMIT)
    return kinetics


def _voxel_spread(request: StudyRequest, index: int, slice_position: FloatArray) -> Float32Array:
    """[K, S, Y, X] factors around 1 by which voxels take up more or less of each tracer."""
    study = _study(request)
    across = pixel_centres(request.size, study.phantom.field_of_view_mm)
    sigma = kernel_sigma(study.phantom.voxel_length_mm)
    factors = []
    for tracer in study.tracers:
        rng = _random(request, index, "voxels", tracer.name)
        field = smooth_field(rng, 1, (slice_position, across, across), sigma)[0]
        factors.append(np.maximum(1.0 + tracer.spread.voxel * field, 0.0))
    return np.array(factors, dtype=np.float32)


def _random(request: StudyRequest, index: int, *what: str) -> np.random.Generator:
    return generator("subject", request.seed, request.purpose, index, *what)


def _study(request: StudyRequest) -> _Study:
    return _loaded(request.tracers, request.protocol, request.phantom)


@functools.lru_cache(maxsize=8)
def _loaded(tracers: tuple[str, str], protocol: str, phantom: str) -> _Study:
    return _Study(
        tracers=(load_tracer(tracers[0]), load_tracer(tracers[1])),
        protocol=load_protocol(protocol),
        phantom=PHANTOMS[phantom](),
    )
