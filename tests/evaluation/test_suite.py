"""Suites: what they say, what they plan, and the stores that they keep."""

from __future__ import annotations

import dataclasses
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from dtsinn.core.config import config_names, find_config, from_mapping, to_mapping
from dtsinn.core.errors import InputError
from dtsinn.core.progress import no_progress
from dtsinn.core.protocol import load_protocol
from dtsinn.core.workspace import Workspace
from dtsinn.deploy.facts import Lineage, TrainingData
from dtsinn.deploy.info import SeparatorInfo
from dtsinn.evaluation.metrics import FEWEST
from dtsinn.evaluation.suite import Combination, Suite, cell_store, cells_of, load_suite
from dtsinn.networks.invertible import InvertibleConfig


def data(phantom: str = "brain") -> TrainingData:
    made = load_protocol("p1")
    return TrainingData(
        tracers=("fmz", "fdg"),
        protocol=made.name,
        frame_edges=made.frame_edges,
        injection_time=made.injection_time,
        phantom=phantom,
        noise="mid",
    )


@pytest.fixture
def info(protocol) -> SeparatorInfo:
    return SeparatorInfo(
        model=InvertibleConfig(blocks=1, width=8, depth=3),
        tracers=("fmz", "fdg"),
        protocol="p1",
        frame_start=protocol.frame_start,
        frame_duration=protocol.frame_duration,
        injection_time=protocol.injection_time,
        half_life=(1224.0, 6588.0),
        lineage=Lineage(
            run="r", config={}, store_path="s.zarr", store_digest="ab" * 32,
            code_version="0.1.0", seed=0, trained_on=(data(),),
        ),
    )  # fmt: skip


@pytest.mark.parametrize("name", config_names("suites"))
def test_every_shipped_suite_loads_plans_its_cells_and_survives_a_round_trip(name, info, tmp_path):
    suite, workspace = load_suite(name), Workspace(tmp_path)
    assert suite.name == name
    assert from_mapping(Suite, to_mapping(suite), "again") == suite
    if name == "gate":
        with pytest.raises(InputError, match="it is kept for the gate"):
            cells_of(suite)
        own = Combination(tracers=("fmz", "fdg"), protocol="p1")
        suite = dataclasses.replace(suite, combinations=(own,))
    cells = cells_of(suite, info, workspace)
    assert not [cell.reason for cell in cells if cell.reason]
    assert len({cell.key for cell in cells}) == len(cells)
    assert len({cell.digest for cell in cells}) == len(cells)
    assert {cell.request.purpose for cell in cells} == {f"suite-{name}"}
    assert all(cell.request.subjects >= FEWEST for cell in cells)
    alike = name == "stress"  # the brain, for a model of brains
    assert len(cells) == suite.most_cells - alike


def test_the_docs_say_how_many_cells_each_shipped_suite_has():
    text = (Path(__file__).parents[2] / "docs" / "suites.md").read_text("utf-8")
    said = dict(re.findall(r"^\| `(\w+)` \| *(\d*) *\|", text, re.MULTILINE))
    most = {name: load_suite(name).most_cells for name in config_names("suites")}
    assert said == {name: str(count or "") for name, count in most.items()}


def test_contiguous_slices_are_a_condition_of_a_cell():
    suite = load_suite("quick")
    spaced = dataclasses.replace(suite, vary={"slice_spacing": (None, 3.0)})
    spread, close = cells_of(spaced)[:2], cells_of(spaced)[2:4]
    assert [cell.digest for cell in spread] == [cell.digest for cell in cells_of(suite)[:2]]
    assert [cell.request.slice_spacing for cell in close] == [3.0, 3.0]
    assert [cell.key for cell in close] == [f"{cell.key}-slice-spacing-3" for cell in spread]
    assert {cell.varied for cell in close} == {"slices 3 mm apart"}
    assert not {cell.digest for cell in spread} & {cell.digest for cell in close}


def test_the_standard_suite_is_a_full_grid():
    cells = cells_of(load_suite("standard"))
    assert len(cells) == 3 * 2 * 3 * 3
    asked = [cell.request for cell in cells]
    assert len({request.tracers for request in asked}) == 3
    assert {request.phantom for request in asked} == {"brain", "brain-lesion"}
    assert {request.protocol for request in asked} == {"p1", "p3", "scan60"}


def test_a_stress_cell_changes_one_thing_and_says_which(info, tmp_path):
    cells = cells_of(load_suite("stress"), info, Workspace(tmp_path))
    assert {cell.key: cell.varied for cell in cells} == {
        "fmz-fdg-p1-mid": "",
        "fmz-fdg-p1-mid-kinetics-other": "other kinetics",
        "fmz-fdg-p1-mid-dose-2": "dose x 2",
        "fmz-fdg-p1-mid-dose-0.5": "dose x 0.5",
        "fmz-fdg-p1-mid-input-mismatch-0.2": "inputs off by 20 %",
        "fmz-fdg-p1-mid-motion-3": "motion 3 mm",
        "fmz-fdg-p1-mid-brain-lesion": "",
        "fmz-fdg-p1-mid-thorax": "",
        "fmz-fdg-p1-osem-mid": "",
    }
    usual = to_mapping(cells[0].request)
    for cell in cells[1:]:
        asked = to_mapping(cell.request)
        assert len([name for name in usual if asked[name] != usual[name]]) == 1, cell.key


def test_own_is_what_the_first_model_was_trained_on(info, tmp_path):
    lineage = dataclasses.replace(info.lineage, trained_on=(data("thorax"),))
    frames = {"protocol": "mine", "frame_duration": (150.0,) * 18}
    frames["frame_start"] = tuple(150.0 * frame for frame in range(18))
    other = dataclasses.replace(info, tracers=("pib", "fdg"), lineage=lineage, **frames)
    cells = cells_of(load_suite("own"), other, Workspace(tmp_path))
    assert [cell.key for cell in cells] == [f"pib-fdg-mine-{n}" for n in ("low", "mid", "high")]
    assert {cell.request.phantom for cell in cells} == {"thorax"}, "which has lesions already"
    assert cells[0].planned.protocol.frame_duration == other.frame_duration
    brains = cells_of(load_suite("own"), info, Workspace(tmp_path))
    assert [cell.request.phantom for cell in brains] == ["brain"] * 3 + ["brain-lesion"] * 3


def test_what_a_model_cannot_be_asked_is_said(info, tmp_path):
    unknown = dataclasses.replace(info, tracers=("mystery", "fdg"))
    cells = cells_of(load_suite("own"), unknown, Workspace(tmp_path))
    assert [cell.request for cell in cells] == [None] * 6
    assert "tracer mystery are known; try --data STORE" in cells[0].reason
    assert cells[0].planned.tracers == ("mystery", "fdg")
    with pytest.raises(InputError, match="mystery"):
        cell_store(cells[0], Workspace(tmp_path), no_progress)
    with pytest.raises(InputError, match="a model's own pair or protocol"):
        cells_of(load_suite("own"))
    late = dataclasses.replace(load_suite("combinations"), phantom="brain")
    short = dataclasses.replace(
        info, protocol="short", frame_start=(0.0,), frame_duration=(600.0,),
        injection_time=(0.0, 590.0),
    )  # fmt: skip
    reasons = [cell.reason for cell in cells_of(late, short, Workspace(tmp_path))]
    assert all("does not arrive within protocol" in reason for reason in reasons)


def test_what_is_varied_is_crossed_with_every_combination():
    vary = {"dose": (1.0, 2.0), "population": ("uniform", "varied")}
    suite = dataclasses.replace(load_suite("quick"), vary=vary, noise=("mid",))
    keys = [cell.key for cell in cells_of(suite)]
    assert keys[:4] == [
        "fmz-fdg-p1-mid-uniform",
        "fmz-fdg-p1-mid",
        "fmz-fdg-p1-mid-uniform-dose-2",
        "fmz-fdg-p1-mid-dose-2",
    ]
    assert len(keys) == 8
    assert cells_of(suite)[2].varied == "population uniform, dose x 2"


def test_quick_asks_for_two_noise_levels_and_two_protocols():
    assert [cell.key for cell in cells_of(load_suite("quick"))] == [
        "fmz-fdg-p1-mid",
        "fmz-fdg-p1-high",
        "fmz-fdg-p3-mid",
        "fmz-fdg-p3-high",
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
        ({"vary": {"doses": [1, 2]}}, "unknown key; got doses; try dose"),
        ({"vary": {"dose": [2, 2]}}, "vary.dose; .* none twice"),
        ({"vary": {"dose": []}}, "vary.dose; got none"),
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


def test_files_that_share_a_name_are_cells_of_their_own_and_are_found_from_any_folder(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    text = find_config("protocols", "p1").read_text()
    for folder, protocol in (("a", text), ("b", text.replace("1200", "1500"))):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.yaml").write_text(protocol)
    given = [
        Combination(tracers=("fmz", "fdg"), protocol=f"{folder}/mine.yaml") for folder in "aba"
    ]
    suite = Suite(
        name="mine", description="x", subjects=2, slices=1, size=16, noise=("mid",),
        combinations=tuple(given[:2]),
    )  # fmt: skip
    cells = cells_of(suite)
    assert [cell.key for cell in cells] == ["fmz-fdg-p1-mid", "fmz-fdg-p1-mid-2"]
    assert len({cell.digest for cell in cells}) == 2
    monkeypatch.chdir("/")
    assert all(
        dataclasses.replace(cell.request, seed=1).parts.protocol == cell.planned.protocol
        for cell in cells
    )


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ("phantom: brian", "no such phantom"),
        ("noise: [loud]", "loud"),
        ("population: martians", "no such population"),
        ("combinations: [{dose: 0}]", "dose"),
        ("combinations: [{tracers: [fmz, water]}]", "no such tracer"),
        ("vary: {protocol: [own, p99]}", "no such protocol"),
    ],
)
def test_a_file_with_values_that_no_model_can_be_asked_is_refused(tmp_path, changed, said):
    lines = {
        "name": "mine", "description": "x", "subjects": "2", "slices": "1", "size": "16",
        "noise": "[mid]", "combinations": "[{}]",
    }  # fmt: skip
    key, _, value = changed.partition(": ")
    text = "".join(f"{k}: {v}\n" for k, v in (lines | {key: value}).items())
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(InputError, match=said):
        load_suite(str(tmp_path / "mine.yaml"))
