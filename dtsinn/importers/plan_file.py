"""Reading plans without repeating them, and the tracers and protocols that they name.

A plan names people and paths. So no message repeats anything of it but its fixed words: what is
wrong is named by its place, such as ``subjects.2.first.image``.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_type_hints

from dtsinn.core.checks import SHORT_NAME
from dtsinn.core.config import STRICT, config_names, from_mapping
from dtsinn.core.errors import InputError
from dtsinn.core.paths import home_path, is_file
from dtsinn.core.plausibility import Answer, Answers, check_half_life, is_yes
from dtsinn.core.protocol import Protocol, load_protocol
from dtsinn.core.tracer import load_tracer
from dtsinn.core.yaml_text import parse_yaml, read_yaml_text

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class PlannedTracer:
    """A tracer by what an import needs of it: its name, and its half-life in s.

    ``unusual_half_life: yes`` says that no nuclide of the table is meant.
    """

    __pydantic_config__ = STRICT

    name: str
    half_life: float
    unusual_half_life: Answer = False


def planned_tracers(values: Any, folder: Path) -> tuple[PlannedTracer, PlannedTracer]:
    """The two tracers of a plan: names, YAML files, or mappings of name and half-life.

    Args:
        values: What stands under ``tracers``.
        folder: What paths are relative to.

    Raises:
        InputError: They are not two, not known, or the same.
    """
    if not (isinstance(values, list) and len(values) == 2):
        got = f"{len(values)} of them" if isinstance(values, list) else type(values).__name__
        raise InputError("the plan: tracers", got=got, wanted="a list of two")
    first, second = (
        _tracer(value, f"tracers.{place}", folder) for place, value in enumerate(values)
    )
    if first.name == second.name:  # curves, scores and metrics are told apart by name
        raise InputError("the plan: tracers", got=f"{first.name} twice", wanted="two that differ")
    return first, second


def _tracer(value: Any, where: str, folder: Path) -> PlannedTracer:
    if isinstance(value, str):
        loaded = _load("tracers", value, where, folder)
        tracer = PlannedTracer(name=loaded.name, half_life=loaded.half_life)
    else:
        tracer = read_settings(PlannedTracer, value, where)
    _check_name(tracer.name, f"{where}.name")
    accepted = ["unusual_half_life"] if is_yes(tracer.unusual_half_life) else ()
    check_half_life(f"{where}.half_life", tracer.half_life, accepted)
    return tracer


def planned_protocol(value: str, folder: Path) -> Protocol:
    """The protocol of a plan: a name or a YAML file.

    Args:
        value: What stands under ``protocol``.
        folder: What paths are relative to.

    Raises:
        InputError: It is not known, or its file is wrong.
    """
    protocol: Protocol = _load("protocols", value, "protocol", folder)
    _check_name(protocol.name, "protocol: name")
    return protocol


def _load(kind: Literal["tracers", "protocols"], value: str, where: str, folder: Path) -> Any:
    """A shipped definition by name, or a file's, whose path no message shall repeat."""
    load = {"tracers": load_tracer, "protocols": load_protocol}[kind]
    names = config_names(kind)
    if value.lower() in names:
        return load(value)
    path = folder / home_path(value)
    if path.suffix not in {".yaml", ".yml"} or not is_file(path):
        close = difflib.get_close_matches(value.lower(), names, n=1)
        foreign = " or {name: ..., half_life: ...}" if kind == "tracers" else ""
        raise InputError(
            f"the plan: {where} is not known",
            wanted=f"one of {', '.join(names)}, a .yaml file beside the plan{foreign}",
            hint=close[0] if close else "",
        )
    try:
        return load(str(path))
    except InputError as error:  # its text repeats the file
        raise InputError(
            f"the plan: {where}: the file that it names is wrong",
            got=_line(error),
            hint=f"dtsinn {kind} on that file, which tells what",
        ) from None


def _line(error: InputError) -> str:
    """Where in a YAML file a mistake is, without what stands there."""
    line = re.search(r"line (\d+)", error.got)
    return f"a mistake at line {line.group(1)}" if line else "a mistake"


def _check_name(name: str, where: str) -> None:
    if not SHORT_NAME.fullmatch(name):
        raise InputError(
            f"the plan: {where}",
            got="another word",
            wanted="at most 32 letters, digits, dots, dashes, pluses and underscores",
        )


def parse_plan(path: Path) -> Any:
    """The plain data of a plan.

    Raises:
        InputError: The file cannot be read or is no YAML; the message names a line at most.
    """
    try:
        text = read_yaml_text(path)
    except InputError as error:
        got = f"{error.got}: {path}"  # as it was typed
        raise InputError("the plan cannot be read", got=got, wanted=error.wanted) from None
    try:
        return parse_yaml(text, "the plan")
    except InputError as error:  # its text repeats the lines around the mistake
        got = _line(error)
        raise InputError("the plan cannot be read as YAML", got=got, hint=error.hint) from None


def read_settings(cls: type[T], value: Any, where: str) -> T:
    """As :func:`dtsinn.core.config.from_mapping`, but what was found is not repeated.

    Args:
        cls: A dataclass declared with :data:`dtsinn.core.config.STRICT`. Its fields of type
            ``Any`` are handed on as they are, to be read by their owner.
        value: Plain data.
        where: Its place in the plan.

    Raises:
        InputError: It is no mapping, a key is unknown (told by its number) or missing, or a
            value is of the wrong kind.
    """
    hints = get_type_hints(cls)
    hints.pop("__pydantic_config__", None)
    # What a plan needs comes before the answers to questions.
    known = dict(sorted(hints.items(), key=lambda item: item[0] in Answers.__dataclass_fields__))
    if not isinstance(value, dict):
        raise InputError(
            where, got=f"no settings, {type(value).__name__}", wanted=f"keys {', '.join(known)}"
        )
    for place, key in enumerate(value):
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=1, cutoff=0.5)
            raise InputError(
                f"{where}: key number {place + 1} is unknown",
                wanted="" if close else f"one of {', '.join(known)}",
                hint=close[0] if close else "",
            )
    raw = {key: part for key, part in value.items() if known[key] is Any}
    try:
        settings = from_mapping(cls, value | dict.fromkeys(raw), where)
    except InputError as error:
        hint = error.hint
        if error.what == f"{where}: id" or "no setting takes" in error.what:
            hint = 'quotes around it, as in id: "17" or "1980-02-03"'
        raise InputError(error.what, wanted=error.wanted, hint=hint) from None
    return dataclasses.replace(settings, **raw)  # type: ignore[type-var]
