"""Lesions: how much of their contrast an answer keeps, and how much of it strays.

Shape letters: N sample (slice), K tracer (2), T frame, Y X pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dtsinn.data.store import Samples
from dtsinn.kinetics.conservation import Images
from dtsinn.kinetics.curves import TracerFrames

LESIONS = ("tumour", "lesion")
"""Names of regions that are lesions; a necrosis in it is neither lesion nor background."""
NECROSIS = "necrosis"
FEWEST = 8
"""Pixels of a lesion and of its background, at least (uncited)."""
RING = (2, 4)
"""Pixels around a lesion that are left out, and those up to which is its background (uncited)."""
LEAST_CONTRAST = 0.05
"""Contrast over the background below which there is none to recover (uncited)."""


@dataclass(frozen=True, kw_only=True)
class LesionScore:
    """Lesions of one subject, all together, in one tracer's late image."""

    contrast_recovery: float | None
    """Contrast (lesion minus background) of the answer over the true one; 1 is best. None where
    the true contrast is under 5 % of the background."""
    contrast_to_noise: float
    """Contrast of the answer over the standard deviation of its background."""
    true_contrast_to_noise: float
    """The same of the true image: its background differs by anatomy."""
    cross_talk: float | None
    """Error of this tracer's contrast over the true contrast of the other tracer, same unit: what
    of the other's lesion shows here; 0 is best. None where the other has no contrast."""


def score_lesions(
    samples: Samples,
    predicted_NKTYX: Images,
    frames: Sequence[TracerFrames | None],
    starts_min: Sequence[float],
    names: Sequence[str],
) -> list[LesionScore | None]:
    """Score both tracers of one subject; None for each where there is no lesion.

    The late image is the mean over time, decay-corrected, from the read-out's start; where no
    frame is that late, of all frames.

    Args:
        samples: All slices, with truth and regions.
        predicted_NKTYX: The answer, kBq/mL.
        frames: Of both tracers.
        starts_min: Start of both read-outs, min after the injection.
        names: Of the labels.
    """
    lesion_NYX, ring_NYX = _masks(samples, names)
    if samples.tracers_NKTYX is None or min(lesion_NYX.sum(), ring_NYX.sum()) < FEWEST:
        return [None, None]
    found: list[tuple[float, float, float]] = []
    true: list[tuple[float, float, float]] = []
    for k, (own, start) in enumerate(zip(frames, starts_min, strict=True)):
        if own is None:
            return [None, None]
        late = own.late(start)
        late = slice(0, own.duration_T.size) if late.start == late.stop else late
        weight_T = (own.correction_T * own.duration_T)[late] / own.duration_T[late].sum()
        for images, into in ((predicted_NKTYX, found), (samples.tracers_NKTYX, true)):
            image_NYX = np.einsum("ntyx,t->nyx", images[:, k, own.first :][:, late], weight_T)
            inside, around = image_NYX[lesion_NYX], image_NYX[ring_NYX]
            into.append((inside.mean() - around.mean(), around.mean(), around.std()))
    scores: list[LesionScore | None] = []
    for k in (0, 1):
        contrast, _, noise = found[k]
        wanted, level, anatomy = true[k]
        other, other_level, _ = true[1 - k]
        has, other_has = (
            abs(value) > LEAST_CONTRAST * abs(base)
            for value, base in ((wanted, level), (other, other_level))
        )
        scores.append(
            LesionScore(
                contrast_recovery=float(contrast / wanted) if has else None,
                contrast_to_noise=float(contrast / max(noise, np.finfo(float).tiny)),
                true_contrast_to_noise=float(wanted / max(anatomy, np.finfo(float).tiny)),
                cross_talk=float((contrast - wanted) / other) if other_has else None,
            )
        )
    return scores


def _masks(samples: Samples, names: Sequence[str]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """[N, Y, X] the lesions, and the body around them."""
    from scipy.ndimage import binary_dilation  # slow to import, and few phantoms have lesions

    labels = samples.regions_NYX
    if labels is None:
        none = np.zeros(samples.mixture_NTYX[:, 0].shape, dtype=bool)
        return none, none
    lesion = np.isin(labels, [i for i, name in enumerate(names) if name in LESIONS])
    if not lesion.any():
        return lesion, lesion
    spared = lesion | np.isin(labels, [i for i, name in enumerate(names) if name == NECROSIS])
    disk = np.array([[[0, 1, 0], [1, 1, 1], [0, 1, 0]]], dtype=bool)  # in a slice
    near, far = (binary_dilation(spared, disk, iterations=steps) for steps in RING)
    return lesion, far & ~near & (labels > 0)
