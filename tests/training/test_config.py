"""Run configurations: kinds of network, and what goes with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from dtsinn.core.errors import InputError
from dtsinn.networks.latent import LatentConfig
from dtsinn.networks.rivals.unet import UNetConfig
from dtsinn.training.config import RunConfig, apply_changes, load_run_config, stated_settings


def test_the_shipped_default_is_that_of_the_code() -> None:
    assert load_run_config("default") == RunConfig()


def test_another_kind_starts_from_its_own_defaults() -> None:
    config = load_run_config("default", ["model.kind=unet", "model.levels=3"])
    assert config.model == UNetConfig(kind="unet", levels=3)
    assert config.optimizer == RunConfig().optimizer


def test_a_kind_that_stays_keeps_its_settings() -> None:
    base = {"model": {"kind": "unet", "width": 8}}
    assert apply_changes(base, {"model.kind": "unet"})["model"] == {"kind": "unet", "width": 8}
    assert base == {"model": {"kind": "unet", "width": 8}}, "the base is left alone"


def test_a_model_without_a_kind_is_the_default_one(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("model: {blocks: 4}")
    assert load_run_config(str(path)).model == LatentConfig(blocks=4)
    path.write_text("steps: 100")
    config = load_run_config(str(path), ["model.blocks=3"])
    assert (config.model, config.steps) == (LatentConfig(blocks=3), 100)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["model.kind=unte"], "got 'unte'; wanted one of .*; try unet"),
        (["model.kind=unet", "model.blocks=2"], "model.blocks is no setting of kind unet"),
        (["model.kind=unet", "loss.backward=0.1"], "loss.backward needs an inverse"),
        (["model.kind=unet", "precision=bf16"], "settings of the invertible network"),
        (["model.kind=unet", "memory=reversible"], "settings of the invertible network"),
        (["model.squeeze=haar,half"], "model.squeeze"),
        (["model.blokcs=2"], "try model.blocks"),
        (["model={kind: ced, widht: 3}"], "try model.width"),
    ],
)
def test_what_does_not_go_together_is_one_clear_line(overrides: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        load_run_config("invertible", overrides)
    assert "\n" not in str(caught.value)


def test_what_a_user_states_is_the_file_and_the_overrides(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("model: {kind: unet, width: 64}")
    stated = stated_settings(str(path), ["model={levels: 3}", "steps=5"])
    assert stated == {"model.kind": "unet", "model.width": 64, "model.levels": 3, "steps": 5}
    assert stated_settings("default", []) == {}
