"""Separating and mixing: the same numbers as the network, whatever the batch, and refusals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from dtsinn.core.errors import InputError, StoreError
from dtsinn.data.store import StoreHeader
from dtsinn.deploy.package import SeparatorInfo, package_digest
from dtsinn.deploy.separator import Separator
from dtsinn.networks.invertible import InvertibleSeparator

Array = npt.NDArray[Any]


def close(got: Array, wanted: Array, limit: float = 2e-6) -> None:
    """Within ``limit`` of each sample's own norm."""
    assert got.shape == wanted.shape
    for one, other in zip(got, wanted, strict=True):
        assert np.linalg.norm(one - other) <= limit * np.linalg.norm(other)


def test_it_is_the_trained_network_between_dividing_and_multiplying(
    separator: Separator, network: InvertibleSeparator, mixture: Array
) -> None:
    tracers = separator.separate(mixture)
    assert tracers.dtype == np.float32
    assert tracers.shape == (3, 2, *mixture.shape[1:])
    scale = mixture.mean(axis=1).max(axis=(1, 2))  # equal durations
    with torch.no_grad():
        wanted = network(torch.from_numpy(mixture / scale[:, None, None, None])).numpy()
    close(tracers, wanted * scale[:, None, None, None, None])
    close(separator.scale(mixture), scale)


def test_mixing_undoes_separating(separator: Separator, mixture: Array) -> None:
    tracers = separator.separate(mixture)
    close(separator.mix(tracers, separator.scale(mixture)), mixture)
    assert separator.round_trip_error(mixture) <= 2e-6


def test_without_a_scale_the_rule_is_applied_to_the_sum(
    separator: Separator, mixture: Array
) -> None:
    tracers = separator.separate(mixture)
    scale = separator.scale(tracers.sum(axis=1))
    assert np.array_equal(separator.mix(tracers), separator.mix(tracers, scale))
    # Here the sum is not the mixture, so what comes out is near it, not it.
    error = np.linalg.norm(separator.mix(tracers) - mixture) / np.linalg.norm(mixture)
    assert error > 1e-5


@pytest.mark.parametrize("batch", [1, 2, 3, 8])
def test_the_batch_does_not_matter(separator: Separator, mixture: Array, batch: int) -> None:
    tracers = separator.separate(mixture)
    close(separator.separate(mixture, batch=batch), tracers)
    scale = separator.scale(mixture)
    close(separator.mix(tracers, scale, batch=batch), separator.mix(tracers, scale))


@pytest.mark.parametrize("factor", [1e-2, 3.0, 1e4])
def test_it_is_homogeneous(separator: Separator, mixture: Array, factor: float) -> None:
    tracers = separator.separate(mixture)
    close(separator.separate(factor * mixture), factor * tracers, 1e-5)


def test_an_empty_slice_is_separated_into_finite_numbers(separator: Separator) -> None:
    tracers = separator.separate(np.zeros((1, 4, 8, 8), np.float32))
    assert np.isfinite(tracers).all()
    assert np.abs(tracers).max() < 1e-2


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4"])
def test_every_float_type_is_taken(separator: Separator, mixture: Array, dtype: str) -> None:
    given = mixture.astype(dtype)
    before = given.copy()
    tracers = separator.separate(given)
    assert tracers.dtype == np.float32
    close(tracers, separator.separate(given.astype("f4")))
    assert np.array_equal(given, before)


def test_views_and_read_only_arrays_are_taken(separator: Separator, mixture: Array) -> None:
    flipped = mixture[:, :, ::-1, ::2]
    close(separator.separate(flipped), separator.separate(flipped.copy()))
    frozen = mixture.copy()
    frozen.flags.writeable = False
    close(separator.separate(frozen), separator.separate(mixture))


def test_no_slices_give_no_slices(separator: Separator) -> None:
    assert separator.separate(np.empty((0, 4, 8, 8), np.float32)).shape == (0, 2, 4, 8, 8)
    assert separator.mix(np.empty((0, 2, 4, 8, 8), np.float32)).shape == (0, 4, 8, 8)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((1, 5, 8, 8)), "shape of the mixture; got (1, 5, 8, 8); wanted [N, T, Y, X] "),
        (np.zeros((4, 8, 8)), "T = 4; try mixture[None] for a single slice"),
        (np.zeros((1, 2, 4, 8, 8)), "shape of the mixture"),
        (np.zeros(()), "shape of the mixture"),
        (np.zeros((1, 4, 3, 8)), "slices of the mixture; got 3x8; wanted at least 4x4"),
        (np.zeros((1, 4, 8, 0)), "slices of the mixture; got 8x0"),
        (np.zeros((1, 4, 8, 8), int), "type of the mixture; got int64; wanted floating point"),
        (np.zeros((1, 4, 8, 8), complex), "type of the mixture; got complex128"),
        (np.full((2, 4, 8, 8), [[[[0.0]]], [[[np.nan]]]]), "sample 1 of the mixture; got NaN"),
        (np.full((1, 4, 8, 8), -np.inf), "sample 0 of the mixture; got NaN or inf"),
        (np.full((1, 4, 8, 8), 1e39), "sample 0 of the mixture; got NaN or inf; wanted finite"),
    ],
)
def test_wrong_mixtures_are_refused(separator: Separator, values: Array, message: str) -> None:
    for method in (separator.separate, separator.scale, separator.round_trip_error):
        with pytest.raises(InputError) as caught:
            method(values)
        assert message in str(caught.value)


@pytest.mark.parametrize(
    ("shape", "scale", "message"),
    [
        ((1, 4, 8, 8), None, "shape of the tracers; got (1, 4, 8, 8); wanted [N, 2, T, Y, X]"),
        ((1, 3, 4, 8, 8), None, "shape of the tracers"),
        ((2, 2, 4, 8, 8), np.ones(3), "scale; got float64 (3,); wanted floating point (2,)"),
        ((2, 2, 4, 8, 8), np.ones(2, int), "scale; got int64"),
        ((2, 2, 4, 8, 8), np.array([1.0, 0.0]), "scale; got values that are not"),
        ((2, 2, 4, 8, 8), np.array([1.0, np.nan]), "scale; got values that are not"),
    ],
)
def test_wrong_tracers_and_scales_are_refused(
    separator: Separator, shape: tuple[int, ...], scale: Array | None, message: str
) -> None:
    with pytest.raises(InputError) as caught:
        separator.mix(np.ones(shape), scale)
    assert message in str(caught.value)


def test_a_batch_of_none_is_refused(separator: Separator, mixture: Array) -> None:
    with pytest.raises(InputError, match="batch; got 0"):
        separator.separate(mixture, batch=0)


def test_a_store_of_as_many_frames_fits_whatever_its_times_and_tracers(
    separator: Separator, make_header: Callable[..., StoreHeader]
) -> None:
    assert separator.fits(make_header(4, seconds=300.0)) == ""
    separator.check_fits(make_header(4, seconds=300.0))


def test_a_store_of_other_frames_does_not_fit(
    separator: Separator, make_header: Callable[..., StoreHeader]
) -> None:
    assert separator.fits(make_header(12)) == "store has 12 frames, model 4"
    with pytest.raises(
        StoreError, match=r"scan\.zarr: store has 12 frames, model 4; try"
    ) as caught:
        separator.check_fits(make_header(12))
    assert caught.value.exit_code == 2


def test_a_store_of_too_small_slices_does_not_fit(
    separator: Separator, make_header: Callable[..., StoreHeader]
) -> None:
    assert "3x8 pixels" in separator.fits(make_header(4, size=3))


def test_it_knows_its_digest_and_is_frozen(
    separator: Separator, package: Path, network: InvertibleSeparator, info: SeparatorInfo
) -> None:
    assert separator.digest == package_digest(package)
    assert Separator(network, info).digest == separator.digest
    assert not any(parameter.requires_grad for parameter in separator.network.parameters())
    assert not separator.network.training
