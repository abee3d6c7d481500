"""The truth, the body and the regions in a subject's images.

Shape letters: N sample (slice), T frame, Y X pixel.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from dtsinn.core.errors import StoreError
from dtsinn.core.protocol import Protocol
from dtsinn.data.store import Samples

SCALE_FLOOR_kBq_mL = 1e-3
"""Smallest scale of a sample: an empty one stays empty instead of being blown up."""
BODY_FRACTION = 0.05
"""Without labels, the body is where the mean mixture exceeds this part of the scale (uncited)."""


def body_mask(samples: Samples, protocol: Protocol) -> NDArray[np.bool_]:
    """Body pixels [N, Y, X]: labelled ones, or by the mixture where there are no labels."""
    if samples.regions_NYX is not None:
        body_NYX: NDArray[np.bool_] = samples.regions_NYX > 0
        return body_NYX
    duration_T = np.asarray(protocol.frame_duration)
    mean_NYX = np.einsum("ntyx,t->nyx", samples.mixture_NTYX, duration_T / duration_T.sum())
    scale_N = np.maximum(mean_NYX.max(axis=(1, 2)), SCALE_FLOOR_kBq_mL)
    above_NYX: NDArray[np.bool_] = mean_NYX > BODY_FRACTION * scale_N[:, None, None]
    return above_NYX


def truth_of(samples: Samples) -> NDArray[np.float32]:
    """The true tracers [N, K, T, Y, X].

    Raises:
        StoreError: The store holds none.
    """
    if samples.tracers_NKTYX is None:
        raise StoreError(
            "this store has no true tracers", wanted="a store with the array 'tracers'"
        )
    return samples.tracers_NKTYX


def mean_curves(
    tracer_NTYX: NDArray[np.float32] | NDArray[np.float64],
    regions_NYX: NDArray[np.uint8],
    names: Sequence[str],
) -> dict[str, NDArray[np.float64]]:
    """Time-activity curve [T] in kBq/mL of each region present: its mean over all slices.

    A label without a name is called after its number.
    """
    curves = {}
    for label in np.unique(regions_NYX):
        if label > 0:
            n, y, x = np.nonzero(regions_NYX == label)
            name = names[label] if label < len(names) else f"region {label}"
            curves[name] = tracer_NTYX[n, :, y, x].mean(axis=0, dtype=np.float64)
    return curves
