"""Lesions: irregular bodies that take the place of healthy tissue, the same at every image size.

Shape suffixes: N point, W wave, S slice, L label.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dtsinn.core.config import STRICT
from dtsinn.core.errors import InputError
from dtsinn.simulation.anatomy.anatomy import Region
from dtsinn.simulation.anatomy.fields import Float32Array, pixel_centres
from dtsinn.simulation.anatomy.geometry import block_mean, coverage, ellipsoid_depth
from dtsinn.simulation.input_function import SPREAD_CLIP, FloatArray, clipped_normal

SUPERSAMPLING = 2
"""Points per pixel and axis."""
WAVES = 32
"""Plane waves whose sum is a random surface: enough to look like a Gaussian field."""
REACH = 2.5
"""Lesions end within so many radii of their centre."""
SITE_SHARE = 0.7
"""Share of its site's regions that a cell must have for a lesion to start there (uncited)."""

Healthy = Callable[[np.random.Generator, FloatArray, int], Float32Array]
"""Draws the fractions [S, L, Y, X] of a healthy subject at levels [S], mm, in an image size."""


@dataclass(frozen=True, kw_only=True)
class Site:
    """Where lesions start.

    Attributes:
        regions: Names of the regions in which their centres lie.
        probability: Of this site against the others; they are brought to a sum of 1.
        radius_mm: Range of the radius of a sphere of the same volume, evenly drawn.
    """

    __pydantic_config__ = STRICT

    regions: tuple[str, ...]
    probability: float
    radius_mm: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class LesionNumbers:
    """How many lesions a subject has, and what they look like.

    Attributes:
        count: Fewest and most per subject, evenly drawn.
        elongation_sd: Spread of the logarithm of the semi-axes; their product is kept.
        irregularity: Standard deviation of the surface, as a share of the radius.
        irregularity_length: Its correlation length, as a share of the radius.
        rim: Thickness of what lies around a core, as a share of the radius.
        core_radius_mm: Smallest radius of a lesion with a core, mm.
        hosts: Names of the regions whose place lesions take; they spare all others.
        sites: Where they start.
        cell_mm: Edge of the cells among which a site is chosen, mm.
        cell_levels_mm: Axial levels of these cells: lowest, highest and step, mm.
    """

    __pydantic_config__ = STRICT

    count: tuple[int, int]
    elongation_sd: float
    irregularity: float
    irregularity_length: float
    rim: float
    core_radius_mm: float
    hosts: tuple[str, ...]
    sites: tuple[Site, ...]
    cell_mm: float
    cell_levels_mm: tuple[float, float, float]

    def __post_init__(self) -> None:
        # Spreads are clipped, and the mean of the three logarithms is taken off each.
        stretch = np.exp(self.elongation_sd * SPREAD_CLIP * 4.0 / 3.0)
        bulge = self.irregularity * SPREAD_CLIP
        if stretch + bulge > REACH or 1.0 / stretch <= bulge:
            raise InputError(
                "lesions: elongation_sd and irregularity",
                got=f"{self.elongation_sd:g} and {self.irregularity:g}",
                wanted=f"a surface around the centre and within {REACH:g} radii of it",
                hint="smaller ones",
            )


@dataclass(frozen=True, kw_only=True)
class Lesion:
    """An ellipsoid with an uneven surface.

    Attributes:
        centre: [3] x, y, z, mm.
        radius: Of a sphere of the ellipsoid's volume, mm.
        axes: [3, 3] directions of the semi-axes, as rows.
        semi_axes: [3] mm.
        roughness: Standard deviation of the surface, mm.
        waves: [W, 3] wave vectors, 1/mm.
        phases: [W].
    """

    centre: FloatArray
    radius: float
    axes: FloatArray
    semi_axes: FloatArray
    roughness: float
    waves: FloatArray
    phases: FloatArray

    def depth(self, points_3N: FloatArray) -> FloatArray:
        """[N] depth of points, mm, positive inside."""
        offset = points_3N - self.centre[:, None]
        smooth = ellipsoid_depth(self.axes @ offset, self.semi_axes.tolist())
        # A sum of waves with normal wave vectors is a field of unit variance and covariance
        # e^(-d²/(2 length²)) that needs no lattice (Rahimi, Recht 2007).
        field = np.cos(self.waves @ offset + self.phases[:, None]).sum(axis=0)
        field *= np.sqrt(2.0 / WAVES)
        return np.asarray(smooth + self.roughness * np.clip(field, -SPREAD_CLIP, SPREAD_CLIP))


def draw_with_lesions(
    rng: np.random.Generator,
    healthy: Healthy,
    numbers: LesionNumbers,
    regions: Sequence[Region],
    slice_position: FloatArray,
    size: int,
    field_of_view: float,
) -> Float32Array:
    """A healthy subject, drawn as without lesions, with lesions in it.

    Args:
        rng: Source of randomness; the healthy subject is drawn first.
        healthy: Draws the subject.
        numbers: What lesions look like.
        regions: What the labels of ``healthy`` stand for.
        slice_position: [S] levels, mm.
        size: Pixels along each edge.
        field_of_view: Edge of the image, mm.

    Returns:
        Fractions [S, L + 2, Y, X]; the last two are the lesions' and their cores'.

    Raises:
        InputError: As :func:`draw_lesions`.
    """
    before = copy.deepcopy(rng)
    fractions = healthy(rng, slice_position, size)

    def again(levels: FloatArray, cells: int) -> Float32Array:
        return healthy(copy.deepcopy(before), levels, cells)

    lesions = draw_lesions(rng, again, numbers, regions, slice_position, field_of_view)
    whole, core = _shares(lesions, numbers, slice_position, size, field_of_view)
    return _insert(fractions, _labels(numbers.hosts, regions), whole, core)


def draw_lesions(
    rng: np.random.Generator,
    subject: Callable[[FloatArray, int], Float32Array],
    numbers: LesionNumbers,
    regions: Sequence[Region],
    slice_position: FloatArray,
    field_of_view: float,
) -> list[Lesion]:
    """One subject's lesions: the first is centred on a slice, the others lie anywhere.

    Where a lesion may start is read off coarse cells that do not depend on the image size.

    Args:
        rng: Source of randomness.
        subject: Fractions [S, L, Y, X] of the healthy subject at levels [S], mm, in so many
            cells along each edge.
        numbers: What lesions look like.
        regions: What the labels stand for.
        slice_position: [S] levels of the slices, mm.
        field_of_view: Edge of the image, mm.

    Raises:
        InputError: No such region, or no cell is filled by a site's regions.
    """
    count = int(rng.integers(numbers.count[0], numbers.count[1], endpoint=True))
    level = float(slice_position[rng.integers(slice_position.size)])
    lowest, highest, step = numbers.cell_levels_mm
    levels = np.union1d(np.arange(lowest, highest + step / 2.0, step), [level])
    cells = round(field_of_view / numbers.cell_mm)
    across = pixel_centres(cells, field_of_view)
    coarse = subject(levels, cells)
    chances = np.array([site.probability for site in numbers.sites])
    lesions = []
    for index in range(count):
        site = numbers.sites[int(rng.choice(len(numbers.sites), p=chances / chances.sum()))]
        cells_SYX = _cells(numbers, site, regions, coarse, levels == level if index == 0 else None)
        s, y, x = cells_SYX[rng.integers(len(cells_SYX))]
        jitter = rng.uniform(-0.5, 0.5, 3) * (field_of_view / cells, field_of_view / cells, step)
        if index == 0:
            jitter[2] = 0.0
        centre = np.array([across[x], -across[y], levels[s]]) + jitter
        lesions.append(_draw_lesion(rng, numbers, site, centre))
    return lesions


def _cells(
    numbers: LesionNumbers,
    site: Site,
    regions: Sequence[Region],
    coarse_SLYX: Float32Array,
    on_level_S: NDArray[np.bool_] | None,
) -> NDArray[np.int64]:
    """[N, 3] cells in which a lesion may start: on the level where one is asked for.

    A level without the site lends a cell of another site, and one without any, as beyond the
    body, is left alone.
    """
    everywhere = np.ones(len(coarse_SLYX), dtype=bool)
    every_site = tuple(name for other in numbers.sites for name in other.regions)
    wishes = [(site.regions, everywhere)]
    if on_level_S is not None:
        wishes = [(site.regions, on_level_S), (every_site, on_level_S), *wishes]
    for names, levels in wishes:
        share = coarse_SLYX[:, sorted(set(_labels(names, regions)))].sum(axis=1)
        cells = np.argwhere((share >= SITE_SHARE) & levels[:, None, None])
        if len(cells):
            return cells
    raise InputError(
        "lesions: site",
        got=f"no cell of {numbers.cell_mm:g} mm filled by {', '.join(site.regions)}",
        wanted="regions that are larger than a cell",
    )


def _labels(names: Sequence[str], regions: Sequence[Region]) -> list[int]:
    known = [region.name for region in regions]
    for name in names:
        if name not in known:
            raise InputError(
                "lesions: no such region", got=repr(name), wanted=f"one of {', '.join(known)}"
            )
    return [known.index(name) for name in names]


def _draw_lesion(
    rng: np.random.Generator, numbers: LesionNumbers, site: Site, centre: FloatArray
) -> Lesion:
    radius = float(rng.uniform(*site.radius_mm))
    stretch = numbers.elongation_sd * clipped_normal(rng, 3)
    directions, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    length = numbers.irregularity_length * radius
    return Lesion(
        centre=centre,
        radius=radius,
        axes=directions,
        semi_axes=radius * np.exp(stretch - stretch.mean()),
        roughness=numbers.irregularity * radius,
        waves=rng.standard_normal((WAVES, 3)) / length,
        phases=rng.uniform(0.0, 2.0 * np.pi, WAVES),
    )


def _shares(
    lesions: Sequence[Lesion],
    numbers: LesionNumbers,
    slice_position: FloatArray,
    size: int,
    field_of_view: float,
) -> tuple[FloatArray, FloatArray]:
    """Shares [S, Y, X] of every pixel that lie inside the lesions, and inside their cores."""
    fine = size * SUPERSAMPLING
    across = pixel_centres(fine, field_of_view)
    width = field_of_view / fine
    whole, core = np.zeros((2, slice_position.size, fine, fine))
    for lesion in lesions:
        # Only the box around the lesion: most of the image is far away.
        s, y, x = (
            np.flatnonzero(np.abs(axis - middle) < REACH * lesion.radius + width)
            for axis, middle in zip(
                (slice_position, -across, across), lesion.centre[::-1], strict=True
            )
        )
        if min(s.size, y.size, x.size) == 0:
            continue
        box = np.s_[s[0] : s[-1] + 1, y[0] : y[-1] + 1, x[0] : x[-1] + 1]
        grid = np.meshgrid(slice_position[s], -across[y], across[x], indexing="ij")
        depth = lesion.depth(np.stack(grid[::-1]).reshape(3, -1)).reshape(grid[0].shape)
        np.maximum(whole[box], coverage(depth, width), out=whole[box])
        if lesion.radius >= numbers.core_radius_mm:
            inner = coverage(depth - numbers.rim * lesion.radius, width)
            np.maximum(core[box], inner, out=core[box])
    return block_mean(whole, SUPERSAMPLING), block_mean(core, SUPERSAMPLING)


def _insert(
    fractions_SLYX: Float32Array, hosts: list[int], whole: FloatArray, core: FloatArray
) -> Float32Array:
    """[S, L + 2, Y, X] fractions after lesions have taken their share of the hosts."""
    host = fractions_SLYX[:, hosts].sum(axis=1)
    left = fractions_SLYX.copy()
    left[:, hosts] *= (1.0 - whole)[:, None].astype(np.float32)
    taken = np.stack([host * (whole - core), host * core], axis=1).astype(np.float32)
    return np.concatenate([left, taken], axis=1)
