import json
from pathlib import Path

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from dtsinn.core.config import config_names
from dtsinn.core.errors import InputError
from dtsinn.networks.latent import LatentConfig
from dtsinn.networks.rivals.spectral import SpectralConfig
from dtsinn.search.plan import SearchPlan
from dtsinn.search.space.reader import load_space, space_of
from dtsinn.search.space.space import describe

OWNERS_WISH = {"model.blocks", "loss.backward", "loss.consistency"}


@pytest.fixture
def write(tmp_path: Path):
    def write_space(text: str) -> str:
        path = tmp_path / "mine.yaml"
        path.write_text(text)
        return str(path)

    return write_space


def test_the_spectral_space_moves_its_basis_alone_from_its_defaults() -> None:
    space = load_space("spectral")
    assert {parameter.key for parameter in space.parameters} == {
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
    moved = {parameter.key for parameter in space.parameters}
    if name != "rivals":
        # The inverse of a network with latent channels is fixed: no loss can teach it.
        latent = isinstance(space.config({}).model, LatentConfig)
        assert moved >= (OWNERS_WISH - {"loss.backward"} if latent else OWNERS_WISH)
        assert any(key.startswith("loss.") for key in moved)
        assert any(key.startswith("augmentation.") for key in moved)
    assert len(describe(space)) == len(moved)


def test_ranges_become_distributions(write) -> None:
    space = load_space(
        write(
            """
            base: invertible
            fixed: {steps: 200}
            parameters:
              model.blocks: {choice: [1, 2]}
              model.width: {int: [8, 30], step: 8}
              loss.backward: {float: [0, 0.5]}
              optimizer.learning_rate: {log: [1e-4, 1e-2]}
            """
        )
    )
    assert {parameter.key: parameter.distribution for parameter in space.parameters} == {
        "model.blocks": CategoricalDistribution([1, 2]),
        "model.width": IntDistribution(8, 24, step=8),
        "loss.backward": FloatDistribution(0, 0.5),
        "optimizer.learning_rate": FloatDistribution(1e-4, 1e-2, log=True),
    }
    config = space.config({"model.blocks": 1, "optimizer.learning_rate": 5e-3})
    assert (config.model.blocks, config.optimizer.learning_rate, config.steps) == (1, 5e-3, 200)  # type: ignore[attr-defined]
    assert config.model.width == 16, "what is not suggested stays as in the base"  # type: ignore[attr-defined]


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
        ("{parameters: {model.blocks: {choice: [1, 2, 01]}}}", "choice; got 1 twice"),
        ("{parameters: {model.clamp: {choice: [1, 1.0]}}}", "choice; got 1.0 twice"),
        ("{parameters: {model.clamp: {choice: [1, .nan]}}}", "wanted a finite number"),
        ("{parameters: {model.blocks: {int: [1, 3], step: 4}}}", "step; got 4; wanted at most"),
        (
            "{parameters: {model.blocks: {choice: [1, 2]},"
            " model.width: {int: [8, 9], when: {model.blocks: []}}}}",
            "when model.blocks; got no value; wanted at least one",
        ),
        (
            "{parameters: {model.blocks: {choice: [1, 2]},"
            " model.width: {int: [8, 9], when: {model.blocks: [2, 2]}}}}",
            "when model.blocks; got 2 twice",
        ),
        (
            "{parameters: {model.blocks: {int: [1, 2]}}, constraints: [parameters <= 0]}",
            "constraints; got 'parameters <= 0'; wanted a number above 0",
        ),
        (
            "{parameters: {model.blocks: {int: [1, 2]}},"
            " constraints: [memory <= 1 GiB, memory <= 1 GiB]}",
            "constraints; got 'memory <= 1 GiB' twice",
        ),
        (
            "{parameters: {model.blocks: {int: [1, 2]}},"
            " points: [{model.blocks: 1}, {model.blocks: 1}]}",
            "points; got",
        ),
        ("{parameters: {model.blocks: {int: [3, 2]}}}", "the smaller first"),
        ("{parameters: {model.blocks: {}}}", "no range"),
        ("{parameters: {model.blocks: {int: [1, 2], choice: [1]}}}", "one of choice, int"),
        ("{parameters: {model.blocks: {int: [0, 2]}}}", "model.blocks; got 0; wanted at least 1"),
        ("{parameters: {model.blocks: {choice: [two]}}}", "got 'two'; wanted a whole number"),
        ("{parameters: {optimizer.learning_rate: {log: [0, 1e-2]}}}", "above 0"),
        ("{parameters: {loss.backward: {float: [0, 1], step: 2}}}", "of an int range"),
        ("{base: nothing, parameters: {model.blocks: {int: [1, 2]}}}", "no such run"),
        ("{parameters: {steps: {int: [100, 8000]}}}", "steps cannot be searched"),
        ("{extra: 1, parameters: {model.blocks: {int: [1, 2]}}}", "unknown key; got extra"),
        ("{fixed: {model.blocks: 2}, parameters: {model.blocks: {int: [1, 2]}}}", "both fixed"),
        (
            "{parameters: {model.clamp: {float: [1, 2], when: {model.coupling: two-sided}}}}",
            "model.clamp: when model.coupling; got no parameter of this space",
        ),
        (
            "{parameters: {model.blocks: {int: [1, 2]},"
            " model.clamp: {float: [1, 2], when: {model.blocks: [2, 3]}}}}",
            "when model.blocks; got 3; wanted a value that it can have",
        ),
        (
            "{parameters: {loss.backward: {float: [0, 1]},"
            " model.clamp: {float: [1, 2], when: {loss.backward: 0.5}}}}",
            "got a continuous range; wanted a choice or whole numbers",
        ),
        (
            "{parameters: {model.blocks: {int: [1, 2], when: {model.depth: 3}},"
            " model.depth: {int: [3, 4], when: {model.blocks: 1}}}}",
            "parameters wait for each other; got model.",
        ),
        (
            "{parameters: {model.kind: {choice: [invertible, unet]},"
            " model.levels: {int: [1, 2], when: {model.kind: invertible}}}}",
            "model.levels is no setting of kind invertible",
        ),
    ],
)
def test_a_wrong_space_is_one_clear_line(write, text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        load_space(write(text))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


BRANCHES = """
base: invertible
parameters:
  model.depth: {int: [2, 4], when: {model.subnet: [residual, dense]}}
  model.subnet: {choice: [bottleneck, residual, dense], when: {model.kind: invertible}}
  model.kind: {choice: [invertible, unet, temporal]}
  model.levels: {int: [1, 2], when: {model.kind: unet}}
"""


def test_a_branch_is_searched_only_where_it_is_asked_for(write) -> None:
    space = load_space(write(BRANCHES))
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    seen = set()
    for _ in range(200):
        values = space.draw(study.ask())
        config = space.config(values)
        assert config.model.kind == values["model.kind"]
        assert ("model.levels" in values) == (values["model.kind"] == "unet")
        assert ("model.subnet" in values) == (values["model.kind"] == "invertible")
        assert ("model.depth" in values) == (values.get("model.subnet") in ("residual", "dense"))
        seen.add(tuple(sorted(values.items(), key=str)))
    # unet with 2 levels, temporal, bottleneck, and two subnets with 3 depths each
    assert len(seen) == space.size() == 2 + 1 + 1 + 2 * 3


def test_the_first_suggestion_follows_the_branches(write) -> None:
    assert load_space(write(BRANCHES)).start() == {
        "model.kind": "invertible",
        "model.subnet": "bottleneck",
    }


def test_a_continuous_range_has_no_size(write) -> None:
    blocks = "model.blocks: {int: [1, 7], step: 2}"
    text = f"{{base: invertible, parameters: {{{blocks}, loss.backward: {{float: [0, %s]}}}}}}"
    endless = "{parameters: {model.width: {int: [1, 4000000000]}}}"
    assert load_space(write(endless)).size() == 4_000_000_000
    assert load_space(write(text % 1)).size() is None
    assert load_space(write(text % 0)).size() == 4


def test_branches_are_said(write) -> None:
    assert ("model.levels", "1 to 2, when model.kind is unet") in describe(
        load_space(write(BRANCHES))
    )


@pytest.mark.parametrize("what", ["sampler", "scheduler"])
def test_an_unknown_sampler_or_scheduler_is_refused(what: str) -> None:
    with pytest.raises(InputError, match=f"no such {what}; got 'x'"):
        SearchPlan(name="a", store="s", space=load_space("quick"), **{what: "x"})


POINTS = (
    "{base: invertible, points: %s,"
    " parameters: {model.blocks: {choice: [1, 2]}, loss.backward: {float: [0, 1]}}}"
)


def test_points_of_a_space_may_leave_parameters_out(write) -> None:
    space = load_space(write(POINTS % "[{model.blocks: 2}, {model.blocks: 1, loss.backward: 0.5}]"))
    assert space.points == ({"model.blocks": 2}, {"model.blocks": 1, "loss.backward": 0.5})
    assert not space.contains(space.points[0])
    assert space.contains(space.points[1])


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ("[{model.blocks: 3}]", "space mine: points: model.blocks; got 3; wanted 1, 2"),
        ("[{loss.backward: 1.5}]", "points: loss.backward; got 1.5; wanted 0 to 1"),
        ("[{loss.backward: high}]", "points: loss.backward; got 'high'"),
        ("[{model.width: 8}]", "points; got model.width; wanted one of loss.backward"),
        ("[{model.blokcs: 1}]", "unknown key; got model.blokcs; try model.blocks"),
    ],
)
def test_a_point_outside_its_space_is_one_clear_line(write, points: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        load_space(write(POINTS % points))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_point_belongs_where_its_branch_is_searched(write) -> None:
    space = load_space(write(BRANCHES))
    assert space.contains({"model.kind": "unet", "model.levels": 2})
    assert not space.contains({"model.kind": "unet"})
    assert space.contains({"model.kind": "temporal"})
    assert not space.contains({"model.kind": "invertible", "model.subnet": "dense"})


def test_a_kept_space_may_say_a_choice_twice(write) -> None:
    """As version 0.1.0 took it: what has begun with it is not refused now."""
    space = load_space(write("{parameters: {model.blocks: {choice: [1, 2]}}}"))
    kept = json.loads(json.dumps(space.file))
    kept["parameters"]["model.blocks"]["choice"] = [1, 1]
    assert space_of("mine", kept).parameters[0].count == 2


def test_numbers_and_limits_are_those_of_people(write) -> None:
    text = "{parameters: {model.width: {choice: [010, 020]}}, constraints: [MEMORY <= 8 gib]}"
    space = load_space(write(text))
    assert space.parameters[0].distribution == CategoricalDistribution([10, 20])
    assert (space.constraints[0].quantity, space.constraints[0].most) == ("memory", 8 * 2.0**30)


def test_outcome_constraints_are_read_kept_and_described(write) -> None:
    parameters = "parameters: {model.blocks: {choice: [1, 2]}}"
    space = load_space(write(f"{parameters}\noutcome_constraints: [Kinetic_Bias <= 5 %]"))
    assert [(one.metric, one.most) for one in space.outcomes] == [("kinetic_bias", 5.0)]
    assert ("outcome constraint", "Kinetic_Bias <= 5 %") in describe(space)
    kept = json.loads(json.dumps(space.file))
    assert space_of("mine", kept).outcomes == space.outcomes
    assert "outcome_constraints" not in load_space(write(parameters)).file
    for wrong in ("psnr <= 5", "kinetic_bias >= 5", "kinetic_bias <= 0", "kinetic_bias <= 1e999"):
        with pytest.raises(InputError, match="an outcome constraint cannot be read"):
            load_space(write(f"{parameters}\noutcome_constraints: ['{wrong}']"))
    with pytest.raises(InputError, match="twice"):
        load_space(
            write(f"{parameters}\noutcome_constraints: [conservation <= 1, conservation <= 1]")
        )
