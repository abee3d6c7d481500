"""Configuration: YAML files read strictly onto frozen dataclasses, with ``key=value`` overrides."""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import (
    CoreSchema,
    ErrorDetails,
    InitErrorDetails,
    PydanticKnownError,
    core_schema,
)

from dtsinn.core.errors import InputError, naming
from dtsinn.core.kinds import Kinds
from dtsinn.core.paths import home_path, is_file
from dtsinn.core.yaml_text import parse_yaml, read_yaml_text

T = TypeVar("T")

STRICT = ConfigDict(extra="forbid")
"""Set as ``__pydantic_config__`` in every configuration dataclass: unknown keys are errors.

A file may be older than a field: what it does not say is the default. So the default of a new field
means what was done before there was the field (:mod:`dtsinn.core.formats`).
"""
SHOWN = 100
"""Characters of a wrong value that an error repeats."""


@dataclass(frozen=True)
class OneOf:
    """Marks a text that is one of the names of a dictionary: ``Annotated[str, OneOf(names)]``."""

    names: Iterable[str]

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        return core_schema.literal_schema(list(self.names))


@dataclass(frozen=True)
class ByKind:
    """Marks a part of a configuration whose class its own key ``kind`` chooses from a dictionary.

    Each class in the dictionary has its configuration as ``Config``. Only that of the kind that is
    named is looked up, so that no other package is imported for the sake of a choice.
    """

    kinds: Kinds[Any]

    def configuration(self, kind: str) -> type[Any]:
        """The configuration class of a kind."""
        config: type[Any] = self.kinds[kind].Config
        return config

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self._read, serialization=core_schema.plain_serializer_function_ser_schema(to_mapping)
        )

    def _read(self, given: Any) -> Any:
        """The configuration of ``given``, with pydantic's errors as a tagged union has them."""
        if not isinstance(given, dict):
            raise PydanticKnownError("dict_type")
        if "kind" not in given:
            raise PydanticKnownError("union_tag_not_found", {"discriminator": "'kind'"})
        kind = str(given["kind"])
        if kind not in self.kinds:
            tags = {"tag": kind, "expected_tags": ", ".join(map(repr, self.kinds))}
            raise PydanticKnownError("union_tag_invalid", {"discriminator": "'kind'"} | tags)
        try:
            adapter = _get_adapter(self.configuration(kind))
            return adapter.validate_json(json.dumps(given), strict=True)
        except ValidationError as error:
            raise ValidationError.from_exception_data(
                error.title,
                [
                    InitErrorDetails(
                        type=problem["type"],
                        loc=(kind, *problem["loc"]),
                        input=problem["input"],
                        ctx=problem.get("ctx", {}),
                    )
                    for problem in error.errors()
                ],
            ) from None


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds one mapping.

    Raises:
        InputError: The file is missing, unreadable, no YAML or no mapping.
    """
    content = parse_yaml(read_yaml_text(path), str(path))
    if not isinstance(content, dict):
        got = {type(None): "nothing", list: "a list"}.get(type(content), "a single value")
        raise InputError(f"{path} holds no settings", got=got, wanted="a mapping, key: value")
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
    name = name_or_path.lower()
    if name in names:
        return Path(str(resources.files("dtsinn") / "configs" / kind / f"{name}.yaml"))
    path = home_path(name_or_path)
    if path.suffix in {".yaml", ".yml"} and is_file(path):
        return path
    close = difflib.get_close_matches(name, names, n=1)
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
    _check_plain("", mapping, where)
    try:
        text = json.dumps(mapping, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(f"{where} holds a value that no setting takes", got=str(error)) from None
    try:
        with naming(where):  # a check of the class knows no file
            made: T = _get_adapter(cls).validate_json(text, strict=True)
    except ValidationError as error:
        meant = _normalise(cls, json.loads(text), error)
        if meant is None:
            raise _explain_problem(cls, error, where) from None
        return from_mapping(cls, meant, where)
    return made


def load_config(cls: type[T], kind: str, name_or_path: str) -> T:
    """The configuration of a shipped name or of a user's YAML file, as a ``cls``.

    Raises:
        InputError: No such configuration, or its file holds something wrong.
    """
    path = find_config(kind, name_or_path)
    return from_mapping(cls, read_yaml(path), str(path))


def to_mapping(config: Any) -> dict[str, Any]:
    """Plain data (JSON types only) of a dataclass: the inverse of :func:`from_mapping`."""
    plain: dict[str, Any] = json.loads(_get_adapter(type(config)).dump_json(config))
    return plain


_adapters: dict[type[Any], TypeAdapter[Any]] = {}


def _get_adapter(cls: type[Any]) -> TypeAdapter[Any]:
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
    hints = get_type_hints(cls, include_extras=True)
    for field in dataclasses.fields(cls):
        inner = hints[field.name]
        inside = _find_configs(inner)
        if inside:
            names = [key for one in inside for key in known_keys(one, f"{prefix}{field.name}.")]
            keys += dict.fromkeys(names)
        elif get_origin(inner) is Mapping and dataclasses.is_dataclass(get_args(inner)[1]):
            keys += known_keys(get_args(inner)[1], f"{prefix}{field.name}.*.")
        else:
            keys.append(f"{prefix}{field.name}")
    return keys


def _find_configs(hint: Any) -> list[type[Any]]:
    """The dataclasses that a field takes: none, one, or those of all kinds that can be loaded."""
    choice = _find_choice(hint)
    if choice is not None:
        return [kind.Config for kind in choice.kinds.loadable().values()]
    part = _find_part(hint)
    return [] if part is None else [part]


def _find_choice(hint: Any) -> ByKind | None:
    """What chooses the class of a field by its ``kind``, if anything does."""
    marks = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    return next((mark for mark in marks if isinstance(mark, ByKind)), None)


def _find_part(hint: Any) -> type[Any] | None:
    """The dataclass that a field takes, alone or beside None."""
    parts = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    return next((p for p in parts if isinstance(p, type) and dataclasses.is_dataclass(p)), None)


def unknown_key(key: str, cls: type[Any], where: str) -> InputError:
    """The error for a key that ``cls`` does not have, with the nearest one that it has."""
    parts = key.split(".")
    known = [_fill_names(pattern, parts) for pattern in known_keys(cls)]
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return InputError(
        f"{where}: unknown key",
        got=key,
        wanted="" if close else f"one of {', '.join(known)}",
        hint=close[0] if close else "",
    )


def _fill_names(pattern: str, parts: list[str]) -> str:
    """A known key with each ``*`` filled in from the same place of the key that was given."""
    filled = zip(pattern.split("."), (*parts, *"*" * pattern.count(".")), strict=False)
    return ".".join(given if part == "*" else part for part, given in filled)


def _check_plain(key: str, value: Any, where: str) -> None:
    """Refuse what no setting takes: infinite numbers, and keys that are no text."""
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"{where}: {key}", got=value, wanted="a finite number")
    if isinstance(value, Mapping | list | tuple):
        for name, part in value.items() if isinstance(value, Mapping) else enumerate(value):
            inside = f"{key}.{name}" if key else str(name)
            if isinstance(value, Mapping) and not isinstance(name, str):
                raise InputError(f"{where}: {inside} is no text", hint="quotes around the key")
            _check_plain(inside, part, where)


_TRUTHS = {"yes": True, "on": True, "no": False, "off": False}
"""Words of YAML 1.1, which are text in 1.2: meant as a truth only where a setting is one."""


def _normalise(cls: type[Any], plain: Any, error: ValidationError) -> Any:
    """Plain data in which ``yes`` is true and a choice stands in other letters, as it is defined.

    None where this mends nothing.
    """
    mended = False
    for problem in error.errors():
        place, _ = _find_place(cls, problem["loc"])
        said, context = problem["input"], problem.get("ctx", {})
        known: dict[str, Any] = {}
        if problem["type"] == "bool_type":
            known = _TRUTHS
        elif problem["type"] == "literal_error":
            known = {word.lower(): word for word in _find_quoted(context["expected"])}
        elif problem["type"] == "union_tag_invalid":
            known = {word.lower(): word for word in _find_quoted(context["expected_tags"])}
            said, place = context["tag"], [*place, "kind"]
        if isinstance(said, str) and said.lower() in known:
            inside = plain
            for part in place[:-1]:
                inside = inside[part]
            inside[place[-1]] = known[said.lower()]
            mended = True
    return plain if mended else None


def _find_quoted(text: str) -> list[str]:
    """The words in single quotes of a message of pydantic."""
    return re.findall("'([^']*)'", text)


def _explain_problem(cls: type[Any], error: ValidationError, where: str) -> InputError:
    """The first problem that pydantic found, as one line."""
    problems = error.errors()
    problem = next((p for p in problems if p["type"] == "unexpected_keyword_argument"), problems[0])
    place, kind = _find_place(cls, problem["loc"])
    key = ".".join(map(str, place))
    if problem["type"] == "unexpected_keyword_argument":
        if kind and key in known_keys(cls):
            return InputError(f"{where}: {key} is no setting of kind {kind}")
        return unknown_key(key, cls, where)
    if problem["type"] == "union_tag_invalid":
        context = problem["ctx"]
        known = _find_quoted(context["expected_tags"])
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
    same = [p for p in problems if _find_place(cls, p["loc"])[0] == place]  # of a choice of types
    wanted = list(dict.fromkeys(map(_describe_wanted, same)))
    return InputError(
        f"{where}: {key}" if key else where,
        got=textwrap.shorten(repr(problem["input"]), SHOWN, placeholder=" ..."),
        wanted=" or ".join(wanted),
        hint=_find_hint(problem),
    )


def _describe_wanted(problem: ErrorDetails) -> str:
    """What a setting takes, for a problem that pydantic found with it."""
    kind, context = problem["type"], problem.get("ctx", {})
    if kind == "json_invalid":
        return "fewer levels inside each other"
    if kind in {"literal_error", "enum"}:
        return f"one of {', '.join(_list_choices(problem))}"
    if kind in {"too_short", "too_long"}:
        few = kind == "too_short"
        number = context["min_length" if few else "max_length"]
        return f"at {'least' if few else 'most'} {number}, not {context['actual_length']}"
    for start, words in _WANTED.items():
        if kind.startswith(start):
            return words
    return problem["msg"]


_WANTED = {
    "int_": "a whole number",
    "float_": "a number",
    "bool_": "true or false",
    "string_": "a text",
    "none_": "null",
    **dict.fromkeys(("list_", "tuple_", "set_", "frozen_set_"), "a list"),
    **dict.fromkeys(("dict_", "mapping_", "dataclass_"), "a group of settings"),
}
"""By the beginning of pydantic's kinds of problems."""
_NUMBERS = {"int_type", "int_from_float", "float_type"}


def _find_hint(problem: ErrorDetails) -> str:
    if problem["type"] in {"literal_error", "enum"}:
        close = difflib.get_close_matches(
            str(problem["input"]).lower(), _list_choices(problem), n=1
        )
        return close[0] if close else ""
    if problem["type"] in _NUMBERS:
        return _find_number_hint(problem["input"])
    quotable = isinstance(problem["input"], int | float)
    return "quotes around it" if problem["type"] == "string_type" and quotable else ""


def _list_choices(problem: ErrorDetails) -> list[str]:
    """What a setting takes that takes one of a few words."""
    *most, last = problem["ctx"]["expected"].split(" or ")
    return [word.strip("'") for word in [*", ".join(most).split(", "), last] if word]


def _find_number_hint(given: Any) -> str:
    """What to write in place of something that looks like a number to people."""
    if not isinstance(given, str):
        return ""
    if re.fullmatch(r"[0-9]+(:[0-9.]+)+", given):
        return "seconds as one number, without colons"
    return "a plain number, such as 1200 or 0.5" if re.match(r"[-+.]?[0-9]", given) else ""


def _find_place(cls: type[Any], location: Sequence[int | str]) -> tuple[list[int | str], str]:
    """The keys of pydantic's ``location``, and the kind chosen on the way, if any.

    pydantic puts the tag of a choice between a field and the key inside it, and the name of a
    type behind a field that takes several.
    """
    if location and _TYPE.fullmatch(str(location[-1])):
        location = location[:-1]
    parts: list[int | str] = []
    kind = ""
    inside: type[Any] | None = cls
    choice: ByKind | None = None
    for part in location:
        if choice is not None:
            kind, inside, choice = str(part), choice.configuration(str(part)), None
            continue
        parts.append(part)
        hint = get_type_hints(inside, include_extras=True).get(str(part)) if inside else None
        choice, inside = _find_choice(hint), _find_part(hint)
    return parts, kind


_TYPE = re.compile(r"int|float|str|bool|none|(tuple|list|dict|literal|nullable|constrained)[\[-].*")
