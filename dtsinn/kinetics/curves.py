"""Regional curves of a subject, and a tracer's frames counted from its own injection.

Shape letters: N sample (slice), K tracer (2), T frame, R region, Y X pixel, P pixel of a slice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtsinn.core.errors import InputError
from dtsinn.core.isotopes import decay_correction
from dtsinn.core.protocol import CONTIGUITY_S, Protocol

FloatArray = NDArray[np.float64]
FEWEST_PIXELS = 60
"""Pixels of a subject below which a region is left out and counted: its mean is mostly noise and
the spill of its neighbours (uncited)."""
FEWEST_SUBJECTS = 5
"""Subjects that have a region, below which it is left out of what is said of all, and counted: a
lesion of one subject would weigh as much as everybody's cortex (uncited)."""


def enough_subjects(subjects: int) -> int:
    """How many of so many subjects must have a region: five, or all where they are fewer."""
    return max(1, min(FEWEST_SUBJECTS, subjects))


@dataclass(frozen=True, kw_only=True)
class Regions:
    """The regions of one subject, each whole, over all its slices."""

    names: tuple[str, ...]
    """Of those that are read, in the order of their labels."""
    small: tuple[str, ...]
    """Of those that have too few pixels."""
    pixels_R: NDArray[np.intp]
    inside_NPR: NDArray[np.float32]
    """1 where a pixel belongs to a region."""

    @classmethod
    def of(
        cls,
        regions_NYX: NDArray[np.uint8],
        names: Sequence[str],
        *,
        fewest: int = FEWEST_PIXELS,
    ) -> Regions:
        """Find the regions of a subject; label 0 is none.

        Args:
            regions_NYX: Labels of all its slices.
            names: Of the labels; one without is called after its number.
            fewest: Pixels that a region needs.
        """
        count = np.bincount(regions_NYX.ravel(), minlength=1)
        count[0] = 0
        every = [int(label) for label in np.flatnonzero(count)]
        kept = [label for label in every if count[label] >= fewest]

        def named(labels: Sequence[int]) -> tuple[str, ...]:
            return tuple(names[i] if i < len(names) else f"region {i}" for i in labels)

        flat_NP = regions_NYX.reshape(len(regions_NYX), -1)
        return cls(
            names=named(kept),
            small=named([label for label in every if label not in kept]),
            pixels_R=count[kept],
            inside_NPR=(flat_NP[..., None] == np.array(kept, np.uint8)).astype(np.float32),
        )

    def means(self, image_NKTYX: NDArray[np.floating[Any]]) -> FloatArray:
        """[K, R, T] the mean of each region over all slices, in the images' unit."""
        slices, tracers, frames = image_NKTYX.shape[:3]
        flat = image_NKTYX.reshape(slices, tracers * frames, -1)
        total = (flat @ self.inside_NPR).sum(axis=0, dtype=np.float64)  # [K T, R]
        mean = total.reshape(tracers, frames, -1) / self.pixels_R
        return np.asarray(mean.transpose(0, 2, 1))


@dataclass(frozen=True, kw_only=True)
class TracerFrames:
    """The frames in which a tracer is there, counted from its injection.

    A frame that contains the injection begins with it: nothing of the tracer is in what was
    before, so that the activity of the whole frame stems from the rest.
    """

    first: int
    """Index of the first in the scan; all later ones follow."""
    edge_T: FloatArray
    """[T + 1] s after the injection."""
    correction_T: FloatArray
    """[T] factors that make a frame's average one that is decay-corrected to the injection."""
    half_life: float
    """s"""

    @property
    def start_T(self) -> FloatArray:  # noqa: N802 - a shape letter
        """[T] s after the injection."""
        return self.edge_T[:-1]

    @property
    def duration_T(self) -> FloatArray:  # noqa: N802 - a shape letter
        """[T] s."""
        return np.diff(self.edge_T)

    @property
    def middle_T(self) -> FloatArray:  # noqa: N802 - a shape letter
        """[T] s after the injection."""
        return (self.edge_T[1:] + self.edge_T[:-1]) / 2

    def correct(self, curve_T: FloatArray) -> FloatArray:
        """[..., T] a scan's curves [..., all frames] from the injection on, decay-corrected."""
        return np.asarray(curve_T[..., self.first :] * self.correction_T)

    def present(self, curve_T: FloatArray) -> FloatArray:
        """[..., T] what :meth:`correct` gave, as the activity present from the injection on."""
        return np.asarray(
            curve_T / decay_correction(self.start_T, self.duration_T, self.half_life, 0.0)
        )

    def late(self, start_min: float) -> slice:
        """Frames that start at or after ``start_min`` minutes."""
        after = self.start_T >= 60 * start_min - CONTIGUITY_S
        return slice(int(after.argmax()) if after.any() else after.size, after.size)

    def covers_first_pass(self, longest_s: float, until_s: float) -> bool:
        """Whether all frames that begin before ``until_s`` are at most ``longest_s`` long."""
        early = self.start_T < until_s - CONTIGUITY_S
        short = bool((self.duration_T[early] <= longest_s + CONTIGUITY_S).all())
        return short and bool(self.edge_T[-1] >= until_s)


def tracer_frames(protocol: Protocol, tracer: int, half_life: float) -> TracerFrames:
    """The frames of one tracer.

    Args:
        protocol: Frames and injections of the scan.
        tracer: 0 or 1.
        half_life: s.

    Raises:
        InputError: No frame ends after the injection.
    """
    edge = np.array(protocol.frame_edges) - protocol.injection_time[tracer]
    there = edge[1:] > CONTIGUITY_S
    if not there.any():
        raise InputError(f"protocol {protocol.name!r}", got=f"no frame of tracer {tracer + 1}")
    first = int(there.argmax())
    edge_T = np.maximum(edge[first:], 0.0)
    seen_T = np.diff(edge_T)
    part_T = np.array(protocol.frame_duration)[first:] / seen_T
    with np.errstate(over="ignore"):
        correction_T = decay_correction(edge_T[:-1], seen_T, half_life, 0.0) * part_T
    return TracerFrames(first=first, edge_T=edge_T, correction_T=correction_T, half_life=half_life)
