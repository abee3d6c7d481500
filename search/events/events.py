"""The events that only a search has, beside those of its runs (:mod:`dtsinn.eventlog.events`).

=========== ==================================================================================
``sitting`` a session began: ``host``, ``pid``, and the whole ``plan`` that it follows
``warm``    a result of an earlier search: ``suggestion``, ``step``, ``values``, ``finished``
``point``   to try before the sampler is asked: ``suggestion``, ``source``
``suggest`` a trial was thought of: ``trial``, ``number``, ``suggestion``, ``seed``, ``source``
``refuse``  a suggestion was refused before it was a trial: ``suggestion``, ``reason``,
            ``source``
``restart`` a worker died and its trial began again: ``trial``, ``step``, ``lost_seconds``
``repeat``  a report that came again and was not counted: ``trial``, ``step``
=========== ==================================================================================

The floor begins, reports and ends as a trial does; nobody suggests it. The ``end`` of a trial that
its own configuration ended has the tag ``spoiled``. The words of files are those of the first
version: a session is a ``sitting`` there, an infeasible trial ``spoiled``.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field

from dtsinn.eventlog.events import RUN_EVENTS, Count, Event, Number, Setting, Text, event_check

Seed = Annotated[int, Field(ge=0, lt=2**63)]
"""Seed of a training, as its configuration bounds it."""
Suggestion = dict[str, Setting]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
"""Name of a trial, which is also that of its folder."""


class _Session(Event):
    event: Literal["sitting"]
    host: Text
    pid: Count
    plan: dict[str, Any]


class _Warm(Event):
    event: Literal["warm"]
    suggestion: Suggestion
    step: Count
    values: list[Number]
    finished: bool


class _Point(Event):
    event: Literal["point"]
    suggestion: Suggestion
    source: Text


class _Suggest(Event):
    event: Literal["suggest"]
    trial: Name
    number: Count
    suggestion: Suggestion
    seed: Seed
    source: Text
    seconds: Number


class _Refuse(Event):
    event: Literal["refuse"]
    suggestion: Suggestion
    reason: Text
    source: NotRequired[Text]


class _Restart(Event):
    event: Literal["restart"]
    trial: Name
    lost_seconds: Number


class _Repeat(Event):
    event: Literal["repeat"]
    trial: Name


check_event = event_check(
    RUN_EVENTS | _Session | _Warm | _Point | _Suggest | _Refuse | _Restart | _Repeat, "a search"
)
"""Raises :class:`InputError` where a kind is not known, or lacks a field or has another type."""
