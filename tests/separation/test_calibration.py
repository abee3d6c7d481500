"""Calibration: one limit for the whole verdict, intervals, and how a package keeps them."""

from __future__ import annotations

import csv
import json
import multiprocessing
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dtsinn
from dtsinn.core.errors import PackageError
from dtsinn.core.workspace import Workspace
from dtsinn.data.known_stores import remember_store
from dtsinn.data.plan import StorePlan
from dtsinn.data.store import open_store
from dtsinn.data.writer import StoreWriter
from dtsinn.deploy.export import export_package
from dtsinn.deploy.facts import read_facts
from dtsinn.deploy.manifest import verify_files
from dtsinn.deploy.package import package_digest
from dtsinn.networks.closed_form import fit_linear
from dtsinn.separation.calibration import (
    Calibration,
    calibration_text,
    read_calibration,
)
from dtsinn.separation.intervals import MISSES, coverage
from dtsinn.separation.population import conformal_rank
from dtsinn.simulation.request import StudyRequest
from dtsinn.simulation.study import simulate_study
from dtsinn.workflows.calibrating import (
    find_calibration,
    find_sources,
    measure_simulated,
)
from dtsinn.workflows.pipeline import export_model
from tests.separation.conftest import package_of

USUAL = StudyRequest(subjects=20, slices=4, size=32, noise="mid", purpose="unseen")
SUBJECTS = 40


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("workspace"))


@pytest.fixture(scope="module")
def package(
    small_path: Path, workspace: Workspace, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The linear map of a store that the workspace knows."""
    store = open_store(str(small_path))
    remember_store(workspace, store)
    network = fit_linear((store,), lambda done, of: None)
    return package_of(
        network, tmp_path_factory.mktemp("models") / "brains", trained_on=store.header
    )


@pytest.fixture(scope="module")
def known(package: Path, workspace: Workspace) -> Calibration:
    found = find_calibration(package, workspace, subjects=SUBJECTS, workers=1)
    assert isinstance(found, Calibration)
    return found


@pytest.fixture(scope="module")
def calibrated(package: Path, known: Calibration, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package with its calibration, as an export has it."""
    folder = tmp_path_factory.mktemp("exports") / "brains"
    export_package(package, folder, calibration_text(known))
    return folder


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _store(USUAL, tmp_path_factory.mktemp("scans") / "usual.zarr")


def _store(request: StudyRequest, path: Path) -> Path:
    simulate_study(replace(request, subjects=1), str(path), workers=1, splits={"test": 1.0})
    return path


def _rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text(encoding="utf-8").splitlines(), delimiter="\t"))


def test_a_calibration_is_made_once_and_kept_by_digest(
    package: Path, workspace: Workspace, known: Calibration
) -> None:
    kept = workspace.calibrations / f"{package_digest(package)}.json"
    written = kept.read_bytes()
    again = find_calibration(package, workspace, subjects=2 * SUBJECTS, workers=1)
    assert again == known
    assert kept.read_bytes() == written
    assert known.subjects == SUBJECTS
    assert known.source == (
        "40 simulated subjects (brain, uniform, noise image mid, 32 x 32 pixels)"
    )


def test_it_is_read_as_it_was_and_only_for_its_model(known: Calibration) -> None:
    text = calibration_text(known).encode()
    assert read_calibration(text, known.digest, "it") == known
    with pytest.raises(PackageError, match="it is of another model"):
        read_calibration(text, "0" * 64, "it")
    with pytest.raises(PackageError, match="it"):
        read_calibration(text[:-20], known.digest, "it")


def test_an_export_lists_it_outside_of_the_digest(package: Path, calibrated: Path) -> None:
    listed = {file.path for file in verify_files(calibrated).manifest.files}
    assert listed - {file.path for file in verify_files(package).manifest.files} == {
        "calibration.json"
    }
    assert package_digest(calibrated) == package_digest(package)


def test_an_export_without_it_says_how_to_get_it(
    package: Path, workspace: Workspace, known: Calibration, tmp_path: Path
) -> None:
    plain, whole = tmp_path / "plain", tmp_path / "plain-calibrated"
    _, _, said = export_model(str(package), plain, workspace, calibrated=False)
    typed = f"dtsinn export {package} --out {whole} --workspace {workspace.root}"
    assert said == f"none: not asked for; made by {typed}"
    _, _, said = export_model(str(plain), whole, workspace)
    assert said == known.source
    assert (whole / "calibration.json").is_file()


def test_its_own_population_is_inside_and_other_noise_is_not(
    package: Path, known: Calibration
) -> None:
    """Of 40 subjects the limit is the largest: 1 of 41 exceeds it on average."""

    def outside(**other: Any) -> int:
        request = replace(USUAL, **other)
        return sum(
            known.population.most_extreme(one.features) > known.population.extremity
            for one in measure_simulated(package, [request], 1)
        )

    assert outside() <= 3
    assert outside(noise="high", subjects=4) == 4


def test_each_process_that_calibrates_computes_with_one_thread(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is one per core."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    others = set(multiprocessing.active_children())
    request = replace(USUAL, subjects=2, slices=1, size=16)
    for _ in measure_simulated(package, [request], 2):
        workers = set(multiprocessing.active_children()) - others
        assert workers
        for worker in workers:
            environment = Path(f"/proc/{worker.pid}/environ").read_bytes().split(b"\0")
            assert b"OMP_NUM_THREADS=1" in environment
    assert "OMP_NUM_THREADS" not in os.environ


def test_errors_of_unseen_subjects_lie_within(package: Path, known: Calibration) -> None:
    held: dict[str, list[float]] = {}
    for one in measure_simulated(package, [USUAL], 1):
        for name, shares in coverage(known.intervals, one.errors).items():
            held.setdefault(name, []).extend(shares)
    assert {"fmz curves", "fmz V_T", "fdg curves", "fdg Ki"} <= set(held)
    for name, shares in held.items():
        assert np.mean(shares) >= 0.75, name


@pytest.mark.parametrize("subjects", [9, 20, 133])
def test_the_quantile_covers_as_often_as_it_says(subjects: int) -> None:
    """Exactly rank / (n + 1) on average: the law of split conformal prediction."""
    rank = conformal_rank(subjects, MISSES)
    rng = np.random.default_rng(subjects)
    scores = rng.exponential(size=(20_000, subjects + 1))
    limit = np.sort(scores[:, :-1], axis=1)[:, rank - 1]
    covered = float((scores[:, -1] <= limit).mean())
    assert covered == pytest.approx(rank / (subjects + 1), abs=0.01)
    assert 1 - MISSES <= rank / (subjects + 1) < 1 - MISSES + 1 / (subjects + 1) + 1e-9


def test_too_few_for_a_quantile_have_none() -> None:
    assert conformal_rank(8, MISSES) > 8


def test_a_scan_inside_comes_with_intervals(calibrated: Path, scan: Path, tmp_path: Path) -> None:
    found = dtsinn.separate(scan, calibrated, tmp_path / "out")
    assert found.verdict.inside, found.verdict.text
    assert found.verdict.p_value is not None
    assert found.verdict.p_value > 0.03
    said = json.loads((found.folder / "verdict.json").read_text())
    assert said["p_value"] == found.verdict.p_value
    assert said["model"]["calibration"].startswith("40 simulated subjects")
    names = {check["name"] for check in said["checks"] if check["basis"] == "calibration subjects"}
    assert {"activity", "curves of the mixture", "noise of the mixture"} <= names
    (table,) = found.folder.rglob("*FDG*_tacs.tsv")
    rows = _rows(table)
    assert len(rows) > 50
    bounded = [row for row in rows if row["lower"] != "n/a"]
    assert bounded
    for row in bounded:
        assert float(row["lower"]) <= float(row["TAC"]) <= float(row["upper"])
    about = json.loads(table.with_suffix(".json").read_text())
    assert about["lower"]["Units"] == "kBq/mL"
    assert "Intervals of 90 % by split conformal" in (found.folder / "report.html").read_text()


def test_a_scan_outside_has_none_and_says_so(calibrated: Path, tmp_path: Path) -> None:
    noisy = _store(replace(USUAL, noise="high"), tmp_path / "noisy.zarr")
    found = dtsinn.separate(noisy, calibrated, tmp_path / "out")
    assert "noise of the mixture unlike the training population's" in found.verdict.text
    assert found.verdict.p_value == pytest.approx(1 / 41)
    (table,) = found.folder.rglob("*FDG*_tacs.tsv")
    assert "lower" not in _rows(table)[0]
    page = (found.folder / "report.html").read_text()
    assert '<td>noise of the mixture</td><td><span class="bad">failed</span></td>' in page
    assert "No intervals: the scan is outside" in page


def test_without_calibration_nothing_is_said_of_the_population(
    calibrated: Path, scan: Path, tmp_path: Path
) -> None:
    found = dtsinn.separate(scan, calibrated, tmp_path / "out", calibrated=False)
    assert found.verdict.p_value is None
    (told,) = [check for check in found.verdict.checks if check.name == "population"]
    assert told.outcome == "not told"
    assert "no calibration subjects, asked for without" in told.words
    assert "No intervals: there are no calibration" in (found.folder / "report.html").read_text()


@pytest.mark.parametrize(("kept", "enough"), [(8, False), (20, True)])
def test_a_measured_store_has_to_keep_subjects_for_it(
    kept: int, enough: bool, tmp_path: Path
) -> None:
    path = _measured(tmp_path, kept)
    store, workspace = open_store(str(path)), Workspace(tmp_path / "workspace")
    remember_store(workspace, store)
    network = fit_linear((store,), lambda done, of: None)
    package = package_of(network, tmp_path / "package", trained_on=store.header)
    found = find_calibration(package, workspace, workers=1)
    if enough:
        assert isinstance(found, Calibration)
        assert found.source == "20 subjects of the split calibrate"
    else:
        assert found == "its stores have 8 subjects in the split calibrate and 20 are needed"


def _measured(folder: Path, kept: int) -> Path:
    """A store that says that it was measured: 4 subjects train, ``kept`` calibrate."""
    request = replace(USUAL, subjects=4 + kept, slices=2, size=16)
    simulate_study(request, str(folder / "simulated.zarr"), workers=1, splits={"train": 1.0})
    simulated = open_store(str(folder / "simulated.zarr"))
    subjects = list(simulated.subjects("train"))
    header = simulated.header
    plan = StorePlan(
        tracers=header.tracers,
        protocol=header.protocol,
        half_life=header.half_life,
        size=header.size,
        voxel_size=header.voxel_size,
        subject=tuple(simulated.subject_N),
        slice_position=tuple(range(len(simulated.subject_N))),
        split=("train",) * 8 + ("calibrate",) * (2 * kept),
        region_names=header.region_names,
        block=len(simulated.subject_N),
        attributes={"origin": "measured"},
    )
    writer = StoreWriter(str(folder / "measured.zarr"), plan)
    images = {
        "mixture": np.concatenate([one.mixture_NTYX for one in subjects]),
        "tracers": np.concatenate([one.tracers_NKTYX for one in subjects]),
        "regions": np.concatenate([one.regions_NYX for one in subjects]),
    }
    for block in writer.begin():
        writer.write(block, images)
    writer.seal()
    return folder / "measured.zarr"


def test_scans_as_labels_are_not_what_an_interval_holds(tmp_path: Path) -> None:
    request = replace(USUAL, subjects=2, slices=1, size=16, noise_model="osem", labels="osem")
    simulate_study(request, str(tmp_path / "scans.zarr"), workers=1, splits={"train": 1.0})
    store, workspace = open_store(str(tmp_path / "scans.zarr")), Workspace(tmp_path / "workspace")
    remember_store(workspace, store)
    network = fit_linear((store,), lambda done, of: None)
    package = package_of(network, tmp_path / "package", trained_on=store.header)
    sources = find_sources(read_facts(package)[0], workspace)
    assert not isinstance(sources, str), sources
    (source,) = sources
    assert source.request is not None
    assert (source.request.noise_model, source.request.labels) == ("osem", "truth")


def test_an_unknown_training_has_none(model: Path, tmp_path: Path) -> None:
    found = find_calibration(model, Workspace(tmp_path / "workspace"))
    assert found == (
        "its training data cannot be simulated (the store is not here, and the package does not "
        "say enough of it)"
    )
