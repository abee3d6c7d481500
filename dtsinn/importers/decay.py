"""What headers say of a decay correction: its factors and its nuclide."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dtsinn.core.errors import InputError
from dtsinn.core.isotopes import decay_correction, is_same_nuclide
from dtsinn.importers.frames import Frames

FACTOR_SHARE = 0.01
"""Up to which a header's factors may miss what follows from its times, as a share (uncited).
Scanners that take the middle of a frame of 10 min of 11C for its average miss by 0.5 %."""


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
        factors_T = decay_correction(frames.start, frames.duration, half_life, frames.start[0])
        half_life *= float(np.log(factors_T[-1] / factors_T[0])) / growth
    return half_life


def refuse_other_nuclide(where: str, half_life: float, nuclides: Sequence[float]) -> None:
    """Refuse a header whose half-life is that of no nuclide that it names, all in s.

    Raises:
        InputError: They are more than 2 % apart.
    """
    if nuclides and not any(is_same_nuclide(half_life, one) for one in nuclides):
        told = " and ".join(f"{one:g} s" for one in nuclides)
        several = len(nuclides) > 1
        raise InputError(
            f"{where}: half-life and nuclide contradict each other",
            got=f"{half_life:g} s, and {'nuclides' if several else 'a nuclide'} of {told}",
            wanted="the half-life of one of them" if several else "one nuclide",
            hint="half_life: SECONDS in the plan, with which the scanner decay-corrected",
        )
