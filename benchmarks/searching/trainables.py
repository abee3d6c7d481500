"""What workers train and time: our trial, and Ray Tune as it comes.

Stock has OptunaSearch, ASHAScheduler and MLflowLoggerCallback around a training. Workers keep what
reporting and saving take; it is read afterwards.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import optuna
import torch
from ray import tune
from ray.air.integrations.mlflow import MLflowLoggerCallback
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search import ConcurrencyLimiter
from ray.tune.search.optuna import OptunaSearch

from benchmarks.clock import timed_calls
from dtsinn.core.config import from_mapping
from dtsinn.data.store import open_store
from dtsinn.search.engine.trial import TrialPlan, run_trial
from dtsinn.search.plan import SearchPlan
from dtsinn.training.config import RunConfig, apply_changes
from dtsinn.training.loop import train
from dtsinn.training.state import TrainingState


@dataclass(kw_only=True)
class Times:
    """Of one trial, in seconds."""

    reports: list[float] = field(default_factory=list)
    """Of each ``tune.report``: it returns when the driver has answered."""
    saves: list[float] = field(default_factory=list)
    """Of writing each checkpoint."""
    total: float = 0.0
    """From the trainable's first line to its last."""

    @property
    def training(self) -> float:
        """What is left of it."""
        return self.total - sum(self.reports) - sum(self.saves)


@contextmanager
def timed(folder: Path, name: str, save: str) -> Iterator[None]:
    """Time a trial inside its worker and write the times to ``folder``.

    Args:
        folder: Of all trials' times.
        name: Of the trial.
        save: Method of :class:`TrainingState` that writes its checkpoints.
    """
    begun = time.monotonic()
    with timed_calls(tune, "report") as reports, timed_calls(TrainingState, save) as saves:
        try:
            yield
        finally:
            times = Times(reports=reports, saves=saves, total=time.monotonic() - begun)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{name}.json").write_text(json.dumps(asdict(times)), encoding="utf-8")


def read_times(folder: Path) -> list[Times]:
    """Of all trials."""
    return [Times(**json.loads(path.read_text())) for path in sorted(folder.glob("*.json"))]


def timed_trial(config: dict[str, Any], plan: TrialPlan, times: Path) -> None:
    """Ours, as it is."""
    with timed(times, config["trial"], "save"):
        run_trial(config, plan)


OURS = ("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "TUNE_GLOBAL_CHECKPOINT_S")
"""What :mod:`dtsinn.search.engine.cluster` sets, and stock Ray does without."""


def train_stock(config: dict[str, Any], plan: SearchPlan, times: Path) -> None:
    """Train as :func:`dtsinn.search.engine.trial.run_trial`, with Ray's own checkpoints."""
    torch.set_num_threads(1)
    with timed(times, tune.get_context().get_trial_id(), "write"):
        settings = from_mapping(RunConfig, apply_changes(plan.space.base, config), "suggestion")
        store = open_store(plan.store, need_truth=True)
        state = TrainingState(settings, store.header.protocol.frames, "cpu")
        for report in train((store,), state):
            with tempfile.TemporaryDirectory() as folder:
                state.write(Path(folder))
                tune.report(
                    report.metrics | {"step": report.step},
                    checkpoint=tune.Checkpoint.from_directory(folder),
                )


def run_stock(plan: SearchPlan, uri: str, folder: Path, concurrent: int, *, reuse: bool) -> None:
    """A whole search.

    Args:
        plan: What ours searches.
        uri: Of an MLflow that is there.
        folder: For Ray's results and the times.
        concurrent: Trials at a time.
        reuse: Whether a worker goes on to the next trial; Ray's default is that it does not.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space = {parameter.key: parameter.distribution for parameter in plan.space.parameters}
    search = OptunaSearch(_space(space), metric="best_psnr", mode="max", seed=plan.seed)
    tuner = tune.Tuner(
        tune.with_resources(
            tune.with_parameters(train_stock, plan=plan, times=folder / "times"), {"cpu": 1}
        ),
        tune_config=tune.TuneConfig(
            search_alg=ConcurrencyLimiter(search, concurrent),
            # It is asked at each report, and never stops: all trials do the same work.
            scheduler=ASHAScheduler(
                time_attr="step",
                metric="best_psnr",
                mode="max",
                max_t=plan.steps + 1,
                grace_period=plan.steps + 1,
            ),
            num_samples=plan.trials,
            reuse_actors=reuse,
        ),
        run_config=tune.RunConfig(
            name="stock",
            storage_path=str(folder / "ray"),
            callbacks=[MLflowLoggerCallback(tracking_uri=uri, experiment_name="stock")],
            checkpoint_config=tune.CheckpointConfig(num_to_keep=1),
            verbose=0,
        ),
    )
    # Without our settings of Ray, and without what stock leaves behind, as MLflow's URI.
    stock = {name: value for name, value in os.environ.items() if name not in OURS}
    with mock.patch.dict(os.environ, stock, clear=True):
        results = tuner.fit()
    if results.errors:
        raise RuntimeError(f"a stock trial failed: {results.errors[0]}")


def _space(known: dict[str, Any]) -> dict[str, Any]:
    """Our parameters as Ray writes them."""
    return {
        key: tune.choice(list(of.choices))
        if hasattr(of, "choices")
        else tune.loguniform(of.low, of.high)
        for key, of in known.items()
    }
