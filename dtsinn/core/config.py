"""Configuration: YAML files read strictly onto frozen dataclasses, with ``key=value`` overrides."""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError

from dtsinn.core.bounds import read_text
from dtsinn.core.errors import InputError

T = TypeVar("T")

STRICT = ConfigDict(extra="forbid")
"""Set as ``__pydantic_config__`` in every configuration dataclass: unknown keys are errors."""


class _StrictLoader(yaml.SafeLoader):
    """YAML as people mean it: ``1e-3`` is a number and a key that stands twice is an error."""

    def get_single_node(self) -> yaml.Node | None:
        node: yaml.Node | None = super().get_single_node()
        if node is not None:
            _check_size(node)
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                line = node.start_mark.line + 1
                raise yaml.YAMLError(f"key {key!r} stands twice in the mapping at line {line}")
        return super().construct_mapping(node, deep=deep)


_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


LARGEST = 100_000
"""Values and keys that a document may hold, aliases written out (uncited)."""


def _check_size(root: yaml.Node) -> None:
    """Refuse a short text that aliases make endless.

    Raises:
        yaml.YAMLError: It is larger than :data:`LARGEST`, or an alias lies in what it stands for.
    """
    sizes: dict[int, int] = {}

    def size(node: yaml.Node) -> int:
        if id(node) not in sizes:
            sizes[id(node)] = LARGEST  # until it is known: met again before, it holds itself
            inside = node.value if isinstance(node, yaml.CollectionNode) else []
            parts = [p for one in inside for p in (one if isinstance(one, tuple) else (one,))]
            sizes[id(node)] = 1 + sum(map(size, parts))
        return sizes[id(node)]

    if size(root) > LARGEST:
        raise yaml.YAMLError(f"more than {LARGEST} values, or an alias inside itself")


def parse_yaml(text: str, where: str) -> Any:
    """Parse YAML ``text``; ``where`` names it in errors.

    Raises:
        InputError: The text is no YAML, holds a date or number that is none, is nested too deep
            or too large, or a mapping holds a key twice.
    """
    try:
        return yaml.load(text, Loader=_StrictLoader)  # noqa: S506 (a SafeLoader underneath)
    except RecursionError:
        raise InputError(f"{where} cannot be read as YAML", got="too many levels") from None
    except (yaml.YAMLError, ValueError) as error:  # such as 30 February
        raise InputError(
            f"{where} cannot be read as YAML",
            got=" ".join(str(error).split()),
            hint="" if isinstance(error, yaml.YAMLError) else "quotes around dates and numbers",
        ) from None


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds one mapping.

    Raises:
        InputError: The file is missing, unreadable, no YAML or no mapping.
    """
    try:
        text = read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read", got=str(error)) from None
    content = parse_yaml(text, str(path))
    if not isinstance(content, dict):
        raise InputError(
            f"{path} holds no settings", got=type(content).__name__, wanted="a mapping"
        )
    return content


def config_names(kind: str) -> list[str]:
    """Names of the shipped configurations of a ``kind``: ``tracers``, ``protocols``, ..."""
    folder = Path(str(resources.files("dtsinn") / "configs" / kind))
    return sorted(path.stem for path in folder.glob("*.yaml"))


def find_config(kind: str, name_or_path: str) -> Path:
    """Path of a shipped configuration by name, or of a user's own YAML file.

    Raises:
        InputError: Neither exists; the message lists the known names.
    """
    names = config_names(kind)
    if name_or_path in names:
        return Path(str(resources.files("dtsinn") / "configs" / kind / f"{name_or_path}.yaml"))
    path = Path(name_or_path)
    if path.suffix in {".yaml", ".yml"} and path.is_file():
        return path
    close = difflib.get_close_matches(name_or_path, names, n=1)
    raise InputError(
        f"no such {kind.rstrip('s')}",
        got=repr(name_or_path),
        wanted=f"one of {', '.join(names)}, or a .yaml file",
        hint=repr(close[0]) if close else "",
    )


def from_mapping(cls: type[T], mapping: Mapping[str, Any], where: str) -> T:
    """Build the dataclass ``cls`` from plain data, strictly.

    Args:
        cls: A dataclass, possibly nested, declared with :data:`STRICT`.
        mapping: Plain data, as from YAML or JSON.
        where: What the mapping is, for errors: a path, or ``--set``.

    Raises:
        InputError: An unknown key (with the nearest known one), a missing key, a wrong type
            or a value that the class refuses.
    """
    for key, value in _floats("", mapping):
        if not math.isfinite(value):
            raise InputError(f"{where}: {key}", got=value, wanted="a finite number")
    try:
        text = json.dumps(mapping, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"{where} holds a value that no setting takes", got=str(error)) from None
    try:
        made: T = _adapter(cls).validate_json(text, strict=True)
    except ValidationError as error:
        raise _located(cls, error, where) from None
    except InputError as error:  # from a check of the class, which knows no file
        what = f"{where}: {error.what}"
        raise InputError(what, got=error.got, wanted=error.wanted, hint=error.hint) from None
    return made


def to_mapping(config: Any) -> dict[str, Any]:
    """Plain data (JSON types only) of a dataclass: the inverse of :func:`from_mapping`."""
    plain: dict[str, Any] = json.loads(_adapter(type(config)).dump_json(config))
    return plain


_adapters: dict[type[Any], TypeAdapter[Any]] = {}


def _adapter(cls: type[Any]) -> TypeAdapter[Any]:
    """Pydantic's reader and writer of a class, kept: it takes tens of milliseconds to make."""
    if cls not in _adapters:
        _adapters[cls] = TypeAdapter(cls)
    return _adapters[cls]


def read_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """Values by dotted key of ``key.sub=value`` overrides; values are read as YAML.

    Raises:
        InputError: An override without ``=``.
    """
    values: dict[str, Any] = {}
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not key.strip():
            raise InputError("a --set has no value", got=repr(override), wanted="key=value")
        values[key.strip()] = parse_yaml(text, f"--set {key}")
    return values


def set_key(mapping: dict[str, Any], dotted: str, value: Any) -> None:
    """Set ``mapping["a"]["b"]`` for the dotted key ``a.b``, making what lies between.

    Raises:
        InputError: The key passes through a plain value.
    """
    *parents, last = dotted.split(".")
    for parent in parents:
        mapping = mapping.setdefault(parent, {})
        if not isinstance(mapping, dict):
            raise InputError(f"{dotted}: {parent!r} is a value, not a group of settings")
    mapping[last] = value


def flatten(mapping: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as one flat mapping with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in mapping.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def known_keys(cls: type[Any], prefix: str = "") -> list[str]:
    """All dotted keys that the dataclass ``cls`` and the dataclasses inside it take.

    A ``*`` stands for any name where a mapping holds dataclasses.
    """
    keys: list[str] = []
    hints = get_type_hints(cls)
    for field in dataclasses.fields(cls):
        inner = hints[field.name]
        kinds = _kinds(inner)
        if kinds:
            inside = [key for kind in kinds for key in known_keys(kind, f"{prefix}{field.name}.")]
            keys += dict.fromkeys(inside)
        elif get_origin(inner) is Mapping and dataclasses.is_dataclass(get_args(inner)[1]):
            keys += known_keys(get_args(inner)[1], f"{prefix}{field.name}.*.")
        else:
            keys.append(f"{prefix}{field.name}")
    return keys


def _kinds(hint: Any) -> list[type[Any]]:
    """The dataclasses that a field takes: one, one or none, or a choice of several."""
    parts = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    return [part for part in parts if isinstance(part, type) and dataclasses.is_dataclass(part)]


def unknown_key(key: str, cls: type[Any], where: str) -> InputError:
    """The error for a key that ``cls`` does not have, with the nearest one that it has."""
    parts = key.split(".")
    known = [_with_names(pattern, parts) for pattern in known_keys(cls)]
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return InputError(
        f"{where}: unknown key",
        got=key,
        wanted="" if close else f"one of {', '.join(known)}",
        hint=close[0] if close else "",
    )


def _with_names(pattern: str, parts: list[str]) -> str:
    """A known key with each ``*`` filled in from the same place of the key that was given."""
    filled = zip(pattern.split("."), (*parts, *"*" * pattern.count(".")), strict=False)
    return ".".join(given if part == "*" else part for part, given in filled)


def _floats(key: str, value: Any) -> Iterator[tuple[str, float]]:
    """All floats inside plain data, with their dotted keys."""
    if isinstance(value, float):
        yield key, value
    elif isinstance(value, Mapping | list | tuple):
        parts = value.items() if isinstance(value, Mapping) else enumerate(value)
        for name, part in parts:
            yield from _floats(f"{key}.{name}" if key else str(name), part)


def _located(cls: type[Any], error: ValidationError, where: str) -> InputError:
    """The first problem that pydantic found, as one line."""
    problems = error.errors()
    problem = next((p for p in problems if p["type"] == "unexpected_keyword_argument"), problems[0])
    key, kind = _key(cls, problem["loc"])
    if problem["type"] == "unexpected_keyword_argument":
        if kind and key in known_keys(cls):
            return InputError(f"{where}: {key} is no setting of kind {kind}")
        return unknown_key(key, cls, where)
    if problem["type"] == "union_tag_invalid":
        context = problem["ctx"]
        known = [tag.strip("'") for tag in context["expected_tags"].split(", ")]
        close = difflib.get_close_matches(context["tag"], known, n=1)
        return InputError(
            f"{where}: {key}.kind",
            got=repr(context["tag"]),
            wanted=f"one of {', '.join(known)}",
            hint=close[0] if close else "",
        )
    if problem["type"] == "union_tag_not_found":
        return InputError(f"{where}: {key}.kind is missing")
    if problem["type"] in {"missing_argument", "missing_keyword_only_argument", "missing"}:
        return InputError(f"{where}: {key} is missing")
    message = problem["msg"].removeprefix("Value error, ")
    return InputError(f"{where}: {key}: {message}", got=repr(problem["input"]))


def _key(cls: type[Any], location: Sequence[int | str]) -> tuple[str, str]:
    """The dotted key of pydantic's ``location``, and the kind chosen on the way, if any.

    pydantic puts the tag of a choice between a field and the key inside it.
    """
    parts, kind, inside = [], "", [cls]
    for part in location:
        if len(inside) > 1:
            kind = str(part)
            inside = [one for one in inside if _tag(one) == kind]
            continue
        parts.append(str(part))
        fields = get_type_hints(inside[0]) if inside else {}
        inside = _kinds(fields.get(str(part)))
    return ".".join(parts), kind


def _tag(cls: type[Any]) -> str:
    """The one value of the field ``kind`` that tells a dataclass from the others of a choice."""
    return str(get_args(get_type_hints(cls)["kind"])[0])
