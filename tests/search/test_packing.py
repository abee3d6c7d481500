"""Trials share a GPU by the memory that they need, and none starts that cannot fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from dtsinn.core.errors import InputError
from dtsinn.search.engine.packing import CONTEXT_BYTES, PARTS, SPARE, GpuShare
from dtsinn.search.plan import SearchPlan
from dtsinn.search.sampling.feasibility import FeasibilityCheck
from dtsinn.search.space.reader import load_space
from dtsinn.search.space.space import SearchSpace
from dtsinn.training.footprint import footprint

GiB = 2**30
SMALL = {"model.blocks": 1, "model.width": 8}
LARGE = {"model.blocks": 8, "model.width": 48}


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> SearchSpace:
    path = tmp_path_factory.mktemp("space") / "space.yaml"
    path.write_text(
        "{base: invertible, fixed: {batch: 8},"
        " parameters: {model.blocks: {int: [1, 8]}, model.width: {int: [8, 48]}}}"
    )
    return load_space(str(path))


def share_of(space: SearchSpace, gpu_bytes: int) -> GpuShare:
    return GpuShare(space=space, frames=18, size=(64, 64), gpu_bytes=gpu_bytes)


def test_a_share_holds_what_the_training_needs_and_no_more_than_it_must(space: SearchSpace) -> None:
    share = share_of(space, 16 * GiB)
    for suggestion in (SMALL, LARGE):
        needs = footprint(space.config(suggestion), 18, (64, 64)).total + CONTEXT_BYTES
        room = 16 * GiB * (1 - SPARE)
        assert share.of(suggestion) * room >= needs
        assert (share.of(suggestion) - 1 / PARTS) * room < needs
    assert share.of(SMALL) < share.of(LARGE)


def test_what_cannot_fit_is_refused_before_a_trial_starts(space: SearchSpace) -> None:
    share = share_of(space, int(1.2 * GiB))
    feasibility = FeasibilityCheck(
        space=space, frames=18, size=(64, 64), most_bytes=share.most_bytes
    )
    assert feasibility(SMALL) == ""
    assert "MiB; the GPU has" in feasibility(LARGE)
    assert share.of(LARGE) == 1


@pytest.mark.parametrize(("gpus", "packed", "got"), [(1, True, "auto"), (0.5, False, "0.5")])
def test_gpus_are_shared_by_trials_of_one_process(
    tmp_path: Path, gpus: float, packed: bool, got: str
) -> None:
    path = tmp_path / "space.yaml"
    path.write_text("{fixed: {accumulate: 2}, parameters: {model.blocks: {choice: [1, 2]}}}")
    with pytest.raises(InputError, match=f"with 2 workers; got {got}; wanted 0 or 1"):
        SearchPlan(
            name="a",
            store="a",
            space=load_space(str(path)),
            gpus_per_trial=gpus,
            pack_gpus=packed,
            workers_per_trial=2,
        )
