"""Decay correction as scanners apply it, so that it can be undone."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from dtsinn.core import decay
from dtsinn.core.errors import InputError
from dtsinn.core.isotopes import HALF_LIFE_SHARE
from dtsinn.data.importers.frames import Frames


def decay_correction(frames: Frames, half_life: float, reference: float) -> npt.NDArray[np.float64]:
    """[T] factors of the frames' averages, see :func:`dtsinn.core.decay.decay_correction`.

    Args:
        frames: On any clock.
        half_life: With which the scanner corrected, s.
        reference: Time to which it corrected, s on the same clock.
    """
    return decay.decay_correction(frames.start, frames.duration, half_life, reference)


def half_life_of_factors(frames: Frames, factor_T: npt.NDArray[np.float64], where: str) -> float:
    """The half-life, s, with which factors of a decay correction grow from first to last frame.

    Args:
        frames: On any clock.
        factor_T: [T] above 0.
        where: For messages.

    Raises:
        InputError: They do not grow, or there is one frame.
    """
    growth = float(np.log(factor_T[-1] / factor_T[0]))
    if growth <= 0:
        raise InputError(
            f"{where}: DecayCorrectionFactor",
            got=f"{factor_T[0]:.5g} in the first frame and {factor_T[-1]:.5g} in the last",
            wanted="factors that grow from frame to frame, as a decay correction does",
            hint="decay_reference and half_life in the plan, as the scanner used them",
        )
    middle_T = np.array(frames.start) + np.array(frames.duration) / 2
    half_life = float(math.log(2.0) * (middle_T[-1] - middle_T[0]) / growth)
    for _ in range(50):  # of averages over frames; the middles are a good start
        factors_T = decay_correction(frames, half_life, frames.start[0])
        half_life *= float(np.log(factors_T[-1] / factors_T[0])) / growth
    return half_life


def refuse_other_nuclide(where: str, half_life: float, nuclide: float) -> None:
    """Refuse a header whose half-life is not that of the nuclide that it names, both in s.

    Raises:
        InputError: They are more than 2 % apart.
    """
    if abs(half_life / nuclide - 1) > HALF_LIFE_SHARE:
        raise InputError(
            f"{where}: half-life and nuclide contradict each other",
            got=f"{half_life:g} s, and a nuclide of {nuclide:g} s",
            wanted="one nuclide",
            hint="half_life: SECONDS in the plan, with which the scanner decay-corrected",
        )
