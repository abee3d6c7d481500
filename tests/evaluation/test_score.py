"""Scores of subjects: one way to the PSNR, and answers that are refused."""

from __future__ import annotations

import numpy as np
import pytest

from dtsinn.core.errors import RunError
from dtsinn.evaluation.score import halve, psnr_of_subjects, score_subjects


def test_training_and_evaluation_see_the_same_psnr(scene):
    quick = psnr_of_subjects(halve, scene, "val")
    full = score_subjects(halve, scene, "val")
    assert [score.subject for score in full] == list(quick) == ["s0", "s1", "s2"]
    for score in full:
        assert score.psnr == quick[score.subject]
        assert score.mean_psnr == pytest.approx(np.mean(score.psnr))
    assert psnr_of_subjects(halve, scene, "test") == {}


def test_halves_are_equal_and_sum_to_the_mixture(samples):
    halves = halve(samples.mixture_NTYX)
    assert halves.dtype == np.float32
    np.testing.assert_array_equal(halves[:, 0], halves[:, 1])
    np.testing.assert_array_equal(halves.sum(axis=1), samples.mixture_NTYX)


def test_a_score_carries_every_metric_by_name(scene):
    score = score_subjects(halve, scene, "val")[0]
    assert set(score.regional_bias) == {"fmz", "fdg"}
    assert set(score.regional_bias["fmz"]) == {"white", "frontal", "putamen"}
    assert score.before_injection[0] == 0
    assert score.before_injection[1] > 1  # half of the first tracer, where nothing should be
    assert score.sum_residual == 0
    assert 0 < min(score.ssim) < max(score.ssim) < 1


def test_an_answer_that_is_not_finite_is_an_error_that_names_the_subject(scene):
    def diverged(mixture):
        return np.full_like(halve(mixture), np.nan)

    assert np.isnan(psnr_of_subjects(diverged, scene, "val")["s0"]).all()
    with pytest.raises(RunError, match="subject 's0' is not finite"):
        score_subjects(diverged, scene, "val")
