"""Images of simulated subjects: anatomy times curves, and what a scanner makes of them.

Shape letters: S slice, K tracer (2), R region, T frame, Y X pixel.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dtsinn.simulation.anatomy.anatomy import BLOOD, Anatomy, kernel_sigma
from dtsinn.simulation.anatomy.fields import (
    HEAD_MM,
    Float32Array,
    blur_matrix,
    pixel_centres,
    smooth_field,
)
from dtsinn.simulation.input_function import FloatArray
from dtsinn.simulation.request import (
    StudyRequest,
    random_of,
    resolution_mm,
    voxel_size,
)
from dtsinn.simulation.scanner.noise_model import Scene
from dtsinn.simulation.subject import slice_positions, tissue_curves


@dataclass(frozen=True, kw_only=True)
class SubjectImages:
    """One subject's images; activity is frame-averaged and not decay-corrected.

    Attributes:
        mixture: [S, T, Y, X] kBq/mL, both tracers as the scanner shows them together.
        tracers: [S, K, T, Y, X] kBq/mL, the labels: each tracer without noise, or as a scan of
            it alone shows it.
        regions: [S, Y, X] labels, see :func:`dtsinn.simulation.request.region_names`.
        slice_position: [S] mm.
    """

    mixture: Float32Array
    tracers: Float32Array
    regions: NDArray[np.uint8]
    slice_position: FloatArray


def render_subject(request: StudyRequest, index: int, device: str = "cpu") -> SubjectImages:
    """One subject's images: anatomy, both tracers at the scanner's resolution, and noise.

    Args:
        request: The study.
        index: Number of the subject.
        device: Where projections are computed, of the noise model ``osem``.

    Raises:
        InputError: The study has no such subject.
    """
    scene = _scene(request, index, device)
    mixture, tracers = request.model.images(request, scene)
    return SubjectImages(
        mixture=mixture,
        tracers=tracers,
        regions=scene.anatomy.labels,
        slice_position=scene.anatomy.slice_position,
    )


def render_single_tracers(
    request: StudyRequest, index: int, device: str = "cpu"
) -> tuple[Float32Array, Float32Array]:
    """What scans of each tracer alone would have shown of a subject.

    Args:
        request: The study.
        index: Number of the subject.
        device: Where projections are computed, of the noise model ``osem``.

    Returns:
        The scans and the truth without noise, each [S, K, T, Y, X] kBq/mL.

    Raises:
        InputError: The study has no such subject.
    """
    scene = _scene(request, index, device)
    return request.model.single_tracers(request, scene), scene.truth


def _scene(request: StudyRequest, index: int, device: str) -> Scene:
    curves_KRT = tissue_curves(request, index)
    positions = slice_positions(request, index)
    rng = random_of(request, index, "anatomy")
    anatomy = request.parts.phantom.draw(rng, positions, request.size)
    truth = _truth(request, index, anatomy, curves_KRT)
    return Scene(
        truth=truth,
        anatomy=anatomy,
        pixel_mm=voxel_size(request),
        random=functools.partial(random_of, request, index),
        device=device,
    )


def _truth(
    request: StudyRequest, index: int, anatomy: Anatomy, curves_KRT: FloatArray
) -> Float32Array:
    """[S, K, T, Y, X] kBq/mL, each tracer without noise at the scanner's resolution."""
    size, slices, frames = request.size, len(anatomy.slice_position), curves_KRT.shape[2]
    spread_KSYX = _voxel_spread(request, index, anatomy.slice_position)
    regions = request.parts.phantom.regions[1:]
    mixed = np.array([region.tissue == BLOOD for region in regions])[:, None, None]
    blur = blur_matrix(size, voxel_size(request), resolution_mm(request))
    truth = np.empty((slices, 2, frames, size, size), dtype=np.float32)
    for k in range(2):
        share_SRYX = anatomy.fractions[:, 1:] * np.where(mixed, 1.0, spread_KSYX[k][:, None])
        seen_SRYX = blur @ share_SRYX @ blur.T
        weights_TR = curves_KRT[k].T.astype(np.float32)
        flat = seen_SRYX.reshape(slices, weights_TR.shape[1], size * size)
        truth[:, k] = (weights_TR @ flat).reshape(slices, frames, size, size)
    return truth


def _voxel_spread(request: StudyRequest, index: int, slice_position: FloatArray) -> Float32Array:
    """[K, S, Y, X] factors around 1 by which voxels take up more or less of each tracer."""
    parts = request.parts
    across = pixel_centres(request.size, parts.phantom.field_of_view_mm)
    sigma = kernel_sigma(parts.phantom.voxel_length_mm)
    reach = max(HEAD_MM, parts.phantom.field_of_view_mm / 2)
    factors = []
    for tracer in parts.tracers:
        rng = random_of(request, index, "voxels", tracer.name)
        field = smooth_field(rng, 1, (slice_position, across, across), sigma, reach)[0]
        factors.append(np.maximum(1.0 + tracer.spread.voxel * field, 0.0))
    return np.array(factors, dtype=np.float32)
