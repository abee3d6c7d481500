"""YAML 1.2 as plain data: numbers as people mean them, and nothing that runs or explodes.

Plain words are read by the core schema of YAML 1.2 (https://yaml.org/spec/1.2.2, chapter 10.3):
``070`` is 70, ``1e-3`` a number, ``10:30`` and ``yes`` are text. PyYAML, whose numbers are those of
YAML 1.1, only splits the text into events here. Tags and merge keys are refused.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from dtsinn.core.bounds import read_text
from dtsinn.core.errors import InputError

LARGEST = 100_000
"""Values and keys that a document may hold, aliases written out."""
DEEPEST = 100
"""Collections inside each other that a document may hold."""

_Parser: Any = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
_WORDS = dict.fromkeys(("", "~", "null", "Null", "NULL"))
_WORDS |= dict.fromkeys(("true", "True", "TRUE"), True)
_WORDS |= dict.fromkeys(("false", "False", "FALSE"), False)
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NO_NUMBER = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_LONGEST_INTEGER = 20
"""Characters, with a sign about those of 64 bits; longer ones are names of something."""
_SHOWN = 60
"""Characters of a tag or key that a message repeats."""


def read_yaml_text(path: Path) -> str:
    """The text of a YAML file.

    Raises:
        InputError: It is missing, no regular file, too large, or no text in UTF-8.
    """
    what = f"{path} cannot be read"
    try:
        return read_text(path, "utf-8-sig")
    except OSError as error:
        raise InputError(what, got=error.strerror, wanted="a YAML file") from None
    except UnicodeDecodeError:
        raise InputError(
            what, got="bytes that are no text in UTF-8", wanted="a YAML file"
        ) from None


def parse_yaml(text: str, where: str) -> Any:
    """Parse YAML ``text``; ``where`` names it in errors.

    Raises:
        InputError: The text is no YAML, is nested too deep or too large, a mapping holds a key
            twice or one that is no plain word, or something has a tag.
    """
    reader = _Reader(where)
    for event in _events(text, where):
        reader.take(event)
    return reader.document


class _Dumper(yaml.SafeDumper):
    """Puts quotes around text that either version of YAML takes for a number."""


_Dumper.add_implicit_resolver(
    "!number",
    re.compile(f"({_INTEGER.pattern}|{_FLOAT.pattern})$"),
    list("-+.0123456789"),
)


def _integer(dumper: _Dumper, value: int) -> yaml.ScalarNode:
    if not -(10 ** (_LONGEST_INTEGER - 1)) < value < 10**_LONGEST_INTEGER:
        what = "an integer cannot be written as YAML"
        raise InputError(what, wanted=f"at most {_LONGEST_INTEGER} characters")
    return dumper.represent_int(value)


_Dumper.add_representer(int, _integer)


def format_yaml(content: Any) -> str:
    """Plain data as YAML that :func:`parse_yaml` reads.

    Raises:
        InputError: An integer has more digits than are read.
    """
    return str(yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True))


def _events(text: str, where: str) -> Iterator[yaml.Event]:
    """The parts of a YAML text in their order.

    Raises:
        InputError: The text is no YAML.
    """
    try:
        yield from yaml.parse(text, Loader=_Parser)
    except yaml.MarkedYAMLError as error:
        said = (error.context, error.context_mark), (error.problem, error.problem_mark)
        parts = [f"{text} at line {mark.line + 1}" for text, mark in said if text and mark]
        raise _unreadable(where, ": ".join(parts)) from None
    except (yaml.YAMLError, ValueError):  # such as NUL, or half of a pair of surrogates
        raise _unreadable(where, "characters that are not allowed") from None


def _unreadable(where: str, got: str, hint: str = "") -> InputError:
    return InputError(f"{where} cannot be read as YAML", got=got, hint=hint)


@dataclass
class _Collection:
    """A list or mapping that is not at its end yet."""

    value: Any
    anchor: str | None
    before: int
    """Values of the document that stood before it."""
    height: int = 1
    """Levels of collections that it is, itself among them."""
    key: Any = None
    has_key: bool = False


class _Reader:
    """Builds plain data from events, without recursion."""

    def __init__(self, where: str) -> None:
        self.document: Any = None
        self._where = where
        self._open: list[_Collection] = []
        self._anchors: dict[str, tuple[Any, int, int] | None] = {}
        self._count = 0
        self._documents = 0

    def take(self, event: yaml.Event) -> None:
        """Add one event to the document."""
        line = f"at line {event.start_mark.line + 1 if event.start_mark else 0}"
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise _unreadable(self._where, f"a second document {line}")
        elif isinstance(event, yaml.NodeEvent):
            self._take_node(event, line)
        elif isinstance(event, yaml.CollectionEndEvent):
            done = self._open.pop()
            if done.anchor is not None:
                self._anchors[done.anchor] = done.value, self._count - done.before, done.height
            self._grow(done.height)

    def _take_node(self, event: yaml.NodeEvent, line: str) -> None:
        before = self._count
        self._count += 1
        tag = getattr(event, "tag", None)
        if tag is not None:
            shown = tag.replace("tag:yaml.org,2002:", "!!")
            got = f"the tag {shown[:_SHOWN]!r} {line}"
            raise _unreadable(self._where, got, "the value without a tag")
        if isinstance(event, yaml.AliasEvent):
            value = self._copy_anchored(str(event.anchor), line)
        elif isinstance(event, yaml.ScalarEvent):
            value = self._scalar(event.value, line) if event.implicit[0] else event.value
            if event.anchor is not None:
                self._anchors[event.anchor] = value, 1, 0
        else:
            value = [] if isinstance(event, yaml.SequenceStartEvent) else {}
            if event.anchor is not None:
                self._anchors[event.anchor] = None
        self._check_size(0, 0, line)
        plain = isinstance(event, yaml.ScalarEvent) and event.implicit[0]
        self._put(value, line, is_merge=plain and value == "<<")
        if isinstance(event, yaml.CollectionStartEvent):
            self._check_size(0, 1, line)
            self._open.append(_Collection(value, event.anchor, before))

    def _check_size(self, more: int, levels: int, line: str) -> None:
        """Refuse a document that would be too large with so many more values and levels."""
        if self._count + more > LARGEST:
            raise _unreadable(self._where, f"more than {LARGEST} values {line}")
        if len(self._open) + levels > DEEPEST:
            raise _unreadable(self._where, f"too many levels {line}")

    def _grow(self, levels: int) -> None:
        """Note that the innermost collection holds one of so many levels."""
        if self._open:
            self._open[-1].height = max(self._open[-1].height, levels + 1)

    def _copy_anchored(self, anchor: str, line: str) -> Any:
        if anchor not in self._anchors:
            raise _unreadable(self._where, f"an alias of nothing {line}", "quotes, if it is text")
        known = self._anchors[anchor]
        if known is None:
            raise _unreadable(self._where, f"an alias inside itself {line}")
        value, size, levels = known
        self._check_size(size - 1, levels, line)
        self._count += size - 1
        self._grow(levels)
        return copy.deepcopy(value)

    def _scalar(self, text: str, line: str) -> Any:
        """A word without quotes, by the core schema."""
        if text in _WORDS:
            return _WORDS[text]
        if _INTEGER.fullmatch(text):
            if len(text) > _LONGEST_INTEGER:
                raise _unreadable(
                    self._where, f"a number of {len(text)} digits {line}", "quotes, if it is text"
                )
            return int(text, 0) if text[:2] in {"0o", "0x"} else int(text)
        if _FLOAT.fullmatch(text):
            return float(text)
        return float(text.replace(".", "")) if _NO_NUMBER.fullmatch(text) else text

    def _put(self, value: Any, line: str, *, is_merge: bool) -> None:
        """Add a value to the innermost collection; in a mapping the keys are every other one."""
        if not self._open:
            self.document = value
            return
        inside = self._open[-1]
        if isinstance(inside.value, list):
            inside.value.append(value)
        elif inside.has_key:
            inside.value[inside.key] = value
            inside.has_key = False
        else:
            if isinstance(value, list | dict):
                raise _unreadable(self._where, f"a key that is no plain word {line}")
            if is_merge:
                hint = "the settings written out"
                raise _unreadable(self._where, f"the merge key << {line}", hint)
            if value in inside.value:
                shown = repr(value)[:_SHOWN]
                raise _unreadable(self._where, f"key {shown} stands twice in its mapping {line}")
            inside.key, inside.has_key = value, True
