"""What older versions wrote is opened, used and resumed; what a newer one wrote is refused."""

from __future__ import annotations

import hashlib
import importlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from dtsinn.cli import app
from dtsinn.core import formats
from dtsinn.core.errors import InputError
from dtsinn.core.formats import EVALUATION, GATE_REPORT, KNOWN_STORE, Format
from dtsinn.core.workspace import Workspace
from dtsinn.data.check import check_store
from dtsinn.data.store import Store, open_store
from dtsinn.deploy.info import read_info
from dtsinn.deploy.manifest import verify_files
from dtsinn.deploy.package import package_digest
from dtsinn.deploy.separator import Separator
from dtsinn.evaluation import record
from dtsinn.evaluation.cell_record import cell_of, cell_record
from dtsinn.evaluation.floor import separate_with
from dtsinn.eventlog.log import LOG_FILE, EventLog
from dtsinn.eventlog.outbox import Outbox
from dtsinn.importers.pseudonym import enrol
from dtsinn.search.engine.session import open_session
from dtsinn.search.events.state import read_state
from dtsinn.search.explain import page
from dtsinn.search.plan import change_plan, read_plan
from dtsinn.search.space.reader import load_space
from dtsinn.search.status import reconcile
from dtsinn.separation.calibration import read_calibration
from dtsinn.training.finetune import read_parent
from dtsinn.training.loop import train_here
from dtsinn.training.run import resumed_state
from dtsinn.training.state import TrainingState, latest_checkpoint
from tests.support.null_tracker import NullTracker

HERE = Path(__file__).parent
GOLDEN = HERE / "0.1.0"
LATER = HERE / "0.1.0-later"
ALL = {
    GOLDEN: "9fb4501216a1d76991826d0b0af8b383f4a13ce9b7a105b51de45e8f4dbc737d",
    LATER: "390a0bcf86eb13d31032b4ef9dd1f8fc1579ebc963828d87b3dcda96d5a069de",
}
PACKAGE = "d3c8d88c8b1da561c6efc771c374410647fb1af76442a805fbaf874114faa185"
CALIBRATED = "d85a5e010006ae4c4e1d443e49f3885955c5b8895093c6f0f8002ec79ef06add"
STORE = "5fd63f845463aefe9921d47ab114b11e10f8c5ef1a6a32a2a71d90a759e585d9"


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    """A copy that a test may change, with the mode that git does not keep."""
    copied = tmp_path / "searches"
    shutil.copytree(GOLDEN, copied, ignore=shutil.ignore_patterns("searches"))
    shutil.copytree(GOLDEN / "searches", copied, dirs_exist_ok=True)
    shutil.copy(LATER / "calibration.json", copied)
    (copied / "subjects.json").chmod(0o600)
    return copied


@pytest.fixture(scope="module")
def store() -> Store:
    return open_store(str(GOLDEN / "store.zarr"), need_truth=True)


@pytest.mark.parametrize("folder", list(ALL), ids=lambda folder: folder.name)
def test_no_byte_of_them_has_changed(folder: Path) -> None:
    total = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        total.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    assert total.hexdigest() == ALL[folder]


def test_the_store_is_whole() -> None:
    header = check_store(str(GOLDEN / "store.zarr")).header
    assert (header.digest, header.samples, header.protocol.name) == (STORE, 6, "short")


def test_the_package_separates_and_keeps_its_digest(store: Store) -> None:
    assert package_digest(GOLDEN / "package") == PACKAGE
    assert read_parent(GOLDEN / "package").digest == PACKAGE
    separator = Separator.load(GOLDEN / "package")
    tags = json.loads((GOLDEN / "registry-tags.json").read_text())["versions"]["1"]
    assert separator.digest == PACKAGE == tags["dtsinn.digest"]
    assert separator.info.metrics == json.loads(tags["dtsinn.metrics"])
    assert separator.floor is None, "packages of that version have none"
    separator.check_fits(store.header)
    samples = next(store.subjects("test"))
    predicted_NKTYX = separator.separate(samples.mixture_NTYX)
    assert samples.tracers_NKTYX is not None
    error = np.mean((predicted_NKTYX - samples.tracers_NKTYX) ** 2)
    assert error < 0.05 * np.mean(samples.tracers_NKTYX**2)


def test_the_training_goes_on(store: Store, golden: Path) -> None:
    state = resumed_state(store, golden / "run", "cpu")
    assert (state.progress.step, state.config.steps, state.config.optimizer.ema) == (50, 4000, 0.5)
    state.config = replace(state.config, validate_every=1)
    reports = train_here([store], state, golden / "run")
    assert [next(reports).step, next(reports).step] == [50, 51]
    state = resumed_state(store, golden / "run", "cpu")
    assert state.progress.step == 51
    assert json.loads((golden / "run/checkpoint-00000051/state.json").read_text())["format"]


def test_the_searches_are_known_as_they_were(golden: Path) -> None:
    done, halted = read_state(golden / "done"), read_state(golden / "halted")
    assert (done.state, done.states(), done.steps) == ("finished", {"finished": 3}, 2400)
    assert (halted.state, halted.reason, halted.states()) == ("killed", "Ctrl-C", {"killed": 2})
    assert [len(kind) for kind in (halted.warm, halted.points, halted.refused)] == [3, 2, 1]
    told = [reconcile(golden / name, NullTracker) for name in ("done", "halted")]
    assert [one.repaired for one in told] == [[], []], "event log, outbox and study agree"
    assert [(one.best_trial, one.undelivered) for one in told] == [
        ("trial-002", 0),
        ("trial-000", 0),
    ]
    assert told[1].resume.startswith("dtsinn search small.zarr --name halted --resume")
    said = json.loads((golden / "done/report/report.json").read_text())["best"]
    assert (said["trial"], said["values"]["psnr"]) == (told[0].best_trial, told[0].best)


def test_the_halted_search_goes_on(store: Store, golden: Path) -> None:
    folder = golden / "halted"
    before = read_state(folder)
    wide = golden / "inputs" / "wide.yaml"
    # The default network is another one by now; the file does not say which it meant.
    wide.write_text(wide.read_text().replace("base: default", "base: invertible"))
    space = load_space(str(wide))
    plan = change_plan(read_plan(folder, before), {"space": space, "seed": 2, "trials": 5})
    event_log = EventLog(folder / LOG_FILE)
    driver = open_session(
        plan,
        folder,
        store,
        Outbox(event_log, NullTracker),
        Console(quiet=True),
        events=list(event_log),
        points=(),
        warm=(),
        concurrent=5,
        share=None,
    )
    given = [driver.suggest(f"ray-{number}") for number in range(3)]
    assert [one and one["trial"] for one in given] == ["trial-000", "trial-001", "trial-002"]
    assert given[0] is not None
    assert given[0]["suggestion"] == before.trials["trial-000"].suggestion
    checkpoint = latest_checkpoint(folder / "trials" / "trial-000")
    assert checkpoint is not None
    assert TrainingState.load(checkpoint).progress.step == 600
    driver.start_trial("ray-0")
    result = {"step": 600, "finished": False, "metrics": {"best_psnr": 28.0}, "time_ms": 1}
    assert driver.handle_report("ray-0", result)
    known = read_state(folder)
    assert known.trials["trial-000"].step == 600
    assert len(known.sessions) == 2


def test_the_map_gives_the_same_pseudonyms(golden: Path) -> None:
    names = enrol(["rat 7", "another", "Ratte Ü"], golden / "subjects.json").names
    assert (names[0], names[2]) == ("s-3b0cf56fd4", "s-fc71d95573")
    assert len(json.loads((golden / "subjects.json").read_text())["subjects"]) == 3


def test_reports_are_known_as_such(golden: Path) -> None:
    record.check_out(golden / "evaluation")
    page.check_out(golden / "done" / "report")
    old = json.loads((golden / "evaluation" / record.RECORD).read_text())
    upgraded = EVALUATION.read(old, "it")
    assert upgraded["baselines"][0] == {"name": "halved mixture", "settings": {}}
    for before, cell in zip(old["cells"], upgraded["cells"], strict=True):
        assert (cell["floor"], cell["baselines"]) == (None, [before["floor"]])
    read = GATE_REPORT.read(json.loads((golden / "gate-report.json").read_text()), "it")
    assert read["verdict"] == "refused"


def test_the_package_of_manifest_2_brings_its_floor(store: Store) -> None:
    separator = Separator.load(LATER / "package")
    told = json.loads((LATER / "evaluation.json").read_text())
    assert separator.digest == told["models"][0]["digest"] == package_digest(LATER / "package")
    assert separator.floor is not None
    samples = next(store.subjects("test"))
    answers = (
        separator.separate(samples.mixture_NTYX),
        separate_with(separator.floor, store.header)(samples.mixture_NTYX),
    )
    assert samples.tracers_NKTYX is not None
    for answer_NKTYX in answers:
        error = np.mean((answer_NKTYX - samples.tracers_NKTYX) ** 2)
        assert error < 0.2 * np.mean(samples.tracers_NKTYX**2)


def test_the_evaluation_of_version_3_is_read(tmp_path: Path) -> None:
    shutil.copy(LATER / record.RECORD, tmp_path)
    record.check_out(tmp_path)
    old = json.loads((LATER / record.RECORD).read_text())
    assert old["format_version"] == 3
    upgraded = EVALUATION.read(old, "it")
    for before, content in zip(old["cells"], upgraded["cells"], strict=True):
        cell = cell_of(content, "it")
        assert (cell.population, cell.conditions) == ("", "")
        assert cell.models[0].novelty is not None
        assert cell.models[0].novelty.population == "unknown"
        wanted = before["models"][0]["summary"]["psnr"]["mean"]
        assert cell.models[0].summary is not None
        assert cell.models[0].summary.psnr.mean == wanted
        assert cell_record(cell)["differences"] == before["differences"]


def test_a_later_field_changes_nothing_that_was_written(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", HERE / "later_fields.py", GOLDEN, tmp_path, PACKAGE]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    grown = set(done.stdout.split())
    assert {"InvertibleConfig", "UNetConfig", "SpectralConfig", "LossConfig", "RunConfig"} < grown
    assert {"AugmentationConfig", "OptimizerConfig", "SearchPlan", "SpaceFile", "Suite"} < grown
    assert {"GateConfig", "SeparatorInfo", "Lineage", "Progress", "StudyRequest", "Tracer"} < grown


def _of_log(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[str], str]:
    """Changes the plan in each line that has one."""

    def edit(text: str) -> str:
        events = [json.loads(line) for line in text.splitlines()]
        changed = [e | ({"plan": change(e["plan"])} if "plan" in e else {}) for e in events]
        return "".join(json.dumps(event) + "\n" for event in changed)

    return edit


def _of_lines(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[str], str]:
    """Changes each line."""
    return lambda text: "".join(json.dumps(change(json.loads(x))) + "\n" for x in text.splitlines())


def _of_json(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[str], str]:
    return lambda text: json.dumps(change(json.loads(text)))


def _of_store(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[str], str]:
    return _of_json(lambda content: content | {"attributes": change(content["attributes"])})


READERS: dict[str, tuple[str, str, Any, Callable[[Path], Any]]] = {
    "dtsinn-store": (
        "data.header.STORE",
        "store.zarr/zarr.json",
        _of_store,
        lambda path: open_store(str(path.parent)),
    ),
    "dtsinn-separator": (
        "deploy.info.SEPARATOR",
        "package/separator.json",
        _of_json,
        lambda path: read_info(path.parent),
    ),
    "dtsinn-manifest": (
        "deploy.manifest.MANIFEST",
        "package/manifest.json",
        _of_json,
        lambda path: verify_files(path.parent),
    ),
    "dtsinn-calibration": (
        "separation.calibration.CALIBRATION",
        "calibration.json",
        _of_json,
        lambda path: read_calibration(path.read_bytes(), CALIBRATED, str(path)),
    ),
    "dtsinn-checkpoint": (
        "training.state.CHECKPOINT",
        "run/checkpoint-00000050/state.json",
        _of_json,
        lambda path: TrainingState.load(path.parent),
    ),
    "dtsinn-event-log": (
        "eventlog.log.EVENT_LOG",
        "done/ledger.jsonl",
        _of_lines,
        lambda path: read_state(path.parent),
    ),
    "dtsinn-search-plan": (
        "search.plan.SEARCH_PLAN",
        "done/ledger.jsonl",
        _of_log,
        lambda path: read_plan(path.parent, read_state(path.parent)),
    ),
    "dtsinn-search-report": (
        "search.explain.page.SEARCH_REPORT",
        "done/report/report.json",
        _of_json,
        lambda path: page.check_out(path.parent),
    ),
    "dtsinn-identity-map": (
        "importers.pseudonym.IDENTITY_MAP",
        "subjects.json",
        _of_json,
        lambda path: enrol(["rat 7"], path),
    ),
    "dtsinn-evaluation": (
        "evaluation.record.EVALUATION",
        "evaluation/evaluation.json",
        _of_json,
        lambda path: record.check_out(path.parent),
    ),
}
"""By format: where its reader has it, a golden file, how such a file is changed, and a reader."""


def test_every_format_that_is_read_is_here() -> None:
    others = {GATE_REPORT.name, KNOWN_STORE.name}  # never read; passed over where it is newer
    known = {one.name for one in vars(formats).values() if isinstance(one, Format)}
    assert known - others == set(READERS)


@pytest.mark.parametrize("name", sorted(READERS))
def test_a_newer_version_is_refused_with_what_is_needed(golden: Path, name: str) -> None:
    place, file, edit, read = READERS[name]
    module, _, attribute = place.rpartition(".")
    version = getattr(importlib.import_module(f"dtsinn.{module}"), attribute).version
    path = golden / file
    read(path)
    path.write_text(
        edit(lambda content: content | {"format_version": version + 1})(path.read_text())
    )
    with pytest.raises(InputError) as caught:
        read(path)
    line = str(caught.value)
    assert "\n" not in line
    assert str(path.parent) in line
    wanted = f"got format_version {version + 1}; wanted {version} or older; try the newer dtsinn"
    assert f"written by a newer dtsinn; {wanted}" in line


@pytest.mark.parametrize("name", sorted(READERS))
def test_an_older_version_is_upgraded_while_it_is_read(
    golden: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two versions from now, an upgrade from each of the versions in between is applied in turn."""
    place, file, _, read = READERS[name]
    module, _, attribute = place.rpartition(".")
    known = getattr(importlib.import_module(f"dtsinn.{module}"), attribute)
    seen: list[tuple[int, bool]] = []

    def upgrade(version: int) -> Callable[[dict[str, Any]], dict[str, Any]]:
        def apply(content: dict[str, Any]) -> dict[str, Any]:
            seen.append((version, "passed on" in content))
            rest = {key: value for key, value in content.items() if key != "passed on"}
            return rest | ({"passed on": 1} if version == known.version else {})

        return apply

    versions = (known.version, known.version + 1)
    upgrades = {**known.upgrades, **{v: upgrade(v) for v in versions}}
    later = replace(known, version=versions[-1] + 1, upgrades=upgrades)
    monkeypatch.setattr(f"dtsinn.{place}", later)
    read(golden / file)
    assert seen[:2] == [(versions[0], False), (versions[1], True)]


@pytest.mark.slow
def test_the_halted_search_is_resumed_by_its_command(
    golden: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(golden / "inputs")  # the gate names its suite from here
    run = CliRunner().invoke
    at = ["--workspace", str(tmp_path)]
    store = str(golden / "store.zarr")
    gate = ["--gate", "gate.yaml"]
    told = run(app, ["search", store, "--name", "halted", "--resume", *gate, "--trials", "3", *at])
    assert told.exit_code == 0, told.output
    history = read_state(Workspace(tmp_path).searches / "halted")
    assert (history.state, len(history.trials)) == ("finished", 3)
    assert history.trials["trial-000"].state == "finished"
    assert history.trials["trial-000"].step == 800
    assert run(app, ["report", "halted", *at]).exit_code == 0
    assert run(app, ["status", *at]).exit_code == 0
