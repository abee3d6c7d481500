"""Slices through the model, a few at a time, into files; and the sums that all else is told from.

Shape letters: S slice, K tracer (2), T frame, R region, Y X pixel, P pixel of a slice, J tile.
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
from dtsinn.separation.look import ReadSlices

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
        mixture_RT: Mean of the mixture by region.
        tracers_KRT: The same of the answers.
    """

    body_voxels: int
    mixture_T: FloatArray
    tracers_KT: FloatArray
    negative_KT: FloatArray
    tile_JT: FloatArray
    regions_R: npt.NDArray[np.intp]
    voxels_R: npt.NDArray[np.intp]
    mixture_RT: FloatArray
    tracers_KRT: FloatArray


def separate_slices(
    read: ReadSlices,
    separate: Separate,
    tracers: Sequence[Image],
    residual: Image,
    body_SYX: npt.NDArray[np.bool_],
    labels_SYX: npt.NDArray[np.uint8],
    progress: Progress,
) -> Totals:
    """Separate all slices.

    Args:
        read: Gives mixtures [S, T, Y, X] in kBq/mL.
        separate: From mixtures [B, T, Y, X] to tracers [B, 2, T, Y, X], float32.
        tracers: Where the answers go, by order of injection.
        residual: Where the mixture less their sum goes.
        body_SYX: The body.
        labels_SYX: Regions; 0 is none.
        progress: Told of every batch.

    Raises:
        RunError: The model fails.
    """
    slices, Y, X = body_SYX.shape
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
            sums.add(mixture_STYX[at], tracers_SKTYX[at], sum_STYX[at], body_SYX[s], labels_SYX[s])
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
    return sums.totals(body_SYX)


class _Sums:
    """Sums over slices; an axis of 3 is mixture and tracers, one of 2 mixture and their sum.

    Sums over pixels are products with masks: that takes one pass over the images.
    """

    def __init__(self, frames: int, pixels: int, labels: int) -> None:
        self.body_3T = np.zeros((3, frames))
        self.negative_KT = np.zeros((2, frames))
        self.pixels_2TP = np.zeros((2, frames, pixels), np.float32)
        self.region_3RT = np.zeros((3, labels, frames))
        self.voxels_R = np.zeros(labels, np.intp)

    def add(
        self,
        mixture_TYX: npt.NDArray[np.float32],
        tracers_KTYX: npt.NDArray[np.float32],
        sum_TYX: npt.NDArray[np.float32],
        body_YX: npt.NDArray[np.bool_],
        labels_YX: npt.NDArray[np.uint8],
    ) -> None:
        """Add a slice."""
        frames = len(mixture_TYX)
        body_P, labels_P = body_YX.ravel().astype(np.float32), labels_YX.ravel()
        present = np.flatnonzero(np.bincount(labels_P, minlength=1))
        present = present[present > 0]
        masks = [body_P, *((labels_P == label).astype(np.float32) for label in present)]
        mask_PM = np.stack(masks, axis=1)
        images = (mixture_TYX, *tracers_KTYX)
        for place, image_TYX in enumerate(images):
            sum_TM = image_TYX.reshape(frames, -1) @ mask_PM
            self.body_3T[place] += sum_TM[:, 0]
            self.region_3RT[place, present] += sum_TM[:, 1:].T
        self.voxels_R[present] += mask_PM[:, 1:].sum(axis=0).astype(np.intp)
        for k, tracer_TYX in enumerate(tracers_KTYX):
            self.negative_KT[k] -= np.minimum(tracer_TYX, 0).reshape(frames, -1) @ body_P
        for place, image_TYX in enumerate((mixture_TYX, sum_TYX)):
            self.pixels_2TP[place] += image_TYX.reshape(frames, -1) * body_P

    def totals(self, body_SYX: npt.NDArray[np.bool_]) -> Totals:
        """Means of what was added."""
        count_YX = body_SYX.sum(axis=0)
        voxels = int(count_YX.sum())
        mean_3T = self.body_3T / max(voxels, 1)
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
            negative_KT=_ratio(self.negative_KT, self.body_3T[1:] + 2 * self.negative_KT),
            tile_JT=_ratio(tile_J2T[:, 1], tile_J2T[:, 0]) - 1,
            regions_R=regions,
            voxels_R=self.voxels_R[regions],
            mixture_RT=mean_3RT[0],
            tracers_KRT=mean_3RT[1:],
        )


def _ratio(above: Any, below: Any) -> FloatArray:
    return np.asarray(np.divide(above, below, np.full(np.shape(above), np.nan), where=below > 0))
