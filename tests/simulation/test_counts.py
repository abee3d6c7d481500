"""Expected counts: fractions, the shapes of scatter and randoms, and the Poisson law."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from dtsinn.simulation.scanner.counts import ExpectedCounts, expected_counts
from dtsinn.simulation.scanner.scanner import load_scanner

GE = load_scanner("ge-dls")
BINS, VIEWS = 81, 12


def peaked_trues() -> np.ndarray:
    """[L, T] a narrow profile, moving with the view; frame 0 is empty, frame 2 is twice frame 1."""
    centre = 40 + 15 * np.cos(np.linspace(0, np.pi, VIEWS))
    profile = np.exp(-(((np.arange(BINS) - centre[:, None]) / 3.0) ** 2)).reshape(-1, 1)
    return profile * np.array([0.0, 100.0, 200.0])


def test_the_fractions_of_scatter_and_randoms_are_the_scanners_in_every_frame() -> None:
    trues = peaked_trues()
    only_scatter = dataclasses.replace(GE, randoms_fraction=0.0)
    scatter = expected_counts(only_scatter, trues, BINS).background
    randoms = expected_counts(GE, trues, BINS).background - scatter
    T, S, R = (part.sum(axis=0) for part in (trues, scatter, randoms))
    np.testing.assert_allclose(S[1:] / (T + S)[1:], 0.289, rtol=1e-6)
    np.testing.assert_allclose(R[1:] / (T + S + R)[1:], 0.02, rtol=1e-6)
    assert S[0] == R[0] == 0.0


def test_scatter_is_smooth_and_follows_the_activity_while_randoms_are_uniform() -> None:
    trues = peaked_trues()
    scatter = expected_counts(dataclasses.replace(GE, randoms_fraction=0.0), trues, BINS).background
    views = scatter[:, 1].reshape(VIEWS, BINS)
    assert np.abs(np.diff(views, axis=1)).max() < 0.02 * views.max()
    assert views.min() > 0.1 * views.max()
    assert views[0].argmax() > 45
    assert views[-1].argmax() < 35
    randoms = expected_counts(GE, trues, BINS).background - scatter
    np.testing.assert_allclose(randoms[:, 2], randoms[0, 2], rtol=1e-9)


def test_without_fractions_there_are_only_trues() -> None:
    clean = dataclasses.replace(GE, scatter_fraction=0.0, randoms_fraction=0.0)
    assert not expected_counts(clean, peaked_trues(), BINS).background.any()


def test_counts_are_poisson_distributed() -> None:
    shape = (40_000, 2)
    trues = np.broadcast_to([3.0, 200.0], shape).copy()
    counts = ExpectedCounts(trues=trues, background=trues / 2).draw(np.random.default_rng(0))
    assert counts.mean(axis=0) == pytest.approx([4.5, 300.0], rel=0.01)
    assert counts.var(axis=0) == pytest.approx([4.5, 300.0], rel=0.03)
    np.testing.assert_array_equal(counts, counts.round())
