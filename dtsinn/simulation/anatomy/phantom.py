"""Phantoms: what every phantom promises, and the dictionary of those that exist."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from dtsinn.simulation.anatomy.anatomy import Anatomy, Region
from dtsinn.simulation.anatomy.brain import load_brain
from dtsinn.simulation.anatomy.brain_lesion import load_brain_lesion
from dtsinn.simulation.anatomy.cylinder import load_cylinder
from dtsinn.simulation.anatomy.thorax import load_thorax
from dtsinn.simulation.input_function import FloatArray


class Phantom(Protocol):
    """A body whose subjects differ.

    An implementer promises: ``draw`` is a pure function of its arguments; the same generator
    state gives the same subject at every image size; the fractions of a pixel sum to 1; building
    a phantom is cheap, whatever costs time waits for the first draw and is kept.
    """

    @property
    def regions(self) -> tuple[Region, ...]:
        """What each label stands for; the first is :data:`.anatomy.OUTSIDE`."""
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


PHANTOMS: dict[str, Callable[[], Phantom]] = {
    "brain": load_brain,
    "brain-lesion": load_brain_lesion,
    "thorax": load_thorax,
    "cylinder": load_cylinder,
}
"""Every phantom by name."""
