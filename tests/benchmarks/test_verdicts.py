"""The benchmark of verdicts: what it counts, and that the whole of it runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import verdicts
from benchmarks.verdicts import Judged
from dtsinn.core.workspace import Workspace
from dtsinn.data.store import open_store
from dtsinn.networks.closed_form import fit_linear
from tests.separation.conftest import package_of


def test_alarms_count_on_scans_that_are_wrong() -> None:
    judged = Judged(
        key="stress: fmz-fdg-p1-mid-dose-2",
        alarms=[True, False, True, False],
        wrong=[12.0, 11.0, 3.0, np.nan],
        why={},
        covered={},
    )
    assert judged.wrong_alarms == [True, False]


@pytest.mark.parametrize(
    ("held", "text"),
    [
        ([], "none"),
        ([True] * 4, "100.0 % [39.8, 100.0] of 4"),  # 0.025^(1/4)
        ([0.5, 1.0, 0.5, 1.0], "75.0 % [50.5, 99.5]"),
    ],
)
def test_shares_come_with_their_intervals(held: list[float], text: str) -> None:
    assert verdicts._share(held) == text


def test_unseen_subjects_are_judged(small_path: Path, tmp_path: Path) -> None:
    store = open_store(str(small_path))
    network = fit_linear((store,), lambda done, of: None)
    package = package_of(network, tmp_path / "package", trained_on=store.header)
    workspace, told = Workspace(tmp_path / "workspace"), list[str]()
    result = verdicts.measure(package, workspace, 2, [], calibrating=20, workers=1, say=told.append)
    (cell,) = result.data["cells"]
    assert (cell["cell"], cell["subjects"]) == ("training population", 2)
    assert all(0 < error < 100 for error in cell["kinetic_error"])
    assert cell["coverage"]["fmz curves"]["of"] > 2
    assert "training population" in "".join(told)
