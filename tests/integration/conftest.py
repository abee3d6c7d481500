"""One real search that the integration tests share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console

from dtsinn.core.workspace import Workspace
from dtsinn.search.plan import SearchPlan
from dtsinn.search.space.reader import load_space
from dtsinn.search.space.space import SearchSpace
from dtsinn.workflows.pipeline import PromotedSearch, search_and_promote

SPACE = """
base: invertible
fixed: {steps: 60, validate_every: 20, model.width: 8}
parameters:
  model.blocks: {choice: [1, 2]}
  loss.backward: {choice: [0.0, 0.05]}
  optimizer.learning_rate: {log: [1e-3, 8e-3]}
"""
QUIET = Console(quiet=True)


@dataclass(frozen=True)
class Done:
    found: PromotedSearch
    workspace: Workspace
    plan: SearchPlan


@pytest.fixture(scope="session")
def make_space():
    """Writes a space file into a folder and loads it."""
    return space_of


def space_of(folder: Path, text: str = SPACE) -> SearchSpace:
    path = folder / "space.yaml"
    path.write_text(text)
    return load_space(str(path))


@pytest.fixture(scope="session")
def done(
    small_path: Path,
    small_gate: Path,
    begin_workspace: Callable[[Path], Workspace],
    tmp_path_factory: pytest.TempPathFactory,
    ray_here: None,
) -> Done:
    folder = tmp_path_factory.mktemp("search")
    workspace = begin_workspace(folder / "workspace")
    plan = SearchPlan(
        name="first",
        store=str(small_path),
        space=space_of(folder),
        trials=5,
        seed=3,
        gate=str(small_gate),
    )
    found = search_and_promote(plan, workspace, QUIET)
    assert isinstance(found, PromotedSearch)
    return Done(found, workspace, plan)
