"""The first champion: the linear map takes the place, once, whoever is killed on the way."""

import copy
import dataclasses
import shutil
import signal

import pytest

from dtsinn.core.errors import InputError, PackageError, RunError, StoreError
from dtsinn.core.workspace import Workspace
from dtsinn.data.store import open_store
from dtsinn.deploy.export import export_package
from dtsinn.deploy.package import write_package
from dtsinn.deploy.separator import Separator
from dtsinn.eventlog import recorder
from dtsinn.networks.build import build_network
from dtsinn.networks.closed_form import fit_linear
from dtsinn.registry.gate.config import GateConfig
from dtsinn.registry.gate.report import NO_CHAMPION
from dtsinn.registry.promotion.alias_transaction import history
from dtsinn.registry.promotion.first_champion import ensure_champion, find_linear_map
from dtsinn.registry.promotion.promotion import promote, roll_back
from dtsinn.registry.references import fetch, resolve
from dtsinn.registry.tracking.tracker import MlflowTracker
from dtsinn.registry.versions import find_alias, list_models
from dtsinn.training.config import load_run_config
from dtsinn.training.package import separator_info
from dtsinn.training.state import TrainingState
from dtsinn.workflows.prune import Policy, prune_workspace
from tests.registry.conftest import MODEL, info
from tests.support.aliases import violations

NAME = "dtsinn-fmz-fdg-p1"
CONFIG = GateConfig(suite=None)
KEY = "search/weak"
KILLED_AT = (
    "dtsinn.registry.promotion.first_champion:write_package",  # its run was begun
    "dtsinn.eventlog.recorder:Recorder.end",  # its package is there
    "dtsinn.registry.promotion.first_champion:make_registered_model",  # its run has ended
    "mlflow:MlflowClient.create_model_version",
    "dtsinn.registry.promotion.first_champion:apply_decision",  # its version is there
    "mlflow:MlflowClient.set_registered_model_alias",  # it is announced
    "mlflow:MlflowClient.set_model_version_tag",  # it is the champion
)
ENSURE = """
import os, signal, sys
from functools import reduce
from importlib import import_module
from pathlib import Path
from dtsinn.core.workspace import Workspace
from dtsinn.registry.promotion import first_champion
from dtsinn.registry.tracking.tracker import connect
root, name, package, key, place = sys.argv[1:]
space = Workspace(Path(root)); tracker = connect(space)
if place:
    module, _, path = place.partition(":")
    *parents, last = path.split(".")
    owner = reduce(getattr, parents, import_module(module))
    setattr(owner, last, lambda *a, **b: os.kill(os.getpid(), signal.SIGKILL))
first_champion.ensure_champion(tracker, space, name, Path(package), key, None)
"""


def linear_runs(tracker: MlflowTracker, name: str) -> list[str]:
    """Statuses of the runs of a model's linear map."""
    found = tracker.search(f"tags.`dtsinn.key` LIKE 'floor-{name}-%'")
    return [run.info.status for run in found]


def check_made(tracker: MlflowTracker, name: str) -> None:
    """One run, which has ended, one version, one decision."""
    assert linear_runs(tracker, name) == ["FINISHED"]
    (version,) = [version for version in list_models(tracker) if version.name == name]
    assert version.aliases == ("champion",)
    assert [line["what"] for line in history(tracker, name)] == ["made first champion"]
    assert violations(tracker, name) == []


def test_the_map_of_a_package_is_a_model_like_any(tracker, workspace, packages, store, tmp_path):
    made = ensure_champion(tracker, workspace, NAME, packages.weak, KEY, store)
    assert (made.ref, made.aliases) == (f"{NAME}/1", ("champion",))
    assert made.tags["gate.verdict"] == "first champion"
    described = tracker.client.get_model_version(NAME, "1").description
    assert described.startswith("Linear floor for FMZ then FDG, protocol p1: run floor-")
    check_made(tracker, NAME)
    run = tracker.find_run(made.run_key)
    assert run.data.tags["store.digest"] == store.header.digest
    assert (run.data.params["model.kind"], run.data.tags["seed"]) == ("linear", "0")
    model = resolve("best", workspace)
    separator = Separator.load(model.path)
    lineage = separator.info.lineage
    assert (lineage.run, lineage.steps, lineage.search) == (made.run_key, 1, "")
    assert lineage.store_digest == store.header.digest
    subject = next(store.subjects("gate"))
    wanted = Separator.load(packages.weak).floor
    own = Separator(wanted, separator.info).separate(subject.mixture_NTYX)
    assert (separator.separate(subject.mixture_NTYX) == own).all()
    assert export_package(model.path, tmp_path / "export").model_error < 1e-5
    assert ensure_champion(tracker, workspace, NAME, packages.strong, KEY, store) is None
    check_made(tracker, NAME)


@pytest.fixture
def linear(tmp_path, store):
    """A candidate that is a linear map itself."""
    network = fit_linear((store,))
    write_package(tmp_path / "linear", network, info(store, network.config))
    return tmp_path / "linear"


def test_a_linear_candidate_is_the_first_champion_itself(
    tracker, workspace, registered, linear, store
):
    version = registered(linear, "mine")
    trial = promote(tracker, workspace, version, store, CONFIG, dry_run=True)
    assert "which would be the first champion" in trial.lines()[0]
    assert find_alias(tracker, NAME, "champion") is None
    report = promote(tracker, workspace, version, store, CONFIG)
    assert (report.verdict, report.first_champion) == ("unchanged", version.ref)
    other = promote(tracker, workspace, version, store, CONFIG, name="ours")
    assert (other.verdict, other.first_champion) == ("unchanged", "ours/1")
    assert [one.run_key for one in list_models(tracker)] == ["mine", "mine"]
    assert linear_runs(tracker, NAME) == []


@pytest.fixture
def older(tmp_path, store):
    """A candidate of a dtsinn that kept no linear map."""
    write_package(tmp_path / "older", build_network(MODEL, 6), info(store))
    return tmp_path / "older"


def test_a_package_without_a_map_gets_one_of_the_store_at_hand(
    tracker, workspace, registered, older, store, small_store
):
    version = registered(older)
    for dry_run in (True, False):
        with pytest.raises(InputError, match=r"brings no linear map.*--data STORE"):
            promote(tracker, workspace, version, None, CONFIG, dry_run=dry_run)
    assert workspace.runs.exists() is False
    own, other = find_linear_map(older, store), find_linear_map(older, small_store)
    assert own.separator.digest != other.separator.digest
    assert other.separator.info.lineage.store_digest == small_store.header.digest
    assert other.separator.info.lineage.store_path == "few.zarr"
    report = promote(tracker, workspace, version, store, CONFIG)
    assert (report.verdict, report.against) == ("refused", f"{NAME}/2")
    assert find_alias(tracker, NAME, "champion").digest == own.separator.digest
    of_another_pair = copy.copy(store)
    of_another_pair.header = dataclasses.replace(store.header, tracers=("fdg", "fmz"))
    with pytest.raises(InputError, match=r"gate\.zarr has fdg, fmz, model fmz, fdg"):
        find_linear_map(older, of_another_pair)


def test_a_dry_run_compares_and_registers_nothing(tracker, workspace, registered, packages, store):
    version = registered(packages.weak)
    report = promote(tracker, workspace, version, store, CONFIG, dry_run=True)
    assert (report.verdict, report.against) == ("passed", NO_CHAMPION)
    assert report.lines()[-1].endswith("not registered yet; a dry run, nothing was changed")
    assert [one.ref for one in list_models(tracker)] == [version.ref]
    assert not workspace.runs.exists()
    assert history(tracker, NAME) == []


@pytest.mark.parametrize("place", KILLED_AT)
def test_what_a_kill_leaves_is_finished_by_the_next_call(
    tracker, workspace, registered, packages, forks, place
):
    arguments = (workspace.root, NAME, packages.weak, KEY)
    job = forks.python(ENSURE, *arguments, place)
    out, err = job.communicate(timeout=120)
    assert (job.returncode, out) == (-signal.SIGKILL, ""), err
    report = promote(tracker, workspace, registered(packages.weak), None, CONFIG)
    assert {check.name for check in report.failures} == {"evidence"}
    maps = [version for version in list_models(tracker) if version.run_key.startswith("floor-")]
    assert [version.aliases for version in maps] == [("champion",)]
    assert linear_runs(tracker, NAME) == ["FINISHED"]
    assert [line["what"] for line in history(tracker, NAME)] == ["made first champion", "refused"]
    assert violations(tracker, NAME) == []


def test_two_processes_make_one(tracker, workspace, packages, forks):
    arguments = (workspace.root, NAME, packages.weak, KEY, "")
    jobs = [forks.python(ENSURE, *arguments) for _ in range(2)]
    for job in jobs:
        out, err = job.communicate(timeout=120)
        assert (job.returncode, out) == (0, ""), err
    check_made(tracker, NAME)


def test_another_workspace_takes_the_version_that_is_there(tracker, workspace, packages, tmp_path):
    ensure_champion(tracker, workspace, NAME, packages.weak, KEY, None)
    tracker.client.delete_registered_model_alias(NAME, "champion")
    other = Workspace(tmp_path / "other")
    made = ensure_champion(tracker, other, NAME, packages.strong, KEY, None)
    assert made.ref == f"{NAME}/1"
    assert linear_runs(tracker, NAME) == ["FINISHED"]
    assert not other.runs.exists()
    shutil.rmtree(fetch(tracker, workspace, made))
    tracker.client.delete_registered_model_alias(NAME, "champion")
    with pytest.raises(PackageError, match="the files of dtsinn-fmz-fdg-p1/1 are gone"):
        ensure_champion(tracker, other, NAME, packages.strong, KEY, None)


def test_what_mlflow_has_not_got_is_not_registered(tracker, workspace, packages, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(recorder, "PATIENCE_s", 0.5)
        patch.setattr(MlflowTracker, "begin", lambda self, run: (_ for _ in ()).throw(OSError()))
        with pytest.raises(RunError, match="has not got the run of the first champion"):
            ensure_champion(tracker, workspace, NAME, packages.weak, KEY, None)
    assert list_models(tracker) == []
    ensure_champion(tracker, workspace, NAME, packages.weak, KEY, None)
    check_made(tracker, NAME)


def test_the_way_back_leads_to_the_map_which_no_pruning_takes(
    tracker, workspace, registered, packages, store
):
    report = promote(tracker, workspace, registered(packages.weak), store, CONFIG)
    assert report.passed
    assert prune_workspace(workspace, Policy(), dry_run=False).packages == []
    champion, before = roll_back(tracker, workspace, NAME)
    assert (champion.ref, before.ref) == (f"{NAME}/2", f"{NAME}/1")
    assert prune_workspace(workspace, Policy(), dry_run=False).packages == []
    for name in ("champion", "previous"):
        fetch(tracker, workspace, find_alias(tracker, NAME, name))
    assert violations(tracker, NAME) == []


def test_a_damaged_store_ends_its_run_with_a_reason_that_names_no_folder(
    tracker, workspace, damaged, tmp_path
):
    store = open_store(str(damaged))
    config = dataclasses.replace(load_run_config("invertible"), model=MODEL)
    state, package = TrainingState(config, store.header.protocol.frames), tmp_path / "mine"
    about = separator_info(state, store.header, KEY)
    write_package(package, state.network, about, fit_linear((store,)))
    shutil.rmtree(damaged / "tracers" / "c")
    with pytest.raises(StoreError):
        ensure_champion(tracker, workspace, NAME, package, KEY, store)
    (run,) = tracker.search(f"tags.`dtsinn.key` LIKE 'floor-{NAME}-%'")
    assert run.info.status == "FAILED"
    assert damaged.name in run.data.tags["reason"]
    assert str(tmp_path) not in run.data.tags["reason"]
    assert ensure_champion(tracker, workspace, NAME, package, KEY, None) is not None
    check_made(tracker, NAME)
