import numpy as np
import pytest
import torch

from dtsinn.core.errors import InputError
from dtsinn.data.augmentation import AugmentationConfig, augment
from dtsinn.data.store import Store


@pytest.fixture
def batch(small_store: Store) -> tuple[torch.Tensor, torch.Tensor]:
    samples = small_store.read([0, 2, 4, 6])
    assert samples.tracers_NKTYX is not None
    return torch.from_numpy(samples.mixture_NTYX), torch.from_numpy(samples.tracers_NKTYX)


def test_nothing_is_changed_when_nothing_is_asked(batch) -> None:
    mixture, tracers = augment(*batch, AugmentationConfig(flip=0, dose=0), 0, 0)
    assert torch.equal(mixture, batch[0])
    assert torch.equal(tracers, batch[1])


def test_flips_mirror_mixture_and_truth_together(batch) -> None:
    mixture, tracers = augment(*batch, AugmentationConfig(flip=1, dose=0), 0, 0)
    assert torch.equal(mixture, batch[0].flip(-1))
    assert torch.equal(tracers, batch[1].flip(-1))


def test_a_dose_scales_the_truth_and_its_noise_as_counting_does(batch) -> None:
    mixture, tracers = augment(*batch, AugmentationConfig(flip=0, dose=0.3), 0, 0)
    inside = batch[1].sum(dim=1) > 1
    for sample in range(4):
        ratio = tracers[sample, 0, 5] / batch[1][sample, 0, 5]
        body = batch[1][sample, 0, 5] > 0.5
        factor = float(ratio[body].median())
        assert torch.allclose(ratio[body], torch.tensor(factor), rtol=1e-4)
    noise, before = mixture - tracers.sum(dim=1), batch[0] - batch[1].sum(dim=1)
    expected = (tracers.sum(dim=1) / batch[1].sum(dim=1)).sqrt()
    assert torch.allclose(noise[inside], (before * expected)[inside], atol=1e-3)
    assert not torch.allclose(tracers, batch[1])


def test_seed_and_step_fix_the_draw(batch) -> None:
    config = AugmentationConfig(flip=0.5, dose=0.2)
    first = augment(*batch, config, 1, 7)
    again = augment(*batch, config, 1, 7)
    assert torch.equal(first[0], again[0])
    assert not torch.equal(first[0], augment(*batch, config, 1, 8)[0])
    assert np.isfinite(first[0].numpy()).all()


@pytest.mark.parametrize("settings", [{"flip": 1.5}, {"flip": -0.1}, {"dose": 2.0}])
def test_impossible_settings_are_refused(settings) -> None:
    with pytest.raises(InputError, match="augmentation"):
        AugmentationConfig(**settings)
