"""Phantoms: what each promises, what it hands over, and how subjects are deformed."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dtsinn.simulation.anatomy.fields import HEAD_MM, Float32Array, smooth_field
from dtsinn.simulation.input_function import FloatArray, clipped_normal

WATER = 0.096
"""Linear attenuation coefficient of water and soft tissue at 511 keV, 1/cm (NIST XCOM)."""
NOTHING, BLOOD = "", "blood"
"""Tissues that no tracer describes: one without any activity, and blood alone."""


@dataclass(frozen=True, kw_only=True)
class Region:
    """What a label of a phantom stands for.

    Attributes:
        name: Of the label, unique within the phantom.
        tissue: Key of the tracers' kinetics; :data:`BLOOD` follows the input function, and
            :data:`NOTHING` holds no activity.
        activity: Factor on the tissue's activity, as for rods with a set contrast.
        attenuation: Linear attenuation coefficient at 511 keV, 1/cm.
        grey: Whether it counts as grey matter in calibration and reports.
    """

    name: str
    tissue: str
    activity: float = 1.0
    attenuation: float = WATER
    grey: bool = False


OUTSIDE = Region(name="outside", tissue=NOTHING, attenuation=0.0)
"""The first region of every phantom: air."""


@dataclass(frozen=True, kw_only=True)
class Anatomy:
    """One subject's regions in axial slices; rows run front to back, columns left to right.

    Attributes:
        fractions: [S, L, Y, X] share of each pixel that belongs to each label, summing to 1.
        slice_position: [S] mm in the subject's own space, ascending.
    """

    fractions: Float32Array
    slice_position: FloatArray

    @property
    def labels(self) -> NDArray[np.uint8]:
        """[S, Y, X] label with the largest share, 0 = outside the body."""
        return np.asarray(self.fractions.argmax(axis=1), dtype=np.uint8)


class Phantom(ABC):
    """A body whose subjects differ.

    An implementer promises: ``draw`` is a pure function of its arguments; the same generator
    state gives the same subject at every image size; the fractions of a pixel sum to 1; building
    a phantom is cheap, whatever costs time waits for the first draw and is kept.
    :func:`dtsinn.testing.check_phantom` tries it.
    """

    @property
    @abstractmethod
    def regions(self) -> tuple[Region, ...]:
        """What each label stands for; the first is :data:`OUTSIDE`."""

    @property
    @abstractmethod
    def field_of_view_mm(self) -> float:
        """Edge of the square image, mm."""

    @property
    @abstractmethod
    def voxel_length_mm(self) -> float:
        """Correlation length of the voxel-wise spread of K1, mm."""

    @property
    def lesions(self) -> tuple[str, ...]:
        """Tissues of the lesions that every subject has; empty without lesions."""
        return ()

    @property
    def with_lesions(self) -> str:
        """Name of the phantom that draws the same subjects with lesions; empty without one.

        Its regions are those of this one, and then those of the lesions.
        """
        return ""

    @abstractmethod
    def slice_positions(self, rng: np.random.Generator, slices: int) -> FloatArray:
        """[S] axial levels of one subject's slices, ascending, mm; cheap."""

    @abstractmethod
    def draw(self, rng: np.random.Generator, slice_position: FloatArray, size: int) -> Anatomy:
        """One subject's anatomy in axial slices of ``size`` times ``size`` pixels."""


@dataclass(frozen=True, kw_only=True)
class Deformation:
    """A subject's shape: a point p of the subject lies at ``matrix @ (p + u(p)) + shift``.

    Attributes:
        matrix: [3, 3] rotation, scale and shear, from the subject to the atlas.
        shift: [3] mm, x, y, z.
        displacement_sd: Of each component of the random field u, mm.
        displacement_sigma: Of the kernel that smooths u, mm.
        reach_mm: How far from the origin the body may reach along any axis, mm.
    """

    matrix: FloatArray
    shift: FloatArray
    displacement_sd: float
    displacement_sigma: float
    reach_mm: float = HEAD_MM


def kernel_sigma(length_mm: float) -> float:
    """Sigma of the kernel that gives a smooth field the autocorrelation e^(-d²/(2 length²)), mm."""
    return length_mm / math.sqrt(2.0)


def draw_affine(
    rng: np.random.Generator,
    rotation_sd_deg: float,
    scale_sd: float,
    shear_sd: float,
) -> FloatArray:
    """[3, 3] random rotation about x, y, z times anisotropic scale and shear."""
    angles = np.deg2rad(rotation_sd_deg) * clipped_normal(rng, 3)
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        turn = np.eye(3)
        i, j = (axis + 1) % 3, (axis + 2) % 3
        turn[i, i] = turn[j, j] = np.cos(angle)
        turn[i, j], turn[j, i] = -np.sin(angle), np.sin(angle)
        matrix = matrix @ turn
    shear = np.eye(3)
    shear[np.triu_indices(3, 1)] = shear_sd * clipped_normal(rng, 3)
    return np.asarray(matrix @ shear @ np.diag(np.exp(scale_sd * clipped_normal(rng, 3))))


def deform_points(
    rng: np.random.Generator,
    deformation: Deformation,
    axes: tuple[FloatArray, FloatArray, FloatArray],
) -> FloatArray:
    """Where the atlas shows what a subject has at the points of a grid.

    Args:
        rng: Source of the random displacement.
        deformation: The subject's shape.
        axes: [Z], [Y], [X] coordinates of the grid in the subject's space, mm.

    Returns:
        [Z, Y, X, 3] atlas coordinates x, y, z, mm.
    """
    z, y, x = axes
    sigma, reach = deformation.displacement_sigma, deformation.reach_mm
    displacement = smooth_field(rng, 3, axes, sigma, reach)
    displacement *= deformation.displacement_sd
    points = np.empty((z.size, y.size, x.size, 3))
    points[..., 0] = displacement[0] + x
    points[..., 1] = displacement[1] + y[:, None]
    points[..., 2] = displacement[2] + z[:, None, None]
    return np.asarray(points @ deformation.matrix.T + deformation.shift)
