"""The thorax phantom: lungs, heart, great vessels, liver and bones, with lesions in them."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from dtsinn.core.config import STRICT, load_config
from dtsinn.simulation.anatomy.anatomy import (
    BLOOD,
    NOTHING,
    OUTSIDE,
    Anatomy,
    Deformation,
    Phantom,
    Region,
    deform_points,
    draw_affine,
    kernel_sigma,
)
from dtsinn.simulation.anatomy.fields import Float32Array, pixel_centres
from dtsinn.simulation.anatomy.geometry import block_mean, coverage, paint, spread_levels
from dtsinn.simulation.anatomy.lesions import LesionNumbers, draw_with_lesions
from dtsinn.simulation.anatomy.thorax_organs import Organs, draw_variation, organ_depths
from dtsinn.simulation.input_function import FloatArray, clipped_normal

SUPERSAMPLING = 2
"""Points per pixel and axis; surfaces are as soft as the distance between points."""
LAYERS = ("bone", "airway", "blood", "myocardium", "liver", "lung", "mediastinum")
"""Organs, the first over the next ones; what is left of the body is muscle."""


@dataclass(frozen=True, kw_only=True)
class Attenuation:
    """Linear attenuation coefficients at 511 keV, 1/cm."""

    __pydantic_config__ = STRICT

    lung: float
    bone: float


@dataclass(frozen=True, kw_only=True)
class ThoraxShape:
    """The numbers of ``configs/phantoms/thorax.yaml``, which explains them."""

    __pydantic_config__ = STRICT

    sources: tuple[str, ...]
    field_of_view_mm: float
    centre_mm: tuple[float, float]
    attenuation: Attenuation
    rotation_sd_deg: float
    scale_sd: float
    shear_sd: float
    translation_sd_mm: float
    displacement_sd_mm: float
    displacement_length_mm: float
    voxel_length_mm: float
    lowest_slice_mm: tuple[float, float]
    highest_slice_mm: tuple[float, float]
    necrosis_activity: float
    organs: Organs
    lesions: LesionNumbers


@dataclass(frozen=True, kw_only=True)
class ThoraxPhantom(Phantom):
    """Chests with lesions; see :class:`dtsinn.simulation.anatomy.anatomy.Phantom`.

    Columns run from the patient's left to the right and rows from front to back, as in the
    brain: the heart lies in the left half of the image, the liver in the right one, the spine at
    the bottom. Slices run from the dome of the liver up to the apices of the lungs.
    """

    shape: ThoraxShape

    @property
    def regions(self) -> tuple[Region, ...]:
        """What the labels stand for; the last two are those of the lesions."""
        return (*self._healthy_regions, *self._lesion_regions)

    @property
    def _healthy_regions(self) -> tuple[Region, ...]:
        attenuation = self.shape.attenuation
        return (
            OUTSIDE,
            Region(name="muscle", tissue="muscle"),
            Region(name="bone", tissue="bone", attenuation=attenuation.bone),
            Region(name="airway", tissue=NOTHING, attenuation=0.0),
            Region(name="blood", tissue=BLOOD),
            Region(name="myocardium", tissue="myocardium"),
            Region(name="liver", tissue="liver"),
            Region(name="lung", tissue="lung", attenuation=attenuation.lung),
            Region(name="mediastinum", tissue="muscle"),
        )

    @property
    def _lesion_regions(self) -> tuple[Region, Region]:
        activity = self.shape.necrosis_activity
        return (
            Region(name="lesion", tissue="lesion"),
            Region(name="necrosis", tissue="lesion", activity=activity),
        )

    @property
    def field_of_view_mm(self) -> float:
        """Edge of the square image, mm."""
        return self.shape.field_of_view_mm

    @property
    def voxel_length_mm(self) -> float:
        """Correlation length of the voxel-wise spread of K1, mm."""
        return self.shape.voxel_length_mm

    @property
    def lesions(self) -> tuple[str, ...]:
        """Those of lung and mediastinum."""
        return ("lesion",)

    def slice_positions(self, rng: np.random.Generator, slices: int) -> FloatArray:
        """[S] evenly spaced levels with a range and an offset of the subject's own, mm."""
        shape = self.shape
        return spread_levels(rng, shape.lowest_slice_mm, shape.highest_slice_mm, slices)

    def draw(self, rng: np.random.Generator, slice_position: FloatArray, size: int) -> Anatomy:
        """One subject's anatomy; the first lesion is centred on one of the slices."""
        fractions = draw_with_lesions(
            rng,
            self._healthy,
            self.shape.lesions,
            self._healthy_regions,
            slice_position,
            size,
            self.field_of_view_mm,
        )
        return Anatomy(fractions=fractions, slice_position=slice_position)

    def _healthy(self, rng: np.random.Generator, levels: FloatArray, size: int) -> Float32Array:
        """[S, L, Y, X] fractions of a subject without lesions."""
        shape = self.shape
        deformation = Deformation(
            matrix=draw_affine(rng, shape.rotation_sd_deg, shape.scale_sd, shape.shear_sd),
            shift=shape.translation_sd_mm * clipped_normal(rng, 3)
            + np.array([*shape.centre_mm, 0.0]),
            displacement_sd=shape.displacement_sd_mm,
            displacement_sigma=kernel_sigma(shape.displacement_length_mm),
            reach_mm=shape.field_of_view_mm / 2,
        )
        variation = draw_variation(rng, shape.organs)
        fine = size * SUPERSAMPLING
        across = pixel_centres(fine, shape.field_of_view_mm)
        # Rows run from the front of the chest to its back, against y.
        points = deform_points(rng, deformation, (levels, -across, across))
        points_3N = np.ascontiguousarray(points.reshape(-1, 3).T)
        width = shape.field_of_view_mm / fine
        skin = shape.organs.body.depth(points_3N) + variation.wall_offset
        inside = np.flatnonzero(skin > -width)
        depths = organ_depths(shape.organs, variation, points_3N[:, inside])
        air = 1.0 - coverage(skin[inside], width)
        layers = paint([air, *(coverage(depths[name], width) for name in LAYERS)])
        outside, *organs, muscle = layers
        shares = np.zeros((len(self._healthy_regions), points_3N.shape[1]))
        shares[0] = 1.0
        shares[:, inside] = [outside, muscle, *organs]
        whole_LSYX = shares.reshape(-1, levels.size, fine, fine)
        return np.ascontiguousarray(
            block_mean(whole_LSYX, SUPERSAMPLING).swapaxes(0, 1), dtype=np.float32
        )


@functools.cache
def load_thorax() -> ThoraxPhantom:
    """The thorax phantom."""
    return ThoraxPhantom(shape=load_config(ThoraxShape, "phantoms", "thorax"))
