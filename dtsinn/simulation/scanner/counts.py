"""Counts of one slice: the trues, scatter and randoms that a scanner expects in every frame.

Shape letters: L line of response (LOR), view by view, T frame, B bin of a view.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from dtsinn.simulation.anatomy.fields import Float32Array
from dtsinn.simulation.input_function import FloatArray
from dtsinn.simulation.scanner.projector import gaussian
from dtsinn.simulation.scanner.scanner import Scanner

SCATTER_FWHM_MM = 200.0
"""FWHM of the Gaussian that makes scatter from trues, mm (dPETSTEP, Dynamic_PETSTEP_overhead.m)."""


@dataclass(frozen=True, kw_only=True)
class ExpectedCounts:
    """What a scanner counts on average in one slice.

    Attributes:
        trues: [L, T] attenuated true coincidences.
        background: [L, T] scatter and randoms.
    """

    trues: FloatArray
    background: FloatArray

    def draw(self, rng: np.random.Generator) -> Float32Array:
        """[L, T] counts of one scan, Poisson-distributed."""
        return np.asarray(rng.poisson(self.trues + self.background), dtype=np.float32)


def expected_counts(scanner: Scanner, trues_LT: FloatArray, bins: int) -> ExpectedCounts:
    """Scatter and randoms beside given trues.

    Scatter is the trues of a view blurred by :data:`SCATTER_FWHM_MM` and scaled such that
    S / (T + S) of each frame is the scanner's; randoms are the same on all LORs, such that
    R / (T + S + R) is. Both definitions are dPETSTEP's; it blurs the image, not the view.

    Args:
        scanner: Its fractions and its bin width count.
        trues_LT: [L, T] expected trues.
        bins: B, of each view.
    """
    total_T = trues_LT.sum(axis=0)
    smooth_LT = _blurred_views(trues_LT, bins, scanner.bin_width_mm)
    ratio = scanner.scatter_fraction / (1.0 - scanner.scatter_fraction)
    area_T = smooth_LT.sum(axis=0)
    scale_T = np.divide(ratio * total_T, area_T, out=np.zeros_like(total_T), where=area_T > 0.0)
    ratio = scanner.randoms_fraction / (1.0 - scanner.randoms_fraction)
    randoms_T = ratio * (total_T + scale_T * area_T) / len(trues_LT)
    return ExpectedCounts(trues=trues_LT, background=smooth_LT * scale_T + randoms_T)


def _blurred_views(trues_LT: FloatArray, bins: int, bin_width_mm: float) -> FloatArray:
    frames = trues_LT.shape[1]
    views_VBT = trues_LT.reshape(-1, bins, frames).astype(np.float32)
    columns = torch.from_numpy(np.ascontiguousarray(views_VBT.swapaxes(0, 1)).reshape(bins, -1))
    blur = gaussian(bins, bin_width_mm, SCATTER_FWHM_MM, "cpu")
    blurred_BVT = (blur @ columns).numpy().reshape(bins, -1, frames)
    return np.asarray(blurred_BVT.swapaxes(0, 1).reshape(-1, frames), dtype=np.float64)
