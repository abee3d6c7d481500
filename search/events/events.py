"""The events of a search as they stand in its event log: one description of each kind.

Fields that a kind does not name are passed over, so that a line may say more than its reader asks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field, FiniteFloat, InstanceOf, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from dtsinn.core.errors import InputError
from dtsinn.core.tracker import RunKind, RunStatus

Text = InstanceOf[str]
"""Also what UTF-8 cannot write: a reason may name a file, and its name hold any bytes."""
Count = Annotated[int, Field(ge=0, le=2**53)]
"""Of steps and trials: what a float holds exactly, so that no sum of them overflows."""
Time = Annotated[int, Field(ge=0, lt=253_402_300_800_000)]
"""ms since 1970 UTC, before the year 10000, which no date can be in."""
Number = FiniteFloat
Seed = Annotated[int, Field(ge=0, lt=2**63)]
"""Of a training, as its configuration bounds it."""
Setting = bool | Annotated[int, Field(ge=-(2**63), lt=2**63)] | Number | str | None
"""Of a run: what every reader of the log can hold."""
Suggestion = dict[str, Setting]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
"""Of a trial, which is also that of its folder."""


class _Run(TypedDict):
    """A :class:`~dtsinn.core.tracker.RunStart`."""

    key: str
    name: Text
    kind: RunKind
    experiment: Text
    time_ms: Time
    parent: NotRequired[str | None]
    parameters: NotRequired[dict[str, Setting]]
    tags: NotRequired[dict[str, Text]]
    description: NotRequired[Text]


class _Event(TypedDict):
    time_ms: NotRequired[Time]


class _Sitting(_Event):
    event: Literal["sitting"]
    host: Text
    pid: Count
    plan: dict[str, Any]


class _Begin(_Event):
    event: Literal["begin"]
    run: _Run
    gpus: NotRequired[Annotated[Number, Field(ge=0)]]


class _Warm(_Event):
    event: Literal["warm"]
    suggestion: Suggestion
    step: Count
    values: list[Number]
    finished: bool


class _Point(_Event):
    event: Literal["point"]
    suggestion: Suggestion
    source: Text


class _Suggest(_Event):
    event: Literal["suggest"]
    trial: Name
    number: Count
    suggestion: Suggestion
    seed: Seed
    source: Text
    seconds: Number


class _Refuse(_Event):
    event: Literal["refuse"]
    suggestion: Suggestion
    reason: Text
    source: NotRequired[Text]


class _Report(TypedDict):
    event: Literal["report"]
    time_ms: Time
    key: str
    step: Count
    metrics: dict[str, Number]


class _Restart(_Event):
    event: Literal["restart"]
    trial: Name
    lost_seconds: Number


class _Repeat(_Event):
    event: Literal["repeat"]
    trial: Name


class _Artifact(_Event):
    event: Literal["artifact"]
    key: str
    path: Text
    folder: Text


class _End(TypedDict):
    event: Literal["end"]
    time_ms: Time
    key: str
    status: RunStatus
    tags: dict[str, Text]


class _Tag(_Event):
    event: Literal["tag"]
    key: str
    tags: dict[str, Text]


_KINDS = (
    _Sitting
    | _Begin
    | _Warm
    | _Point
    | _Suggest
    | _Refuse
    | _Report
    | _Restart
    | _Repeat
    | _Artifact
    | _End
    | _Tag
)
_EVENT: TypeAdapter[Any] = TypeAdapter(Annotated[_KINDS, Field(discriminator="event")])
"""Compiled once: it takes milliseconds to make and microseconds to use."""


def check_event(event: Mapping[str, Any]) -> None:
    """Refuse what is no event of a search.

    Raises:
        InputError: Its kind is not known, or it lacks a field or has one of another type.
    """
    try:
        _EVENT.validate_python(event, strict=True)
    except ValidationError as error:
        raise _refusal(event, error) from None


def _refusal(event: Mapping[str, Any], error: ValidationError) -> InputError:
    problem = error.errors(include_url=False)[0]
    if not problem["loc"]:  # no kind, or none that is known
        known = problem["ctx"].get("expected_tags", "").replace("'", "")
        return InputError(
            "no event of a search",
            got=f"event {event['event']!r}"[:80] if "event" in event else repr(event)[:80],
            wanted=f"one of {known}" if known else "a key 'event' and its kind",
            hint="the newer dtsinn that may have written it",
        )
    kind, *key = problem["loc"]
    what = f"event {kind!r}: {'.'.join(map(str, key))}"
    if problem["type"] == "missing":
        return InputError(f"{what} is missing")
    return InputError(f"{what}: {problem['msg']}", got=repr(problem["input"])[:80])
