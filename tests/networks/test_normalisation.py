"""The scale of a sample: its value, and the laws that tiling and export rely on."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from dtsinn.data.body import SCALE_FLOOR_kBq_mL
from dtsinn.networks.normalisation import per_sample, sample_scale

DURATION_T = torch.tensor([10.0, 30.0, 60.0])


def mixture(seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(4, 3, 6, 7, generator=generator, dtype=torch.float64) * 20


def test_value_by_hand() -> None:
    m = torch.zeros(1, 3, 2, 2, dtype=torch.float64)
    m[0, :, 0, 1] = torch.tensor([1.0, 2.0, 3.0])
    m[0, 0, 1, 1] = 10.0
    # (10 * 1 + 30 * 2 + 60 * 3) / 100 = 2.5, more than 10 * 10 / 100 = 1
    torch.testing.assert_close(sample_scale(m, DURATION_T), torch.tensor([2.5]).double())


@settings(deadline=None)
@given(factor=st.floats(1e-2, 1e4), seed=st.integers(0, 100))
def test_homogeneous_of_degree_one(factor: float, seed: int) -> None:
    m = mixture(seed)
    torch.testing.assert_close(
        sample_scale(factor * m, DURATION_T), factor * sample_scale(m, DURATION_T)
    )


@settings(deadline=None)
@given(pads=st.tuples(*[st.integers(0, 5)] * 4), seed=st.integers(0, 100))
def test_unmoved_by_zero_padding(pads: tuple[int, int, int, int], seed: int) -> None:
    m = mixture(seed)
    padded = functional.pad(m, pads)
    assert torch.equal(sample_scale(padded, DURATION_T), sample_scale(m, DURATION_T))


def test_of_tiles_the_largest_is_that_of_the_whole() -> None:
    m = mixture()
    tiles = torch.stack([sample_scale(part, DURATION_T) for part in m.split(3, dim=-1)])
    torch.testing.assert_close(tiles.amax(0), sample_scale(m, DURATION_T))


def test_units_of_duration_do_not_matter() -> None:
    m = mixture()
    torch.testing.assert_close(sample_scale(m, DURATION_T / 60), sample_scale(m, DURATION_T))


@pytest.mark.parametrize("value", [0.0, -5.0])
def test_an_empty_sample_has_the_floor(value: float) -> None:
    m = torch.full((2, 3, 4, 4), value)
    assert sample_scale(m, DURATION_T).tolist() == pytest.approx([SCALE_FLOOR_kBq_mL] * 2)


def test_samples_do_not_see_each_other() -> None:
    m = mixture()
    alone = torch.cat([sample_scale(one[None], DURATION_T) for one in m])
    assert torch.equal(sample_scale(m, DURATION_T), alone)


@pytest.mark.parametrize("shape", [(4, 3, 6, 7), (4, 2, 3, 6, 7)])
def test_per_sample_multiplies_sample_by_sample(shape: tuple[int, ...]) -> None:
    scale_B = torch.tensor([1.0, 2.0, 3.0, 4.0])
    product = per_sample(scale_B, torch.ones(shape)) * torch.ones(shape)
    for sample, factor in enumerate(scale_B):
        assert torch.equal(product[sample], factor * torch.ones(shape[1:]))
