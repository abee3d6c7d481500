"""YAML as people mean it: numbers of version 1.2, and one line for all that is refused."""

import contextlib
import math
import time

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dtsinn.core.bounds import MOST_TEXT
from dtsinn.core.errors import InputError
from dtsinn.core.yaml_text import (
    DEEPEST,
    LARGEST,
    format_yaml,
    parse_yaml,
    read_yaml_text,
)

WORDS = {
    "070": 70,
    "0100": 100,
    "-08": -8,
    "+5": 5,
    "0o17": 15,
    "0x1F": 31,
    "0600.50": 600.5,
    ".5": 0.5,
    "5.": 5.0,
    "1e3": 1000.0,
    "1E-3": 0.001,
    "-2.5e+1": -25.0,
    "9223372036854775807": 2**63 - 1,
    "10:30": "10:30",
    "1:20:00": "1:20:00",
    "1_000": "1_000",
    "1,5": "1,5",
    "0b101": "0b101",
    "0o8": "0o8",
    "1e": "1e",
    "2020-01-01": "2020-01-01",
    "1980-02-30": "1980-02-30",
    "2001-12-14t21:59:43.10-05:00": "2001-12-14t21:59:43.10-05:00",
    "yes": "yes",
    "NO": "NO",
    "off": "off",
    "true": True,
    "FALSE": False,
    "~": None,
    "null": None,
    "": None,
    "=": "=",
    "'070'": "070",
    '"true"': "true",
    "٣": "٣",
}


@pytest.mark.parametrize("text", WORDS)
def test_plain_words_are_those_of_the_core_schema(text: str) -> None:
    for value in (parse_yaml(text, "test"), parse_yaml(f"a: {text}", "test")["a"]):
        assert value == WORDS[text]
        assert type(value) is type(WORDS[text])


def test_infinite_numbers_are_numbers() -> None:
    plus, minus, nan = parse_yaml("[+.inf, -.INF, .NaN]", "test")
    assert (plus, minus) == (math.inf, -math.inf)
    assert math.isnan(nan)


NESTED = "l0: &l0 [x]\n" + "".join(
    f"l{n}: &l{n} {'[' * 90}*l{n - 1}{']' * 90}\n" for n in range(1, 40)
)
REFUSED = {
    "a: !!timestamp x": "the tag '!!timestamp' at line 1; try the value without a tag",
    "b: 1\na: !!int ''": "the tag '!!int' at line 2",
    "a: !!bool maybe": "the tag '!!bool'",
    "a: !!float 1": "the tag '!!float'",
    "a: !!str 1": "the tag '!!str'",
    "a: !!binary x": "the tag '!!binary'",
    "a: !!set {x}": "the tag '!!set'",
    "a: !!python/object/apply:os.system [x]": "the tag '!!python/object/apply:os.system'",
    "a: !mine x": "the tag '!mine'",
    "a: ! 070": "the tag '!'",
    "!!map {a: 1}": "the tag '!!map'",
    "%TAG ! tag:x,2000:\n---\na: !b c": "the tag 'tag:x,2000:b' at line 3",
    "!a%1b x: 1": "the tag '!a\\x1b' at line 1",
    "a: &a {b: 1}\nc: {<<: *a}": "the merge key << at line 2; try the settings written out",
    "a: 1\nb: 2\na: 3": "key 'a' stands twice in its mapping at line 3",
    "{1: x, 01: y}": "key 1 stands twice",
    "? [a]\n: 1": "a key that is no plain word at line 1",
    "{{a: 1}: 2}": "a key that is no plain word",
    "a: *b": "an alias of nothing at line 1; try quotes, if it is text",
    "a: &a [*a]": "an alias inside itself at line 1",
    "a: 1\n---\na: 2": "a second document at line 2",
    "a: [1\nb: 2": "while parsing a flow sequence at line 1",
    "a: 1 b: 2": "mapping values are not allowed in this context at line 1",
    "a:\n\tb: 1": "found character that cannot start any token at line 2",
    "a: 'x": "at line 1",
    "a: \0": "characters that are not allowed",
    "a: \udcff": "characters that are not allowed",
    "1" * 400: "a number of 400 digits at line 1; try quotes, if it is text",
    "[" * 5000: "too many levels at line 1",
    "[" * DEEPEST + "[" + "]" * (DEEPEST + 1): "too many levels at line 1",
    NESTED: "too many levels at line 3",
    "[" + "x," * LARGEST + "]": f"more than {LARGEST} values at line 1",
}


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: text[:30])
def test_the_rest_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_yaml(text, "here.yaml")
    assert str(caught.value).startswith("here.yaml cannot be read as YAML; got ")
    assert REFUSED[text] in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250


def test_many_keys_take_no_longer_than_many_values() -> None:
    text = "\n".join(f"k{n}: 1" for n in range(49_000))
    begun = time.process_time()
    assert len(parse_yaml(text, "test")) == 49_000
    assert time.process_time() - begun < 10  # one comparison of each two took minutes


def test_an_alias_is_a_copy() -> None:
    read = parse_yaml("a: &x {b: [1]}\nc: *x\nd: &y 070\ne: *y", "test")
    assert read == {"a": {"b": [1]}, "c": {"b": [1]}, "d": 70, "e": 70}
    assert read["a"]["b"] is not read["c"]["b"]


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**62), 2**62)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs", "Cc"]))
    | st.from_regex(r"[-+]?[0-9_.:eoxE]{1,6}", fullmatch=True)
    | st.sampled_from(["~", "yes", "null", "2020-01-01", "010", "08", "1e3", "0o17", "<<", "="]),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text("ab<"), inside),
    max_leaves=8,
)


@given(plain)
def test_what_is_written_is_read_as_it_was(content: object) -> None:
    text = format_yaml(content)
    assert parse_yaml(text, "test") == content


@given(st.text(st.sampled_from("ab1.:-[]{}#&*!|>'\"%@`?,~ \n\t\r\0\ufeff\u2028<=")))
def test_whatever_is_written_is_data_or_refused(text: str) -> None:
    with contextlib.suppress(InputError):
        format_yaml(parse_yaml(text, "test"))


def test_a_quoted_sign_of_merging_is_a_key() -> None:
    assert parse_yaml('\'<<\': 1\n"a": {"<<": 2}', "test") == {"<<": 1, "a": {"<<": 2}}
    assert parse_yaml(format_yaml({"<<": 1}), "test") == {"<<": 1}


def test_an_integer_that_could_not_be_read_is_not_written() -> None:
    for sound in (10**20 - 1, 1 - 10**19, -(2**63)):
        assert parse_yaml(format_yaml([sound]), "test") == [sound]
    for large in (10**20, -(10**19), 10**400, 10**5000):
        with pytest.raises(InputError, match="an integer cannot be written as YAML"):
            format_yaml({"a": large})


def test_text_is_read_the_same_by_both_versions() -> None:
    for word in ("010", "08", "1e3", "0o17", "10:30", "yes", "1_0", "2020-01-01", "~"):
        text = format_yaml({"a": word})
        assert parse_yaml(text, "test") == yaml.safe_load(text) == {"a": word}


def test_files_are_read_within_bounds(tmp_path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1")  # with a mark that editors of Windows leave
    assert read_yaml_text(path) == "a: 1"
    path.write_bytes("a: 1".encode("utf-16"))
    with pytest.raises(InputError, match=r"a\.yaml cannot be read; got bytes that are no text"):
        read_yaml_text(path)
    with path.open("wb") as file:
        file.truncate(MOST_TEXT + 1)  # a hole, which takes no room
    with pytest.raises(InputError, match=r"got more than 17 MB"):
        read_yaml_text(path)
    for missing in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(InputError, match="cannot be read; got"):
            read_yaml_text(missing)
