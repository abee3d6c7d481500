"""Measures of how well two arrays agree."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def relative_error(found: NDArray[Any], wanted: NDArray[Any]) -> float:
    """Norm of the difference over the norm of ``wanted``, whole arrays in float64."""
    norm = float(np.linalg.norm(wanted.astype(np.float64)))
    return float(np.linalg.norm(found.astype(np.float64) - wanted)) / max(norm, 1e-30)
