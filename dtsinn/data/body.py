"""The body in a subject's images, with or without labels.

Shape letters: N sample (slice), T frame, Y X pixel.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

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
