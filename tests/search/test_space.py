from pathlib import Path

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from dtsinn.core.config import config_names
from dtsinn.core.errors import InputError
from dtsinn.networks.config import SpectralConfig
from dtsinn.search.plan import SearchPlan
from dtsinn.search.space import describe, load_space

OWNERS_WISH = {"model.blocks", "loss.backward", "loss.consistency", "model.width"}


@pytest.fixture
def write(tmp_path: Path):
    def write_space(text: str) -> str:
        path = tmp_path / "mine.yaml"
        path.write_text(text)
        return str(path)

    return write_space


def test_the_spectral_space_moves_its_basis_alone_from_its_defaults() -> None:
    space = load_space("spectral")
    assert set(space.distributions) == {
        "model.terms",
        "model.slow",
        "model.fast",
        "model.smoothing_px",
    }
    assert space.start() is not None, "the defaults are the first suggestion"
    assert space.config({}).model == SpectralConfig()


@pytest.mark.parametrize("name", sorted(set(config_names("spaces")) - {"spectral"}))
def test_every_shipped_space_of_networks_is_valid_and_moves_what_was_asked_for(name: str) -> None:
    space = load_space(name)
    moved = set(space.distributions)
    assert "optimizer.learning_rate" in moved
    if name != "rivals":
        assert moved >= OWNERS_WISH
        assert any(key.startswith("augmentation.") for key in moved)
    assert len(describe(space)) == len(moved)


def test_ranges_become_distributions(write) -> None:
    space = load_space(
        write(
            """
            base: default
            fixed: {steps: 200}
            parameters:
              model.blocks: {choice: [1, 2]}
              model.width: {int: [8, 30], step: 8}
              loss.backward: {float: [0, 0.5]}
              optimizer.learning_rate: {log: [1e-4, 1e-2]}
            """
        )
    )
    assert space.distributions == {
        "model.blocks": CategoricalDistribution([1, 2]),
        "model.width": IntDistribution(8, 24, step=8),
        "loss.backward": FloatDistribution(0, 0.5),
        "optimizer.learning_rate": FloatDistribution(1e-4, 1e-2, log=True),
    }
    config = space.config({"model.blocks": 1, "optimizer.learning_rate": 5e-3})
    assert (config.model.blocks, config.optimizer.learning_rate, config.steps) == (1, 5e-3, 200)
    assert config.model.width == 16, "what is not suggested stays as in the base"


def test_the_base_is_the_first_suggestion_where_the_space_holds_it(write) -> None:
    inside = load_space(write("{parameters: {model.blocks: {choice: [1, 2]}}}"))
    assert inside.start() == {"model.blocks": 1}
    outside = load_space(write("{parameters: {model.blocks: {choice: [5, 6]}}}"))
    assert outside.start() is None
    low = load_space(write("{parameters: {optimizer.learning_rate: {log: [1e-5, 1e-4]}}}"))
    assert low.start() is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{parameters: {}}", "space mine is empty"),
        (
            "{parameters: {model.blokcs: {int: [1, 2]}}}",
            "unknown key; got model.blokcs; try model.blocks",
        ),
        ("{fixed: {stpes: 3}, parameters: {model.blocks: {int: [1, 2]}}}", "got stpes; try steps"),
        ("{parameters: {model.blocks: {choice: []}}}", "choice is empty"),
        ("{parameters: {model.blocks: {int: [3, 2]}}}", "the smaller first"),
        ("{parameters: {model.blocks: {}}}", "no range"),
        ("{parameters: {model.blocks: {int: [1, 2], choice: [1]}}}", "one of choice, int"),
        ("{parameters: {model.blocks: {int: [0, 2]}}}", "model.blocks; got 0; wanted at least 1"),
        ("{parameters: {model.blocks: {choice: [two]}}}", "valid integer; got 'two'"),
        ("{parameters: {optimizer.learning_rate: {log: [0, 1e-2]}}}", "above 0"),
        ("{parameters: {loss.backward: {float: [0, 1], step: 2}}}", "of an int range"),
        ("{base: nothing, parameters: {model.blocks: {int: [1, 2]}}}", "no such run"),
        ("{parameters: {steps: {int: [100, 8000]}}}", "steps cannot be searched"),
        ("{extra: 1, parameters: {model.blocks: {int: [1, 2]}}}", "unknown key; got extra"),
        ("{fixed: {model.blocks: 2}, parameters: {model.blocks: {int: [1, 2]}}}", "both fixed"),
    ],
)
def test_a_wrong_space_is_one_clear_line(write, text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        load_space(write(text))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("what", ["sampler", "scheduler"])
def test_an_unknown_sampler_or_scheduler_is_refused(what: str) -> None:
    with pytest.raises(InputError, match=f"no such {what}; got 'x'"):
        SearchPlan(name="a", store="s", space=load_space("quick"), **{what: "x"})
