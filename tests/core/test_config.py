from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtsinn.core.config import (
    STRICT,
    config_names,
    find_config,
    flatten,
    from_mapping,
    known_keys,
    read_overrides,
    read_yaml,
    set_key,
    to_mapping,
)
from dtsinn.core.errors import InputError
from dtsinn.core.yaml_text import parse_yaml
from dtsinn.networks.rivals.residual_cnn import ResidualCNNConfig
from dtsinn.training.config import RunConfig


@dataclass(frozen=True, kw_only=True)
class Inner:
    __pydantic_config__ = STRICT

    blocks: int = 2
    width: float = 1.5
    mode: Literal["Fast", "slow"] = "slow"
    exact: bool | None = False


@dataclass(frozen=True, kw_only=True)
class Outer:
    __pydantic_config__ = STRICT

    model: Inner = field(default_factory=Inner)
    name: str = "a"


@given(st.integers(-(2**50), 2**50), st.floats(allow_nan=False, allow_infinity=False), st.text())
def test_a_configuration_survives_the_round_trip(blocks: int, width: float, name: str) -> None:
    config = Outer(model=Inner(blocks=blocks, width=width), name=name)
    assert from_mapping(Outer, to_mapping(config), "test") == config


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.blokcs=3"], "unknown key; got model.blokcs; try model.blocks"),
        (["model.blocks=three"], "model.blocks; got 'three'; wanted a whole number"),
        (["model.blocks=1.5"], "model.blocks; got 1.5; wanted a whole number"),
        (["model.blocks=[1]"], "model.blocks; got [1]; wanted a whole number"),
        (["model.width=wide"], "model.width; got 'wide'; wanted a number"),
        (["model=3"], "--set: model; got 3; wanted a group of settings"),
        (["name=3"], "name; got 3; wanted a text; try quotes around it"),
        (["name=null"], "name; got None; wanted a text"),
        (["model.blocks"], "has no value"),
        (["name.deeper=1"], "'name' is a value"),
        (
            ["model.width=10:30"],
            "wanted a number; try seconds as one number, without colons",
        ),
        (
            ["model.width=1_000"],
            "'1_000'; wanted a number; try a plain number, such as 1200 or 0.5",
        ),
        (["model.width=70,5"], "got '70,5'; wanted a number; try a plain number"),
        (["model.width=70 kg"], "got '70 kg'; wanted a number; try a plain number"),
        (["model.width=yes"], "model.width; got 'yes'; wanted a number"),
        (["model.blocks=0o8"], "got '0o8'"),
        (
            ["model.blocks=!!int 3"],
            "--set model.blocks cannot be read as YAML",
        ),
        (["model.blocks=yes"], "got 'yes'"),
        (["name=070"], "name; got 70; wanted a text; try quotes around it"),
        (["model.width=.nan"], "model.width; got nan; wanted a finite number"),
        (["model.width=1e400"], "model.width; got inf; wanted a finite number"),
        (["name={1: a}"], "name.1 is no text; try quotes around the key"),
        (["name=" + "x" * 500 + ": 1"], "..."),
        (["model.mode=loud"], "model.mode; got 'loud'; wanted one of Fast, slow"),
    ],
)
def test_a_wrong_override_is_one_clear_line(overrides: list[str], message: str) -> None:
    def overridden() -> Outer:
        mapping = to_mapping(Outer())
        for key, value in read_overrides(overrides).items():
            set_key(mapping, key, value)
        return from_mapping(Outer, mapping, "--set")

    with pytest.raises(InputError) as caught:
        overridden()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@dataclass(frozen=True, kw_only=True)
class Many:
    __pydantic_config__ = STRICT

    plane: Literal["axial", "coronal"] = "axial"
    sizes: tuple[int, ...] = ()
    pair: tuple[str, str] = ("a", "b")
    by_name: Mapping[str, float] = field(default_factory=dict)
    either: int | str = 0
    switch: bool = False
    some: int | None = None


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("plane", "Axiel", "got 'Axiel'; wanted one of axial, coronal; try axial"),
        ("plane", 3, "got 3; wanted one of axial, coronal"),
        ("sizes", 3, "got 3; wanted a list"),
        ("sizes", {"a": 1}, "got {'a': 1}; wanted a list"),
        ("pair", "ab", "got 'ab'; wanted a list"),
        ("by_name", [1], "got [1]; wanted a group of settings"),
        ("either", [1], "got [1]; wanted a whole number or a text"),
        ("switch", 1, "got 1; wanted true or false"),
        ("some", "x", "got 'x'; wanted a whole number"),
    ],
)
def test_what_a_setting_takes_is_said_in_our_words(key: str, value: Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        from_mapping(Many, {key: value}, "x.yaml")
    assert str(caught.value) == f"x.yaml: {key}; {message}"


def test_a_wrong_value_inside_a_list_is_named_and_long_ones_are_cut() -> None:
    with pytest.raises(InputError, match=r"x.yaml: sizes\.1; got 'b'; wanted a whole number"):
        from_mapping(Many, {"sizes": [1, "b"]}, "x.yaml")
    for pair in (["a"], ["a", "b", "c"]):
        with pytest.raises(InputError, match=r"x.yaml: pair"):
            from_mapping(Many, {"pair": pair}, "x.yaml")
    with pytest.raises(InputError) as caught:
        from_mapping(Many, {"switch": "no " * 500}, "x.yaml")
    assert len(str(caught.value)) < 200


def test_overrides_are_read_as_yaml() -> None:
    read = read_overrides(["model.width=1e-3", "model.blocks=0100", "name=a=b"])
    assert read == {"model.width": 1e-3, "model.blocks": 100, "name": "a=b"}


@pytest.mark.parametrize(
    ("word", "truth"), [("yes", True), ("ON", True), ("No", False), ("off", False), ("true", True)]
)
def test_words_for_truths_are_truths_where_a_setting_is_one(word: str, truth: bool) -> None:
    read = parse_yaml(f"model: {{exact: {word}, mode: fAST}}", "test")
    assert from_mapping(Outer, read, "test").model == Inner(exact=truth, mode="Fast")
    assert from_mapping(Outer, {"name": word}, "test").name == word


def test_kinds_and_choices_are_found_in_any_letters() -> None:
    read = parse_yaml("model: {kind: ResIdual-CNN, width: 010}\nmemory: Plain", "test")
    config = from_mapping(RunConfig, read, "test")
    assert (config.model, config.memory) == (
        ResidualCNNConfig(kind="residual-cnn", width=10),
        "plain",
    )


def test_keys_are_dotted() -> None:
    assert known_keys(Outer) == [
        "model.blocks",
        "model.width",
        "model.mode",
        "model.exact",
        "name",
    ]
    assert list(flatten(to_mapping(Outer()))) == known_keys(Outer)


BOMB = "l0: &l0 [x, x]\n" + "".join(f"l{n}: &l{n} [*l{n - 1}, *l{n - 1}]\n" for n in range(1, 30))
"""A thousand letters that stand for a thousand million values."""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2", "stands twice"),
        ("a: [", "cannot be read as YAML"),
        ("- 1", "got a list; wanted a mapping"),
        ("# nothing", "got nothing; wanted a mapping"),
        ("07", "got a single value; wanted a mapping"),
        ("a: &a [x, *a]", "an alias inside itself"),
        (BOMB, "more than 100000 values"),
    ],
)
def test_bad_yaml_is_refused(tmp_path, text: str, message: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_yaml(path)


def test_exponents_without_a_point_are_numbers() -> None:
    assert parse_yaml("1e-3", "test") == 1e-3
    assert parse_yaml("[5e-4, -2E3]", "test") == [5e-4, -2e3]


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"wanted one of .*default.*try 'default'"):
        find_config("runs", "defualt")
    assert find_config("runs", "default").name == "default.yaml"
    assert "default" in config_names("runs")


def test_names_are_found_in_any_letters_and_files_at_home(tmp_path, monkeypatch) -> None:
    assert find_config("tracers", "FDG").name == "fdg.yaml"
    assert find_config("protocols", "P1").name == "p1.yaml"
    (tmp_path / "mine.yaml").touch()
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_config("tracers", "~/mine.yaml") == tmp_path / "mine.yaml"
    with pytest.raises(InputError, match="no such tracer"):
        find_config("tracers", "x" * 5000 + ".yaml")


def test_reading_a_configuration_again_is_quick() -> None:
    """A search reads one per suggestion; pydantic's reader of it is made once."""
    from dtsinn.core import config

    made = config.from_mapping(RunConfig, {"steps": 10}, "test")
    kept = config._adapters[RunConfig]
    assert config.from_mapping(RunConfig, config.to_mapping(made), "test") == made
    assert config._adapters[RunConfig] is kept
