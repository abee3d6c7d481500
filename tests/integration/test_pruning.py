"""A real search, pruned as a user types it: what the rest of dtsinn says of it afterwards."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dtsinn.cli import app
from dtsinn.core.workspace import Workspace
from dtsinn.data.store import open_store
from dtsinn.deploy.package import verify_package
from dtsinn.eventlog.log import LOG_FILE, EventLog
from dtsinn.eventlog.outbox import Outbox
from dtsinn.registry.references import resolve
from dtsinn.registry.registration import register
from dtsinn.registry.tracking.tracker import connect
from dtsinn.search import run as module
from dtsinn.search.events.state import read_state
from dtsinn.search.plan import SearchPlan
from dtsinn.search.run import run_search
from dtsinn.workflows.prune import PRUNED
from tests.integration.conftest import QUIET, space_of
from tests.support.forked import Forks

SPACE = """
base: invertible
fixed: {steps: 12, validate_every: 6, model.width: 8, model.blocks: 1}
parameters:
  optimizer.learning_rate: {log: [1e-3, 8e-3]}
"""


PRUNER = """
import os, select, signal, sys
from pathlib import Path
from dtsinn.core.workspace import Workspace
from dtsinn.data.store import open_store
from dtsinn.workflows.prune import prune_workspace
from dtsinn.workflows.prune import Policy

root, *moments = sys.argv[1:]
for moment in moments:
    child = os.fork()
    if not child:
        prune_workspace(Workspace(Path(root)), Policy(), dry_run=False)
        os._exit(0)
    select.select([os.pidfd_open(child)], [], [], float(moment))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
"""


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture
def workspace(
    small_path: Path,
    tmp_path: Path,
    begin_workspace: Callable[[Path], Workspace],
    monkeypatch: pytest.MonkeyPatch,
    ray_here: None,
) -> Workspace:
    """After a search of eight trials whose best one and worst one are registered."""
    monkeypatch.setattr(module, "PICTURED", 2)  # drawing takes longer than training here
    workspace = begin_workspace(tmp_path / "workspace")
    space = space_of(tmp_path, SPACE)
    plan = SearchPlan(
        name="first",
        store=str(small_path),
        space=space,
        trials=8,
        scheduler="none",
        seed=1,
        concurrent=1,  # a worker's imports take longer than its eight trials
    )
    result = run_search(
        plan, open_store(plan.store, need_truth=True), workspace, lambda: connect(workspace), QUIET
    )
    tracker = connect(workspace)
    register(tracker, result.package, run_key=result.best_trial)
    worst = f"first/{by_value(workspace)[-1]}"
    register(tracker, result.package, run_key=worst, name="dtsinn-worst")
    return workspace


def by_value(workspace: Workspace) -> list[str]:
    trials = read_state(workspace.searches / "first").trials.values()
    ordered = sorted(trials, key=lambda trial: -trial.metrics["best_psnr"])
    return [trial.name for trial in ordered]


def files(workspace: Workspace) -> dict[str, str]:
    return {
        str(path.relative_to(workspace.root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in workspace.root.rglob("*")
        if path.is_file() and not path.name.endswith(".lock") and path.parent != workspace.logs
    }


def check_another_mlflow_that_knows_it_is_asked(
    workspace: Workspace, tmp_path: Path, monkeypatch
) -> None:
    """Its versions may be there; but the workspace is the same by whatever path it is reached."""
    (tmp_path / "link").symlink_to(workspace.root)
    assert "2 others" in run("registry", "prune", "--workspace", tmp_path / "link")
    other = f"sqlite:///{tmp_path}/other.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", other)
    event_log = EventLog(workspace.searches / "first" / LOG_FILE)
    event_log.append({"event": "tag", "time_ms": 1, "key": "first", "tags": {"more": "words"}})
    Outbox(event_log, lambda: connect(workspace)).deliver()
    assert "2 others" in run("registry", "prune", "--workspace", workspace.root)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    said = run("registry", "prune", "--yes", "--workspace", workspace.root)
    assert f"first: left alone, its versions are at {other}" in said
    assert len(list((workspace.searches / "first" / "trials").glob("trial-*"))) == 8
    Path(other.removeprefix("sqlite:///")).unlink()
    assert "2 others" in run("registry", "prune", "--workspace", workspace.root)


def test_a_real_search_is_pruned_and_all_else_still_works(
    workspace: Workspace,
    small_path: Path,
    small_gate: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    forks: Forks,
) -> None:
    check_another_mlflow_that_knows_it_is_asked(workspace, tmp_path, monkeypatch)
    at = ("--workspace", workspace.root)
    unknown = CliRunner().invoke(app, ["registry", "prune", "--search", "x", *map(str, at)])
    assert (unknown.exit_code, "no search 'x'" in unknown.stderr) == (2, True)
    order, before = by_value(workspace), files(workspace)
    goes = order[5:7]
    said = run("registry", "prune", *at)
    assert files(workspace) == before
    plain = " ".join(said.split())
    assert "kept: number 1 by psnr:max; registered as dtsinn-fmz-fdg-p1/1" in plain
    assert f"{order[7]}" in plain
    assert "kept: registered as dtsinn-worst/1" in plain
    assert "2 others" in plain
    assert "goes: beaten" in plain
    assert "nothing was deleted; try it again with --yes" in plain
    chance = random.Random()
    moments = [str(chance.uniform(0.05, 0.6)) for _ in range(5)]
    with forks.python(PRUNER, workspace.root, *moments) as job:
        _, err = job.communicate()
    assert job.returncode == 0, err
    report = json.loads(run("registry", "prune", "--yes", "--json", *at))
    (search,) = report["searches"]
    assert [one["trial"] for one in search["kept"]] == [*order[:5], order[7]]
    after = files(workspace)
    missing = before.keys() - after.keys()
    assert missing == {
        path
        for path in before
        for name in goes
        if path.startswith(f"searches/first/trials/{name}/")
    }
    changed = {path for path in after if path in before and after[path] != before[path]}
    assert changed <= {"mlflow.db", "searches/first/ledger.jsonl", "searches/first/delivered.json"}
    tracker = connect(workspace)
    for name in order:
        assert (PRUNED in tracker.find_run(f"first/{name}").data.tags) == (name in goes)
    for ref in ("dtsinn-fmz-fdg-p1/1", "dtsinn-worst/1"):
        assert json.loads(run("models", "show", ref, "--json", *at))["search"]["key"] == "first"
        verify_package(resolve(ref, workspace).path)
    (standing,) = json.loads(run("status", "--json", *at))
    assert (standing["state"], standing["repaired"], standing["ended"]) == ("finished", [], 8)
    assert json.loads(run("report", "first", "--json", *at))["trials"] == 8
    more = ("--trials", 9, "--gate", small_gate, "--quiet")
    run("search", small_path, "--name", "first", "--resume", *more, *at)
    assert read_state(workspace.searches / "first").states() == {"finished": 9}
    again = json.loads(run("registry", "prune", "--yes", "--json", *at))
    assert len(again["searches"][0]["gone"]) == 1
    assert again["packages"] == []


def test_bad_requests_are_refused_in_a_line(tmp_path: Path) -> None:
    def refused(*arguments: object) -> str:
        result = CliRunner().invoke(app, ["registry", "prune", *map(str, arguments)])
        assert result.exit_code == 2
        return result.stderr

    at = ("--workspace", tmp_path / "none")
    assert "--keep; got 4; wanted at least 5" in refused("--keep", 4, *at)
    assert "--older-than; got -1.0; wanted days, 0 or more" in refused("--older-than", -1, *at)
    assert "no workspace at" in refused(*at)
