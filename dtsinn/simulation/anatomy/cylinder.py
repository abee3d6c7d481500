"""The cylinder phantom: water with hot and cold rods, for checks of the physics."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from dtsinn.core.config import STRICT, load_config
from dtsinn.core.errors import InputError
from dtsinn.simulation.anatomy.anatomy import NOTHING, OUTSIDE, Anatomy, Phantom, Region
from dtsinn.simulation.anatomy.fields import pixel_centres
from dtsinn.simulation.anatomy.geometry import block_mean, coverage, paint, spread_levels
from dtsinn.simulation.input_function import FloatArray, clipped_normal

SUPERSAMPLING = 4
"""Points per pixel and axis: the area of a rod of 10 mm is right to 1 %."""


@dataclass(frozen=True, kw_only=True)
class CylinderShape:
    """The numbers of ``configs/phantoms/cylinder.yaml``, which explains them."""

    __pydantic_config__ = STRICT

    sources: tuple[str, ...]
    field_of_view_mm: float
    diameter_mm: float
    rod_diameters_mm: tuple[float, ...]
    ring_radius_mm: float
    hot_activity: float
    rotation_sd_deg: float
    translation_sd_mm: float
    voxel_length_mm: float
    lowest_slice_mm: tuple[float, float]
    highest_slice_mm: tuple[float, float]

    def __post_init__(self) -> None:
        along = 2.0 * np.pi * self.ring_radius_mm - 2.0 * sum(self.rod_diameters_mm)
        outwards = self.diameter_mm / 2.0 - self.ring_radius_mm - max(self.rod_diameters_mm) / 2.0
        if min(along, outwards) <= 0:
            raise InputError(
                "ring_radius_mm",
                got=self.ring_radius_mm,
                wanted="a ring inside the cylinder that holds all rods side by side",
            )


@dataclass(frozen=True, kw_only=True)
class CylinderPhantom(Phantom):
    """Cylinders, turned and shifted; see :class:`dtsinn.simulation.anatomy.anatomy.Phantom`."""

    shape: CylinderShape

    @property
    def regions(self) -> tuple[Region, ...]:
        """What the labels stand for; the whole of the background takes up tracer like muscle."""
        return (
            OUTSIDE,
            Region(name="background", tissue="muscle"),
            Region(name="hot", tissue="muscle", activity=self.shape.hot_activity),
            Region(name="cold", tissue=NOTHING),
        )

    @property
    def field_of_view_mm(self) -> float:
        """Edge of the square image, mm."""
        return self.shape.field_of_view_mm

    @property
    def voxel_length_mm(self) -> float:
        """Correlation length of the voxel-wise spread of K1, mm."""
        return self.shape.voxel_length_mm

    def slice_positions(self, rng: np.random.Generator, slices: int) -> FloatArray:
        """[S] evenly spaced levels with a range and an offset of the subject's own, mm."""
        shape = self.shape
        return spread_levels(rng, shape.lowest_slice_mm, shape.highest_slice_mm, slices)

    def draw(self, rng: np.random.Generator, slice_position: FloatArray, size: int) -> Anatomy:
        """One cylinder in axial slices of ``size`` times ``size`` pixels, all slices alike."""
        shape = self.shape
        turn = np.deg2rad(shape.rotation_sd_deg) * clipped_normal(rng, 1)[0]
        centre_x, centre_y = shape.translation_sd_mm * clipped_normal(rng, 2)
        across = pixel_centres(size * SUPERSAMPLING, shape.field_of_view_mm)
        x, y = across[None, :] - centre_x, -across[:, None] - centre_y
        radius_YX = np.hypot(x, y)
        hot_YX, cold_YX = (
            np.max(
                [
                    rod / 2.0 - np.hypot(x - rod_x, y - rod_y)
                    for rod, (rod_x, rod_y) in zip(
                        shape.rod_diameters_mm, self._centres(turn + start), strict=True
                    )
                ],
                axis=0,
            )
            for start in (0.0, np.pi)
        )
        width = shape.field_of_view_mm / (size * SUPERSAMPLING)
        body = coverage(shape.diameter_mm / 2.0 - radius_YX, width)
        layers = (1.0 - body, coverage(hot_YX, width), coverage(cold_YX, width))
        outside, hot, cold, background = (block_mean(one, SUPERSAMPLING) for one in paint(layers))
        plane = np.stack([outside, background, hot, cold]).astype(np.float32)
        fractions = np.repeat(plane[None], slice_position.size, axis=0)
        return Anatomy(fractions=fractions, slice_position=slice_position)

    def _centres(self, start: float) -> list[tuple[float, float]]:
        """Middles x, y of one set of rods, mm: along half of the ring, with even gaps."""
        shape = self.shape
        rods = np.array(shape.rod_diameters_mm)
        gap = np.pi * shape.ring_radius_mm - rods.sum()
        along = np.cumsum(rods) - rods / 2.0 + gap / rods.size * (np.arange(rods.size) + 0.5)
        angles = start + along / shape.ring_radius_mm
        return [
            (shape.ring_radius_mm * np.cos(angle), shape.ring_radius_mm * np.sin(angle))
            for angle in angles.tolist()
        ]


@functools.cache
def load_cylinder() -> CylinderPhantom:
    """The cylinder phantom."""
    return CylinderPhantom(shape=load_config(CylinderShape, "phantoms", "cylinder"))
