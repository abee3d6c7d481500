"""A first look at a scan, before anything of it is separated: its body, its size, and NaN in it.

Shape letters: S slice, T frame, Y X pixel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_fill_holes

from dtsinn.core.errors import InputError
from dtsinn.core.plausibility import check_activity, check_before_injection
from dtsinn.core.progress import Progress
from dtsinn.core.protocol import Protocol
from dtsinn.data.body import BODY_FRACTION, SCALE_FLOOR_kBq_mL
from dtsinn.separation.scan import WHERE

FloatArray = npt.NDArray[np.floating[Any]]
ReadSlices = Callable[[slice], FloatArray]
LEVELS = 4
"""Parts of the body, by mean activity."""
MOST_ACTIVITY_kBq_mL = 1e9
"""Of a voxel (uncited): more than any generator holds, and few enough that squares stay numbers."""
MOST_SORTED = 1_000_000
"""Voxels that the edges of the levels are taken from."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Body:
    """What of a scan is body: voxels whose mean over time exceeds 5 % of the brightest (uncited).

    Attributes:
        level_SYX: Quarters of the body by mean activity, from 1 on; 0 is outside.
        mean_T: Mean over the body, as if nothing else held activity, kBq/mL.
        nan_voxels: How many voxels held NaN; all of them outside.
    """

    level_SYX: npt.NDArray[np.uint8]
    mean_T: npt.NDArray[np.float64]
    nan_voxels: int = 0

    @property
    def inside_SYX(self) -> npt.NDArray[np.bool_]:  # noqa: N802 - shape letters
        """True in the body."""
        return self.level_SYX > 0


def look_at(
    read: ReadSlices,
    slices: int,
    protocol: Protocol,
    accepted: frozenset[str],
    progress: Progress,
    *,
    nan_is_air: bool,
) -> Body:
    """Read a scan once, slice by slice.

    Args:
        read: Gives [S, T, Y, X] in kBq/mL on the model's frames; NaN where the file has it.
        slices: How many there are.
        protocol: Frames and injections.
        accepted: What the user said yes to of what is unusual.
        progress: Told of every slice.
        nan_is_air: NaN outside the body counts as 0.

    Raises:
        InputError: It is no activity of such a scan, or holds NaN that is not air.
    """
    share_T = np.array(protocol.frame_duration) / sum(protocol.frame_duration)
    mean_SYX: npt.NDArray[np.float16] | None = None  # all that is kept of a scan of any size
    peaks_S = np.zeros(slices)
    nan_slices: dict[int, npt.NDArray[np.bool_]] = {}
    total_T = np.zeros(protocol.frames)
    for s in range(slices):
        progress("looking at the scan", s, slices)
        image_TYX = read(slice(s, s + 1))[0]
        missing_YX = np.isnan(image_TYX).any(axis=0)
        if missing_YX.any():
            if not nan_is_air:
                raise InputError(
                    f"{WHERE} holds NaN",
                    got=f"{int(missing_YX.sum())} voxels in slice {s} from the feet",
                    wanted="numbers",
                    hint="--nan-is-air, if they lie outside the body",
                )
            nan_slices[s] = missing_YX
            seen_TYX = ~np.isnan(image_TYX)
            image_TYX = np.where(seen_TYX, image_TYX, 0.0)
        hottest = float(np.abs(image_TYX).max())
        if hottest > MOST_ACTIVITY_kBq_mL:
            raise InputError(
                f"{WHERE}: activity",
                got=f"{hottest:.3g} kBq/mL in slice {s} from the feet",
                wanted=f"at most {MOST_ACTIVITY_kBq_mL:g} kBq/mL in any voxel",
            )
        mean_YX = np.tensordot(share_T, image_TYX, axes=1)
        if s in nan_slices:  # a voxel is body by the frames in which it is a number
            mean_YX /= np.maximum(np.tensordot(share_T, seen_TYX, axes=1), share_T.min())
        peaks_S[s] = mean_YX.max()
        if mean_SYX is None:
            mean_SYX = np.empty((slices, *mean_YX.shape), np.float16)
        mean_SYX[s] = np.minimum(mean_YX, np.finfo(np.float16).max)
        total_T += image_TYX.mean(axis=(1, 2))
    progress("looking at the scan", slices, slices)
    brightest = int(peaks_S.argmax())
    image_1TYX = np.nan_to_num(read(slice(brightest, brightest + 1)), copy=False)
    check_activity(WHERE, image_1TYX, accepted)
    ends = protocol.frame_edges[1:]
    check_before_injection(WHERE, total_T / slices, ends, protocol.injection_time[0], accepted)
    scale = max(float(peaks_S[brightest]), SCALE_FLOOR_kBq_mL)
    level_SYX = _find_levels(np.asarray(mean_SYX), np.float16(min(BODY_FRACTION * scale, 6e4)))
    for s, missing_YX in nan_slices.items():
        if (binary_fill_holes(level_SYX[s] > 0) & missing_YX).any():
            raise InputError(
                f"{WHERE}: NaN inside the body",
                got=f"{int(missing_YX.sum())} voxels with NaN in slice {s} from the feet",
                wanted="NaN in the air at most",
                hint="another reconstruction",
            )
    nan_voxels = sum(int(missing_YX.sum()) for missing_YX in nan_slices.values())
    share = max(float(np.mean(level_SYX > 0)), 1 / level_SYX.size)
    return Body(level_SYX=level_SYX, mean_T=total_T / slices / share, nan_voxels=nan_voxels)


def _find_levels(mean_SYX: npt.NDArray[np.float16], least: np.float16) -> npt.NDArray[np.uint8]:
    """Levels of all voxels above ``least``, of as many voxels each; 0 elsewhere."""
    level_SYX = (mean_SYX > least).astype(np.uint8)
    step = -(-mean_SYX.size // MOST_SORTED)
    some = mean_SYX.ravel()[::step]
    some = some[some > least].astype(np.float32)
    if some.size:
        for edge in np.quantile(some, np.arange(1, LEVELS) / LEVELS):
            level_SYX += mean_SYX > max(np.float16(edge), least)
    return level_SYX
