from dataclasses import dataclass, field

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
    parse_yaml,
    read_overrides,
    read_yaml,
    set_key,
    to_mapping,
)
from dtsinn.core.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Inner:
    __pydantic_config__ = STRICT

    blocks: int = 2
    width: float = 1.5


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
        (["model.blocks=three"], "model.blocks: Input should be a valid integer; got 'three'"),
        (["model.blocks=1.5"], "model.blocks"),
        (["model.blocks"], "has no value"),
        (["name.deeper=1"], "'name' is a value"),
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


def test_overrides_are_read_as_yaml() -> None:
    read = read_overrides(["model.width=1e-3", "model.blocks=4", "name=a=b"])
    assert read == {"model.width": 1e-3, "model.blocks": 4, "name": "a=b"}


def test_keys_are_dotted() -> None:
    assert known_keys(Outer) == ["model.blocks", "model.width", "name"]
    assert list(flatten(to_mapping(Outer()))) == known_keys(Outer)


BOMB = "l0: &l0 [x, x]\n" + "".join(f"l{n}: &l{n} [*l{n - 1}, *l{n - 1}]\n" for n in range(1, 30))
"""A thousand letters that stand for a thousand million values."""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2", "stands twice"),
        ("a: [", "cannot be read as YAML"),
        ("- 1", "a mapping"),
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


def test_reading_a_configuration_again_is_quick() -> None:
    """A search reads one per suggestion; pydantic's reader of it is made once."""
    from dtsinn.core import config
    from dtsinn.training.config import RunConfig

    made = config.from_mapping(RunConfig, {"steps": 10}, "test")
    kept = config._adapters[RunConfig]
    assert config.from_mapping(RunConfig, config.to_mapping(made), "test") == made
    assert config._adapters[RunConfig] is kept
