"""Versions in a real registry: registered once, found under every name, loaded without pickles."""

import shutil

import mlflow
import numpy as np
import pytest

from dtsinn.core.errors import InputError, PackageError
from dtsinn.core.workspace import Workspace
from dtsinn.deploy.package import package_digest
from dtsinn.deploy.separator import Separator
from dtsinn.registry.flavour import SeparatorModel
from dtsinn.registry.lineage import show_model
from dtsinn.registry.references import resolve
from dtsinn.registry.registration import register
from dtsinn.registry.tracking.names import model_name
from dtsinn.registry.versions import CHAMPION, list_models

NAME = "dtsinn-fmz-fdg-p1"


@pytest.fixture
def champion(registered, tracker, packages):
    version = registered(packages.weak)
    tracker.client.set_registered_model_alias(version.name, CHAMPION, str(version.version))
    return version


def test_names():
    assert model_name(("fmz", "fdg"), "p1") == NAME
    assert model_name(("11c-PIB", "FDG"), "P1") == "dtsinn-11c-pib-fdg-p1"
    for bad in ("a b", "../x", "a/b", "", "a#b", "a\n"):
        with pytest.raises(InputError, match="cannot be made"):
            model_name(("fmz", "fdg"), bad)


def test_registers_with_lineage_and_leaves_the_run_alone(begin, tracker, packages, store):
    begin("search/a", tags={"seed": "3"})
    version = register(tracker, packages.weak, run_key="search/a", tags={"note": "first"})
    assert (version.name, version.version, version.run_key) == (NAME, 1, "search/a")
    assert version.digest == package_digest(packages.weak)
    assert version.metrics == {"psnr": 30.5}
    assert version.tags["note"] == "first"
    assert version.tags["store.digest"] == store.header.digest
    run = tracker.client.get_run(tracker.run_id("search/a"))
    assert (run.info.status, run.info.run_id) == ("RUNNING", version.run_id)
    assert run.outputs.model_outputs[0].model_id == version.tags["dtsinn.logged_model"]


def test_the_same_weights_from_the_same_run_are_registered_once(registered, tracker, packages):
    first = registered(packages.weak)
    assert registered(packages.weak) == first
    assert registered(packages.strong, key="search/weak").version == 2
    assert registered(packages.weak, key="search/other").version == 3
    assert [v.version for v in list_models(tracker)] == [3, 2, 1]


def test_a_damaged_package_is_not_registered(registered, tracker, packages, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(packages.weak, broken)
    (broken / "card.md").write_text("other words")
    with pytest.raises(PackageError, match=r"card\.md was changed"):
        registered(broken)
    assert list_models(tracker) == []


def test_every_kind_of_ref_finds_the_same_package(champion, registered, workspace, packages):
    registered(packages.strong)
    refs = {
        f"models:/{NAME}/1",
        f"models:/{NAME}@champion",
        "run:search/weak",
        f"run:{champion.run_id}",
        "best",
        NAME,
        f"{NAME}@champion",
        f"{NAME}/1",
    }
    for ref in refs:
        found = resolve(ref, workspace)
        assert (found.name, found.version, found.ref) == (NAME, 1, ref)
        assert package_digest(found.path) == champion.digest == found.digest
    assert not workspace.packages.exists()  # local artifacts are used in place


def test_a_directory_needs_no_workspace_and_goes_before_names(tmp_path, packages, monkeypatch):
    nowhere = Workspace(tmp_path / "none")
    found = resolve(str(packages.weak), nowhere)
    assert (found.path, found.name, found.version) == (packages.weak, "weak", None)
    shutil.copytree(packages.weak, tmp_path / "best")
    monkeypatch.chdir(tmp_path)
    assert resolve("best", nowhere).version is None
    assert not nowhere.root.exists()


@pytest.mark.parametrize(
    "ref",
    [
        "",
        "..",
        "../../etc",
        "/etc/passwd",
        "~/x",
        "a/../b",
        "a%2e%2e/1",
        "a#b",
        "a\nb",
        "a@b@c",
        "a/0",
        "a/-1",
        "a@latest",
        "a@v1",
        "run:",
        "run:../x",
        "run:a'b",
        "models:/",
        "models:/a/b/c",
        "models:/../1",
        "models://host/a/1",
        "x" * 5000,
        "a\x00b",
    ],
)
def test_hostile_refs_are_one_line(ref, workspace):
    with pytest.raises(InputError) as caught:
        resolve(ref, workspace)
    assert "\n" not in str(caught.value)


def test_a_missing_workspace_is_told_and_not_made(tmp_path):
    workspace = Workspace(tmp_path / "none")
    for ref in (NAME, "best", "run:x", f"models:/{NAME}/1"):
        with pytest.raises(InputError, match=r"^no workspace at .*; try dtsinn search STORE$"):
            resolve(ref, workspace)
    assert not workspace.root.exists()


def test_what_is_not_there_is_told_with_what_is(registered, workspace, packages):
    with pytest.raises(InputError, match="no model is registered yet; try dtsinn search STORE"):
        resolve("best", workspace)
    registered(packages.weak)
    with pytest.raises(InputError, match=f"has a champion yet; got {NAME}/1; try {NAME}/1 in"):
        resolve("best", workspace)
    with pytest.raises(InputError, match=f"^{NAME} has no champion; try {NAME}/1$"):
        resolve(NAME, workspace)
    with pytest.raises(InputError, match="no model is called dtsinn-x; wanted one of"):
        resolve("dtsinn-x", workspace)
    with pytest.raises(InputError, match="has no version 7; wanted one of 1"):
        resolve(f"{NAME}/7", workspace)
    with pytest.raises(InputError, match="no such run"):
        resolve("run:nothing", workspace)


def test_best_of_several_is_none(champion, registered, tracker, workspace, packages):
    other = registered(packages.strong, name="dtsinn-other-pair-p1")
    tracker.client.set_registered_model_alias(other.name, CHAMPION, "1")
    with pytest.raises(InputError, match=f"not one model; got {NAME}, {other.name}; try {NAME}"):
        resolve("best", workspace)
    assert resolve(other.name, workspace).digest == other.digest


def test_files_changed_after_registration_are_refused(champion, workspace, packages):
    path = resolve(NAME, workspace).path
    shutil.rmtree(path)
    shutil.copytree(packages.strong, path)  # a whole package, but another one
    with pytest.raises(PackageError, match="is not what was registered"):
        resolve(NAME, workspace)
    shutil.rmtree(path)
    with pytest.raises(PackageError, match="are gone"):
        resolve(NAME, workspace)


def test_lineage_is_shown(begin, champion, tracker, store):
    begin("e1", kind="evaluation", tags={"model.digest": champion.digest})
    shown = show_model("best", tracker)
    assert (shown["ref"], shown["aliases"]) == (f"{NAME}/1", ["champion"])
    assert shown["store"]["digest"] == store.header.digest
    assert (shown["run"]["key"], shown["run"]["status"]) == ("search/weak", "finished")
    assert shown["trial"] == "a"
    assert [found["key"] for found in shown["evaluations"]] == ["e1"]


def test_mlflow_loads_it_without_pickles_and_answers_the_same(
    champion, tracker, packages, store, monkeypatch
):
    # MLflow's own set_tracking_uri would stay in the environment of all later tests.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracker.uri)
    monkeypatch.setenv("MLFLOW_REGISTRY_URI", tracker.uri)
    loaded = mlflow.pyfunc.load_model(f"models:/{NAME}@champion")
    mixture = next(store.subjects("gate")).mixture_NTYX
    answer = loaded.predict(mixture)
    separator = Separator.load(packages.weak)
    np.testing.assert_array_equal(answer, separator.separate(mixture))
    model = SeparatorModel(separator)
    for wrong in (mixture[:, :3], mixture.astype(np.float64), mixture[0]):
        with pytest.raises(InputError, match=r"wanted float32 \[B, 6, Y, X\]"):
            model.predict(wrong)


def test_nothing_of_a_registered_model_is_a_pickle(champion, workspace):
    files = [p for p in workspace.artifacts.rglob("*") if p.is_file()]
    assert {p.suffix for p in files} <= {
        ".json",
        ".safetensors",
        ".md",
        ".onnx",
        ".yaml",
        ".txt",
        "",
    }
    assert not [p for p in files if p.suffix == "" and p.name != "MLmodel"]
