"""Ridge regression from sums: products of features and outputs over pixels, and their solution.

Shape letters: B batch, C channel, Y X pixel, P pixel of the body, F feature, O output.
"""

from __future__ import annotations

import torch
from torch import Tensor

PIXELS = 4096
"""Pixels that are summed at once, which bounds the memory (uncited)."""
LEAST_NORM = 1e-6
"""Least root of a feature's sum of squares: one that is nowhere gets no weight."""


def sum_products(values_BCYX: Tensor, weight_BYX: Tensor) -> Tensor:
    """[C, C] products of all channels, in double precision, over pixels that weigh anything."""
    size = values_BCYX.shape[1]
    sums = torch.zeros(size, size, dtype=torch.float64)
    inside_BYX = weight_BYX > 0
    parts = (values_BCYX.movedim(1, -1)[inside_BYX], weight_BYX[inside_BYX])
    for rows, weight_P in zip(*(torch.split(part, PIXELS) for part in parts), strict=True):
        exact = rows.double()
        sums += ((exact.T * weight_P.double()) @ exact).cpu()
    return sums


def solve_ridge(products: Tensor, features: int, ridge: float) -> Tensor:
    """The map [O, F] of the first channels, the features, to the others, the outputs.

    Args:
        products: [F + O, F + O], see :func:`sum_products`.
        features: F.
        ridge: Added to the diagonal of the normal equations of features of norm 1.
    """
    gram_FF, cross_FO = products[:features, :features], products[:features, features:]
    norm_F = gram_FF.diagonal().sqrt().clamp_min(LEAST_NORM)
    gram_FF = gram_FF / norm_F[:, None] / norm_F + ridge * torch.eye(features, dtype=torch.float64)
    factor = torch.linalg.cholesky(gram_FF)
    map_FO = torch.cholesky_solve(cross_FO / norm_F[:, None], factor) / norm_F[:, None]
    return map_FO.T
