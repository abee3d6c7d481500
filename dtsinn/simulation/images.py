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
    axial_blur_matrix,
    blur_matrix,
    pixel_centres,
    smooth_field,
)
from dtsinn.simulation.input_function import SPREAD_CLIP, FloatArray
from dtsinn.simulation.motion import draw_poses, move_images
from dtsinn.simulation.request import (
    StudyRequest,
    random_of,
    resolution_mm,
    voxel_size,
)
from dtsinn.simulation.scanner.noise_model import Scene
from dtsinn.simulation.subject import (
    curve_changes,
    slice_positions,
    subject_group,
    tissue_curves,
)


@dataclass(frozen=True, kw_only=True)
class SubjectImages:
    """One subject's images; activity is frame-averaged and not decay-corrected.

    Attributes:
        mixture: [S, T, Y, X] kBq/mL, both tracers as the scanner shows them together.
        tracers: [S, K, T, Y, X] kBq/mL, the labels: each tracer without noise, or as a scan of
            it alone shows it, with the same motion.
        regions: [S, Y, X] labels of the subject as it lay down, see
            :func:`dtsinn.simulation.request.region_names`.
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
    anatomy = _draw_anatomy(request, index, positions)
    truth = _truth(request, index, anatomy, curves_KRT)
    if request.motion:
        truth = _move(request, index, truth)
    return Scene(
        truth=truth,
        anatomy=anatomy,
        pixel_mm=voxel_size(request),
        slice_mm=request.slice_spacing,
        random=functools.partial(random_of, request, index),
        device=device,
    )


def _draw_anatomy(request: StudyRequest, index: int, positions: FloatArray) -> Anatomy:
    """A subject's anatomy, with lesions where its group has them, and the labels of the study."""
    parts, (group, _) = request.parts, subject_group(request, index)
    phantom = parts.phantom if group.lesions else parts.healthy
    rng = random_of(request, index, "anatomy")
    anatomy = phantom.draw(rng, positions, request.size)
    lacking = len(parts.phantom.regions) - len(phantom.regions)
    if not lacking:
        return anatomy
    fractions = np.pad(anatomy.fractions, ((0, 0), (0, lacking), (0, 0), (0, 0)))
    return Anatomy(fractions=fractions, slice_position=positions)


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

    def images(share_SRYX: Float32Array, curves_RT: FloatArray) -> Float32Array:
        weights_TR = curves_RT.T.astype(np.float32)
        flat = share_SRYX.reshape(slices, weights_TR.shape[1], size * size)
        return np.asarray((weights_TR @ flat).reshape(slices, frames, size, size))

    changes = _voxel_changes(request, index, anatomy.slice_position)
    for k in range(2):
        share_SRYX = anatomy.fractions[:, 1:] * np.where(mixed, 1.0, spread_KSYX[k][:, None])
        truth[:, k] = images(np.asarray(blur @ share_SRYX @ blur.T), curves_KRT[k])
        if changes[k]:  # the sum is blurred: fewer frames than regions times rate constants
            more = sum(images(share_SRYX * at[:, None], change) for at, change in changes[k])
            truth[:, k] += blur @ more @ blur.T
    if request.slice_spacing is not None:
        across = axial_blur_matrix(slices, request.slice_spacing, resolution_mm(request))
        truth = np.tensordot(across, truth, axes=1)
    return truth


def _move(request: StudyRequest, index: int, truth: Float32Array) -> Float32Array:
    """The truth of a subject that does not lie still."""
    protocol = request.parts.protocol
    middle_T = np.array(protocol.frame_start) + np.array(protocol.frame_duration) / 2.0
    rng = random_of(request, index, "motion")
    poses = draw_poses(rng, middle_T, protocol.end, request.motion)
    return move_images(truth, poses, voxel_size(request), request.slice_spacing)


def _voxel_changes(
    request: StudyRequest, index: int, slice_position: FloatArray
) -> list[list[tuple[Float32Array, FloatArray]]]:
    """Of each tracer: fields [S, Y, X] of unit variance, and what they add to the curves [R, T].

    A voxel whose k2 is one standard deviation above that of its region has the curve of the region
    and the change once; in between, curves count as linear.
    """
    least, most = request.parts.population.voxel
    if not most:
        return [[], []]
    cv = float(random_of(request, index, "voxels").uniform(least, most))
    return [
        [
            (_voxel_field(request, index, slice_position, tracer.name, name), change_RT)
            for name, change_RT in changes.items()
        ]
        for tracer, changes in zip(
            request.parts.tracers, curve_changes(request, index, cv), strict=True
        )
    ]


def _voxel_spread(request: StudyRequest, index: int, slice_position: FloatArray) -> Float32Array:
    """[K, S, Y, X] factors around 1 by which voxels take up more or less of each tracer."""
    factors = []
    for tracer in request.parts.tracers:
        field = _unit_field(request, index, slice_position, tracer.name)
        factors.append(np.maximum(1.0 + tracer.spread.voxel * field, 0.0))
    return np.array(factors, dtype=np.float32)


def _voxel_field(
    request: StudyRequest, index: int, slice_position: FloatArray, *what: str
) -> Float32Array:
    """[S, Y, X] as :func:`_unit_field`, clipped, so that no curve falls below 0."""
    field = _unit_field(request, index, slice_position, *what)
    return np.clip(field, -SPREAD_CLIP, SPREAD_CLIP).astype(np.float32)


def _unit_field(
    request: StudyRequest, index: int, slice_position: FloatArray, *what: str
) -> FloatArray:
    """[S, Y, X] a smooth field of unit variance, as voxels of one subject differ."""
    phantom = request.parts.phantom
    across = pixel_centres(request.size, phantom.field_of_view_mm)
    sigma = kernel_sigma(phantom.voxel_length_mm)
    reach = max(HEAD_MM, phantom.field_of_view_mm / 2)
    rng = random_of(request, index, "voxels", *what)
    return np.asarray(smooth_field(rng, 1, (slice_position, across, across), sigma, reach)[0])
