"""Slices through the model, a few at a time, into files; and the sums that all else is told from.

Shape letters: S slice, K tracer (2), T frame, R region, Y X pixel, P pixel of a slice, J tile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    sums = _Sums(residual.frames, Y * X, int(labels_SYX.max()) + 1)
    for start in range(0, slices, step):
        progress("separating slices", start, slices)
        which = slice(start, min(start + step, slices))
        mixture_STYX = np.nan_to_num(read(which)).astype(np.float32)
        tracers_SKTYX = separate(mixture_STYX)
        for k, image in enumerate(tracers):
            image.fill(which, tracers_SKTYX[:, k])
        residual.fill(which, mixture_STYX - tracers_SKTYX.sum(axis=1))
        sums.add(mixture_STYX, tracers_SKTYX, body_SYX[which], labels_SYX[which])
    progress("separating slices", slices, slices)
    return sums.totals(body_SYX)


class _Sums:
    """Sums over slices; an axis of 3 is mixture and tracers, one of 2 mixture and their sum."""

    def __init__(self, frames: int, pixels: int, labels: int) -> None:
        self.body_3T = np.zeros((3, frames))
        self.negative_KT, self.absolute_KT = np.zeros((2, frames)), np.zeros((2, frames))
        self.pixels_2TP = np.zeros((2, frames, pixels), np.float32)
        self.region_3RT = np.zeros((3, labels, frames))
        self.voxels_R = np.zeros(labels, np.intp)

    def add(
        self,
        mixture_STYX: npt.NDArray[np.float32],
        tracers_SKTYX: npt.NDArray[np.float32],
        body_SYX: npt.NDArray[np.bool_],
        labels_SYX: npt.NDArray[np.uint8],
    ) -> None:
        """Add slices."""
        for mixture, tracers, body, labels in zip(
            mixture_STYX, tracers_SKTYX, body_SYX, labels_SYX, strict=True
        ):
            all_3TP = np.concatenate([mixture[None], tracers]).reshape(3, len(mixture), -1)
            inside = np.flatnonzero(body)
            own_3TP = all_3TP[:, :, inside]
            self.body_3T += own_3TP.sum(axis=2, dtype=np.float64)
            self.negative_KT -= np.minimum(own_3TP[1:], 0).sum(axis=2, dtype=np.float64)
            self.absolute_KT += np.abs(own_3TP[1:]).sum(axis=2, dtype=np.float64)
            self.pixels_2TP[0][:, inside] += own_3TP[0]
            self.pixels_2TP[1][:, inside] += own_3TP[1] + own_3TP[2]
            flat = labels.ravel()
            for label in np.unique(flat[flat > 0]):
                where = np.flatnonzero(flat == label)
                self.region_3RT[:, label] += all_3TP[:, :, where].sum(axis=2, dtype=np.float64)
                self.voxels_R[label] += len(where)

    def totals(self, body_SYX: npt.NDArray[np.bool_]) -> Totals:
        """Means of what was added."""
        count_YX = body_SYX.sum(axis=0)
        voxels = int(count_YX.sum())
        mean_3T = self.body_3T / max(voxels, 1)
        tiles = body_tiles(count_YX[None])
        tile_J2T = np.array(
            [self.pixels_2TP[:, :, tile].sum(axis=2, dtype=np.float64) for tile in tiles]
        ).reshape(len(tiles), 2, -1)
        regions = np.flatnonzero(self.voxels_R)
        mean_3RT = self.region_3RT[:, regions] / self.voxels_R[regions][:, None]
        return Totals(
            body_voxels=voxels,
            mixture_T=mean_3T[0],
            tracers_KT=mean_3T[1:],
            negative_KT=_ratio(self.negative_KT, self.absolute_KT),
            tile_JT=_ratio(tile_J2T[:, 1], tile_J2T[:, 0]) - 1,
            regions_R=regions,
            voxels_R=self.voxels_R[regions],
            mixture_RT=mean_3RT[0],
            tracers_KRT=mean_3RT[1:],
        )


def _ratio(above: Any, below: Any) -> FloatArray:
    return np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below > 0)
