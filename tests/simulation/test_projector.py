"""The sparse products beneath the projector: exact order, filters, bins and devices."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import sparse

from dtsinn.core.errors import InputError
from dtsinn.data.device import check_device
from dtsinn.simulation.anatomy.fields import blur_matrix
from dtsinn.simulation.scanner.projector import (
    Projector,
    SparseMatrix,
    covering_bins,
    gaussian,
    view_angles,
)


@pytest.fixture
def two_threads():
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


def test_a_product_sums_each_element_in_the_order_of_the_row() -> None:
    rng = np.random.default_rng(0)
    matrix = sparse.random_array((300, 500), density=0.2, rng=rng, dtype=np.float32, format="csr")
    columns = rng.random((500, 7), dtype=np.float32)
    product = (SparseMatrix(matrix, "cpu", torch.float32) @ torch.from_numpy(columns)).numpy()
    np.testing.assert_array_equal(product, matrix @ columns)


def test_a_product_depends_neither_on_threads_nor_on_other_columns(two_threads) -> None:
    P = Projector(32, 3.6, 2.0, view_angles(40))
    x = torch.from_numpy(np.random.default_rng(1).random((32 * 32, 18), dtype=np.float32))
    torch.set_num_threads(1)
    alone = P.forward(x)
    torch.set_num_threads(2)
    assert torch.equal(P.forward(x), alone)
    for width in (1, 2, 5):
        assert torch.equal(P.forward(x[:, :width].contiguous()), alone[:, :width])
    assert torch.equal(P.forward(torch.cat([x, x], dim=1)), torch.cat([alone, alone], dim=1))


@pytest.mark.parametrize(
    ("size", "pixel", "width"), [(64, 3.6, 2.0), (64, 2.0, 3.1), (1, 1.0, 50.0), (2, 1.0, 2.0)]
)
def test_bins_reach_just_over_the_diagonal(size: int, pixel: float, width: float) -> None:
    bins, diagonal = covering_bins(size, pixel, width), size * pixel * np.sqrt(2)
    assert bins % 2 == 1
    assert bins * width >= diagonal > (bins - 2) * width


def test_views_are_evenly_spaced_over_half_a_turn() -> None:
    angles = view_angles(12)
    assert angles[0] == 0.0
    np.testing.assert_allclose(np.diff(angles, append=np.pi), np.pi / 12)


def test_the_sparse_filter_is_the_dense_one() -> None:
    image = np.random.default_rng(2).random((64, 5)).astype(np.float32)
    sparse_one = gaussian(64, 3.6, 6.0, "cpu") @ torch.from_numpy(image)
    np.testing.assert_allclose(sparse_one, blur_matrix(64, 3.6, 6.0) @ image, rtol=1e-5)


def test_an_unknown_device_is_refused() -> None:
    check_device("cpu")
    with pytest.raises(InputError, match=r"no such device; got 'abacus' .*; wanted cpu, cuda"):
        check_device("abacus")
