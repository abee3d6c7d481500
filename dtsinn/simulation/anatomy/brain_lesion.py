"""The brain-lesion phantom: the brain phantom's subjects, each with one to three tumours."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from dtsinn.core.config import STRICT, load_config
from dtsinn.simulation.anatomy.anatomy import Anatomy, Phantom, Region
from dtsinn.simulation.anatomy.brain import BrainPhantom, load_brain
from dtsinn.simulation.anatomy.fields import Float32Array
from dtsinn.simulation.anatomy.lesions import LesionNumbers, draw_with_lesions
from dtsinn.simulation.input_function import FloatArray


@dataclass(frozen=True, kw_only=True)
class BrainLesionShape:
    """The numbers of ``configs/phantoms/brain-lesion.yaml``, which explains them."""

    __pydantic_config__ = STRICT

    sources: tuple[str, ...]
    necrosis_activity: float
    lesions: LesionNumbers


@dataclass(frozen=True, kw_only=True)
class BrainLesionPhantom(Phantom):
    """Brains with tumours; see :class:`dtsinn.simulation.anatomy.anatomy.Phantom`.

    With the same generator state, all that is not tumour is what :class:`BrainPhantom` draws.
    """

    shape: BrainLesionShape
    brain: BrainPhantom

    @property
    def regions(self) -> tuple[Region, ...]:
        """What the labels stand for: those of the brain, then tumour and necrosis."""
        necrosis = Region(name="necrosis", tissue="tumour", activity=self.shape.necrosis_activity)
        return (*self.brain.regions, Region(name="tumour", tissue="tumour"), necrosis)

    @property
    def field_of_view_mm(self) -> float:
        """Edge of the square image, mm."""
        return self.brain.field_of_view_mm

    @property
    def voxel_length_mm(self) -> float:
        """Correlation length of the voxel-wise spread of K1, mm."""
        return self.brain.voxel_length_mm

    @property
    def lesions(self) -> tuple[str, ...]:
        """Tumours."""
        return ("tumour",)

    def slice_positions(self, rng: np.random.Generator, slices: int) -> FloatArray:
        """[S] the levels that the brain phantom has, mm."""
        return self.brain.slice_positions(rng, slices)

    def draw(self, rng: np.random.Generator, slice_position: FloatArray, size: int) -> Anatomy:
        """One subject's anatomy; the first tumour is centred on one of the slices."""
        fractions = draw_with_lesions(
            rng,
            self._healthy,
            self.shape.lesions,
            self.brain.regions,
            slice_position,
            size,
            self.field_of_view_mm,
        )
        return Anatomy(fractions=fractions, slice_position=slice_position)

    def _healthy(self, rng: np.random.Generator, levels: FloatArray, size: int) -> Float32Array:
        return self.brain.draw(rng, levels, size).fractions


@functools.cache
def load_brain_lesion() -> BrainLesionPhantom:
    """The brain-lesion phantom."""
    shape = load_config(BrainLesionShape, "phantoms", "brain-lesion")
    return BrainLesionPhantom(shape=shape, brain=load_brain())
