"""The floor where the model brings none: fitted for the cell, kept, and fitted again if damaged."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dtsinn.core.progress import no_progress
from dtsinn.core.workspace import Workspace
from dtsinn.data.store import Store, open_store
from dtsinn.deploy.separator import Separator
from dtsinn.evaluation.evaluate import RESULT, evaluate
from dtsinn.evaluation.floor import find_floor
from dtsinn.evaluation.results import FLOOR, HALVES
from dtsinn.evaluation.suite import Combination, Suite, cell_store, cells_of
from dtsinn.networks.build import build_network
from dtsinn.networks.closed_form import fit_linear
from dtsinn.networks.invertible import InvertibleConfig
from dtsinn.networks.rivals.linear import LinearConfig, LinearNetwork
from dtsinn.training.config import load_run_config
from dtsinn.training.package import separator_info
from dtsinn.training.state import TrainingState


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("workspace"))


@pytest.fixture(scope="module")
def suite(tiny_suite: Suite) -> Suite:
    """Another pair than the model's, where anatomy costs nothing."""
    pair = Combination(tracers=("raclopride", "fdg"), protocol="p1")
    return dataclasses.replace(tiny_suite, phantom="cylinder", size=16, combinations=(pair,))


@pytest.fixture(scope="module")
def separator(small_path: Path) -> Separator:
    """Untrained, with a floor that is half of the mixture."""
    store = open_store(str(small_path))
    model = InvertibleConfig(blocks=1, width=4, depth=3)
    state = TrainingState(dataclasses.replace(load_run_config("invertible"), model=model), 18)
    info = separator_info(state, store.header, "run")
    return Separator(build_network(model, 18), info, floor=LinearNetwork(18, LinearConfig()))


def test_another_pair_has_a_floor_fitted_for_it(
    separator: Separator, suite: Suite, workspace: Workspace, tmp_path: Path
) -> None:
    told: list[str] = []

    def grid() -> list[Any]:
        for kept in workspace.suites.glob(f"*-{RESULT}.json"):
            kept.unlink()
        found = evaluate(
            [("net", separator)],
            suite=suite,
            store=None,
            workspace=workspace,
            out=tmp_path / "out",
            progress=lambda what, *_: told.append(what),
        )
        return list(found.cells)

    (cell,) = grid()
    assert cell.floor.fitted == "for this cell"
    psnr = {scores.model: scores.summary.psnr.mean for scores in cell.series}
    assert psnr[FLOOR] > psnr[HALVES] + 5
    assert psnr["net"] == pytest.approx(psnr[HALVES], abs=1e-3)
    kept = {path.suffix: path for path in workspace.suites.iterdir() if "floor" in path.name}
    assert set(kept) == {".safetensors", ".lock"}, "the study that it was fitted to is gone"

    told.clear()
    assert grid() == [cell]
    assert set(told) == {"score", "report"}, "nothing is simulated or fitted twice"
    kept[".safetensors"].write_bytes(b"damaged")
    assert grid() == [cell]


def test_the_noise_of_a_cell_decides_its_floor(
    separator: Separator, suite: Suite, workspace: Workspace
) -> None:
    cell = cells_of(suite)[0]
    store = cell_store(cell, workspace, no_progress)
    floor = find_floor((separator,), cell, store, workspace, no_progress)
    other = dataclasses.replace(cell, request=dataclasses.replace(cell.request, noise="high"))
    noisy = find_floor((separator,), other, store, workspace, no_progress)
    assert floor.network is not None
    assert noisy.network is not None
    assert not torch.equal(floor.network.map.weight, noisy.network.map.weight)
    calm, loud = (one.map.weight.detach().norm() for one in (floor.network, noisy.network))
    assert loud < calm, "the noisier the more it smooths"


def test_a_store_of_ones_own_has_the_floor_of_its_training_subjects(
    separator: Separator, small_store: Store, workspace: Workspace, suite: Suite, tmp_path: Path
) -> None:
    bare = Separator(separator.network, separator.info)
    floor = find_floor((bare,), None, small_store, workspace, no_progress)
    assert floor.network is not None
    wanted = fit_linear((small_store,)).map.weight
    assert floor.fitted == "for this cell"
    np.testing.assert_array_equal(floor.network.map.weight.detach(), wanted.detach())
    brought = find_floor((bare, separator), None, small_store, workspace, no_progress)
    assert brought.fitted == "with the model"
    assert brought.network is separator.floor

    without = cell_store(cells_of(suite)[0], workspace, no_progress)
    at: dict[str, Any] = {"workspace": workspace, "out": tmp_path / "out"}
    found = evaluate([("net", bare)], suite=None, store=without, **at).cells[0]
    assert found.floor is not None
    assert found.floor.reason == "the store has no train subject to fit it to"
    assert found.difference("net") is None
    assert found.difference("net", HALVES) is not None
