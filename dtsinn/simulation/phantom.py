"""Phantoms: what every phantom promises, and the dictionary of those that exist."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from dtsinn.simulation.anatomy import Anatomy
from dtsinn.simulation.brain import load_brain
from dtsinn.simulation.input_function import FloatArray


class Phantom(Protocol):
    """A body whose subjects differ.

    An implementer promises: ``draw`` is a pure function of its arguments; the same generator
    state gives the same subject at every image size; the fractions of a pixel sum to 1; building
    a phantom is cheap, whatever costs time waits for the first draw and is kept.
    """

    @property
    def regions(self) -> tuple[str, ...]:
        """Names of the regions; the first is ``outside``, which holds no activity."""
        ...

    @property
    def grey(self) -> tuple[str, ...]:
        """Names of the regions that count as grey matter in calibration and reports."""
        ...

    @property
    def field_of_view_mm(self) -> float:
        """Edge of the square image, mm."""
        ...

    @property
    def voxel_length_mm(self) -> float:
        """Correlation length of the voxel-wise spread of K1, mm."""
        ...

    def slice_positions(self, rng: np.random.Generator, slices: int) -> FloatArray:
        """[S] axial levels of one subject's slices, ascending, mm; cheap."""
        ...

    def draw(self, rng: np.random.Generator, slice_position: FloatArray, size: int) -> Anatomy:
        """One subject's anatomy in axial slices of ``size`` times ``size`` pixels."""
        ...


PHANTOMS: dict[str, Callable[[], Phantom]] = {"brain": load_brain}
"""Every phantom by name."""
