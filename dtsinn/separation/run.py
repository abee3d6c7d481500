"""Slices through the model, a few at a time, into files; and the sums that all else is told from.

Shape letters: S slice, K tracer (2), T frame, R region, Y X pixel, P pixel of a slice, J tile,
L level of activity.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dtsinn.core.progress import Progress
from dtsinn.kinetics.conservation import body_tiles
from dtsinn.separation.images import Image
from dtsinn.separation.look import LEVELS, ReadSlices

FloatArray = npt.NDArray[np.float64]
Separate = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]

BATCH_PIXELS = 2 * 128 * 128
"""Pixels of the slices that go through the model together: more are no faster (measured)."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Totals:
    """What was summed up on the way; all activity in kBq/mL, on the model's frames.

    Attributes:
        body_voxels: How many there are.
        mixture_T: Mean of the mixture over the body.
        tracers_KT: The same of the answers.
        negative_KT: Sum of what is below 0, over the sum of all absolute values, of the body.
        tile_JT: [J, T] sum of the answers over the mixture, less 1, of tiles of the body.
        regions_R: Labels of the regions that are there.
        voxels_R: How many voxels each has.
        slices_R: In how many slices it lies.
        mixture_RT: Mean of the mixture by region.
        tracers_KRT: The same of the answers.
        level_3LT: Means of the mixture and both answers over the levels of the body.
        rough_3LT: Mean square of what a voxel differs by from the mean of its four neighbours in
            the slice, of the same three; outside the body first, then by level.
        coarse_LT: The same of the mixture, with neighbours two voxels away.
    """

    body_voxels: int
    mixture_T: FloatArray
    tracers_KT: FloatArray
    negative_KT: FloatArray
    tile_JT: FloatArray
    regions_R: npt.NDArray[np.intp]
    voxels_R: npt.NDArray[np.intp]
    slices_R: npt.NDArray[np.intp]
    mixture_RT: FloatArray
    tracers_KRT: FloatArray
    level_3LT: FloatArray
    rough_3LT: FloatArray
    coarse_LT: FloatArray

    def sections(self, voxel_mm: tuple[float, float]) -> FloatArray:
        """[R] mean area of each region in the slices that it lies in, mm2."""
        return np.asarray(self.voxels_R / self.slices_R * float(np.prod(voxel_mm)))


def separate_slices(
    read: ReadSlices,
    separate: Separate,
    tracers: Sequence[Image],
    residual: Image,
    level_SYX: npt.NDArray[np.uint8],
    labels_SYX: npt.NDArray[np.uint8],
    progress: Progress,
) -> Totals:
    """Separate all slices.

    Args:
        read: Gives mixtures [S, T, Y, X] in kBq/mL.
        separate: From mixtures [B, T, Y, X] to tracers [B, 2, T, Y, X], float32.
        tracers: Where the answers go, by order of injection.
        residual: Where the mixture less their sum goes.
        level_SYX: Levels of activity in the body; 0 is outside.
        labels_SYX: Regions; 0 is none.
        progress: Told of every batch.

    Raises:
        RunError: The model fails.
    """
    slices, Y, X = level_SYX.shape
    step = max(1, BATCH_PIXELS // (Y * X))
    parts = [slice(start, min(start + step, slices)) for start in range(0, slices, step)]
    sums = _Sums(residual.frames, Y * X, int(labels_SYX.max()) + 1)

    def load(which: slice) -> npt.NDArray[np.float32]:
        return read(which).astype(np.float32, copy=False)

    def keep(which: slice, mixture_STYX: Any, tracers_SKTYX: Any) -> None:
        sum_STYX = tracers_SKTYX[:, 0] + tracers_SKTYX[:, 1]
        for k, image in enumerate(tracers):
            image.fill(which, tracers_SKTYX[:, k])
        for at, s in enumerate(range(which.start, which.stop)):
            sums.add(mixture_STYX[at], tracers_SKTYX[at], sum_STYX[at], level_SYX[s], labels_SYX[s])
        residual.fill(which, np.subtract(mixture_STYX, sum_STYX, out=sum_STYX))

    # While the model works on some slices, those before are kept and those after are read.
    with ThreadPoolExecutor(1) as reader, ThreadPoolExecutor(1) as keeper:
        loading, keeping = reader.submit(load, parts[0]), None
        for number, which in enumerate(parts):
            progress("separating slices", which.start, slices)
            mixture_STYX = loading.result()
            if number + 1 < len(parts):
                loading = reader.submit(load, parts[number + 1])
            tracers_SKTYX = separate(mixture_STYX)
            if keeping is not None:
                keeping.result()
            keeping = keeper.submit(keep, which, mixture_STYX, tracers_SKTYX)
        if keeping is not None:
            keeping.result()
    progress("separating slices", slices, slices)
    return sums.totals(level_SYX)


def sum_up(
    mixture_STYX: npt.NDArray[np.float32],
    tracers_SKTYX: npt.NDArray[np.float32],
    level_SYX: npt.NDArray[np.uint8],
    labels_SYX: npt.NDArray[np.uint8],
) -> Totals:
    """What :func:`separate_slices` sums up, of a scan that lies in memory whole."""
    slices, frames, Y, X = mixture_STYX.shape
    sums = _Sums(frames, Y * X, int(labels_SYX.max()) + 1)
    for s in range(slices):
        tracers_KTYX = tracers_SKTYX[s]
        sum_TYX = tracers_KTYX[0] + tracers_KTYX[1]
        sums.add(mixture_STYX[s], tracers_KTYX, sum_TYX, level_SYX[s], labels_SYX[s])
    return sums.totals(level_SYX)


class _Sums:
    """Sums over slices; an axis of 3 is mixture and tracers, one of 2 mixture and their sum.

    Sums over pixels are products with masks: that takes one pass over the images, in this thread;
    those of BLAS are so small that its threads, which wait at work, cost more (measured).
    """

    def __init__(self, frames: int, pixels: int, labels: int) -> None:
        self.level_3LT = np.zeros((3, LEVELS, frames))
        self.voxels_L = np.zeros(1 + LEVELS)
        self.rough_3LT = np.zeros((3, 1 + LEVELS, frames))
        self.coarse_LT = np.zeros((1 + LEVELS, frames))
        self.negative_KT = np.zeros((2, frames))
        self.pixels_2TP = np.zeros((2, frames, pixels), np.float32)
        self.region_3RT = np.zeros((3, labels, frames))
        self.voxels_R, self.slices_R = np.zeros((2, labels), np.intp)

    def add(
        self,
        mixture_TYX: npt.NDArray[np.float32],
        tracers_KTYX: npt.NDArray[np.float32],
        sum_TYX: npt.NDArray[np.float32],
        level_YX: npt.NDArray[np.uint8],
        labels_YX: npt.NDArray[np.uint8],
    ) -> None:
        """Add a slice."""
        frames = len(mixture_TYX)
        level_P, labels_P = level_YX.ravel(), labels_YX.ravel()
        body_P = (level_P > 0).astype(np.float32)
        present = np.flatnonzero(np.bincount(labels_P, minlength=1))
        present = present[present > 0]
        masks = [level_P == level for level in range(1 + LEVELS)]
        masks += [labels_P == label for label in present]
        mask_MP = np.stack(masks).astype(np.float32)
        level_LP = mask_MP[: 1 + LEVELS]
        for place, image_TYX in enumerate((mixture_TYX, *tracers_KTYX)):
            sum_MT = _sum_masked(mask_MP, image_TYX.reshape(frames, -1))
            self.level_3LT[place] += sum_MT[1 : 1 + LEVELS]
            self.region_3RT[place, present] += sum_MT[1 + LEVELS :]
            self.rough_3LT[place] += _sum_masked(level_LP, _square_difference(image_TYX, 1))
        self.coarse_LT += _sum_masked(level_LP, _square_difference(mixture_TYX, 2))
        voxels_M = mask_MP.sum(axis=1)
        self.voxels_L += voxels_M[: 1 + LEVELS]
        self.voxels_R[present] += voxels_M[1 + LEVELS :].astype(np.intp)
        self.slices_R[present] += 1
        for k, tracer_TYX in enumerate(tracers_KTYX):
            below_TP = np.minimum(tracer_TYX, 0).reshape(frames, -1)
            self.negative_KT[k] -= _sum_masked(body_P[None], below_TP)[0]
        for place, image_TYX in enumerate((mixture_TYX, sum_TYX)):
            self.pixels_2TP[place] += image_TYX.reshape(frames, -1) * body_P

    def totals(self, level_SYX: npt.NDArray[np.uint8]) -> Totals:
        """Means of what was added."""
        count_YX = (level_SYX > 0).sum(axis=0)
        voxels = int(count_YX.sum())
        body_3T = self.level_3LT.sum(axis=1)
        mean_3T = body_3T / max(voxels, 1)
        tiles = body_tiles(count_YX[None])
        tile_J2T = np.array(
            [self.pixels_2TP[:, :, tile].sum(axis=2, dtype=np.float64) for tile in tiles]
        ).reshape(len(tiles), *self.pixels_2TP.shape[:2])
        regions = np.flatnonzero(self.voxels_R)
        mean_3RT = self.region_3RT[:, regions] / self.voxels_R[regions][:, None]
        return Totals(
            body_voxels=voxels,
            mixture_T=mean_3T[0],
            tracers_KT=mean_3T[1:],
            # All of |x| is the sum of x, and twice what is below 0.
            negative_KT=_ratio(self.negative_KT, body_3T[1:] + 2 * self.negative_KT),
            tile_JT=_ratio(tile_J2T[:, 1], tile_J2T[:, 0]) - 1,
            regions_R=regions,
            voxels_R=self.voxels_R[regions],
            slices_R=self.slices_R[regions],
            mixture_RT=mean_3RT[0],
            tracers_KRT=mean_3RT[1:],
            level_3LT=self.level_3LT / np.maximum(self.voxels_L[1:], 1)[:, None],
            rough_3LT=self.rough_3LT / np.maximum(self.voxels_L, 1)[:, None],
            coarse_LT=self.coarse_LT / np.maximum(self.voxels_L, 1)[:, None],
        )


def _sum_masked(
    mask_MP: npt.NDArray[np.float32], image_TP: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """[M, T] sums over what each mask holds."""
    return np.asarray(np.einsum("mp,tp->mt", mask_MP, image_TP))


def _square_difference(image_TYX: npt.NDArray[np.float32], step: int) -> npt.NDArray[np.float32]:
    """[T, P] square of a pixel less the mean of four, ``step`` away; 0 at the edge."""
    found_TYX = np.zeros_like(image_TYX)
    inner, far = slice(step, -step), 2 * step
    if min(image_TYX.shape[1:]) > far:
        mean_TYX = image_TYX[:, :-far, inner] + image_TYX[:, far:, inner]
        mean_TYX += image_TYX[:, inner, :-far]
        mean_TYX += image_TYX[:, inner, far:]
        mean_TYX *= 0.25
        mean_TYX -= image_TYX[:, inner, inner]
        np.square(mean_TYX, out=found_TYX[:, inner, inner])
    return found_TYX.reshape(len(image_TYX), -1)


def _ratio(above: Any, below: Any) -> FloatArray:
    return np.asarray(np.divide(above, below, np.full(np.shape(above), np.nan), where=below > 0))
