"""An evaluation in MLflow: its numbers, its picture, and its verdict on the version's page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dtsinn.core.tracker import RunStart
from dtsinn.data.store import open_store
from dtsinn.deploy.facts import Lineage
from dtsinn.deploy.info import SeparatorInfo
from dtsinn.deploy.package import write_package
from dtsinn.deploy.separator import Separator
from dtsinn.evaluation.evaluate import evaluate
from dtsinn.networks.build import build_network
from dtsinn.networks.invertible import InvertibleConfig
from dtsinn.registry.lineage import VERDICT_HEAD, note_verdict
from dtsinn.registry.registration import register
from dtsinn.registry.tracking.tracker import connect
from dtsinn.registry.versions import get_version
from dtsinn.workflows.evaluation_log import log_evaluation

MODEL = InvertibleConfig(blocks=1, width=8, depth=3)


@pytest.fixture(scope="module")
def logged(tmp_path_factory, begin_workspace, small_path):
    """A registered separator without training, and its evaluation on a store, logged twice."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        folder: Path = tmp_path_factory.mktemp("logged")
        workspace = begin_workspace(folder / "workspace")
        store = open_store(str(small_path), need_truth=True)
        protocol, header = store.header.protocol, store.header
        info = SeparatorInfo(
            model=MODEL,
            tracers=header.tracers,
            protocol=protocol.name,
            frame_start=protocol.frame_start,
            frame_duration=protocol.frame_duration,
            injection_time=protocol.injection_time,
            half_life=header.half_life,
            lineage=Lineage(
                run="lonely", config={}, store_path="small.zarr", store_digest=header.digest,
                code_version="0.1.0", seed=0,
            ),
        )  # fmt: skip
        package = folder / "separator"
        write_package(package, build_network(MODEL, protocol.frames), info)
        tracker = connect(workspace)
        tracker.begin(
            RunStart(key="lonely", name="lonely", kind="training", experiment="x", time_ms=1)
        )
        version = register(tracker, package, run_key="lonely")
        out = folder / "report"
        evaluation = evaluate(
            [("net", Separator.load(package))], suite=None, store=store, workspace=workspace,
            out=out,
        )  # fmt: skip
        for _ in range(2):
            log_evaluation(evaluation, store, out, workspace)
        yield evaluation, out, tracker, version


@pytest.fixture
def run(logged):
    """Its run in MLflow; logging it again has made no second one."""
    tracker = logged[2]
    (found,) = tracker.search("tags.`verdict` != ''")
    return found


def test_the_run_has_the_numbers_of_each_cell(logged, run) -> None:
    evaluation, out, _, _ = logged
    (cell,) = json.loads((out / "evaluation.json").read_text())["cells"]
    summary = cell["models"][0]["summary"]
    kinetics = summary["kinetics"]
    assert run.data.metrics == {
        "store.psnr": summary["psnr"]["mean"],
        "store.over_linear": evaluation.cells[0].difference("net").psnr.mean,
        "store.kinetic_error": kinetics["kinetic_error"],
        "store.kinetic_bias": kinetics["kinetic_bias"],
        "store.worst_region": kinetics["worst_bias"],
    }


def test_the_run_shows_a_picture_and_its_verdict(logged, run) -> None:
    _, out, tracker, _ = logged
    files = {file.path for file in tracker.client.list_artifacts(run.info.run_id)}
    assert {"summary.png", "evaluation"} <= files
    shown = Path(tracker.client.download_artifacts(run.info.run_id, "summary.png"))
    assert shown.read_bytes() == (out / "pictures" / "summary.png").read_bytes()
    assert run.data.tags["mlflow.note.content"].startswith("**net.** On the test subjects of small")
    assert run.data.tags["verdict"] in run.data.tags["mlflow.note.content"]


def test_the_version_begins_with_the_latest_verdict(logged, run) -> None:
    _, _, tracker, version = logged

    def described() -> list[str]:
        found = tracker.client.get_model_version(version.name, str(version.version))
        return str(found.description).split("\n\n")

    first, own = described()
    assert first == f"{VERDICT_HEAD} {run.data.tags['verdict']}"
    assert own.startswith("Separator invertible for FMZ then FDG")
    again = get_version(tracker, version.name, version.version)
    note_verdict(again, "Nothing fails.", tracker)
    assert described() == [f"{VERDICT_HEAD} Nothing fails.", own]
