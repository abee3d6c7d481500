"""Promotion: the gate decides, aliases move, and the decision is written down.

MLflow has no compare-and-swap for aliases. In an embedded workspace promotions are serialised by
a file lock; everywhere the champion is read again before the aliases move, and a decision that
was taken against another champion is taken again.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from filelock import FileLock, Timeout

from dtsinn.core.errors import RunError
from dtsinn.core.workspace import Workspace
from dtsinn.data.store import Store
from dtsinn.registry.gate import Contender, GateConfig, gate
from dtsinn.registry.gate_report import FLOOR, GateReport
from dtsinn.registry.names import checked_name, told_as
from dtsinn.registry.references import fetch
from dtsinn.registry.tracking import MlflowTracker
from dtsinn.registry.versions import (
    CHAMPION,
    PREVIOUS,
    ModelVersion,
    find_alias,
    get_version,
    versions_of_run,
)

PATIENCE_s = 3600
"""Longest wait for another promotion in the same workspace."""

ATTEMPTS = 5
"""How often a decision is taken again because the champion changed meanwhile."""


def promote(
    tracker: MlflowTracker,
    workspace: Workspace,
    version: ModelVersion,
    store: Store,
    config: GateConfig,
    *,
    dry_run: bool = False,
    name: str | None = None,
) -> GateReport:
    """Make a version the champion if it passes the gate; a refusal is written down too.

    Args:
        tracker: The registry.
        workspace: Where copies of packages and the lock are kept.
        version: The candidate.
        store: Whose ``gate`` split decides.
        config: Limits.
        dry_run: Decide, but change nothing.
        name: The model that it shall lead, instead of its own; a copy is registered there.

    Raises:
        StoreError: The store has no truth, or is damaged.
        PackageError: Files of candidate or champion are missing or damaged.
        RunError: MLflow failed, or the champion changes faster than it can be measured.
    """
    target = checked_name(name) if name else version.name
    with _alone(workspace):
        for _ in range(ATTEMPTS):
            champion = find_alias(tracker, target, CHAMPION)
            report = _decide(tracker, workspace, version, champion, store, config)
            report = dataclasses.replace(report, dry_run=dry_run)
            if dry_run or report.verdict == "unchanged":
                return report
            now = find_alias(tracker, target, CHAMPION)
            if _number(now) != _number(champion):
                continue
            if report.verdict == "passed":
                version = _listed_under(tracker, version, target)
                _move(tracker, version, champion)
            _write_down(tracker, version, report)
            return report
    raise RunError(f"the champion of {target} keeps changing", hint="again later")


@contextmanager
def _alone(workspace: Workspace) -> Iterator[None]:
    """Hold the workspace's promotion lock."""
    workspace.root.mkdir(parents=True, exist_ok=True)
    lock = FileLock(workspace.root / ".promotion.lock", timeout=PATIENCE_s)
    try:
        lock.acquire()
    except Timeout:
        raise RunError("another promotion holds the workspace", got=lock.lock_file) from None
    try:
        yield
    finally:
        lock.release()


def _decide(
    tracker: MlflowTracker,
    workspace: Workspace,
    version: ModelVersion,
    champion: ModelVersion | None,
    store: Store,
    config: GateConfig,
) -> GateReport:
    if champion is not None and champion.digest == version.digest:
        return GateReport(verdict="unchanged", candidate=version.ref, against=champion.ref)
    candidate = Contender.load(version.ref, fetch(tracker, workspace, version))
    opponent = None
    if champion is not None:
        opponent = Contender.load(champion.ref, fetch(tracker, workspace, champion))
    return gate(candidate, opponent, store, config)


def _listed_under(tracker: MlflowTracker, version: ModelVersion, target: str) -> ModelVersion:
    """The version itself, or its copy under another model's name (one is enough)."""
    if version.name == target:
        return version
    for known in versions_of_run(tracker, version.run_id):
        if (known.name, known.digest) == (target, version.digest):
            return known
    with told_as(f"copying {version.ref} to {target}"):
        copied = tracker.client.copy_model_version(f"models:/{version.ref}", target)
        for key, value in version.tags.items():
            tracker.client.set_model_version_tag(target, copied.version, key, value)
    return get_version(tracker, target, int(copied.version))


def _move(tracker: MlflowTracker, version: ModelVersion, champion: ModelVersion | None) -> None:
    """Previous first: a process that dies in between leaves a champion, and the right one."""
    with told_as(f"moving the aliases of {version.name}"):
        set_alias = tracker.client.set_registered_model_alias
        if champion is not None:
            set_alias(version.name, PREVIOUS, str(champion.version))
        set_alias(version.name, CHAMPION, str(version.version))


def _write_down(tracker: MlflowTracker, version: ModelVersion, report: GateReport) -> None:
    """The decision, on the version's tags and as a file of its run."""
    when = datetime.now(UTC).isoformat(timespec="seconds")
    tags = {
        "gate.verdict": "promoted" if report.verdict == "passed" else "refused",
        "gate.against": report.against,
        "gate.when": when,
        "gate.subjects": str(report.subjects),
        "gate.store": report.store_digest,
        "gate.failed": "; ".join(check.line() for check in report.failures),
    }
    if report.difference is not None:
        mean, low, high = report.difference
        tags["gate.difference"] = f"{mean:+.4f} dB"
        tags["gate.interval"] = f"{low:+.4f} to {high:+.4f} dB"
    with told_as(f"writing the gate's decision on {version.ref}"):
        for key, value in tags.items():
            tracker.client.set_model_version_tag(version.name, str(version.version), key, value)
    if not version.run_key:
        return
    opponent = "floor" if report.against == FLOOR else report.against.replace("/", "-")
    with TemporaryDirectory(prefix="dtsinn-") as folder:
        file = Path(folder) / f"{version.name}-{version.version}-against-{opponent}.json"
        file.write_text(json.dumps(report.to_json() | {"when": when}, indent=1), encoding="utf-8")
        tracker.artifact(version.run_key, file, "gate")


def _number(version: ModelVersion | None) -> int | None:
    return None if version is None else version.version
