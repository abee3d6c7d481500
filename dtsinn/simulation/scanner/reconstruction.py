"""The scanner bound to an image grid: activity goes in, reconstructed scans come out.

Shape letters: S slice, T frame, Y X pixel, P pixel (row by row), L line of response (LOR), subset
by subset, view by view, bin by bin.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from dtsinn.core.checks import not_negative, positive
from dtsinn.core.config import from_mapping, to_mapping
from dtsinn.core.errors import InputError
from dtsinn.data.device import check_device
from dtsinn.simulation.anatomy.fields import Float32Array
from dtsinn.simulation.input_function import FloatArray
from dtsinn.simulation.scanner.counts import ExpectedCounts, expected_counts
from dtsinn.simulation.scanner.projector import Projector, gaussian, view_angles
from dtsinn.simulation.scanner.scanner import Scanner

MM_PER_CM = 10.0
OPAQUE = 1e-12
"""Least share of photon pairs taken to leave a body, so that one may divide by it."""


class ScannerModel:
    """A scanner whose slices have one grid of pixels; building it takes a second, then keep it.

    Slices are worked on one after the other, all frames of a slice at once. So what comes out
    does not depend on how slices are grouped, and on a CPU not on the number of threads either.

    The reconstruction knows the attenuation, the expected scatter and the expected randoms, and
    uses the matrix that made the data; it does not know the resolution. There is no time of flight.

    Args:
        scanner: Geometry, scatter, randoms and reconstruction.
        size: Pixels along each edge.
        pixel_mm: Edge of a pixel.
        device: Where projections are computed, as torch names it; counts are drawn on the CPU.

    Raises:
        InputError: The grid or the device makes no sense.
    """

    def __init__(self, scanner: Scanner, size: int, pixel_mm: float, device: str = "cpu") -> None:
        positive("size of images", size, "pixels")
        positive("pixel", pixel_mm, "mm")
        check_device(device)
        self.scanner, self.size, self.pixel_mm, self.device = scanner, size, pixel_mm, device
        angles = view_angles(scanner.angles)
        self._projectors = [
            Projector(
                size, pixel_mm, scanner.bin_width_mm, angles[n :: scanner.subsets], device=device
            )
            for n in range(scanner.subsets)
        ]

    def sensitivity(
        self,
        activity_STYX: ArrayLike,
        attenuation_SYX: ArrayLike,
        frame_duration_T: ArrayLike,
        trues: float,
    ) -> FloatArray:
        """[S] counts per kBq/mL mm s that bring each slice a number of trues on average.

        Args:
            activity_STYX: kBq/mL, frame-averaged, not decay-corrected, at the scanner's resolution.
            attenuation_SYX: Linear attenuation coefficients at 511 keV, 1/cm.
            frame_duration_T: s.
            trues: Expected true coincidences per slice, over all LORs and frames.

        Returns:
            [S], 0 for a slice without activity.

        Raises:
            InputError: Arrays that do not fit together, or numbers that make no sense.
        """
        activity, attenuation, duration = self._check(
            activity_STYX, attenuation_SYX, frame_duration_T
        )
        positive("trues", trues, "counts per slice")
        result = np.zeros(len(activity))
        for s, activity_TYX in enumerate(activity):
            exposure_YX = (activity_TYX * duration[:, None, None]).sum(axis=0)
            # <a, P x> = <P'a, x>: one back-projection instead of one projection per frame.
            seen_P = self._backproject_ones(self._attenuation(attenuation[s]))
            detected = float((exposure_YX.reshape(-1) * seen_P).sum())
            if detected > 0.0:
                result[s] = trues / detected
        return result

    def acquire_and_reconstruct(
        self,
        rng: np.random.Generator,
        activity_STYX: ArrayLike,
        attenuation_SYX: ArrayLike,
        frame_duration_T: ArrayLike,
        sensitivity_S: ArrayLike,
    ) -> Float32Array:
        """[S, T, Y, X] kBq/mL, one noisy scan; never negative, exactly 0 without activity.

        Args:
            rng: Source of the Poisson noise; it is used slice by slice.
            activity_STYX: kBq/mL, frame-averaged, not decay-corrected, at the scanner's resolution.
            attenuation_SYX: Linear attenuation coefficients at 511 keV, 1/cm.
            frame_duration_T: s.
            sensitivity_S: Counts per kBq/mL mm s, see :meth:`sensitivity`.

        Raises:
            InputError: Arrays that do not fit together, or numbers that make no sense.
        """
        activity, attenuation, duration = self._check(
            activity_STYX, attenuation_SYX, frame_duration_T
        )
        sensitivity = _array("sensitivity", sensitivity_S, (len(activity),))
        result = np.zeros(activity.shape, dtype=np.float32)
        for s, activity_TYX in enumerate(activity):
            factors_L = self._attenuation(attenuation[s])
            gain_T = sensitivity[s] * duration
            expected = self._expected(activity_TYX, factors_L, gain_T)
            counts_LT = expected.draw(rng)
            result[s] = self._reconstruct(counts_LT, expected.background, factors_L, gain_T)
        return result

    def expected(
        self,
        activity_TYX: ArrayLike,
        attenuation_YX: ArrayLike,
        frame_duration_T: ArrayLike,
        sensitivity: float,
    ) -> ExpectedCounts:
        """What the scanner counts in one slice on average; see :meth:`acquire_and_reconstruct`."""
        not_negative("sensitivity", sensitivity)
        activity, attenuation, duration = self._check(
            np.asarray(activity_TYX)[None], np.asarray(attenuation_YX)[None], frame_duration_T
        )
        factors_L = self._attenuation(attenuation[0])
        return self._expected(activity[0], factors_L, sensitivity * duration)

    def reconstruct(
        self,
        counts_LT: ArrayLike,
        background_LT: ArrayLike,
        attenuation_YX: ArrayLike,
        frame_duration_T: ArrayLike,
        sensitivity: float,
    ) -> Float32Array:
        """[T, Y, X] kBq/mL from counts of one slice and the scatter and randoms expected in them.

        Raises:
            InputError: Arrays that do not fit together, or numbers that make no sense.
        """
        not_negative("sensitivity", sensitivity)
        duration = _durations(frame_duration_T)
        lines = sum(projector.lines for projector in self._projectors)
        counts = _array("counts", counts_LT, (lines, len(duration)))
        background = _array("background", background_LT, (lines, len(duration)))
        attenuation = _array("attenuation", attenuation_YX, (self.size, self.size))
        factors_L = self._attenuation(attenuation)
        return self._reconstruct(counts, background, factors_L, sensitivity * duration)

    def _expected(
        self, activity_TYX: FloatArray, factors_L: FloatArray, gain_T: FloatArray
    ) -> ExpectedCounts:
        columns = np.ascontiguousarray(activity_TYX.reshape(len(gain_T), -1).T, dtype=np.float32)
        trues_LT = self._project(columns) * factors_L[:, None] * gain_T
        return expected_counts(self.scanner, trues_LT, self._projectors[0].bins)

    def _reconstruct(
        self,
        counts_LT: NDArray[np.floating],
        background_LT: FloatArray,
        factors_L: FloatArray,
        gain_T: FloatArray,
    ) -> Float32Array:
        frames, subsets = len(gain_T), self.scanner.subsets
        per_count_T = np.divide(1.0, gain_T, out=np.zeros(frames), where=gain_T > 0.0)
        measured_LT = counts_LT * per_count_T
        background_LT = background_LT * per_count_T / factors_L[:, None]
        # A start that follows the counts makes the whole chain homogeneous in the activity.
        start_T = measured_LT.sum(axis=0) / self._backproject_ones(factors_L).sum()
        image_PT = osem(
            self._projectors,
            self._tensor(measured_LT).reshape(subsets, -1, frames),
            self._tensor(background_LT).reshape(subsets, -1, frames),
            self._tensor(factors_L).reshape(subsets, -1),
            self._tensor(np.broadcast_to(start_T, (self.size**2, frames))),
            self.scanner.iterations,
        )
        return self._postfilter(image_PT)

    def _postfilter(self, image_PT: torch.Tensor) -> Float32Array:
        """[T, Y, X] the image after the Gaussian filter, along y and then along x."""
        size = self.size
        blur = gaussian(size, self.pixel_mm, self.scanner.postfilter_fwhm_mm, self.device)
        image_YXT = (blur @ image_PT.reshape(size, -1)).reshape(size, size, -1)
        image_XYT = image_YXT.transpose(0, 1).contiguous()
        image_XYT = (blur @ image_XYT.reshape(size, -1)).reshape(size, size, -1)
        return np.ascontiguousarray(image_XYT.permute(2, 1, 0).cpu().numpy())

    def _project(self, columns_PC: Float32Array) -> FloatArray:
        """[L, C] integrals along all LORs, image's unit times mm."""
        columns = self._tensor(columns_PC)
        parts = [projector.forward(columns).cpu().numpy() for projector in self._projectors]
        return np.concatenate(parts).astype(np.float64)

    def _attenuation(self, attenuation_YX: FloatArray) -> FloatArray:
        """[L] share of the pairs of photons that leave the body along each LOR."""
        column = attenuation_YX.reshape(-1, 1).astype(np.float32)
        return np.maximum(np.exp(-self._project(column)[:, 0] / MM_PER_CM), OPAQUE)

    def _backproject_ones(self, factors_L: FloatArray) -> FloatArray:
        """[P] counts that each pixel sends to all LORs together, per kBq/mL mm s and gain."""
        lines = np.split(factors_L, self.scanner.subsets)
        parts = [
            projector.back(self._tensor(line[:, None])).cpu().numpy()[:, 0]
            for projector, line in zip(self._projectors, lines, strict=True)
        ]
        return np.asarray(np.sum(parts, axis=0, dtype=np.float64))

    def _tensor(self, array: NDArray[np.floating]) -> torch.Tensor:
        return torch.from_numpy(np.array(array, dtype=np.float32, order="C")).to(self.device)

    def _check(
        self, activity: ArrayLike, attenuation: ArrayLike, duration: ArrayLike
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        durations = _durations(duration)
        slices = np.shape(activity)[:1]
        frame = (self.size, self.size)
        return (
            _array("activity", activity, (*slices, len(durations), *frame)),
            _array("attenuation", attenuation, (*slices, *frame)),
            durations,
        )


def scanner_model(
    scanner: Scanner, size: int, pixel_mm: float, device: str = "cpu"
) -> ScannerModel:
    """The model of a scanner, built once per process and grid.

    Raises:
        InputError: A grid or device that makes no sense.
    """
    return _model(json.dumps(to_mapping(scanner)), size, pixel_mm, device)


@functools.lru_cache(maxsize=4)
def _model(scanner: str, size: int, pixel_mm: float, device: str) -> ScannerModel:
    """As :func:`scanner_model`, of a scanner as JSON: a dataclass with mappings has no hash."""
    loaded = from_mapping(Scanner, json.loads(scanner), "scanner")
    return ScannerModel(loaded, size, pixel_mm, device)


def _durations(duration_T: ArrayLike) -> FloatArray:
    frames = np.size(duration_T)
    if frames == 0:
        raise InputError("frame durations", got="none", wanted="one per frame, at least one")
    durations = _array("frame durations", duration_T, (frames,))
    if not durations.min() > 0.0:
        raise InputError("frame durations", got=durations.min(), wanted="seconds above 0")
    return durations


def _array(what: str, values: ArrayLike, shape: tuple[int, ...]) -> FloatArray:
    """Numbers of the wanted shape, all finite and at least 0."""
    array = np.asarray(values, dtype=np.float64)
    if array.shape != shape:
        raise InputError(f"shape of the {what}", got=array.shape, wanted=shape)
    if array.size and not (np.isfinite(array).all() and array.min() >= 0.0):
        worst = array[~(np.isfinite(array) & (array >= 0.0))][0]
        raise InputError(what, got=worst, wanted="finite numbers, 0 or above")
    return array


SMALLEST = 1e-20
"""Projection, kBq/mL mm, below which an LOR counts as empty: its quotient would overflow."""


def osem(
    projectors: Sequence[Projector],
    measured_NLT: torch.Tensor,
    background_NLT: torch.Tensor,
    attenuation_NL: torch.Tensor,
    start_PT: torch.Tensor,
    iterations: int,
) -> torch.Tensor:
    """Images whose expected counts resemble the measured ones (Hudson and Larkin 1994).

    With counts y = c (a P x + b), c a frame's counts per kBq/mL mm and a an LOR's attenuation,
    the update over a subset is x <- x / (P'a) * P'(a y / (c a P x + c b)). Its quotient is the
    same as (y / c) / (P x + b / a), whose parts do not change: they are what goes in here.

    Args:
        projectors: [N] of the subsets, in the order in which they are used.
        measured_NLT: Counts over c, kBq/mL mm.
        background_NLT: Expected scatter and randoms over c and a, kBq/mL mm.
        attenuation_NL: Factors a, above 0 and up to 1.
        start_PT: Positive first guess, kBq/mL.
        iterations: Over all subsets.

    Returns:
        [P, T] kBq/mL, never negative.
    """
    image_PT = start_PT
    weights_NP1 = [
        projector.back(a[:, None]).reciprocal_()
        for projector, a in zip(projectors, attenuation_NL, strict=True)
    ]
    for _ in range(iterations):
        for subset, projector in enumerate(projectors):
            expected_LT = projector.forward(image_PT).add_(background_NLT[subset])
            ratio_LT = torch.where(expected_LT > SMALLEST, measured_NLT[subset] / expected_LT, 0.0)
            image_PT = image_PT * projector.back(ratio_LT).mul_(weights_NP1[subset])
    return image_PT
