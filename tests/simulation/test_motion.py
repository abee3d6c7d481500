"""Motion between frames, and stacks of contiguous slices."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from dtsinn.data.check import check_store
from dtsinn.data.store import open_store
from dtsinn.simulation.anatomy.fields import pixel_centres
from dtsinn.simulation.images import render_subject
from dtsinn.simulation.motion import draw_poses, move_images
from dtsinn.simulation.request import StudyRequest, voxel_size
from dtsinn.simulation.study import STACK, simulate
from dtsinn.simulation.subject import slice_positions

STILL = StudyRequest(subjects=2, slices=3, size=32)
PIXEL, SLICE = 4.0, 3.0


def blob(centre_zyx: tuple[float, float, float], slices: int = 27, size: int = 24) -> np.ndarray:
    """[S, 1, 1, Y, X] a Gaussian of 6 mm around a place, mm from the middle."""
    axes = (pixel_centres(slices, slices * SLICE), *[pixel_centres(size, size * PIXEL)] * 2)
    z, y, x = np.meshgrid(*axes, indexing="ij")
    apart = sum((at - c) ** 2 for at, c in zip((z, y, x), centre_zyx, strict=True))
    return np.asarray(np.exp(-apart / (2 * 6.0**2)), dtype=np.float32)[:, None, None]


def place(volume: np.ndarray) -> np.ndarray:
    """z, y, x of the centre of mass, mm."""
    weights = volume[:, 0, 0].astype(np.float64)
    axes = [
        pixel_centres(n, n * step)
        for n, step in zip(weights.shape, (SLICE, PIXEL, PIXEL), strict=True)
    ]
    grid = np.meshgrid(*axes, indexing="ij")
    return np.asarray([(at * weights).sum() / weights.sum() for at in grid])


def test_a_stack_moves_as_a_rigid_body_in_all_directions() -> None:
    shift = np.array([[0, 0, 0, 5.0, -3.0, 4.0]])  # x, y, z
    moved = move_images(blob((0, 0, 0)), shift, PIXEL, SLICE)
    np.testing.assert_allclose(place(moved), [4.0, -3.0, 5.0], atol=0.1)
    assert moved.sum() == pytest.approx(blob((0, 0, 0)).sum(), rel=1e-2)
    for axis in range(3):
        turn = np.zeros((1, 6))
        turn[0, axis] = 20.0
        start = np.array([6.0, 9.0, -7.0])
        end = place(move_images(blob(tuple(start)), turn, PIXEL, SLICE))
        kept = 2 - axis  # of z, y, x
        assert end[kept] == pytest.approx(start[kept], abs=0.2)
        away = np.delete(start, kept)
        assert np.linalg.norm(np.delete(end, kept)) == pytest.approx(np.linalg.norm(away), abs=0.2)
        cosine = np.dot(np.delete(end, kept), away) / np.dot(away, away)
        assert cosine == pytest.approx(np.cos(np.deg2rad(20.0)), abs=0.03)


def test_slices_that_lie_apart_move_in_their_own_plane() -> None:
    pose = np.array([[5.0, 5.0, 0.0, 4.0, 2.0, 9.0]])
    truth = blob((0, 0, 0))
    moved = move_images(truth, pose, PIXEL, None)
    np.testing.assert_allclose(place(moved)[1:], [2.0, 4.0], atol=0.1)
    np.testing.assert_allclose(
        moved.sum(axis=(1, 2, 3, 4)), truth.sum(axis=(1, 2, 3, 4)), rtol=2e-2
    )


def test_poses_drift_to_the_spread_that_was_asked_for() -> None:
    middle = np.array([10.0, 600.0, 3000.0, 5399.0])
    poses = np.array(
        [draw_poses(np.random.default_rng(seed), middle, 5400.0, 3.0) for seed in range(400)]
    )
    np.testing.assert_allclose(poses[:, -1].std(axis=0), 3.0, rtol=0.12)
    assert (poses[:, 0].std(axis=0) < 0.2).all()


def test_the_truth_moves_with_the_subject_and_the_labels_lie_still() -> None:
    """What a scanner would show of one tracer alone: the same poses, in both tracers' frames."""
    moving = dataclasses.replace(STILL, motion=6.0, noise="low")
    still, moved = (render_subject(one, 1) for one in (STILL, moving))
    np.testing.assert_array_equal(still.regions, moved.regions)
    assert moved.tracers.min() >= 0
    change = np.abs(moved.tracers - still.tracers).sum(axis=(0, 3, 4))
    relative = change / np.maximum(still.tracers.sum(axis=(0, 3, 4)), 1e-9)
    assert relative[0, 0] < relative[0, -1]
    assert relative[1, -1] > 0.05
    frames_before = (still.tracers[:, 1] == 0).all(axis=(0, 2, 3))
    assert (moved.tracers[:, 1, frames_before] == 0).all()
    noise = moved.mixture - moved.tracers.sum(axis=1)
    assert np.abs(noise.mean()) < 0.05 * moved.mixture.mean()
    again = render_subject(dataclasses.replace(moving, noise="mid"), 1)
    np.testing.assert_array_equal(moved.tracers, again.tracers)


def test_contiguous_slices_lie_so_far_apart_and_share_their_noise(tmp_path: Path) -> None:
    request = dataclasses.replace(STILL, slices=40, size=16, slice_spacing=3.0)
    np.testing.assert_allclose(np.diff(slice_positions(request, 0)), 3.0)
    images = render_subject(request, 0)
    noise = images.mixture - images.tracers.sum(axis=1)
    inside = images.regions > 0
    both = inside[1:] & inside[:-1]
    unit = noise / np.maximum(np.sqrt(images.tracers.sum(axis=1)), 1e-3)
    near = np.mean([np.corrcoef(unit[1:, t][both], unit[:-1, t][both])[0, 1] for t in range(18)])
    # Two neighbours in noise of 6 mm: e^(-d^2 / (4 sigma^2)), sigma = 6 / 2.355.
    assert near == pytest.approx(np.exp(-(3.0**2) / (4 * (6 / 2.3548) ** 2)), abs=0.05)
    apart = inside[8:] & inside[:-8]
    far = np.mean([np.corrcoef(unit[8:, t][apart], unit[:-8, t][apart])[0, 1] for t in range(18)])
    assert abs(far) < 0.1
    spread = render_subject(STILL, 0)
    assert np.diff(spread.slice_position).min() > 15


def test_noise_of_a_stack_has_the_variance_of_its_level() -> None:
    request = dataclasses.replace(STILL, slices=24, size=24, slice_spacing=3.0)
    images = render_subject(request, 0)
    total = images.tracers.sum(axis=1)
    duration = np.array(request.parts.protocol.frame_duration)[:, None, None]
    z = (images.mixture - total) / (8.82 * np.sqrt(total / duration) + 1e-9)
    inside = np.broadcast_to((images.regions > 0)[:, None], z.shape)
    assert z[inside].std() == pytest.approx(1.0, abs=0.05)
    assert voxel_size(request) == pytest.approx(230 / 24)


def test_osem_shares_noise_across_a_stack_by_its_filter() -> None:
    request = StudyRequest(subjects=1, slices=6, size=16, noise_model="osem", slice_spacing=3.0)
    images = render_subject(request, 0)
    assert images.mixture.shape == (6, 18, 16, 16)
    noise = (images.mixture - images.tracers.sum(axis=1)).mean(axis=1)
    inside = (images.regions[1:] > 0) & (images.regions[:-1] > 0)
    assert np.corrcoef(noise[1:][inside], noise[:-1][inside])[0, 1] > 0.5


def test_stacks_have_forty_slices_unless_told_and_are_whole_stores(tmp_path: Path) -> None:
    result = simulate(
        tmp_path / "s.zarr", subjects=2, size=16, slice_spacing=3.0, motion=1.0, workers=1
    )
    assert result.samples == 2 * STACK == 80
    check_store(str(tmp_path / "s.zarr"))
    store = open_store(str(tmp_path / "s.zarr"))
    asked = store.group.attrs["request"]
    assert (asked["slice_spacing"], asked["motion"]) == (3.0, 1.0)
    assert store.header.population == "varied"
    samples = next(store.subjects(str(store.split_N[0])))
    np.testing.assert_allclose(np.diff(samples.slice_N), 3.0)
