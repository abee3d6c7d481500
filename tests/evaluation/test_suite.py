"""Suites: what they say, what they plan, and the stores that they keep."""

from __future__ import annotations

import dataclasses
import shutil

import numpy as np
import pytest

from dtsinn.core.config import config_names, find_config, from_mapping, to_mapping
from dtsinn.core.errors import InputError
from dtsinn.core.progress import no_progress
from dtsinn.core.workspace import Workspace
from dtsinn.evaluation.suite import Combination, Suite, cell_store, cells_of, load_suite


@pytest.mark.parametrize("name", config_names("suites"))
def test_every_shipped_suite_loads_plans_its_cells_and_survives_a_round_trip(name):
    suite = load_suite(name)
    assert suite.name == name
    assert from_mapping(Suite, to_mapping(suite), "again") == suite
    if name == "gate":
        with pytest.raises(InputError, match="it is kept for the gate"):
            cells_of(suite)
        own = Combination(tracers=("fmz", "fdg"), protocol="p1")
        suite = dataclasses.replace(suite, combinations=(own,))
    cells = cells_of(suite)
    assert len({cell.key for cell in cells}) == len(suite.noise) * len(suite.combinations)
    assert len({cell.digest for cell in cells}) == len(cells)
    assert {cell.request.purpose for cell in cells} == {f"suite-{name}"}


def test_quick_asks_for_two_noise_levels_and_two_protocols():
    assert [cell.key for cell in cells_of(load_suite("quick"))] == [
        "fmz-fdg-p1-mid",
        "fmz-fdg-p1-high",
        "fmz-fdg-p3-mid",
        "fmz-fdg-p3-high",
    ]


def test_a_combination_may_have_another_anatomy():
    cells = cells_of(load_suite("unseen"))
    assert [cell.request.phantom for cell in cells] == ["brain", "brain-lesion", "thorax"]
    assert [cell.key for cell in cells] == [
        "fmz-fdg-p1-mid",
        "fmz-fdg-p1-mid-brain-lesion",
        "fmz-fdg-p1-mid-thorax",
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"subject": 3}, "unknown key; got subject; try subjects"),
        ({"subjects": 1}, "subjects; got 1; wanted at least 2"),
        ({"noise": ["mid", "mid"]}, "none twice"),
        ({"noise": ["mid", "MID"]}, "none twice"),
        ({"seed": -1}, "seed; got -1; wanted 0 or more"),
        ({"noise": []}, "at least one"),
        ({"name": "../up"}, "letters, digits"),
    ],
)
def test_a_wrong_suite_is_refused_in_one_line(change, message):
    mapping = to_mapping(load_suite("quick")) | change
    with pytest.raises(InputError, match=message) as refused:
        from_mapping(Suite, mapping, "my.yaml")
    assert "\n" not in str(refused.value)


def test_a_cell_names_its_store_after_everything_that_decides_it():
    suite = load_suite("quick")
    digest = cells_of(suite)[0].digest
    assert cells_of(suite)[0].digest == digest
    for change in ({"seed": 1}, {"subjects": 7}, {"slices": 5}, {"size": 32}):
        assert cells_of(dataclasses.replace(suite, **change))[0].digest != digest


def test_a_store_is_made_as_planned_kept_and_mended(tiny_suite, tmp_path):
    workspace = Workspace(tmp_path)
    cell = cells_of(tiny_suite)[0]
    store = cell_store(cell, workspace, no_progress)
    header = store.header
    assert store.split_counts() == {"train": 0, "val": 0, "gate": 0, "test": 5}
    for name in ("tracers", "half_life", "size", "noise", "phantom", "seed"):
        assert getattr(header, name) == getattr(cell.planned, name)
    for name in ("name", "frame_start", "frame_duration", "injection_time"):
        assert getattr(header.protocol, name) == getattr(cell.planned.protocol, name)

    path = workspace.suites / f"{cell.digest}.zarr"
    made = path.stat().st_mtime_ns
    again = cell_store(cell, workspace, no_progress)
    assert (path.stat().st_mtime_ns, again.header.digest) == (made, header.digest)

    (path / "zarr.json").write_text("{}")
    mended = cell_store(cell, workspace, no_progress)
    assert mended.header.digest == header.digest
    first, second = (next(iter(s.subjects("test"))).mixture_NTYX for s in (store, mended))
    np.testing.assert_array_equal(first, second)


def test_a_protocol_file_may_move(tmp_path):
    """As one does that the gate wrote into a workspace."""
    suite, digests = load_suite("quick"), set()
    for place in ("one", "other"):
        (tmp_path / place).mkdir()
        own = shutil.copy(find_config("protocols", "p2"), tmp_path / place / "mine.yaml")
        cell = Combination(tracers=("fmz", "fdg"), protocol=str(own))
        digests.add(cells_of(dataclasses.replace(suite, combinations=(cell,)))[0].digest)
    assert len(digests) == 1
