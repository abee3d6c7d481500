"""The brain's atlas: MNI152 tissue maps as smooth fields that can be sampled anywhere."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from dtsinn.core.config import STRICT
from dtsinn.core.errors import InputError
from dtsinn.simulation.anatomy.fields import Float32Array
from dtsinn.simulation.input_function import FloatArray

STRUCTURES = ("hippocampus", "thalamus", "caudate", "putamen", "brainstem")
"""Regions that are cut out of the tissue maps with ellipsoids, in the order of their fields."""
WHITE, BRAIN, HEAD, FIRST_STRUCTURE = range(4)
"""Fields of the atlas: white matter, white and grey matter, these and CSF, structures."""

VOXEL_MM = 2
"""Grid of the atlas: the maps' 1 mm averaged in twos, still finer than the pixels."""
_MAP_FILE = "mni_icbm152_{kind}_tal_nlin_sym_09a_converted.nii.gz"


@dataclass(frozen=True, kw_only=True)
class Ellipsoid:
    """Points with ``sum(((|x|, y, z) - centre)² / radii²) < 1``, MNI mm, in both hemispheres."""

    __pydantic_config__ = STRICT

    centre: tuple[float, float, float]
    radii: tuple[float, float, float]

    def level(self, x: FloatArray, y: FloatArray, z: FloatArray) -> FloatArray:
        """The sum of squares at points x, y, z: 0 in the centre, 1 on the surface."""
        (cx, cy, cz), (rx, ry, rz) = self.centre, self.radii
        return ((np.abs(x) - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 + ((z - cz) / rz) ** 2


@dataclass(frozen=True, kw_only=True)
class Structure(Ellipsoid):
    """A region's part of an ellipsoid: where the maps show at least ``grey`` grey matter."""

    __pydantic_config__ = STRICT

    region: str
    grey: float

    def __post_init__(self) -> None:
        if self.region not in STRUCTURES:
            raise InputError(
                "structures: region",
                got=repr(self.region),
                wanted=f"one of {', '.join(STRUCTURES)}",
            )


@dataclass(frozen=True, kw_only=True)
class Atlas:
    """Smooth fields on a grid of :data:`VOXEL_MM`.

    Attributes:
        origin: [3] MNI coordinates of the first voxel, mm.
        fields: [X, Y, Z, F] fractions from 0 to 1: white matter, brain tissue, inside of the
            skull, then membership of each of :data:`STRUCTURES`.
    """

    origin: FloatArray
    fields: Float32Array

    def inside(self, points: FloatArray) -> np.ndarray:
        """[N] whether the points [N, 3] (MNI mm) lie on the grid; all fields are 0 outside."""
        upper = self.origin + VOXEL_MM * (np.array(self.fields.shape[:3]) - 1)
        return np.asarray(((points >= self.origin) & (points < upper)).all(axis=1))

    def sample(self, points: FloatArray) -> Float32Array:
        """[N, F] fields at points [N, 3] inside the grid, MNI mm, by trilinear interpolation."""
        position = (points - self.origin) / VOXEL_MM
        low = position.astype(np.int64)
        weight = (position - low).astype(np.float32)
        _, ny, nz, count = self.fields.shape
        flat = self.fields.reshape(-1, count)
        index = (low[:, 0] * ny + low[:, 1]) * nz + low[:, 2]
        result = np.zeros((len(points), count), dtype=np.float32)
        for corner in range(8):
            dx, dy, dz = corner >> 2, (corner >> 1) & 1, corner & 1
            share = np.where(dx, weight[:, 0], 1 - weight[:, 0])
            share = share * np.where(dy, weight[:, 1], 1 - weight[:, 1])
            share = share * np.where(dz, weight[:, 2], 1 - weight[:, 2])
            result += share[:, None] * flat[index + (dx * ny + dy) * nz + dz]
        return result


@functools.cache
def build_atlas(structures: tuple[Structure, ...]) -> Atlas:
    """The atlas with these structures; built once per process, in less than a second."""
    grey, origin = _load_map("gm")
    white, _ = _load_map("wm")
    head, _ = _load_map("t1")  # the T1 map is skull-stripped: what is not black is inside
    brain = grey + white
    members = _members(structures, grey, brain, origin)
    fields = np.stack([_smooth(field) for field in (white, brain, head > 0, *members)], axis=-1)
    return Atlas(origin=origin, fields=np.ascontiguousarray(fields))


def _members(
    structures: Sequence[Structure], grey: Float32Array, brain: Float32Array, origin: FloatArray
) -> list[Float32Array]:
    """Membership of each of :data:`STRUCTURES`, 0 or 1, on the grid of the maps."""
    axes = [origin[a] + VOXEL_MM * np.arange(grey.shape[a]) for a in range(3)]
    x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)
    free = brain > 0.5
    masks = {name: np.zeros(grey.shape, dtype=bool) for name in STRUCTURES}
    for structure in structures:
        mask = free & (structure.level(x, y, z) < 1) & (grey >= structure.grey)
        masks[structure.region] |= mask
        free &= ~mask
    return [masks[name].astype(np.float32) for name in STRUCTURES]


def _load_map(kind: str) -> tuple[Float32Array, FloatArray]:
    """One MNI152 map out of nilearn's wheel, 0 to 1 on the 2 mm grid, and its origin.

    nilearn's own loader takes seconds to import and resample; the files are plain NIfTI.
    """
    import nibabel  # here: a quarter of a second, and only brains need it

    path = Path(str(resources.files("nilearn"))) / "datasets" / "data" / _MAP_FILE.format(kind=kind)
    if not path.is_file():
        raise InputError(
            "nilearn comes without its MNI152 maps",
            got=str(path),
            hint="pip install nilearn==0.14.1",
        )
    image = nibabel.nifti1.Nifti1Image.from_filename(path)
    fine = np.asarray(image.dataobj)
    # An edge of zeros all around lets points next to the head fall on the grid.
    even = [(VOXEL_MM, VOXEL_MM + (-n) % VOXEL_MM) for n in fine.shape]
    fine = np.pad(fine, even)
    blocks = [part for n in fine.shape for part in (n // VOXEL_MM, VOXEL_MM)]
    coarse = fine.reshape(blocks).mean(axis=(1, 3, 5), dtype=np.float32) / np.float32(255)
    origin = np.asarray(image.affine)[:3, 3] - VOXEL_MM + (VOXEL_MM - 1) / 2
    return coarse, origin


def _smooth(volume: np.ndarray) -> Float32Array:
    """Binomial filter (1 2 1)/4 along each axis: level sets between voxels instead of stairs."""
    result = volume.astype(np.float32)
    for axis in range(3):
        moved = np.moveaxis(result, axis, 0)
        smooth = np.zeros_like(moved)
        smooth[1:-1] = (moved[:-2] + 2 * moved[1:-1] + moved[2:]) / 4
        result = np.moveaxis(smooth, 0, axis)
    return np.asarray(result)
