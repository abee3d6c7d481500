"""A workspace finds its stores again, also where both moved, and no other store in their place."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dtsinn.core.workspace import Workspace
from dtsinn.data.known_stores import find_store, remember_store
from dtsinn.data.store import open_store


@pytest.fixture
def project(tiny_plan, write_store, tmp_path: Path) -> Path:
    """A store and a workspace side by side, which knows it."""
    folder = tmp_path / "a project"
    folder.mkdir()
    write_store(folder / "brain.zarr", tiny_plan())
    remember_store(Workspace(folder / "ws"), open_store(str(folder / "brain.zarr")))
    return folder


def digest(path: Path) -> str:
    return open_store(str(path)).header.digest


@pytest.mark.parametrize("moved", ["nothing", "the project", "the workspace", "the store beside"])
def test_it_is_found_where_it_is_now(project: Path, tmp_path: Path, moved: str) -> None:
    known = digest(project / "brain.zarr")
    store, workspace = project / "brain.zarr", project / "ws"
    if moved == "the project":
        project.rename(tmp_path / "renamed")
        store, workspace = tmp_path / "renamed/brain.zarr", tmp_path / "renamed/ws"
    elif moved == "the workspace":
        workspace = workspace.rename(tmp_path / "elsewhere")
    elif moved == "the store beside":  # by its name alone, as a record of 0.1.0 has it
        shutil.rmtree(workspace / "stores")
        workspace = workspace.rename(tmp_path / "elsewhere")
        store = store.rename(tmp_path / "brain.zarr")
    found = find_store(Workspace(workspace), known, "/old/place/brain.zarr")
    assert found is not None
    assert Path(found.header.path).samefile(store)


def test_a_copied_project_uses_its_own_store(project: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(project, tmp_path / "copy"))
    found = find_store(Workspace(copy / "ws"), digest(project / "brain.zarr"))
    assert found is not None
    assert Path(found.header.path).samefile(copy / "brain.zarr")


def test_below_the_current_folder_it_is_named_from_there(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    found = find_store(Workspace(Path("ws")), digest(project / "brain.zarr"))
    assert found is not None
    assert found.header.path == "brain.zarr"


def test_another_store_in_its_place_is_none(project, tiny_plan, write_store) -> None:
    known = digest(project / "brain.zarr")
    shutil.rmtree(project / "brain.zarr")
    assert find_store(Workspace(project / "ws"), known) is None
    write_store(project / "brain.zarr", tiny_plan(), seed=1)
    assert find_store(Workspace(project / "ws"), known, "brain.zarr") is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"path": 3}', '{"relative": null, "path": ""}'])
def test_what_was_edited_is_not_known(project: Path, text: str) -> None:
    known = digest(project / "brain.zarr")
    (project / "ws/stores" / f"{known}.json").write_text(text)
    assert find_store(Workspace(project / "ws"), known) is None


@pytest.mark.parametrize("tag", ["", "../../x", "/etc/passwd", "a" * 400])
def test_a_digest_that_anybody_wrote_is_no_path(project: Path, tag: str) -> None:
    assert find_store(Workspace(project / "ws"), tag, "") is None
