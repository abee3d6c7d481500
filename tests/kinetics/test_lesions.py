"""Lesions: contrast that is kept, lost to noise, or strays into the other tracer."""

from __future__ import annotations

import numpy as np
import pytest

from dtsinn.core.protocol import load_protocol
from dtsinn.core.seeds import generator
from dtsinn.data.store import Samples
from dtsinn.kinetics.curves import tracer_frames
from dtsinn.kinetics.lesions import LesionScore, score_lesions

NAMES = ("outside", "frontal", "tumour", "necrosis")


def scene() -> Samples:
    """A disk with a round tumour: hot in the first tracer, and level in the second."""
    y, x = np.mgrid[:32, :32] - 15.5
    radius = np.hypot(y, x)
    labels = (radius < 15).astype(np.uint8)
    labels[radius < 4] = 2
    labels[radius < 1.5] = 3
    uptake = np.array([[0, 10.0, 30.0, 2.0], [0, 20.0, 20.0, 20.0]])[:, labels]
    p1 = load_protocol("p1")
    truth = np.repeat(uptake[:, None], p1.frames, axis=1).astype(np.float32)[None]
    return Samples(
        index_N=np.arange(1),
        subject_N=np.array(["s"], dtype=object),
        slice_N=np.zeros(1),
        mixture_NTYX=truth.sum(axis=1),
        tracers_NKTYX=truth,
        regions_NYX=labels[None],
    )


def scored(samples: Samples, answer: np.ndarray) -> list[LesionScore | None]:
    protocol = load_protocol("p1")
    frames = [tracer_frames(protocol, k, 1e12) for k in (0, 1)]
    return score_lesions(samples, answer, frames, (20.0, 20.0), NAMES)


def test_the_truth_recovers_all_contrast_and_has_no_cross_talk() -> None:
    samples = scene()
    truth = samples.tracers_NKTYX
    assert truth is not None
    first, second = scored(samples, truth)
    assert first is not None
    assert second is not None
    assert first.contrast_recovery == pytest.approx(1.0)
    assert second.contrast_recovery is None  # there is no contrast to recover
    assert second.cross_talk == pytest.approx(0.0, abs=1e-6)
    assert first.cross_talk is None


def test_contrast_that_strays_is_cross_talk_of_the_other() -> None:
    samples = scene()
    truth = samples.tracers_NKTYX
    assert truth is not None
    answer = truth.copy()
    tumour = samples.regions_NYX == 2
    for frame in range(answer.shape[2]):
        answer[:, 0, frame][tumour] -= 5.0  # a quarter of the contrast of 20
        answer[:, 1, frame][tumour] += 5.0
    noise = generator(1, "noise").normal(0, 2.0, answer.shape[-2:]).astype(np.float32)
    first, second = scored(samples, answer + noise)
    assert first is not None
    assert second is not None
    assert first.contrast_recovery == pytest.approx(0.75, abs=0.05)
    assert second.cross_talk == pytest.approx(0.25, abs=0.05)
    assert first.contrast_to_noise == pytest.approx(15 / 2, rel=0.2)


def test_a_subject_without_lesions_has_no_score() -> None:
    samples = scene()
    labels = samples.regions_NYX
    assert labels is not None
    labels[labels > 1] = 1
    assert scored(samples, samples.tracers_NKTYX) == [None, None]  # type: ignore[arg-type]
