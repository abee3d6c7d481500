"""The brain phantom: MNI152 anatomy, deformed and aged anew for every subject."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dtsinn.core.config import STRICT, load_config
from dtsinn.simulation.anatomy.anatomy import (
    OUTSIDE,
    Anatomy,
    Deformation,
    Phantom,
    Region,
    deform_points,
    draw_affine,
    kernel_sigma,
)
from dtsinn.simulation.anatomy.brain_atlas import (
    BRAIN,
    FIRST_STRUCTURE,
    HEAD,
    STRUCTURES,
    VOXEL_MM,
    WHITE,
    Ellipsoid,
    Structure,
    build_atlas,
)
from dtsinn.simulation.anatomy.fields import Float32Array, pixel_centres
from dtsinn.simulation.anatomy.geometry import spread_levels
from dtsinn.simulation.input_function import FloatArray, clipped_normal

LABELS = (
    "outside",
    "csf",
    "white",
    "frontal",
    "parietal",
    "temporal",
    "occipital",
    "hippocampus",
    "thalamus",
    "caudate",
    "putamen",
    "cerebellum",
    "brainstem",
)
"""Names of the labels; ``csf`` is all of the head that is not brain, bone and scalp too."""
GREY = (*LABELS[3:12],)
"""All but white matter, CSF and the mixed tissue of the brainstem."""
REGIONS = (OUTSIDE, *(Region(name=name, tissue=name, grey=name in GREY) for name in LABELS[1:]))
"""What the labels stand for; the skull attenuates like water (a simplification)."""
_LABEL = {name: label for label, name in enumerate(LABELS)}

SUPERSAMPLING = 2
"""Points per pixel and axis."""
EDGE_MM = 5.0
"""Width over which a smoothed fraction of the atlas goes from 0 to 1 across a border, mm."""


@dataclass(frozen=True, kw_only=True)
class Lobes:
    """Borders between the lobes and to the cerebellum, straight lines in MNI mm.

    Attributes:
        central_y: y of the central sulcus at the height ``central_z``.
        central_z: See above.
        central_slope: dy/dz of the central sulcus above that height.
        central_slope_below: dy/dz of it below.
        lateral_z: z of the lateral sulcus at y = 0.
        lateral_slope: dz/dy of it behind y = 0.
        lateral_front: dz/dy of it in front of y = 0.
        lateral_top: z that the temporal lobe does not exceed.
        medial_x: |x| below which ``medial_z`` stands for ``lateral_top``.
        medial_z: See above.
        occipital_y: y of the parieto-occipital border up to the height ``occipital_z``.
        occipital_z: See above.
        occipital_slope: dy/dz of it above.
        tentorium_z: z of the tentorium in the middle, in front of ``tentorium_y``.
        tentorium_y: See above.
        tentorium_slope_x: dz/d|x| of it.
        tentorium_slope_y: dz/dy of it behind ``tentorium_y``.
        cerebellum_y: y behind which the cerebellum lies.
    """

    __pydantic_config__ = STRICT

    central_y: float
    central_z: float
    central_slope: float
    central_slope_below: float
    lateral_z: float
    lateral_slope: float
    lateral_front: float
    lateral_top: float
    medial_x: float
    medial_z: float
    occipital_y: float
    occipital_z: float
    occipital_slope: float
    tentorium_z: float
    tentorium_y: float
    tentorium_slope_x: float
    tentorium_slope_y: float
    cerebellum_y: float

    def label(self, x: FloatArray, y: FloatArray, z: FloatArray) -> NDArray[np.int64]:
        """[N] label that grey matter has at MNI coordinates, mm."""
        above = z - self.central_z
        slope = np.where(above > 0, self.central_slope, self.central_slope_below)
        central = self.central_y + slope * above
        lateral = self.lateral_z + np.where(y > 0, self.lateral_front, self.lateral_slope) * y
        top = np.where(np.abs(x) < self.medial_x, self.medial_z, self.lateral_top)
        behind = self.occipital_y + self.occipital_slope * np.maximum(z - self.occipital_z, 0.0)
        tent = self.tentorium_z + self.tentorium_slope_x * np.abs(x)
        tent = tent + self.tentorium_slope_y * np.minimum(y - self.tentorium_y, 0.0)
        names = ("cerebellum", "occipital", "temporal", "frontal")
        conditions = [
            (z < tent) & (y < self.cerebellum_y),
            y < behind,
            z < np.minimum(lateral, top),
            y > central,
        ]
        labels = [np.int64(_LABEL[name]) for name in names]
        return np.asarray(np.select(conditions, labels, np.int64(_LABEL["parietal"])))


@dataclass(frozen=True, kw_only=True)
class BrainShape:
    """The numbers of ``configs/phantoms/brain.yaml``, which explains them."""

    __pydantic_config__ = STRICT

    sources: tuple[str, ...]
    field_of_view_mm: float
    centre_mm: tuple[float, float]
    rotation_sd_deg: float
    scale_sd: float
    shear_sd: float
    translation_sd_mm: float
    displacement_sd_mm: float
    displacement_length_mm: float
    cortex_offset_sd_mm: float
    ventricle_offset_sd_mm: float
    voxel_length_mm: float
    lowest_slice_mm: tuple[float, float]
    highest_slice_mm: tuple[float, float]
    structures: tuple[Structure, ...]
    ventricle_zones: tuple[Ellipsoid, ...]
    lobes: Lobes


@dataclass(frozen=True, kw_only=True)
class BrainPhantom(Phantom):
    """Subjects with MNI152 anatomy; see :class:`dtsinn.simulation.anatomy.anatomy.Phantom`."""

    shape: BrainShape

    @property
    def regions(self) -> tuple[Region, ...]:
        """What the labels stand for."""
        return REGIONS

    @property
    def field_of_view_mm(self) -> float:
        """Edge of the square image, mm."""
        return self.shape.field_of_view_mm

    @property
    def voxel_length_mm(self) -> float:
        """Correlation length of the voxel-wise spread of K1, mm."""
        return self.shape.voxel_length_mm

    @property
    def with_lesions(self) -> str:
        """The brains of ``brain-lesion`` are these."""
        return "brain-lesion"

    def slice_positions(self, rng: np.random.Generator, slices: int) -> FloatArray:
        """[S] evenly spaced levels with a range and an offset of the subject's own, mm."""
        shape = self.shape
        return spread_levels(rng, shape.lowest_slice_mm, shape.highest_slice_mm, slices)

    def draw(self, rng: np.random.Generator, slice_position: FloatArray, size: int) -> Anatomy:
        """One subject's anatomy in axial slices of ``size`` times ``size`` pixels."""
        shape = self.shape
        matrix = draw_affine(rng, shape.rotation_sd_deg, shape.scale_sd, shape.shear_sd)
        shift = shape.translation_sd_mm * clipped_normal(rng, 3) + np.array([*shape.centre_mm, 0.0])
        cortex_offset = shape.cortex_offset_sd_mm * clipped_normal(rng, 1)[0]
        ventricle_offset = shape.ventricle_offset_sd_mm * clipped_normal(rng, 1)[0]
        deformation = Deformation(
            matrix=matrix,
            shift=shift,
            displacement_sd=shape.displacement_sd_mm,
            displacement_sigma=kernel_sigma(shape.displacement_length_mm),
        )
        across = pixel_centres(size * SUPERSAMPLING, shape.field_of_view_mm)
        # Rows run from the front of the head to its back, against MNI y.
        points = deform_points(rng, deformation, (slice_position, -across, across))
        fractions = _fractions(shape, points, cortex_offset, ventricle_offset)
        return Anatomy(fractions=fractions, slice_position=slice_position)


@functools.cache
def load_brain() -> BrainPhantom:
    """The brain phantom; its atlas is built on the first draw of a process."""
    return BrainPhantom(shape=load_config(BrainShape, "phantoms", "brain"))


def _fractions(
    shape: BrainShape, points: FloatArray, cortex_offset: float, ventricle_offset: float
) -> Float32Array:
    """[S, L, Y, X] share of every label in every pixel.

    Args:
        shape: Numbers of the phantom.
        points: [S, Y * supersampling, X * supersampling, 3] atlas coordinates, mm.
        cortex_offset: Extra thickness of the cortex, mm.
        ventricle_offset: How far the walls of the ventricles are moved outwards, mm.
    """
    slices, across = points.shape[0], points.shape[1]
    size = across // SUPERSAMPLING
    atlas = build_atlas(shape.structures)
    flat = points.reshape(-1, 3)
    inside = np.flatnonzero(atlas.inside(flat))
    share, label = _classify(
        shape, flat[inside], atlas.sample(flat[inside]), cortex_offset, ventricle_offset
    )
    s, y, x = np.unravel_index(inside, points.shape[:3])
    pixel: NDArray[np.int64] = ((s * size) + y // SUPERSAMPLING) * size + x // SUPERSAMPLING
    count = len(REGIONS)
    bins = (pixel[:, None] * count + label).ravel()
    summed = np.bincount(bins, weights=share.ravel(), minlength=slices * size * size * count)
    mean_SYXL = summed.reshape(slices, size, size, count) / SUPERSAMPLING**2
    # Points off the atlas lie outside the head.
    mean_SYXL[..., 0] = np.maximum(1.0 - mean_SYXL[..., 1:].sum(axis=-1), 0.0)
    return np.ascontiguousarray(np.moveaxis(mean_SYXL, -1, 1), dtype=np.float32)


def _classify(
    shape: BrainShape,
    points: FloatArray,
    fields: Float32Array,
    cortex_offset: float,
    ventricle_offset: float,
) -> tuple[FloatArray, NDArray[np.int64]]:
    """Shares [N, 5] and labels [N, 5] of outside, CSF, white, structure and other grey matter."""
    x, y, z = points.T
    zone = np.min([zone.level(x, y, z) for zone in shape.ventricle_zones], axis=0)
    central = np.clip(2.0 - zone, 0.0, 1.0)  # fades out between the zone's surface and beyond
    outwards = (1.0 - central) * cortex_offset / 2 - central * ventricle_offset
    inwards = (1.0 - central) * cortex_offset / 2
    head = _sharpen(fields[:, HEAD], 0.0)
    brain = head * _sharpen(fields[:, BRAIN], outwards)
    members = fields[:, FIRST_STRUCTURE:]
    best = members.argmax(axis=1)
    structure = brain * _sharpen(np.take_along_axis(members, best[:, None], axis=1)[:, 0], 0.0)
    white_part = _sharpen(fields[:, WHITE], -inwards)
    white_part = np.where(zone < 1.0, 1.0, white_part)
    rest = brain - structure
    white = rest * white_part
    share = np.stack([1.0 - head, head - brain, white, structure, rest - white], axis=1)
    label = np.empty(share.shape, dtype=np.int64)
    label[:, :3] = (_LABEL["outside"], _LABEL["csf"], _LABEL["white"])
    label[:, 3] = np.array([_LABEL[name] for name in STRUCTURES])[best]
    label[:, 4] = shape.lobes.label(x, y, z)
    return share, label


def _sharpen(fraction: Float32Array, offset_mm: FloatArray | float) -> FloatArray:
    """Share of a point that lies inside a border: the half level of a fraction, moved outwards.

    The atlas' borders are blurred; this makes them as sharp as one voxel of the atlas.
    """
    distance = (fraction.astype(np.float64) - 0.5) * EDGE_MM + offset_mm
    return np.asarray(np.clip(distance / VOXEL_MM + 0.5, 0.0, 1.0))
