"""Promotion and the way back: the gate decides, aliases move, and the decision is written down.

Where a name has no champion, it first gets one (:mod:`.first_champion`): the opponent is always a
champion. The gate takes minutes, so it is asked without holding anything. Then, under the promotion
lock (:mod:`.lock`), the champion is read again: a decision that was taken against another one is
taken again.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from dtsinn.core.errors import InputError, PackageError, RunError
from dtsinn.core.progress import Progress, no_progress
from dtsinn.core.workspace import Workspace
from dtsinn.data.store import Store
from dtsinn.registry.gate.cells import gate_cells
from dtsinn.registry.gate.comparison import Comparison, LoadedPackage
from dtsinn.registry.gate.config import GateConfig
from dtsinn.registry.gate.decide import gate
from dtsinn.registry.gate.report import NO_CHAMPION, GateReport
from dtsinn.registry.promotion.alias_transaction import (
    What,
    apply_decision,
    history,
    make_decision,
    recover,
    recover_abandoned,
)
from dtsinn.registry.promotion.first_champion import ensure_champion, find_linear_map
from dtsinn.registry.promotion.lock import PromotionLockLostError, promotion_lock
from dtsinn.registry.references import fetch
from dtsinn.registry.tracking.names import check_name, mlflow_errors_as
from dtsinn.registry.tracking.tracker import MlflowTracker
from dtsinn.registry.versions import (
    CHAMPION,
    PREVIOUS,
    ModelVersion,
    find_alias,
    get_alias,
    get_version,
    versions_of_run,
)

ATTEMPTS = 20
"""How often a decision is taken again because the champion changed meanwhile."""


def promote(
    tracker: MlflowTracker,
    workspace: Workspace,
    version: ModelVersion,
    store: Store | None,
    config: GateConfig,
    *,
    dry_run: bool = False,
    name: str | None = None,
    progress: Progress = no_progress,
) -> GateReport:
    """Make a version the champion if it passes the gate; a refusal is written down too.

    Where there is no champion, the linear map is made the first one.

    Args:
        tracker: The registry.
        workspace: Where suites and copies of packages are kept.
        version: The candidate.
        store: The candidate's own, whose ``gate`` subjects take part; None where it is gone.
        config: Limits.
        dry_run: Decide, but change nothing.
        name: The model that it shall lead, instead of its own; a copy is registered there.
        progress: Called during simulations and scoring.

    Raises:
        StoreError: A store is damaged.
        PackageError: Files of candidate or champion are missing or damaged.
        InputError: There is no champion, and no linear map to be one.
        RunError: MLflow failed, or the champion changes faster than it can be measured.
    """
    target = version.name if name is None else check_name(name)
    candidate = LoadedPackage.load(version.ref, fetch(tracker, workspace, version))
    run_known = tracker.find_run(version.run_id) is not None if version.run_id else False
    comparison: Comparison | None = None
    first = ""
    for _ in range(ATTEMPTS):
        recover_abandoned(tracker, target)
        champion = find_alias(tracker, target, CHAMPION)
        if champion is None and not dry_run:
            made = ensure_champion(
                tracker, workspace, target, candidate.path, version.run_key, store
            )
            first = made.ref if made else first
            continue
        opponent = _load_opponent(tracker, workspace, champion, candidate, store)
        if opponent.separator.digest == version.digest:
            return GateReport(
                verdict="unchanged",
                candidate=version.ref,
                against=opponent.ref,
                dry_run=dry_run,
                first_champion=first,
            )
        if comparison is None:
            cells = gate_cells(candidate.separator.info, config, store, workspace, progress)
            comparison = Comparison(candidate, cells, progress)
        report = gate(comparison, opponent, config, run_known=run_known)
        report = replace(report, dry_run=dry_run, first_champion=first)
        if dry_run or _record_decision(tracker, version, champion, target, report):
            return report
    raise RunError(f"the champion of {target} keeps changing", hint="again later")


def roll_back(
    tracker: MlflowTracker, workspace: Workspace, name: str, to: int | None = None
) -> tuple[ModelVersion, ModelVersion]:
    """Make an earlier champion the champion again; the present one becomes ``previous``.

    Args:
        tracker: The registry.
        workspace: Where copies of packages are kept.
        name: The model.
        to: Version to go back to; the previous champion by default.

    Returns:
        The champion now, and the one before.

    Raises:
        InputError: There is no champion, no previous one, or ``to`` never was one.
        PackageError: The files of the earlier champion are missing or damaged.
    """
    get_alias(tracker, name, CHAMPION)  # without one there is nothing to lock
    with promotion_lock(tracker, name) as held:
        recover(held)
        present = get_alias(tracker, name, CHAMPION)
        target = _find_earlier_champion(tracker, name, present, to)
        fetch(tracker, workspace, target)  # what cannot be used is no way back
        note = f"from {present.ref}"
        apply_decision(held, make_decision("rolled back", target.version, present.version, note))
    return get_version(tracker, name, target.version), present


def _load_opponent(
    tracker: MlflowTracker,
    workspace: Workspace,
    champion: ModelVersion | None,
    candidate: LoadedPackage,
    store: Store | None,
) -> LoadedPackage:
    """Load the champion, or say how to go on without it where its files are not what they were.

    In a dry run without a champion it is the linear map that would be the first one.
    """
    if champion is None:
        separator = find_linear_map(candidate.path, store).separator
        return LoadedPackage(ref=NO_CHAMPION, path=candidate.path, separator=separator)
    try:
        return LoadedPackage.load(champion.ref, fetch(tracker, workspace, champion))
    except PackageError as error:
        way_out = f"its files from a backup, or to delete {champion.ref} in MLflow"
        if find_alias(tracker, champion.name, PREVIOUS) is not None:
            way_out = f"dtsinn rollback {champion.name}"
        raise PackageError(
            f"the champion cannot be compared with: {error.what}",
            got=error.got,
            wanted=error.wanted,
            hint=way_out,
        ) from None


def _find_earlier_champion(
    tracker: MlflowTracker, name: str, present: ModelVersion, to: int | None
) -> ModelVersion:
    lines = [line for line in history(tracker, name) if line["what"] != "refused"]
    led = {line[which] for line in lines for which in ("version", "before")}
    previous = find_alias(tracker, name, PREVIOUS)
    if to is None:
        if previous is None:
            raise InputError(f"{name} had no champion before {present.ref}", hint="dtsinn models")
        return previous
    if to == present.version:
        raise InputError(f"{name}/{to} is the champion already")
    if to not in led and (previous is None or previous.version != to):
        known = sorted(led - {present.version, None})
        raise InputError(
            f"{name}/{to} was never champion",
            wanted=f"one of {', '.join(map(str, known))}" if known else "",
            hint=f"dtsinn promote {name}/{to}",
        )
    return get_version(tracker, name, to)


def _record_decision(
    tracker: MlflowTracker,
    version: ModelVersion,
    champion: ModelVersion | None,
    target: str,
    report: GateReport,
) -> bool:
    """Apply the decision, unless the champion is another by now."""
    passed = report.verdict == "passed"
    if passed:
        version = _ensure_listed_under(tracker, version, target)
    _attach_report(tracker, version, report)
    try:
        with promotion_lock(tracker, version.name) as held:
            recover(held)
            now = find_alias(tracker, target, CHAMPION)
            if _number(now) != _number(champion):
                return False
            before = _number(champion) if version.name == target else None
            what: What = "promoted" if passed else "refused"
            taken = make_decision(what, version.version, before, report.summary, _gate_tags(report))
            apply_decision(held, taken)
    except PromotionLockLostError:
        return False
    return True


def _ensure_listed_under(
    tracker: MlflowTracker, version: ModelVersion, target: str
) -> ModelVersion:
    """Return the version itself, or its copy under another model's name (one is enough)."""
    if version.name == target:
        return version
    for known in versions_of_run(tracker, version.run_id):
        if (known.name, known.digest) == (target, version.digest):
            return known
    with mlflow_errors_as(f"copying {version.ref} to {target}"):
        copied = tracker.client.copy_model_version(f"models:/{version.ref}", target)
        for key, value in version.tags.items():
            tracker.client.set_model_version_tag(target, copied.version, key, value)
    return get_version(tracker, target, int(copied.version))


def _gate_tags(report: GateReport) -> dict[str, str]:
    """What stands on a version after the gate."""
    tags = {
        "gate.verdict": "promoted" if report.verdict == "passed" else "refused",
        "gate.against": report.against,
        "gate.subjects": str(report.subjects),
        "gate.stores": ", ".join(f"{cell.key} {cell.store_digest}" for cell in report.cells),
        "gate.failed": "; ".join(check.line() for check in report.failures),
    }
    if report.difference is not None:
        tags["gate.difference"] = f"{report.difference.mean:+.4f} dB"
        ends = report.difference.range_text(4, "+")
        tags["gate.interval"] = ends if report.difference.low is None else f"{ends} dB"
    if report.psnr is not None:
        tags["gate.psnr"] = json.dumps(
            [None if value is None else round(value, 4) for value in report.psnr]
        )
    return tags


def _attach_report(tracker: MlflowTracker, version: ModelVersion, report: GateReport) -> None:
    """Attach the report as files of the run that made the version, where that still is."""
    if not version.run_key or tracker.find_run(version.run_key) is None:
        return
    from dtsinn.registry.gate.page import gate_page  # here: it draws with matplotlib

    opponent = report.against.replace("/", "-")
    with TemporaryDirectory(prefix="dtsinn-") as folder:
        when = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")  # a server adds, and changes nothing
        stem = f"{version.name}-{version.version}-against-{opponent}-{when}"
        data = json.dumps(report.to_json(), indent=1)
        (Path(folder) / f"{stem}.json").write_text(data, encoding="utf-8")
        (Path(folder) / f"{stem}.html").write_text(gate_page(report), encoding="utf-8")
        tracker.artifact(version.run_key, Path(folder), "gate")


def _number(version: ModelVersion | None) -> int | None:
    return None if version is None else version.version
