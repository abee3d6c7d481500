"""The events of runs, as they stand in every event log: one description of each kind.

Fields that a kind does not name are passed over, so that a line may say more than its reader asks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field, FiniteFloat, InstanceOf, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from dtsinn.core.errors import InputError
from dtsinn.core.tracker import RunKind, RunStatus

Text = InstanceOf[str]
"""Also what UTF-8 cannot write: a reason may name a file, and its name hold any bytes."""
Count = Annotated[int, Field(ge=0, le=2**53)]
"""Steps and trials: what a float holds exactly, so that no sum of them overflows."""
Time = Annotated[int, Field(ge=0, lt=253_402_300_800_000)]
"""ms since 1970 UTC, before the year 10000, which no date can be in."""
Number = FiniteFloat
Setting = bool | Annotated[int, Field(ge=-(2**63), lt=2**63)] | Number | str | None
"""A parameter of a run: what every reader of the log can hold."""


class Run(TypedDict):
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


class Event(TypedDict):
    """What every kind has."""

    time_ms: NotRequired[Time]


class Begin(Event):
    """A run began, or goes on; ``gpus`` that a trial holds."""

    event: Literal["begin"]
    run: Run
    gpus: NotRequired[Annotated[Number, Field(ge=0)]]


class Report(TypedDict):
    """A run reported."""

    event: Literal["report"]
    time_ms: Time
    key: str
    step: Count
    metrics: dict[str, Number]


class Artifact(Event):
    """Files of a run: ``path`` from the log's folder."""

    event: Literal["artifact"]
    key: str
    path: Text
    folder: Text


class End(TypedDict):
    """A run ended; ``tags`` hold the ``reason``."""

    event: Literal["end"]
    time_ms: Time
    key: str
    status: RunStatus
    tags: dict[str, Text]


class Tag(Event):
    """More tags of a run, also after its end."""

    event: Literal["tag"]
    key: str
    tags: dict[str, Text]


RUN_EVENTS = Begin | Report | Artifact | End | Tag
DELIVERED = frozenset({"begin", "report", "artifact", "end", "tag"})
"""The kinds of events that a tracker gets."""


def event_check(kinds: Any, of: str) -> Callable[[Mapping[str, Any]], None]:
    """The function that refuses what is no event of these kinds; made once, it is quick.

    Args:
        kinds: Union of their types.
        of: What has such events, for the error: ``a search``.
    """
    adapter: TypeAdapter[Any] = TypeAdapter(Annotated[kinds, Field(discriminator="event")])

    def check(event: Mapping[str, Any]) -> None:
        try:
            adapter.validate_python(event, strict=True)
        except ValidationError as error:
            raise _refusal(event, error, of) from None

    return check


check_run_event = event_check(RUN_EVENTS, "a run")
"""Raises :class:`InputError` where a kind is not known, or lacks a field or has another type."""


def _refusal(event: Mapping[str, Any], error: ValidationError, of: str) -> InputError:
    problem = error.errors(include_url=False)[0]
    if not problem["loc"]:  # no kind, or none that is known
        known = problem["ctx"].get("expected_tags", "").replace("'", "")
        return InputError(
            f"no event of {of}",
            got=f"event {event['event']!r}"[:80] if "event" in event else repr(event)[:80],
            wanted=f"one of {known}" if known else "a key 'event' and its kind",
            hint="the newer dtsinn that may have written it",
        )
    kind, *key = problem["loc"]
    what = f"event {kind!r}: {'.'.join(map(str, key))}"
    if problem["type"] == "missing":
        return InputError(f"{what} is missing")
    return InputError(f"{what}: {problem['msg']}", got=repr(problem["input"])[:80])
