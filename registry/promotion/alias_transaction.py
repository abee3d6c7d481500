"""Moving a model's aliases, written down before and after, so that a kill cannot leave half.

A write-ahead log of one entry: before anything moves, a tag of the registered model says what will;
when all has moved, a line of its history does, and the first tag goes. Each step can be done twice.
Whoever holds the promotion lock next does first what that tag says, if one is there.
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
from dtsinn.registry.promotion.lock import PromotionLock, promotion_lock
from dtsinn.registry.tracking import tags as tagged
from dtsinn.registry.tracking.names import ABSENT, mlflow_errors_as, suppress_mlflow
from dtsinn.registry.tracking.tracker import MlflowTracker
from dtsinn.registry.versions import CHAMPION, PREVIOUS, find_alias

MOVING = "dtsinn.moving"
"""Tag of a registered model whose aliases are on the move: the transaction."""
HISTORY = "dtsinn.history."
"""Begins the tags of its history, one a decision."""
What = Literal["made first champion", "promoted", "refused", "rolled back"]
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
    """Tags that the version gets: what the gate said."""


@dataclass(frozen=True, kw_only=True)
class AliasTransaction(Decision):
    """A decision that is being applied."""

    number: Number
    """Number of its line in the history."""


_DECISION, _TRANSACTION = TypeAdapter(Decision), TypeAdapter(AliasTransaction)


def make_decision(
    what: What,
    version: int,
    before: int | None,
    note: str,
    tags: dict[str, str] | None = None,
) -> Decision:
    """Make a decision of now, by whoever is logged in."""
    when = datetime.now(UTC).isoformat(timespec="seconds")
    return Decision(
        what=what,
        version=version,
        before=before,
        note=note,
        when=when,
        by=current_user(),
        tags=tags or {},
    )


def history(tracker: MlflowTracker, name: str) -> list[dict[str, Any]]:
    """What was decided about a model, oldest first; lines that cannot be read are left out."""
    tags = _model_tags(tracker, name)
    keys = sorted(filter(_HISTORY_KEY.fullmatch, tags), key=_number_of)
    decisions = (tagged.parse_as(_DECISION, tags[key]) for key in keys)
    return [_history_line(taken) for taken in decisions if taken is not None]


def apply_decision(held: PromotionLock, taken: Decision) -> None:
    """Do what was decided: aliases unless it was a refusal, tags and history for all.

    Raises:
        PromotionLockLostError: Others went on meanwhile; nothing more was changed.
    """
    number = 1 + max((_number_of(key) for key in _model_tags(held.tracker, held.name)), default=0)
    plan = AliasTransaction(number=number, **asdict(taken))
    held.check()
    with mlflow_errors_as(f"announcing what becomes of {held.name}/{taken.version}"):
        held.tracker.client.set_registered_model_tag(held.name, MOVING, json.dumps(asdict(plan)))
    _finish(held, plan)


def recover(held: PromotionLock) -> str:
    """Finish what somebody began and did not end; returns what, in words, or nothing."""
    text = _model_tags(held.tracker, held.name).get(MOVING)
    if text is None:
        return ""
    plan = tagged.parse_as(_TRANSACTION, text)
    if plan is None:  # anybody may have written there
        _forget(held)
        return f"{held.name}: a tag {MOVING} that cannot be read was removed"
    words = f"{held.name}/{plan.version} was half {plan.what}: "
    if _is_outdated(held, plan):
        _forget(held)
        return f"{words}dropped, as it was against another champion"
    _finish(held, plan)
    return f"{words}finished"


def recover_abandoned(tracker: MlflowTracker, name: str) -> str:
    """:func:`recover` where something was left and nobody is at it; for commands that only read."""
    if MOVING not in _model_tags(tracker, name):
        return ""
    try:
        with promotion_lock(tracker, name, patience_s=1.0) as held:
            return recover(held)
    except RunError:  # somebody is at it
        return ""


def _finish(held: PromotionLock, plan: AliasTransaction) -> None:
    client, name, version = held.tracker.client, held.name, plan.version
    try:
        with mlflow_errors_as(f"moving the aliases of {name}"):
            if plan.what != "refused":
                if plan.before is not None:
                    held.check()
                    client.set_registered_model_alias(name, PREVIOUS, str(plan.before))
                held.check()
                client.set_registered_model_alias(name, CHAMPION, str(version))
            for key, value in plan.tags.items():
                client.set_model_version_tag(name, str(version), key, value)
            key = f"{HISTORY}{plan.number:04d}"
            client.set_registered_model_tag(name, key, json.dumps(_history_line(plan)))
    except RunError as error:
        if not _is_gone(held.tracker, name, version):
            raise
        _forget(held)
        raise RunError(f"{name}/{version} was deleted meanwhile", hint="dtsinn models") from error
    _forget(held)


def _history_line(taken: Decision) -> dict[str, Any]:
    """What stands in the history; the tags stand on the version."""
    line = asdict(taken)
    return {key: line[key] for key in line if key not in ("tags", "number")}


def _is_outdated(held: PromotionLock, plan: AliasTransaction) -> bool:
    """Whether the aliases moved on, so that it was announced too late, when the lock was lost."""
    champion = find_alias(held.tracker, held.name, CHAMPION)
    now = champion.version if champion else None
    return plan.what != "refused" and now not in (plan.before, plan.version)


def _forget(held: PromotionLock) -> None:
    with mlflow_errors_as(f"ending what becomes of {held.name}"):
        held.tracker.client.delete_registered_model_tag(held.name, MOVING)


def _is_gone(tracker: MlflowTracker, name: str, version: int) -> bool:
    try:
        tracker.client.get_model_version(name, str(version))
    except MlflowException as error:
        return bool(error.error_code == ABSENT)
    return False


def _model_tags(tracker: MlflowTracker, name: str) -> dict[str, str]:
    tags: dict[str, str] = {}
    with mlflow_errors_as(f"reading {name}"), suppress_mlflow(ABSENT):
        tags |= tracker.client.get_registered_model(name).tags
    return tags


def _number_of(key: str) -> int:
    found = _HISTORY_KEY.fullmatch(key)
    return int(found[1]) if found else 0


def current_user() -> str:
    """Name the server's user, else the system's; nothing where there is none, as in containers."""
    try:
        return os.environ.get("MLFLOW_TRACKING_USERNAME") or getpass.getuser()
    except (KeyError, OSError):
        return ""
