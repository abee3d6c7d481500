"""The organs of the thorax phantom: shapes in its own space, and how a subject's differ.

x runs to the patient's right, y to the front, z to the head, in mm. Shape suffix: N point.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from dtsinn.core.config import STRICT
from dtsinn.simulation.anatomy.anatomy import draw_affine
from dtsinn.simulation.anatomy.geometry import (
    OrientedEllipsoid,
    Outline,
    Path,
    ellipsoid_depth,
    tube_depth,
)
from dtsinn.simulation.input_function import FloatArray, clipped_normal


@dataclass(frozen=True, kw_only=True)
class Ribs:
    """Oblique ribs and the sternum, in a shell around the cage; see the YAML file."""

    __pydantic_config__ = STRICT

    thickness_mm: float
    height_mm: float
    spacing_mm: float
    slope: float
    cartilage_mm: float
    sternum_half_width_mm: float
    sternum_z: tuple[float, float]

    def depth(self, points_3N: FloatArray, cage_N: FloatArray, phase: float) -> FloatArray:
        """[N] depth inside ribs and sternum, mm.

        Args:
            points_3N: Points, mm.
            cage_N: Their depth inside the cage, mm.
            phase: Height by which the ribs are moved, mm.
        """
        x, y, z = points_3N
        shell = np.minimum(-cage_N, cage_N + self.thickness_mm)
        above = np.mod(z + self.slope * y - phase, self.spacing_mm) - self.spacing_mm / 2.0
        # Across a tilted rib the way is shorter than along z.
        across = (self.height_mm / 2.0 - np.abs(above)) / np.hypot(1.0, self.slope)
        bony = np.where(y > 0.0, np.abs(x) - self.cartilage_mm, np.inf)
        low, high = self.sternum_z
        middle = np.minimum(self.sternum_half_width_mm - np.abs(x), np.minimum(z - low, high - z))
        sternum = np.where(y > 0.0, middle, -np.inf)
        return np.asarray(np.minimum(shell, np.maximum(np.minimum(across, bony), sternum)))


@dataclass(frozen=True, kw_only=True)
class Spine:
    """The vertebral column without its discs; see the YAML file."""

    __pydantic_config__ = STRICT

    centre_y: float
    centre_z: float
    bend: float
    body: tuple[float, float]
    canal_y: float
    canal_mm: float
    arch_mm: float
    process_length_mm: tuple[float, float]
    process_mm: float

    def before(self, points_3N: FloatArray) -> FloatArray:
        """[N] way by which points lie in front of the middle of the vertebral bodies, mm."""
        _, y, z = points_3N
        return np.asarray(y - self.centre_y - self.bend * np.square(z - self.centre_z))

    def depth(self, points_3N: FloatArray) -> FloatArray:
        """[N] depth inside bone, mm."""
        x, y = points_3N[0], self.before(points_3N)
        body = ellipsoid_depth(np.stack([x, y]), self.body)
        back = y - self.canal_y
        round_canal = np.hypot(x, back)
        arch = np.minimum(self.canal_mm + self.arch_mm - round_canal, round_canal - self.canal_mm)
        side, spinous = self.process_length_mm
        start = self.canal_mm + self.arch_mm / 2.0
        # The processes start in the arch: sideways and a little back, and straight back.
        out = np.clip((np.abs(x) - start) / side, 0.0, 1.0) * side
        sideways = self.process_mm - np.hypot(np.abs(x) - start - out, back + 0.4 * out)
        behind = np.clip(-back - start, 0.0, spinous)
        backwards = self.process_mm - np.hypot(x, back + start + behind)
        processes = np.maximum(sideways, backwards)
        bones = np.maximum(arch, np.minimum(processes, round_canal - self.canal_mm))
        return np.asarray(np.maximum(body, bones))


@dataclass(frozen=True, kw_only=True)
class Heart:
    """Chambers and their walls; see the YAML file."""

    __pydantic_config__ = STRICT

    pivot: tuple[float, float, float]
    left_ventricle: OrientedEllipsoid
    base_mm: float
    left_wall_mm: float
    right_ventricle: OrientedEllipsoid
    right_wall_mm: float
    atria: tuple[OrientedEllipsoid, ...]
    atrial_wall_mm: float

    def depths(self, points_3N: FloatArray, wall: float) -> tuple[FloatArray, FloatArray]:
        """[N] depths inside the blood of the chambers and inside the whole heart, mm.

        Args:
            points_3N: Points in the heart's own space, mm.
            wall: Factor on the thickness of the ventricles' walls.
        """
        left = self.left_ventricle.local(points_3N)
        before_base = left[0] - self.base_mm
        outer = np.minimum(ellipsoid_depth(left, self.left_ventricle.radii), before_base)
        inner_radii = np.array(self.left_ventricle.radii) - wall * self.left_wall_mm
        cavity = np.minimum(ellipsoid_depth(left, inner_radii.tolist()), before_base)
        right = self.right_ventricle.depth(points_3N)
        # The right ventricle lies around the left one, whose wall parts them.
        right_cavity = np.minimum(right - wall * self.right_wall_mm, -outer)
        atria = _union(atrium.depth(points_3N) for atrium in self.atria)
        atrial_cavity = np.minimum(atria - self.atrial_wall_mm, -outer)
        blood = np.maximum(cavity, np.maximum(right_cavity, atrial_cavity))
        return blood, np.maximum(outer, np.maximum(right, atria))


@dataclass(frozen=True, kw_only=True)
class Organs:
    """What lies inside the body, and how much it differs; see ``configs/phantoms/thorax.yaml``."""

    __pydantic_config__ = STRICT

    wall_offset_sd_mm: float
    diaphragm_sd_mm: float
    vessel_scale_sd: float
    heart_rotation_sd_deg: float
    heart_scale_sd: float
    heart_shift_sd_mm: float
    heart_wall_sd: float
    body: Outline
    cage: Outline
    right_lung: Outline
    pleura_mm: float
    fat_mm: float
    ribs: Ribs
    spine: Spine
    scapula: OrientedEllipsoid
    liver: tuple[OrientedEllipsoid, ...]
    left_dome: OrientedEllipsoid
    diaphragm_mm: float
    mediastinum_floor_mm: float
    mediastinum_half_width_mm: float
    heart: Heart
    vessels: Mapping[str, Path]
    airways: Mapping[str, Path]


@dataclass(frozen=True, kw_only=True)
class OrganVariation:
    """How one subject's organs differ from the typical ones.

    Attributes:
        wall_offset: Of the skin, outwards, mm.
        domes: Height of the right and the left dome of the diaphragm above the typical, mm.
        vessels: Factor on the radii of all vessels.
        heart_matrix: [3, 3] from the subject's heart to the typical one, about its pivot.
        heart_shift: [3] mm.
        heart_wall: Factor on the thickness of the ventricles' walls.
        rib_phase: Height by which the ribs are moved, mm.
    """

    wall_offset: float
    domes: tuple[float, float]
    vessels: float
    heart_matrix: FloatArray
    heart_shift: FloatArray
    heart_wall: float
    rib_phase: float


def draw_variation(rng: np.random.Generator, organs: Organs) -> OrganVariation:
    """How one subject's organs differ."""
    wall, right, left, vessels, heart_wall = clipped_normal(rng, 5).tolist()
    return OrganVariation(
        wall_offset=organs.wall_offset_sd_mm * wall,
        domes=(organs.diaphragm_sd_mm * right, organs.diaphragm_sd_mm * (right + left) / 2.0**0.5),
        vessels=float(np.exp(organs.vessel_scale_sd * vessels)),
        heart_matrix=draw_affine(rng, organs.heart_rotation_sd_deg, organs.heart_scale_sd, 0.0),
        heart_shift=organs.heart_shift_sd_mm * clipped_normal(rng, 3),
        heart_wall=float(np.exp(organs.heart_wall_sd * heart_wall)),
        rib_phase=float(rng.uniform(0.0, organs.ribs.spacing_mm)),
    )


def organ_depths(
    organs: Organs, variation: OrganVariation, points_3N: FloatArray
) -> dict[str, FloatArray]:
    """[N] depth inside each organ, mm; where two overlap, the first one in the dictionary counts.

    Args:
        organs: The typical organs.
        variation: How the subject's differ.
        points_3N: Points in the phantom's own space, mm.
    """
    mirrored = np.stack([np.abs(points_3N[0]), points_3N[1], points_3N[2]])
    cage = organs.cage.depth(points_3N)
    spine = organs.spine.depth(points_3N)
    ribs = organs.ribs.depth(points_3N, cage, variation.rib_phase)
    airway = _union(tube_depth(points_3N, path) for path in organs.airways.values())
    vessels = _union(
        tube_depth(points_3N, path, variation.vessels) for path in organs.vessels.values()
    )
    pivot = np.array(organs.heart.pivot)[:, None]
    from_pivot = points_3N - pivot - variation.heart_shift[:, None]
    chambers, heart = organs.heart.depths(
        variation.heart_matrix @ from_pivot + pivot, variation.heart_wall
    )
    right, left = (points_3N - np.array([[0.0], [0.0], [dome]]) for dome in variation.domes)
    liver = _union(lobe.depth(right) for lobe in organs.liver)
    abdomen = np.maximum(liver, organs.left_dome.depth(left)) + organs.diaphragm_mm
    inside = cage - organs.pleura_mm
    middle = _union([vessels, heart, airway, spine]) + organs.fat_mm
    lung = np.minimum(np.minimum(organs.right_lung.depth(mirrored), inside), -middle)
    above = np.minimum(-abdomen, points_3N[2] - organs.mediastinum_floor_mm)
    between = np.maximum(middle, organs.mediastinum_half_width_mm - mirrored[0])
    between = np.minimum(between, organs.spine.before(points_3N))
    return {
        "bone": _union([spine, ribs, organs.scapula.depth(mirrored)]),
        "airway": airway,
        "blood": np.maximum(vessels, chambers),
        "myocardium": heart,
        "liver": np.minimum(liver, inside),
        "lung": np.minimum(lung, -abdomen),
        "mediastinum": np.minimum(np.minimum(between, inside), above),
    }


def _union(depths: Iterable[FloatArray]) -> FloatArray:
    """[N] depth inside the nearest of several bodies."""
    return np.asarray(np.maximum.reduce(list(depths)))
