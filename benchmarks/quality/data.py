"""The sets of data: what is simulated, and views that hide a part of it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.prepare import Study
from dtsinn.data.store import Store
from dtsinn.simulation.request import StudyRequest

REQUEST = StudyRequest(subjects=120, slices=4, size=64, noise="mid", seed=77, population="varied")
SPLITS = {"train": 80 / 120, "val": 12 / 120, "test": 28 / 120}
"""28 test subjects: enough for an interval over subjects that tells half a dB (uncited)."""
UNSEEN_LEVELS = ("low", "high")
"""Levels of noise that no training sees."""
UNSEEN_SUBJECTS = 28
HIDDEN = "hidden"
"""Split of the samples that a view does not show."""


@dataclass(frozen=True, kw_only=True)
class DataSet(Study):
    """One set: a study, and the studies of other noise that its networks are tried on."""

    def unseen(self, level: str) -> DataSet:
        """Test subjects of their own at another level of noise."""
        request = replace(
            self.request,
            noise=level,
            subjects=min(UNSEEN_SUBJECTS, self.request.subjects),
            seed=self.request.seed + 1,
            purpose="unseen",
        )
        name, title = f"{self.name}-{level}", f"{self.title}, noise {level}"
        return DataSet(name=name, title=title, request=request, splits={"test": 1.0})


def data_sets(
    request: StudyRequest = REQUEST, splits: Mapping[str, float] = SPLITS
) -> dict[str, DataSet]:
    """The sets by name: image noise, and photons that are counted and reconstructed."""
    named = {
        "image": ("Image noise", request),
        "osem": ("OSEM reconstructions", replace(request, noise_model="osem")),
    }
    return {
        name: DataSet(name=name, title=title, request=made, splits=splits)
        for name, (title, made) in named.items()
    }


def without_test(store: Store) -> Store:
    """A view of ``store`` that has no test subject: all that a search may see."""
    return _relabelled(store, store.split_N == "test")


def with_few(store: Store, split: str, subjects: int) -> Store:
    """A view of ``store`` whose ``split`` has its first ``subjects`` subjects only."""
    inside_N = store.split_N == split
    kept = list(dict.fromkeys(store.subject_N[inside_N]))[:subjects]
    return _relabelled(store, inside_N & ~np.isin(store.subject_N, kept))


def _relabelled(store: Store, hidden_N: np.ndarray) -> Store:
    view = copy.copy(store)
    view.split_N = np.where(hidden_N, HIDDEN, store.split_N)
    return view
