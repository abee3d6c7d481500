"""Decay correction as scanners apply it, so that it can be undone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dtsinn.core import decay
from dtsinn.data.importers.frames import Frames


def decay_correction(frames: Frames, half_life: float, reference: float) -> npt.NDArray[np.float64]:
    """[T] factors of the frames' averages, see :func:`dtsinn.core.decay.decay_correction`.

    Args:
        frames: On any clock.
        half_life: With which the scanner corrected, s.
        reference: Time to which it corrected, s on the same clock.
    """
    return decay.decay_correction(frames.start, frames.duration, half_life, reference)
