"""Searching over spectral analyses: real trials that train nothing; the floor is champion."""

from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from rich.console import Console
from typer.testing import CliRunner

from dtsinn.cli import app
from dtsinn.core.config import from_mapping
from dtsinn.data.store import open_store
from dtsinn.deploy.package import load_package
from dtsinn.eventlog.log import EventLog
from dtsinn.networks.rivals.spectral import SpectralAnalysis, SpectralConfig
from dtsinn.registry.references import resolve
from dtsinn.search.engine.trial import score_untrained
from dtsinn.search.plan import SearchPlan
from dtsinn.search.run import SearchResult
from dtsinn.search.space.reader import load_space
from dtsinn.training.config import apply_changes
from dtsinn.workflows.pipeline import search_and_promote


@pytest.fixture(scope="module")
def searched(
    small_path: Path, begin_workspace, tmp_path_factory: pytest.TempPathFactory, ray_here: None
):
    """Two trials over the shipped space, the defaults first."""
    workspace = begin_workspace(tmp_path_factory.mktemp("bases") / "workspace")
    space = load_space("spectral")
    plan = SearchPlan(
        name="bases", store=str(small_path), space=space, trials=2, seed=1, concurrent=1
    )
    return search_and_promote(plan, workspace, Console(quiet=True)), workspace


def test_a_search_over_bases_finds_one_and_makes_no_package(searched, small_path: Path) -> None:
    result, workspace = searched
    assert isinstance(result, SearchResult)
    assert result.states == {"finished": 2}
    assert result.package is None
    assert not (workspace.searches / "bases" / "separator").exists()
    assert load_package(resolve("best", workspace).path)[1].lineage.run == "bases/floor"
    journal = JournalFileBackend(str(workspace.searches / "bases" / "study.journal"))
    trials = optuna.load_study(study_name="bases", storage=JournalStorage(journal)).trials
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 2
    defaults = SpectralConfig()
    assert trials[0].params == {
        f"model.{key}": getattr(defaults, key) for key in ("terms", "slow", "fast", "smoothing_px")
    }
    best = max(trials, key=lambda trial: trial.value)
    assert (result.best_psnr, result.suggestion) == (best.value, best.params)
    base = {"model": {"kind": "spectral"}}
    config = from_mapping(SpectralConfig, apply_changes(base, best.params)["model"], "suggestion")
    again = score_untrained(open_store(str(small_path)), SpectralAnalysis(config))
    assert again["best_psnr"] == pytest.approx(best.value, abs=1e-6)


def test_every_trial_is_told_to_the_tracker(searched) -> None:
    from dtsinn.registry.tracking.tracker import connect_existing

    result, workspace = searched
    tracker = connect_existing(workspace)
    for name in ("bases", "bases/floor", "bases/trial-000", "bases/trial-001"):
        assert tracker.find_run(name).info.status == "FINISHED"
    metrics = tracker.find_run(result.best_trial).data.metrics
    assert metrics["val_psnr"] == result.best_psnr
    assert {"val_psnr_fmz", "val_psnr_fdg"} <= metrics.keys()
    events = [event["event"] for event in EventLog(result.folder / "ledger.jsonl")]
    assert events.count("begin") == events.count("end") == 4, "the search, its floor and its trials"


def test_spectral_analysis_is_not_trained(
    small_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DTSINN_WORKSPACE", raising=False)
    arguments = ["train", str(small_path), "--set", "model.kind=spectral"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "nothing to train" in result.stderr
    assert "dtsinn evaluate --baselines" in result.stderr
    assert result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
