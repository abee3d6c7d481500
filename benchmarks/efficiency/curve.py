"""One learning curve: a training of the product, scored on ``val`` and ``test`` at each report.

Shape letters: N sample, K tracer (2), T frame, Y X pixel.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from benchmarks.efficiency.problem import REPORTS, STEPS_OF_REPORT, WARM_UP, Value
from dtsinn.core.errors import DivergedError
from dtsinn.data.store import Samples, Store, open_store
from dtsinn.deploy.onnx_graphs import InferenceGraph
from dtsinn.evaluation.metrics import psnr
from dtsinn.networks.separator import SeparatorNetwork
from dtsinn.training.config import load_run_config
from dtsinn.training.loop import train
from dtsinn.training.state import TrainingState

LOST = -99.0
"""PSNR in dB that stands for an answer that is not finite, or still worse."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A training: settings on top of the default configuration, and a seed."""

    problem: str
    settings: dict[str, Value]
    seed: int
    store: str
    """Path."""
    steps: int = REPORTS * STEPS_OF_REPORT

    @property
    def key(self) -> str:
        """Name of the job, the same wherever the store lies."""
        said = " ".join(f"{key}={value}" for key, value in self.settings.items())
        return f"{self.problem} seed={self.seed} steps={self.steps} {said}"

    @property
    def described(self) -> dict[str, Any]:
        """The job as plain data, without the path."""
        return {name: value for name, value in asdict(self).items() if name != "store"}


class Remembering(Store):
    """A store whose ``val`` and ``test`` subjects stay in memory: they are asked for often."""

    def __init__(self, store: Store) -> None:
        super().__init__(store.group, store.arrays, store.header)
        self.kept: dict[str, list[Samples]] = {}

    def subjects(self, split: str) -> Iterator[Samples]:
        """The subjects of ``split``, read once."""
        if split not in self.kept:
            self.kept[split] = list(super().subjects(split))
        return iter(self.kept[split])


def perform(job: Job) -> dict[str, list[float]]:
    """Train; PSNR in dB and CPU seconds since the beginning, each a value per report.

    Returns:
        ``val`` and ``test``, mean of subjects and tracers, of the weights at the report; and
        ``seconds``, scoring of ``test`` left out. A training that diverged has fewer reports.
    """
    torch.set_num_threads(1)
    store = _opened(job.store)
    overrides = {
        "steps": job.steps,
        "validate_every": job.steps // REPORTS,
        "optimizer.warm_up": WARM_UP,
        "seed": job.seed,
        **job.settings,
    }
    config = load_run_config("default", [f"{key}={value}" for key, value in overrides.items()])
    state = TrainingState(config, store.header.protocol.frames)
    curve: dict[str, list[float]] = {"val": [], "test": [], "seconds": []}
    try:
        for report in train(store, state):
            curve["val"].append(report.metrics["val_psnr"])
            curve["test"].append(_test_psnr(state.validated_network, store))
            curve["seconds"].append(report.metrics["cpu_seconds"])
    except DivergedError:
        pass
    return curve


@functools.cache
def _opened(path: str) -> Remembering:
    return Remembering(open_store(path, need_truth=True))


def _test_psnr(network: SeparatorNetwork, store: Store) -> float:
    """Mean PSNR in dB of the ``test`` subjects, all in one batch; :data:`LOST` where not finite."""
    subjects, protocol = list(store.subjects("test")), store.header.protocol
    mixture_NTYX = torch.from_numpy(np.concatenate([each.mixture_NTYX for each in subjects]))
    training = network.training
    graph = InferenceGraph(network, torch.tensor(protocol.frame_duration))
    with torch.no_grad():
        answer_NKTYX = graph(mixture_NTYX.to(memory_format=torch.channels_last))[0].numpy()
    network.train(training)
    ends = np.cumsum([len(each.mixture_NTYX) for each in subjects])
    parts = np.split(answer_NKTYX, ends[:-1])
    scores = [psnr(each, part, protocol) for each, part in zip(subjects, parts, strict=True)]
    mean = float(np.mean(scores))
    return mean if np.isfinite(mean) else LOST
