"""OSEM: ordered-subset expectation maximisation of counts with a known background.

Shape letters: N subset, P pixel, L line of response (LOR) of a subset, T frame.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from dtsinn.simulation.scanner.projector import Projector

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
