"""A workspace is one folder: renamed, copied or reached by a link it works whole, and alone."""

from __future__ import annotations

import json
import logging
import shutil
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import mlflow
import pytest

from dtsinn.core.errors import InputError
from dtsinn.core.tracker import RunStart
from dtsinn.core.workspace import Workspace
from dtsinn.data.known_stores import find_store
from dtsinn.deploy.package import package_digest
from dtsinn.registry.references import resolve
from dtsinn.registry.registration import register
from dtsinn.registry.tracking import relocation
from dtsinn.registry.tracking.tracker import connect
from dtsinn.workflows.prune_packages import delete_orphans

NAME = "dtsinn-fmz-fdg-p1"


def texts(database: Path) -> set[str]:
    """All texts of all tables."""
    with sqlite3.connect(database) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        held = set()
        for (table,) in tables.fetchall():
            for row in connection.execute(f'SELECT * FROM "{table}"'):
                held |= {value for value in row if isinstance(value, str)}
    connection.close()
    return held


def names(held: set[str], folder: Path) -> list[str]:
    return sorted(text for text in held if f"{folder}/" in text or f"{folder.as_uri()}/" in text)


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith(".lock")
    }


def use(workspace: Workspace, package: Path, key: str) -> str:
    """A run with a file and a version, as every command would make them; the version's REF."""
    tracker = connect(workspace)
    tracker.begin(RunStart(key=key, name=key, kind="training", experiment="fmz-fdg", time_ms=1_000))
    card = workspace.root / "card.md"
    card.write_text(key)
    tracker.artifact(key, card)
    version = register(tracker, package, run_key=key)
    tracker.end(key, "finished", 9_000)
    return version.ref


@pytest.fixture
def used(workspace, packages) -> Workspace:
    """A workspace with a run, a version, and an experiment that a person made in MLflow."""
    use(workspace, packages.weak, "first")
    client = connect(workspace).client
    client.create_experiment("by hand", (workspace.artifacts.resolve() / "7").as_uri())
    client.create_experiment("elsewhere", "s3://bucket/artifacts")
    return workspace


@pytest.mark.parametrize("how", ["renamed", "copied"])
def test_it_works_whole_and_never_at_its_old_place(used, packages, tmp_path, caplog, how) -> None:
    old, new = used.root, Workspace(tmp_path / "another place")
    if how == "renamed":
        old.rename(new.root)
    else:
        shutil.copytree(old, new.root)
    before = files(old)
    caplog.clear()
    found = resolve(f"{NAME}/1", new)
    assert found.path.is_relative_to(new.root)
    (said,) = [record.getMessage() for record in caplog.records]
    assert said.startswith(f"the workspace was at {old}, its records now say {new.root}: ")
    assert names(texts(new.database), old) == []
    assert "s3://bucket/artifacts" in texts(new.database)

    assert use(new, packages.strong, "second") == f"{NAME}/2"
    assert use(new, packages.strong, "first") == f"{NAME}/3"  # a known run is continued here too
    assert resolve(f"{NAME}/2", new).digest == package_digest(packages.strong)
    tracker = connect(new)
    tracker.client.delete_model_version(NAME, "3")
    (gone,) = delete_orphans(tracker, 1 << 62, lambda key: True)
    assert gone.folder.is_relative_to(new.root)
    assert files(old) == before
    assert old.exists() == (how == "copied")
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) == 1
    if how == "copied":  # the original neither hears of it nor changes
        assert resolve(f"{NAME}/1", used).path.is_relative_to(used.root)
        assert names(texts(used.database), new.root) == []


def test_mlflow_itself_finds_the_files_of_a_moved_model(
    used, packages, store, tmp_path, monkeypatch
) -> None:
    new = Workspace(used.root.rename(tmp_path / "elsewhere"))
    uri = connect(new).uri
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", uri)
    mixture = next(store.subjects("gate")).mixture_NTYX
    assert mlflow.pyfunc.load_model(f"models:/{NAME}/1").predict(mixture).shape[1] == 2


@pytest.mark.parametrize("how", ["renamed", "copied"])
def test_what_an_older_dtsinn_scattered_is_brought_home(
    used, packages, tmp_path, monkeypatch, how
) -> None:
    """It wrote to the old place: a new run, and more files of a run that had some."""
    old, new = used.root, Workspace(tmp_path / "renamed")
    if how == "renamed":
        old.rename(new.root)
    else:
        shutil.copytree(old, new.root)
    with monkeypatch.context() as older:
        older.setattr(
            "dtsinn.registry.tracking.tracker.repair_locations", lambda uri, workspace: None
        )
        use(new, packages.strong, "second")
        more = tmp_path / "more.md"
        more.write_text("more")
        tracker = connect(new)
        tracker.artifact("first", more)
        run = tracker.run_id("first")
    assert (old / "artifacts" / run / "artifacts/more.md").exists()
    scattered = files(old)
    assert resolve(f"{NAME}/2", new).digest == package_digest(packages.strong)
    assert resolve(f"{NAME}/1", new).digest == package_digest(packages.weak)
    home = new.artifacts / run / "artifacts"
    assert (home / "card.md").read_text() == "first"
    # What lies in the folder of an original's run may be the original's.
    assert (home / "more.md").exists() == (how == "renamed")
    assert not list(new.artifacts.rglob("*.partial"))
    assert files(old) == scattered


def test_a_link_to_it_is_no_other_place(used, tmp_path, caplog) -> None:
    link = tmp_path / "link"
    link.symlink_to(used.root)
    before = texts(used.database)
    caplog.clear()
    for root in (link, used.root, link):
        tracker = connect(Workspace(root))
        assert tracker.workspace is not None
        assert resolve(f"{NAME}/1", Workspace(root)).path.exists()
    assert texts(used.database) == before
    assert caplog.records == []
    # Made through a link, it names its own folder.
    inner = Workspace(link / "inner")
    connect(inner)
    assert names(texts(inner.database), link) == []
    # A link that leads to another workspace now is another place.
    other = Workspace(shutil.copytree(used.root, tmp_path / "other"))
    link.unlink()
    link.symlink_to(other.root)
    assert resolve(f"{NAME}/1", Workspace(link)).path.resolve().is_relative_to(other.root)


def test_several_that_open_it_at_once_mend_it_once(used, tmp_path, caplog) -> None:
    new = Workspace(used.root.rename(tmp_path / "moved"))
    caplog.clear()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: resolve(f"{NAME}/1", new).path, range(4)))
    assert len(set(found)) == 1
    assert len(caplog.records) == 1


def test_back_and_forth_between_two_mount_points(used, packages, tmp_path) -> None:
    for number in range(3):
        new = Workspace(used.root if number % 2 else tmp_path / "mounted")
        (used.root if new.root != used.root else tmp_path / "mounted").rename(new.root)
        assert resolve(f"{NAME}/1", new).path.is_relative_to(new.root)
    assert use(new, packages.strong, "second") == f"{NAME}/2"


def test_one_that_moved_and_cannot_be_written_says_so(used, tmp_path, monkeypatch) -> None:
    new = Workspace(used.root.rename(tmp_path / "mounted"))
    before = files(new.root)
    # Root, as which tests may run, writes everywhere but on a file system that is read-only.
    monkeypatch.setattr(relocation.os, "access", lambda place, mode: place != new.root)  # type: ignore[attr-defined]
    with pytest.raises(InputError, match=r"was moved, and its records cannot be changed; got .*/"):
        connect(new)
    assert files(new.root) == before


@pytest.mark.parametrize("where", ["beside its database", "in a workspace"])
def test_artifacts_of_another_database_move_with_their_folder(
    packages, pristine, tmp_path, monkeypatch, where
) -> None:
    """One that ``registry copy`` made, or that ``MLFLOW_TRACKING_URI`` names."""
    workspace, folder = Workspace(tmp_path / "ws"), tmp_path / "registry"
    workspace.root.mkdir()
    folder.mkdir()
    shutil.copy(pristine, folder / "all.db")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{folder}/all.db")
    owner = workspace
    if where == "beside its database":
        owner = Workspace(folder)
    use(owner, packages.weak, "first")
    new = owner.root.rename(tmp_path / "moved")
    if where == "beside its database":
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{new}/all.db")
    else:
        workspace = Workspace(new)
    assert resolve(f"{NAME}/1", workspace).path.is_relative_to(new)
    use(workspace, packages.strong, "second")
    assert not owner.root.exists()
    # Files that are where the database says belong to whoever keeps them there.
    stranger = Workspace(tmp_path / "stranger")
    assert resolve(f"{NAME}/1", stranger).path.is_relative_to(new)


def test_paths_of_stores_that_an_older_dtsinn_told_mlflow_become_names(
    workspace, store, tmp_path, caplog
) -> None:
    path = Path(shutil.copytree(store.header.path, tmp_path / "Hans Mueller" / "brain.zarr"))
    tags = {"store.path": "brain.zarr", "store.digest": store.header.digest}
    run = {"key": "a", "name": "a", "kind": "training", "experiment": "e", "time_ms": 1_000}
    tracker = connect(workspace)
    tracker.begin(RunStart(**run, tags=tags))
    with sqlite3.connect(workspace.database) as connection:
        connection.execute("UPDATE tags SET value = ? WHERE key = 'store.path'", (str(path),))
        source = json.dumps({"path": str(path), "digest": store.header.digest})
        connection.execute("UPDATE datasets SET dataset_source = ?", (source,))
    connection.close()
    caplog.clear()
    known = connect(workspace).find_run("a")
    assert known.data.tags["store.path"] == "brain.zarr"
    assert json.loads(known.inputs.dataset_inputs[0].dataset.source)["path"] == "brain.zarr"
    assert not [text for text in texts(workspace.database) if "Mueller" in text]
    found = find_store(workspace, store.header.digest)
    assert Path(found.header.path).samefile(path)
    assert [one for one in caplog.records if one.levelno >= logging.WARNING] == []


def test_a_place_that_was_never_the_workspaces_is_left_alone(
    workspace, packages, tmp_path, monkeypatch
) -> None:
    """Another workspace's files that this one's database keeps for it."""
    other = Workspace(tmp_path / "other")
    other.root.mkdir()
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("MLFLOW_TRACKING_URI", connect(workspace).uri)
        use(other, packages.weak, "first")
    assert resolve(f"{NAME}/1", workspace).path.is_relative_to(other.root)


def test_locations_cannot_lead_out_of_the_workspace(used, tmp_path) -> None:
    """Whoever hands a workspace over may have written anything into its database."""
    secret = tmp_path / "artifacts" / "secret"
    secret.mkdir(parents=True)
    (secret / "key").write_text("x")
    root = (tmp_path / "artifacts").as_uri()
    with sqlite3.connect(used.database) as connection:
        told = "UPDATE experiments SET artifact_location = ? WHERE experiment_id = ?"
        connection.execute(told, (f"{root}/0", 0))
        location = f"{root}/../../{used.root.parent.name}/artifacts/secret"
        connection.execute("UPDATE runs SET artifact_uri = ?", (location,))
    connection.close()
    connect(used)
    assert not list(tmp_path.parent.glob("artifacts"))
    assert not list(used.root.rglob("key"))
