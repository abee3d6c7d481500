"""Terms of the loss: 0 for a perfect answer, 1 for none, and blind to what they should not see."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from dtsinn.training.loss_term import body_of
from dtsinn.training.terms import (
    FRAME_FLOOR,
    consistency_loss,
    forward_loss,
    frame_weights,
    non_negativity_loss,
    structural_similarity,
    structure_loss,
    time_activity_loss,
)

FRAMES, SIZE = 5, 24
DURATION = torch.tensor([60.0, 60.0, 120.0, 300.0, 600.0])
SCORED = torch.tensor([[True] * 5, [False, False, True, True, True]])


@pytest.fixture
def tracers() -> Tensor:
    """Two samples of a disk, with texture, in air."""
    place = torch.arange(SIZE) - (SIZE - 1) / 2
    disk = (place.square() + place[:, None].square() < 8**2).float()
    texture = torch.rand(2, 2, FRAMES, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    return disk * (0.2 + 0.3 * texture)


@pytest.fixture
def noise(tracers: Tensor) -> Tensor:
    return torch.randn(tracers.shape, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def body(tracers: Tensor) -> Tensor:
    return body_of(tracers.sum(dim=1), DURATION)


def test_a_perfect_answer_costs_nothing(tracers: Tensor, body: Tensor) -> None:
    mixture = tracers.sum(dim=1)
    assert float(forward_loss(tracers, tracers)) == 0
    assert float(consistency_loss(tracers, mixture, mixture, DURATION)) < 1e-12
    assert float(structure_loss(tracers, tracers, SCORED, body)) == pytest.approx(0, abs=1e-5)
    assert float(time_activity_loss(tracers, tracers, body)) == 0
    assert float(non_negativity_loss(tracers, tracers)) == 0


def test_no_answer_costs_one(tracers: Tensor, body: Tensor) -> None:
    mixture, nothing = tracers.sum(dim=1), torch.zeros_like(tracers)
    weight = frame_weights(tracers, DURATION)
    found = [
        forward_loss(nothing, tracers),
        forward_loss(nothing, tracers, weight),
        consistency_loss(nothing, mixture, mixture, DURATION),
        time_activity_loss(nothing, tracers, body),
        non_negativity_loss(-tracers, tracers),
    ]
    assert [float(loss) for loss in found] == pytest.approx([1.0] * len(found), rel=1e-5)
    assert 0.8 < float(structure_loss(nothing, tracers, SCORED, body)) < 1.01


def test_both_tracers_weigh_alike_whatever_their_activity(tracers: Tensor, body: Tensor) -> None:
    weak = tracers * torch.tensor([1.0, 0.1])[None, :, None, None, None]
    error = torch.rand(tracers.shape, generator=torch.Generator().manual_seed(1)) * 0.1
    for loss in (
        forward_loss,
        lambda predicted, truth: structure_loss(predicted, truth, SCORED, body),
        lambda predicted, truth: time_activity_loss(predicted, truth, body),
        lambda predicted, truth: non_negativity_loss(-predicted, truth),
    ):
        strong_loss = loss(tracers * (1 + error), tracers)
        assert torch.allclose(strong_loss, loss(weak * (1 + error), weak), rtol=1e-3)


def test_frame_weights_are_one_over_the_variance(tracers: Tensor) -> None:
    activity = torch.tensor([1.0, 2.0, 4.0, 1.0, 2.0])
    flat = torch.ones(1, 2, FRAMES, 4, 4) * activity[:, None, None]
    weight = frame_weights(flat, DURATION)
    assert float(weight.mean()) == pytest.approx(1.0)
    assert torch.allclose(weight * activity / DURATION, (weight * activity / DURATION)[0])
    early, late = flat.clone(), flat.clone()
    early[:, :, 0] += 0.1
    late[:, :, -1] += 0.1
    ratio = forward_loss(late, flat, weight) / forward_loss(early, flat, weight)
    assert float(ratio) == pytest.approx(float(weight[-1] / weight[0]), rel=1e-3)
    assert float(forward_loss(late, flat) / forward_loss(early, flat)) == pytest.approx(1, rel=1e-3)


def test_consistency_weighs_by_expected_variance(tracers: Tensor) -> None:
    mixture = tracers.sum(dim=1)

    def cost(frame: int) -> float:
        moved = tracers.clone()
        moved[:, 0, frame] += 0.1
        return float(consistency_loss(moved, mixture, mixture, DURATION))

    weight = DURATION[:, None, None] / mixture.clamp_min(0.02)
    expected = float(weight[:, -1].mean() / weight[:, 0].mean())
    assert cost(-1) / cost(0) == pytest.approx(expected, rel=1e-3)


def test_consistency_is_blind_to_which_tracer_is_which(tracers: Tensor, noise: Tensor) -> None:
    mixture = tracers.sum(dim=1)
    shift = torch.stack((noise[:, 0], -noise[:, 0]), dim=1)
    assert float(consistency_loss(tracers + shift, mixture, mixture, DURATION)) < 1e-10


def test_consistency_does_not_pull_predictions_down(noise: Tensor) -> None:
    """Noise of the mixture is fitted without bias: the best flat factor on the truth is 1."""
    truth = torch.full((2, 2, FRAMES, 64, 64), 0.25)
    deviation = 0.6 * (truth.sum(dim=1) / DURATION[:, None, None] * 60).sqrt()
    white = torch.randn(deviation.shape, generator=torch.Generator().manual_seed(4))
    mixture, expected = truth.sum(dim=1) + deviation * white, truth.sum(dim=1)
    factor = torch.ones(1, requires_grad=True)
    loss = consistency_loss(factor * truth, mixture, expected, DURATION)
    (slope,) = torch.autograd.grad(loss, factor)
    assert abs(float(slope) / 2) < 0.01


def test_structure_is_the_similarity_of_the_evaluation(tracers: Tensor, noise: Tensor) -> None:
    """Away from the border; there the reference reflects the images and this one cuts off."""
    first = tracers.flatten(0, 2)[:, None]
    second = first + 0.05 * noise.flatten(0, 2)[:, None]
    _, wanted = structural_similarity_index_measure(
        second, first, data_range=0.5, sigma=1.5, return_full_image=True
    )
    found = structural_similarity(second, first, torch.tensor(0.5))
    inner = (..., slice(6, -6), slice(6, -6))
    torch.testing.assert_close(found[inner], wanted[inner], rtol=0, atol=2e-4)
    every_third = structural_similarity(second, first, torch.tensor(0.5), stride=3)
    torch.testing.assert_close(every_third, found[..., ::3, ::3])


def test_structure_sees_only_the_body_and_scored_frames(tracers: Tensor, body: Tensor) -> None:
    moved = tracers.clone()
    moved[:, 1, :2] += 0.5
    moved[..., :2, :2] += 0.5
    assert float(structure_loss(moved, tracers, SCORED, body)) == pytest.approx(0, abs=1e-5)
    moved[:, 0, 0] *= 0.5
    assert float(structure_loss(moved, tracers, SCORED, body)) > 0.01


def test_curves_see_bias_and_little_noise(tracers: Tensor, noise: Tensor, body: Tensor) -> None:
    def costs(predicted: Tensor) -> tuple[float, float]:
        return (
            float(time_activity_loss(predicted, tracers, body)),
            float(forward_loss(predicted, tracers)),
        )

    inside = body[:, None, None].float()
    biased, in_pixels = costs(tracers * 1.1)
    assert biased == pytest.approx(0.01, rel=1e-3)
    assert in_pixels == pytest.approx(0.01, rel=1e-3)
    noisy, in_pixels = costs(tracers + 0.1 * noise * inside)
    assert noisy < in_pixels / 20


def test_a_region_is_not_diluted_by_the_air_around_it() -> None:
    """A bias costs the same in a tile full of body as in one that is half air."""
    truth = torch.zeros(1, 2, FRAMES, 8, 16)
    truth[..., :8] = 0.5
    truth[..., :4, 8:] = 0.5
    body = body_of(truth.sum(dim=1), DURATION)
    full, half = truth.clone(), truth.clone()
    full[..., :8] *= 1.1
    half[..., 8:] *= 1.1
    in_full, in_half = (time_activity_loss(biased, truth, body) for biased in (full, half))
    assert float(in_full) == pytest.approx(0.005, rel=1e-3)
    assert float(in_half) == pytest.approx(0.005, rel=1e-3)


@pytest.mark.parametrize("size", [8, 20, 33])
def test_curves_take_images_of_any_size(size: int) -> None:
    """Also those that tiles do not fill."""
    truth = torch.zeros(1, 2, FRAMES, size, size)
    truth[..., 1:6, 1:7] = 0.5
    truth[..., -4:, -4:] = 0.5
    body = body_of(truth.sum(dim=1), DURATION)
    assert float(time_activity_loss(truth * 1.1, truth, body)) == pytest.approx(0.01, rel=1e-3)


def test_only_negative_answers_are_punished(tracers: Tensor) -> None:
    assert float(non_negativity_loss(tracers + 1, tracers)) == 0
    once, twice = (non_negativity_loss(-scale * tracers, tracers) for scale in (0.1, 0.2))
    assert float(once) == pytest.approx(0.01, rel=1e-4)
    assert float(twice / once) == pytest.approx(4, rel=1e-4)


def test_the_body_is_where_the_mean_mixture_exceeds_a_twentieth_of_the_scale() -> None:
    mixture = torch.zeros(1, FRAMES, 1, 3)
    mixture[:, -1, 0] = torch.tensor([0.04, 0.11, 0.08]) * 1140 / 600 * torch.tensor([1, 1, 0.5])
    assert body_of(mixture, DURATION)[0, 0].tolist() == [False, True, False]


def test_a_slice_without_activity_teaches_nothing(tracers: Tensor, body: Tensor) -> None:
    noise = torch.randn(tracers.shape, generator=torch.Generator().manual_seed(2))
    air = torch.zeros_like(tracers)
    assert float(forward_loss(noise, air)) == 0
    assert float(time_activity_loss(noise, air, body)) == 0
    assert float(non_negativity_loss(noise, air)) == 0
    one_absent = tracers * torch.tensor([1.0, 0.0])[None, :, None, None, None]
    alone = forward_loss(tracers * 1.1, one_absent)
    assert float(alone) == pytest.approx(0.01 / 2, rel=1e-3), "the other tracer counts as ever"


def test_curves_of_labelled_regions_count_each_frame_and_small_regions(tracers: Tensor) -> None:
    """The reference is a loop over regions and frames."""
    labels = torch.zeros(tracers.shape[0], *tracers.shape[-2:])
    labels[:, 2:12, 2:12] = 1
    labels[:, 4:6, 4:7] = 2
    labels[0, 12:14, 12:14] = 5
    predicted = tracers + 0.1 * torch.rand(
        tracers.shape, generator=torch.Generator().manual_seed(5)
    )
    costs = []
    for tracer in range(2):
        error, power = torch.zeros(FRAMES), torch.zeros(FRAMES)
        for sample, marked in enumerate(labels):
            for label in (1, 2, 5):
                inside = marked == label
                if not inside.any():
                    continue
                truth = tracers[sample, tracer][:, inside].mean(dim=1)
                answer = predicted[sample, tracer][:, inside].mean(dim=1)
                error += inside.sum().sqrt() * (answer - truth).square()
                power += inside.sum().sqrt() * truth.square()
        least = torch.maximum(power, FRAME_FLOOR * power.max())
        costs.append((error / least).sum() / (power / least).sum())
    body = labels > 0
    found = time_activity_loss(predicted, tracers, body, labels)
    assert float(found) == pytest.approx(float(sum(costs)) / 2, rel=1e-4)
    assert float(time_activity_loss(0 * tracers, tracers, body, labels)) == pytest.approx(1)


def test_a_frame_of_little_activity_costs_as_much_as_any_other(tracers: Tensor) -> None:
    falling = tracers * torch.logspace(0, -1, FRAMES)[:, None, None]
    body = body_of(falling.sum(dim=1), DURATION)
    costs = []
    for frame in (0, FRAMES - 1):
        biased = falling.clone()
        biased[:, :, frame] *= 1.1
        costs.append(float(time_activity_loss(biased, falling, body, body.float())))
    assert costs[0] == pytest.approx(costs[1], rel=1e-4)
