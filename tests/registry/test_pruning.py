"""Packages in MLflow that no version uses go; what a version points to never does."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dtsinn.core.safe_delete import delete_safely
from dtsinn.deploy.package import package_digest
from dtsinn.registry.references import resolve
from dtsinn.registry.registration import register
from dtsinn.registry.tracking.relocation import local_path
from dtsinn.registry.tracking.tracker import MlflowTracker, connect
from dtsinn.registry.versions import DIGEST, LOGGED_MODEL
from dtsinn.workflows.prune_packages import (
    PRUNED,
    delete_orphans,
    find_orphans,
    find_registries,
    runs_in_use,
)

NAME = "dtsinn-fmz-fdg-p1"
LATER_ms = int(time.time() * 1000) + 3_600_000


def anything(key: str) -> bool:
    return True


@pytest.fixture
def places(tracker) -> Callable[[], list[str]]:
    """Ids of the logged models that have a folder, whatever MLflow knows of them."""
    return lambda: sorted(path.name for path in (tracker.workspace.artifacts / "models").iterdir())


def model_of(version) -> str:
    return version.tags[LOGGED_MODEL]


def test_a_package_goes_with_its_last_version(
    tracker, registered, packages, workspace, places
) -> None:
    one, two = registered(packages.weak), registered(packages.strong)
    tracker.client.copy_model_version(f"models:/{NAME}/1", "led")
    assert find_orphans(tracker, LATER_ms, anything) == []
    tracker.client.delete_model_version(NAME, "1")
    tracker.client.delete_model_version(NAME, "2")
    (found,) = find_orphans(tracker, LATER_ms, anything)
    assert (found.model_id, found.run) == (model_of(two), "search/strong")
    assert found.bytes > 10_000
    assert delete_orphans(tracker, LATER_ms, anything) == [found]
    assert places() == [model_of(one)]
    assert resolve("led/1", workspace).digest == package_digest(packages.weak)
    tags = tracker.find_run("search/strong").data.tags
    assert (PRUNED in tags, tags["dtsinn.status"]) == (True, "finished")
    assert delete_orphans(tracker, LATER_ms, anything) == []
    again = register(tracker, packages.strong, run_key="search/strong")
    assert resolve(again.ref, workspace).digest == package_digest(packages.strong)


def test_what_is_in_use_or_not_asked_for_stays(tracker, registered, begin, packages) -> None:
    version = registered(packages.weak)
    begin("under-way")
    running = register(tracker, packages.strong, run_key="under-way")
    for one in (version, running):
        tracker.client.delete_model_version(NAME, str(one.version))
    foreign = tracker.client.create_logged_model(
        tracker.find_run("under-way").info.experiment_id, name="foreign"
    )
    assert [one.run for one in find_orphans(tracker, LATER_ms, anything)] == ["search/weak"]
    assert find_orphans(tracker, LATER_ms, lambda key: key != "search/weak") == []
    made = tracker.client.get_logged_model(model_of(version)).creation_timestamp
    assert delete_orphans(tracker, made - 1, anything) == []
    delete_orphans(tracker, LATER_ms, anything)
    assert local_path(tracker.client.get_logged_model(model_of(running)).artifact_location).is_dir()
    assert tracker.client.get_logged_model(foreign.model_id).name == "foreign"


@pytest.mark.parametrize("spelled", ["as its location", "as a path", "as the folder above"])
def test_versions_that_people_made_in_mlflow_count_too(
    tracker, registered, packages, workspace, places, spelled: str
) -> None:
    """Without a tag of dtsinn's, by whatever spelling of the place."""
    version = registered(packages.weak)
    location = tracker.client.get_logged_model(model_of(version)).artifact_location
    folder = local_path(location)
    source = {"as its location": location, "as a path": folder}.get(spelled, folder.parent)
    tracker.client.create_registered_model("mine")
    tracker.client.create_model_version("mine", str(source), run_id=version.run_id)
    tracker.client.delete_model_version(NAME, "1")
    asked = find_registries(tracker, workspace)
    assert runs_in_use(asked) == {"search/weak": ["mine/1"]}
    assert delete_orphans(tracker, LATER_ms, anything) == []
    tracker.client.delete_run(version.run_id)
    assert runs_in_use(asked) == {"search/weak": ["mine/1"]}
    assert places() == [model_of(version)]


def test_a_linked_package_is_not_ours(tracker, registered, packages, tmp_path, places) -> None:
    version = registered(packages.weak)
    tracker.client.delete_model_version(NAME, "1")
    (found,) = find_orphans(tracker, LATER_ms, anything)
    found.folder.rename(tmp_path / "elsewhere")
    found.folder.symlink_to(tmp_path / "elsewhere")
    assert delete_orphans(tracker, LATER_ms, anything) == []
    assert package_digest(tmp_path / "elsewhere/artifacts/data/separator") == version.digest


@pytest.mark.parametrize("came", ["to its mark", "half through its files", "to its files"])
def test_what_a_kill_left_is_finished_and_nobody_registers_it(
    tracker, registered, packages, workspace, places, came: str
) -> None:
    version = registered(packages.strong)
    tracker.client.delete_model_version(NAME, "1")
    (found,) = find_orphans(tracker, LATER_ms, anything)
    tracker.client.set_logged_model_tags(found.model_id, {DIGEST: ""})
    if came == "half through its files":
        found.folder.rename(found.folder.with_name(f".{found.folder.name}.disposed"))
    if came == "to its files":
        delete_safely(found.folder)
    again = register(tracker, packages.strong, run_key="search/strong")
    assert model_of(again) != model_of(version)
    (left,) = delete_orphans(tracker, LATER_ms, anything)
    assert left.model_id == model_of(version)
    assert places() == [model_of(again)]
    assert find_orphans(tracker, LATER_ms, anything) == []
    assert resolve(again.ref, workspace).digest == package_digest(packages.strong)


def test_versions_of_the_workspaces_own_mlflow_count_where_another_one_is_used(
    registered, packages, tracker, workspace, tmp_path: Path, monkeypatch
) -> None:
    registered(packages.weak)
    registered(packages.strong, name="dtsinn-other")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/other.db")
    other = connect(workspace)
    assert isinstance(other, MlflowTracker)
    assert other.workspace is None
    assert runs_in_use(find_registries(other, workspace)) == {
        "search/weak": [f"{NAME}/1"],
        "search/strong": ["dtsinn-other/1"],
    }
    assert find_orphans(other, LATER_ms, anything) == []


def test_a_run_that_is_gone_is_no_obstacle(tracker, registered, packages, places) -> None:
    registered(packages.weak)
    tracker.client.delete_model_version(NAME, "1")
    tracker.client.delete_run(tracker.run_id("search/weak"))
    tracker.tag("search/weak", {"more": "words"})
    tracker.tag("nobody", {"more": "words"})
    (found,) = delete_orphans(tracker, LATER_ms, anything)
    assert (found.run, places()) == ("", [])
