"""The laws of the augmentation: consistent mixtures, noise as counting gives it, fixed draws."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from dtsinn.core.errors import InputError
from dtsinn.data.augmentation import AugmentationConfig, augment, augment_labels
from dtsinn.data.store import Store

NOTHING: dict[str, float] = {"flip": 0.0}
KINDS: dict[str, dict[str, float]] = {
    "flip": {"flip": 1.0},
    "rotation": {"rotation": 20.0},
    "scaling": {"scaling": 0.1},
    "elastic": {"elastic": 2.0},
    "dose": {"dose": 0.4},
    "count_level": {"count_level": 0.6},
    "recombination": {"recombination": 1.0},
}
ALL = {key: value for kind in KINDS.values() for key, value in kind.items()}
SETTINGS = [*KINDS.values(), ALL]
NAMES = [*KINDS, "all"]
Batch = dict[str, Tensor]


def varied(batch: Batch, partner: Batch, step: int = 0, **settings: float) -> tuple[Tensor, Tensor]:
    config = AugmentationConfig(**(NOTHING | settings))
    return augment(batch, partner, config, 3, step)


def samples(store: Store, indices: list[int]) -> Batch:
    found = store.read(indices)
    assert found.tracers_NKTYX is not None
    return {
        "mixture": torch.from_numpy(found.mixture_NTYX),
        "tracers": torch.from_numpy(found.tracers_NKTYX),
    }


@pytest.fixture
def batch(small_store: Store) -> Batch:
    return samples(small_store, [0, 2, 4, 6])


@pytest.fixture
def partner(small_store: Store) -> Batch:
    return samples(small_store, [5, 7, 9, 11])


def disks(activity: tuple[float, float], radius: float, alpha: float, seed: int) -> Batch:
    """Samples with two flat tracers in a smooth disk, and counting noise."""
    place = torch.arange(48) - 23.5
    distance = (place[:, None].square() + place.square()).sqrt()
    disk = torch.sigmoid(2 * (radius - distance))
    tracers = torch.tensor(activity)[:, None, None, None] * disk.expand(16, 2, 12, 48, 48)
    total = tracers.sum(dim=1)
    white = torch.randn(total.shape, generator=torch.Generator().manual_seed(seed))
    return {"mixture": total + alpha * total.sqrt() * white, "tracers": tracers}


def noise_of(mixture: Tensor, tracers: Tensor) -> Tensor:
    return mixture - tracers.sum(dim=1)


def alpha_of(mixture: Tensor, tracers: Tensor) -> float:
    """The noise's standard deviation at an activity of 1, over the whole of the bodies."""
    total = tracers.sum(dim=1)
    inside = total > 0.05 * total.amax()
    return float((noise_of(mixture, tracers)[inside] / total[inside].sqrt()).std())


def test_nothing_is_changed_when_nothing_is_asked(batch: Batch) -> None:
    mixture, tracers = augment(batch, None, AugmentationConfig(flip=0), 0, 0)
    assert torch.equal(mixture, batch["mixture"])
    assert torch.equal(tracers, batch["tracers"])


@pytest.mark.parametrize("settings", SETTINGS, ids=NAMES)
def test_a_mixture_without_noise_stays_the_sum(
    batch: Batch, partner: Batch, settings: dict[str, float]
) -> None:
    batch, partner = (
        {"mixture": each["tracers"].sum(dim=1), "tracers": each["tracers"]}
        for each in (batch, partner)
    )
    mixture, tracers = varied(batch, partner, **settings)
    torch.testing.assert_close(mixture, tracers.sum(dim=1), rtol=0, atol=0)
    assert not torch.equal(tracers, batch["tracers"]) or "count_level" in settings


@pytest.mark.parametrize("settings", SETTINGS, ids=NAMES)
def test_seed_and_step_fix_the_draw(
    batch: Batch, partner: Batch, settings: dict[str, float]
) -> None:
    chances = {name: 0.5 for name in ("flip", "recombination") if name in settings}
    given = [varied(batch, partner, step, **(settings | chances)) for step in (7, 7, 8, 9)]
    assert torch.equal(given[0][0], given[1][0])
    assert torch.equal(given[0][1], given[1][1])
    assert any(not torch.equal(given[0][0], other[0]) for other in given[2:])
    assert torch.isfinite(given[0][0]).all()


@pytest.mark.parametrize("settings", SETTINGS, ids=NAMES)
def test_what_a_batch_holds_is_left_alone(
    batch: Batch, partner: Batch, settings: dict[str, float]
) -> None:
    before = {name: value.clone() for name, value in batch.items()}
    varied(batch, partner, **settings)
    assert all(torch.equal(before[name], batch[name]) for name in batch)


@pytest.mark.parametrize(
    "settings",
    [KINDS[kind] for kind in KINDS if kind != "count_level"] + [ALL | {"count_level": 0.0}],
    ids=[kind for kind in NAMES if kind != "count_level"],
)
def test_noise_stays_counting_noise_of_the_same_strength(settings: dict[str, float]) -> None:
    """Its mean is 0, and its variance over the activity is what it was, partner's part included."""
    own = disks((3.0, 1.0), 12, 0.2, seed=1)
    partner = disks((1.0, 4.0), 16, 0.2, seed=2)
    before, after = alpha_of(*own.values()), alpha_of(*varied(own, partner, **settings))
    assert before == pytest.approx(0.2, rel=0.02)
    assert after == pytest.approx(before, rel=0.03)
    mixture, tracers = varied(own, partner, **settings)
    noise = noise_of(mixture, tracers)
    assert abs(float(noise.mean())) < 0.02 * float(noise.std())


def test_a_kind_draws_the_same_alone_and_in_company(batch: Batch, partner: Batch) -> None:
    _, alone = varied(batch, partner, dose=0.4)
    _, together = varied(batch, partner, dose=0.4, count_level=0.5)
    assert torch.equal(alone, together)


def test_flips_mirror_mixture_and_truth_together(batch: Batch) -> None:
    mixture, tracers = augment(batch, None, AugmentationConfig(flip=1), 0, 0)
    assert torch.equal(mixture, batch["mixture"].flip(-1))
    assert torch.equal(tracers, batch["tracers"].flip(-1))


def test_a_dose_scales_the_truth_and_its_noise_as_counting_does(batch: Batch) -> None:
    mixture, tracers = varied(batch, batch, dose=0.3)
    before = batch["tracers"].sum(dim=1)
    inside = before > 1
    for sample in range(4):
        ratio = tracers[sample, 0, 5] / batch["tracers"][sample, 0, 5]
        body = batch["tracers"][sample, 0, 5] > 0.5
        factor = float(ratio[body].median())
        assert torch.allclose(ratio[body], torch.tensor(factor), rtol=1e-4)
    noise, old = noise_of(mixture, tracers), noise_of(batch["mixture"], batch["tracers"])
    expected = (tracers.sum(dim=1) / before).sqrt()
    assert torch.allclose(noise[inside], (old * expected)[inside], atol=1e-3)
    assert not torch.allclose(tracers, batch["tracers"])


def test_air_keeps_its_noise_at_any_dose() -> None:
    mixture = torch.randn(2, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    air = {"mixture": mixture, "tracers": torch.zeros(2, 2, 3, 6, 6)}
    assert torch.allclose(varied(air, air, dose=0.5, recombination=1.0)[0], mixture)


def test_more_counts_mean_less_noise_by_their_square_root(batch: Batch) -> None:
    draws = []
    for step in range(300):
        mixture, tracers = varied(batch, batch, step, count_level=0.5)
        assert torch.equal(tracers, batch["tracers"])
        old = noise_of(batch["mixture"], batch["tracers"])
        ratio = noise_of(mixture, tracers).std(dim=(1, 2, 3)) / old.std(dim=(1, 2, 3))
        draws.append(-2 * ratio.log())
    level = torch.cat(draws)
    assert float(level.std()) == pytest.approx(0.5, rel=0.1)
    assert abs(float(level.mean())) < 0.06


def test_a_partner_gives_its_second_tracer(batch: Batch, partner: Batch) -> None:
    _, tracers = varied(batch, partner, recombination=1.0)
    assert torch.equal(tracers[:, 0], batch["tracers"][:, 0])
    assert torch.equal(tracers[:, 1], partner["tracers"][:, 1])


def test_a_sample_recombined_with_itself_is_itself(batch: Batch) -> None:
    mixture, tracers = varied(batch, batch, recombination=1.0)
    assert torch.equal(tracers, batch["tracers"])
    assert torch.allclose(mixture, batch["mixture"], atol=1e-5)


def test_some_samples_are_recombined_and_others_are_not(batch: Batch, partner: Batch) -> None:
    taken = torch.zeros(4)
    for step in range(200):
        mixture, tracers = varied(batch, partner, step, recombination=0.25)
        kept = (tracers == batch["tracers"]).flatten(1).all(dim=1)
        assert torch.allclose(mixture[kept], batch["mixture"][kept], atol=1e-5)
        taken += ~kept
    assert ((taken > 20) & (taken < 80)).all()


@pytest.mark.parametrize("partner", [None, "three of four"])
def test_recombination_asks_for_a_partner(batch: Batch, partner: Any) -> None:
    if partner:
        partner = {name: value[:3] for name, value in batch.items()}
    with pytest.raises(InputError, match="partner"):
        augment(batch, partner, AugmentationConfig(recombination=0.5), 0, 0)


@pytest.mark.parametrize(
    "settings",
    [
        {"flip": 1.5},
        {"flip": -0.1},
        {"dose": 2.0},
        {"rotation": float("nan")},
        {"elastic": 3.0},
        {"elastic_smoothness": 0.0},
        {"recombination": 1.1},
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(InputError, match="augmentation"):
        AugmentationConfig(**settings)


@pytest.mark.parametrize(
    "settings",
    [
        {"flip": 0.5},
        {"flip": 1.0, "rotation": 40.0},
        {"flip": 0.5, "scaling": 0.2, "elastic": 2.0, "dose": 0.2, "recombination": 0.5},
    ],
)
def test_labels_move_as_the_images_do(settings: dict[str, float]) -> None:
    """Each region holds an activity of its own, so that an image tells where its labels went."""
    labels = torch.zeros(4, 40, 40)
    labels[:, 8:20, 6:18] = 1
    labels[:, 22:34, 20:34] = 2
    tracers = labels[:, None, None].expand(4, 2, 3, 40, 40).clone()
    batch = {"mixture": tracers.sum(dim=1), "tracers": tracers}
    config = AugmentationConfig(**({"flip": 0.0} | settings))
    for step in range(3):
        _, moved = augment(batch, batch, config, 3, step)
        found = augment_labels(labels, config, 3, step)
        shown = moved[:, 0, 0] / moved[:, 0, 0].amax(dim=(1, 2), keepdim=True)
        for label in (1.0, 2.0):
            inside = found == label
            away = (shown - label / 2).abs() > 0.05
            # Bilinear images blur where labels step: only borders may differ.
            assert (inside & away).sum() < 0.25 * inside.sum()
