"""Scores of one method on the subjects of a store, and how much of the other tracer leaks in.

Shape letters: N sample (slice), K tracer (2), T frame, Y X pixel, P scored voxel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dtsinn.core.config import STRICT
from dtsinn.core.protocol import Protocol
from dtsinn.data.body import body_mask, truth_of
from dtsinn.data.store import Samples, Store
from dtsinn.evaluation.score import score_subject
from dtsinn.networks.method import SeparateSubject

Floats = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What is kept of one subject; pairs are in the order of the tracers."""

    __pydantic_config__ = STRICT

    subject: str
    psnr: tuple[float, float]
    """dB"""
    ssim: tuple[float, float]
    nrmse: tuple[float, float]
    """RMS error over RMS truth, percent."""
    crosstalk: tuple[float, float]
    """See :func:`crosstalk`, percent."""
    sum_residual: float
    """RMS of the answers' sum less the mixture, over RMS of the mixture, percent."""


def score(separate: SeparateSubject, store: Store, split: str) -> list[Scores]:
    """Scores of every subject of a split.

    Raises:
        RunError: An answer is not finite.
    """
    return [_scores(samples, separate(samples), store) for samples in store.subjects(split)]


def crosstalk(samples: Samples, predicted_NKTYX: Floats, protocol: Protocol) -> tuple[float, float]:
    """How much of the other tracer is in the answer for each tracer, percent.

    The slope of the error on the true other tracer over the scored set (body, frames from the
    tracer's injection on). A constant and the true tracer itself are regressed with it: without
    them, an answer that is only too small would seem to leak, since the tracers resemble each
    other. Halving the mixture leaks 50 %.

    Raises:
        StoreError: There is no truth.
    """
    truth_NKTYX, body_NYX = truth_of(samples), body_mask(samples, protocol)
    first, second = (
        _slope(truth_NKTYX, predicted_NKTYX, body_NYX, tracer, protocol.first_frame(tracer))
        for tracer in (0, 1)
    )
    return first, second


def _slope(
    truth_NKTYX: Floats,
    predicted_NKTYX: Floats,
    body_NYX: npt.NDArray[np.bool_],
    tracer: int,
    first: int,
) -> float:
    own_P, other_P, found_P = (
        np.moveaxis(image[:, :, first:], 2, -1)[:, k][body_NYX].ravel().astype(np.float64)
        for image, k in (
            (truth_NKTYX, tracer),
            (truth_NKTYX, 1 - tracer),
            (predicted_NKTYX, tracer),
        )
    )
    regressors = np.stack((other_P, own_P, np.ones_like(own_P)))
    # Normal equations of three unknowns: quick for millions of voxels; the least-norm answer
    # where a regressor is missing.
    gram, right = regressors @ regressors.T, regressors @ (found_P - own_P)
    return float(100 * np.linalg.lstsq(gram, right, rcond=None)[0][0])


def _scores(samples: Samples, predicted_NKTYX: Floats, store: Store) -> Scores:
    one = score_subject(samples, predicted_NKTYX, store.header)
    return Scores(
        subject=one.subject,
        psnr=one.psnr,
        ssim=one.ssim,
        nrmse=(100 * one.nrmse[0], 100 * one.nrmse[1]),
        crosstalk=crosstalk(samples, predicted_NKTYX, store.header.protocol),
        sum_residual=100 * one.sum_residual,
    )
