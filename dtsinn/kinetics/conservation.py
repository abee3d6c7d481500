"""Whether activity is conserved: what both answers sum up to, against the mixture and the truth.

Shape letters: N sample (slice), T frame, R region, J tile, Y X pixel.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtsinn.core.protocol import CONTIGUITY_S, Protocol
from dtsinn.data.body import body_mask
from dtsinn.data.store import Samples
from dtsinn.kinetics.curves import FloatArray, Regions, enough_subjects
from dtsinn.simulation.anatomy.fields import noise_matrix
from dtsinn.simulation.scanner.noise import noise_sd

Images = NDArray[np.floating[Any]]
TILE_PIXELS = 2000
"""Body pixels that a tile holds at least, over all slices: its mean has little noise."""
FAINT = 0.01
"""Frames with less than this part of the brightest frame's activity have no ratio (uncited)."""
Z_LIMIT_SHARE = 0.95
"""Part of all \\|z\\| that the reported one is the quantile of: 1.96 of an unbiased answer."""


@dataclass(frozen=True, kw_only=True)
class NoiseLaw:
    """What the noise of a store's mixtures is: SD alpha sqrt(activity / duration), smoothed."""

    alpha: float
    """(kBq/mL)^0.5 s^0.5"""
    fwhm_mm: float
    """Of the Gaussian that correlates neighbours in a slice."""
    pixel_mm: float
    slice_mm: float | None = None
    """Distance of contiguous slices, whose noise is correlated too; None where they lie apart."""

    def region_sd(self, total_NTYX: Images, regions: Regions, duration_T: FloatArray) -> FloatArray:
        """[R, T] standard deviation of each region's mean, kBq/mL.

        Args:
            total_NTYX: The noise-free activity of both tracers, kBq/mL.
            regions: Of the subject.
            duration_T: [T] s.
        """
        columns = noise_matrix(total_NTYX.shape[-1], self.pixel_mm, self.fwhm_mm)
        sd_NTYX = noise_sd(total_NTYX.astype(np.float64), duration_T, self.alpha).astype(np.float32)
        rows = noise_matrix(total_NTYX.shape[-2], self.pixel_mm, self.fwhm_mm)
        variance = np.zeros((len(regions.names), total_NTYX.shape[1]))
        inside = regions.inside_NPR.reshape(*total_NTYX.shape[:1], *total_NTYX.shape[2:], -1)
        for r in range(len(regions.names)):
            n, y, x = (np.unique(index) for index in np.nonzero(inside[..., r]))
            part_NTYX = sd_NTYX[n][:, :, y][..., x] * inside[n][:, y][:, :, x, r][:, None]
            # A sum of smoothed white noise is one of white noise with smoothed weights.
            weight_NTYX = rows[y].T @ part_NTYX @ columns[x]
            if self.slice_mm is not None:
                across = noise_matrix(len(total_NTYX), self.slice_mm, self.fwhm_mm)
                weight_NTYX = np.tensordot(across[n].T, weight_NTYX, axes=1)
            variance[r] = np.square(weight_NTYX, dtype=np.float64).sum(axis=(0, 2, 3))
        return np.asarray(np.sqrt(variance) / regions.pixels_R[:, None])


@dataclass(frozen=True, kw_only=True)
class SubjectConservation:
    """One subject, by frame; None in frames that are not applicable. Percent, but z."""

    body: list[float | None]
    """Sum of the answers minus the mixture, over the mixture, of the body."""
    tile: list[float | None]
    """The same of the tile that misses most; None where the body holds no tile."""
    regions: dict[str, list[float | None]] = field(default_factory=dict)
    """Region -> the same against the noise-free sum."""
    z: dict[str, list[float | None]] = field(default_factory=dict)
    """Region -> its mean minus the mixture's, over the SD that the noise law predicts."""


@dataclass(frozen=True, kw_only=True)
class Conservation:
    """Over subjects; the largest of all frames that are applicable, in percent."""

    body: float
    """|mean over subjects| of the body's residual."""
    tiles: float | None
    """Mean over subjects of the worst tile's |residual|; None where no body holds a tile."""
    regions: float | None
    """|mean over subjects| against the noise-free sum, of the worst region that is not rare
    (:func:`dtsinn.kinetics.curves.enough_subjects`); None without truth."""
    regions_mean: float | None
    """The same, mean over regions and frames."""
    worst_region: str
    """Which region that is, and in which frame."""
    z: float | None
    """95 % quantile of |z|, all subjects, regions and frames: 1.96 of an unbiased answer; None
    where no noise law is known."""
    before_second: float | None
    """The body's in the frames before the second injection; None where there are none."""


def applicable_frames(protocol: Protocol) -> NDArray[np.bool_]:
    """[T] frames within which nothing is injected; an injection at an edge is in neither."""
    start_T, duration_T = np.array(protocol.frame_start), np.array(protocol.frame_duration)
    fits = np.ones(protocol.frames, dtype=bool)
    for time in protocol.injection_time:
        begun = time > start_T + CONTIGUITY_S
        fits &= ~(begun & (time < start_T + duration_T - CONTIGUITY_S))
    return fits


def body_tiles(
    body_NYX: NDArray[np.bool_] | NDArray[np.intp], least: int = TILE_PIXELS
) -> list[NDArray[np.intp]]:
    """Cut the body into tiles, each through all slices, by halving along its longer side.

    Args:
        body_NYX: Whether pixels are in the body; or, with N = 1, in how many slices.
        least: Body pixels that a tile holds.

    Returns:
        The pixels (of Y times X) of each tile; none where the body has too few.
    """
    count_YX = body_NYX.sum(axis=0)
    width = count_YX.shape[1]

    def cut(pixels: NDArray[np.intp]) -> list[NDArray[np.intp]]:
        row, column = pixels // width, pixels % width
        along = row if np.ptp(row) >= np.ptp(column) else column
        weight = np.bincount(along, weights=count_YX.ravel()[pixels])
        share = np.cumsum(weight)
        edge = int(np.abs(share - share[-1] / 2).argmin())
        if min(share[edge], share[-1] - share[edge]) < least:
            return [pixels]
        return [*cut(pixels[along <= edge]), *cut(pixels[along > edge])]

    inside = np.flatnonzero(count_YX.ravel())
    return cut(inside) if count_YX.sum() >= least else []


def measure_conservation(
    samples: Samples,
    predicted_NKTYX: Images,
    protocol: Protocol,
    region_names: Sequence[str] = (),
    law: NoiseLaw | None = None,
    *,
    by_region: bool = True,
) -> SubjectConservation:
    """Residuals of one subject.

    Args:
        samples: All its slices.
        predicted_NKTYX: The answer, kBq/mL.
        protocol: Frames and injections.
        region_names: Of the labels.
        law: Noise of the mixture, where it is known; it asks for the truth, too.
        by_region: Regions and z, beside body and tiles.
    """
    body_NYX = body_mask(samples, protocol)
    sum_NTYX, mixture_NTYX = predicted_NKTYX.sum(axis=1), samples.mixture_NTYX
    fits_T = applicable_frames(protocol)
    found_TP, true_TP = (
        np.einsum("ntyx,nyx->tyx", images, body_NYX.astype(np.float32)).reshape(len(fits_T), -1)
        for images in (sum_NTYX, mixture_NTYX)
    )
    body_T = _percent(found_TP.sum(1, dtype=float), true_TP.sum(1, dtype=float), fits_T)
    tiles = body_tiles(body_NYX)
    tile_JT = np.array(
        [
            _percent(
                found_TP[:, tile].sum(1, dtype=float), true_TP[:, tile].sum(1, dtype=float), fits_T
            )
            for tile in tiles
        ]
    ).reshape(-1, len(fits_T))
    tile_T = np.full(len(fits_T), np.nan)
    if tiles:
        worst = np.nan_to_num(np.abs(tile_JT)).argmax(axis=0)
        tile_T = np.take_along_axis(tile_JT, worst[None], axis=0)[0]
    regions: dict[str, list[float | None]] = {}
    z: dict[str, list[float | None]] = {}
    if by_region and samples.regions_NYX is not None and samples.tracers_NKTYX is not None:
        own = Regions.of(samples.regions_NYX, region_names)
        total_NTYX = samples.tracers_NKTYX.sum(axis=1)
        found_RT, clean_RT, mixed_RT = own.means(
            np.stack([sum_NTYX, total_NTYX, mixture_NTYX], axis=1)
        )
        for name, a_T, b_T in zip(own.names, found_RT, clean_RT, strict=True):
            regions[name] = _plain(_percent(a_T, b_T, fits_T))
        if law is not None:
            sd_RT = law.region_sd(total_NTYX, own, np.array(protocol.frame_duration))
            with np.errstate(divide="ignore", invalid="ignore"):
                z_RT = np.where(fits_T & (sd_RT > 0), (found_RT - mixed_RT) / sd_RT, np.nan)
            z = {name: _plain(z_T) for name, z_T in zip(own.names, z_RT, strict=True)}
    return SubjectConservation(body=_plain(body_T), tile=_plain(tile_T), regions=regions, z=z)


def summarise_conservation(
    subjects: Sequence[SubjectConservation], protocol: Protocol
) -> Conservation | None:
    """Over subjects; None where no frame is applicable."""
    body_T = _means([one.body for one in subjects])
    if not np.isfinite(body_T).any():
        return None
    tile_T = _means([np.abs(np.array(one.tile, dtype=float)) for one in subjects])
    having = Counter(name for one in subjects for name in one.regions)
    enough = enough_subjects(sum(bool(one.regions) for one in subjects))
    names = [name for name, count in having.items() if count >= enough]
    region_RT = np.array(
        [_means([one.regions[name] for one in subjects if name in one.regions]) for name in names]
    )
    regions = regions_mean = None
    where = ""
    if np.isfinite(region_RT).any():
        size = np.nan_to_num(np.abs(region_RT))
        r, t = np.unravel_index(int(size.argmax()), size.shape)
        regions, where = float(size[r, t]), f"{names[r]}, frame {t + 1}"
        regions_mean = float(np.nanmean(np.abs(region_RT)))
    told = [v for one in subjects for values in one.z.values() for v in values if v is not None]
    z = np.abs(told)
    ends_T = np.array(protocol.frame_start) + np.array(protocol.frame_duration)
    before_T = body_T[ends_T <= protocol.injection_time[1] + CONTIGUITY_S]
    return Conservation(
        body=float(np.nanmax(np.abs(body_T))),
        tiles=_largest(tile_T),
        regions=regions,
        regions_mean=regions_mean,
        worst_region=where,
        z=float(np.quantile(z, Z_LIMIT_SHARE)) if z.size else None,
        before_second=_largest(before_T),
    )


def noise_law(
    noise: Mapping[str, Any], fwhm_mm: float, pixel_mm: float, slice_mm: float | None = None
) -> NoiseLaw | None:
    """The law that a store's attribute ``noise`` states; None where it states none."""
    alpha = noise.get("alpha")
    if noise.get("model") != "image" or not isinstance(alpha, int | float) or pixel_mm <= 0:
        return None
    if not (math.isfinite(alpha) and alpha > 0):
        return None
    return NoiseLaw(alpha=float(alpha), fwhm_mm=fwhm_mm, pixel_mm=pixel_mm, slice_mm=slice_mm)


def _percent(found_T: FloatArray, true_T: FloatArray, fits_T: NDArray[np.bool_]) -> FloatArray:
    bright_T = fits_T & (true_T > FAINT * true_T.max())
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(bright_T, 100 * (found_T / true_T - 1), np.nan)


def _plain(values_T: FloatArray) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in values_T.tolist()]


def _means(rows: Sequence[Any]) -> FloatArray:
    """[T] mean over subjects of what is there."""
    values = np.array(rows, dtype=float)
    there = np.isfinite(values)
    count = there.sum(axis=0)
    total = np.where(there, values, 0.0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _largest(values_T: FloatArray) -> float | None:
    there = np.abs(values_T)[np.isfinite(values_T)]
    return float(there.max()) if there.size else None
