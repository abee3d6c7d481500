"""Moving a model's aliases, written down before and after, so that a kill cannot leave half.

Before anything moves, a tag of the registered model says what will; when all has moved, a line of
its history does, and the first tag goes. Each step can be done twice. Whoever holds the turn next
does first what that tag says, if one is there.
"""

from __future__ import annotations

import getpass
import json
import os
import re
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from mlflow.exceptions import MlflowException
from pydantic import Field, TypeAdapter

from dtsinn.core.errors import RunError
from dtsinn.registry.promotion.lock import Turn, turn
from dtsinn.registry.tracking import tags as tagged
from dtsinn.registry.tracking.names import told_as
from dtsinn.registry.tracking.tracker import MlflowTracker
from dtsinn.registry.versions import CHAMPION, PREVIOUS, find_alias

MOVING = "dtsinn.moving"
"""Tag of a registered model whose aliases are on the move."""
HISTORY = "dtsinn.history."
"""Begins the tags of its history, one a decision."""
What = Literal["promoted", "refused", "rolled back"]
Number = Annotated[int, Field(ge=0, le=10**9)]
_HISTORY_KEY = re.compile(re.escape(HISTORY) + r"([0-9]{1,9})")


@dataclass(frozen=True, kw_only=True)
class Decision:
    """A line of a model's history."""

    what: What
    version: Number
    before: Number | None
    """The champion when it was taken."""
    note: str
    """Why, in a line."""
    when: str
    """ISO 8601, UTC."""
    by: str
    """Who typed it."""
    tags: dict[str, str] = field(default_factory=dict)
    """Of the version: what the gate said."""


@dataclass(frozen=True, kw_only=True)
class _Plan(Decision):
    """A decision that is being carried out."""

    number: Number
    """Of its line in the history."""


_DECISION, _PLAN = TypeAdapter(Decision), TypeAdapter(_Plan)


def decision(
    what: What,
    version: int,
    before: int | None,
    note: str,
    tags: dict[str, str] | None = None,
) -> Decision:
    """A decision that is taken now, by whoever is logged in."""
    when = datetime.now(UTC).isoformat(timespec="seconds")
    return Decision(
        what=what, version=version, before=before, note=note, when=when, by=_user(), tags=tags or {}
    )


def history(tracker: MlflowTracker, name: str) -> list[dict[str, Any]]:
    """What was decided about a model, oldest first; lines that cannot be read are left out."""
    tags = _model_tags(tracker, name)
    lines = []
    for key in sorted(filter(_HISTORY_KEY.fullmatch, tags), key=_number_of):
        taken = tagged.read_as(_DECISION, tags[key])
        if taken is not None:
            line = asdict(taken)
            del line["tags"]
            lines.append(line)
    return lines


def carry_out(held: Turn, taken: Decision) -> None:
    """Do what was decided: aliases for a promotion or a way back, tags and history for all.

    Raises:
        TurnLostError: Others went on meanwhile; nothing more was changed.
    """
    number = 1 + max((_number_of(key) for key in _model_tags(held.tracker, held.name)), default=0)
    plan = _Plan(number=number, **asdict(taken))
    held.check()
    with told_as(f"announcing what becomes of {held.name}/{taken.version}"):
        held.tracker.client.set_registered_model_tag(held.name, MOVING, json.dumps(asdict(plan)))
    _finish(held, plan)


def settle(held: Turn) -> str:
    """Finish what somebody began and did not end; returns what, in words, or nothing."""
    text = _model_tags(held.tracker, held.name).get(MOVING)
    if text is None:
        return ""
    plan = tagged.read_as(_PLAN, text)
    if plan is None:  # anybody may have written there
        _forget(held)
        return f"{held.name}: a tag {MOVING} that cannot be read was removed"
    words = f"{held.name}/{plan.version} was half {plan.what}: "
    if _is_outdated(held, plan):
        _forget(held)
        return f"{words}dropped, as it was against another champion"
    _finish(held, plan)
    return f"{words}finished"


def settle_left(tracker: MlflowTracker, name: str) -> str:
    """:func:`settle` where something was left and nobody is at it; for commands that only read."""
    if MOVING not in _model_tags(tracker, name):
        return ""
    try:
        with turn(tracker, name, patience_s=1.0) as held:
            return settle(held)
    except RunError:  # somebody is at it
        return ""


def _finish(held: Turn, plan: _Plan) -> None:
    client, name, version = held.tracker.client, held.name, plan.version
    try:
        with told_as(f"moving the aliases of {name}"):
            if plan.what != "refused":
                if plan.before is not None:
                    held.check()
                    client.set_registered_model_alias(name, PREVIOUS, str(plan.before))
                held.check()
                client.set_registered_model_alias(name, CHAMPION, str(version))
            for key, value in plan.tags.items():
                client.set_model_version_tag(name, str(version), key, value)
            line = asdict(plan)
            del line["tags"], line["number"]
            key = f"{HISTORY}{plan.number:04d}"
            client.set_registered_model_tag(name, key, json.dumps(line))
    except RunError as error:
        if not _is_gone(held.tracker, name, version):
            raise
        _forget(held)
        raise RunError(f"{name}/{version} was deleted meanwhile", hint="dtsinn models") from error
    _forget(held)


def _is_outdated(held: Turn, plan: _Plan) -> bool:
    """Whether the aliases moved on, so that it was announced too late, when the turn was lost."""
    champion = find_alias(held.tracker, held.name, CHAMPION)
    now = champion.version if champion else None
    return plan.what != "refused" and now not in (plan.before, plan.version)


def _forget(held: Turn) -> None:
    with told_as(f"ending what becomes of {held.name}"):
        held.tracker.client.delete_registered_model_tag(held.name, MOVING)


def _is_gone(tracker: MlflowTracker, name: str, version: int) -> bool:
    try:
        tracker.client.get_model_version(name, str(version))
    except MlflowException as error:
        return bool(error.error_code == "RESOURCE_DOES_NOT_EXIST")
    return False


def _model_tags(tracker: MlflowTracker, name: str) -> dict[str, str]:
    with told_as(f"reading {name}"):
        try:
            return dict(tracker.client.get_registered_model(name).tags)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return {}


def _number_of(key: str) -> int:
    found = _HISTORY_KEY.fullmatch(key)
    return int(found[1]) if found else 0


def _user() -> str:
    """The server's user, else the system's; nothing where there is none, as in containers."""
    try:
        return os.environ.get("MLFLOW_TRACKING_USERNAME") or getpass.getuser()
    except (KeyError, OSError):
        return ""
