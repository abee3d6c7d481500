"""Where the gate's subjects come from, and what they decide."""

import dataclasses
import json

import pytest

from dtsinn.commands.registry import gate_psnr
from dtsinn.core.errors import InputError
from dtsinn.core.protocol import load_protocol
from dtsinn.evaluation.metrics import Interval, bootstrap_interval
from dtsinn.evaluation.novelty import Novelty
from dtsinn.evaluation.suite import load_suite
from dtsinn.registry.gate.cells import gate_cells, suite_for
from dtsinn.registry.gate.checks import check_gain, check_worst_cell
from dtsinn.registry.gate.config import GateConfig, load_gate
from dtsinn.registry.gate.page import gate_page
from dtsinn.registry.gate.report import CellResult, GateReport
from dtsinn.registry.promotion.promotion import promote
from dtsinn.registry.versions import find_alias, list_models

from .conftest import info

TINY = """
name: tiny-gate
description: a gate in seconds
subjects: 12
slices: 1
size: 16
seed: 11
noise: [low, high]
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return GateConfig(suite=str(path))


@pytest.fixture
def simulated(store):
    """The store, as if it came from a simulation."""
    store.header = dataclasses.replace(store.header, origin="simulated")
    yield store
    store.header = dataclasses.replace(store.header, origin="")


def test_the_suite_decides_for_the_candidates_own_pair_and_frames(
    tracker, workspace, registered, packages, simulated, config
):
    report = promote(tracker, workspace, registered(packages.strong), simulated, config)
    assert [(cell.key, cell.decides, cell.subjects) for cell in report.cells] == [
        ("fmz-fdg-p1-low", True, 12),
        ("fmz-fdg-p1-high", True, 12),
        ("store", False, 12),
    ]
    assert report.subjects == 12, "a subject counts once, at however many noise levels"
    assert all(name.startswith("suite-tiny-gate") for name in report.per_subject)
    low, high = report.cells[:2]
    for place, (candidate, opponent) in enumerate(
        (mean(report.per_subject.values(), place), mean_of((low, high), place))
        for place in range(2)
    ):
        assert candidate == pytest.approx(opponent), place
    assert report.psnr.mean == pytest.approx((low.candidate + high.candidate) / 2)
    written = json.loads(list_models(tracker)[0].tags["gate.psnr"])
    assert written == pytest.approx(list(report.psnr), abs=1e-4)
    assert {check.name for check in report.checks} >= {"worst cell", "evidence", "better"}
    made = sorted(path.name for path in workspace.suites.glob("protocol-*.yaml"))
    assert len(made) == 1, "the frames are the candidate's, not those of the shipped p1"
    assert load_protocol(str(workspace.suites / made[0])).frames == 6


def mean(pairs, place):
    values = [pair[place] for pair in pairs]
    return sum(values) / len(values)


def mean_of(cells, place):
    values = [(cell.candidate, cell.opponent)[place] for cell in cells]
    return sum(values) / len(values)


@pytest.mark.parametrize(("loss", "passes"), [(-0.31, False), (-0.3, True), (0.5, True)])
def test_the_cell_that_lost_most_is_judged(loss, passes):
    cells = [
        CellResult(
            key=f"cell {gain}",
            decides=True,
            store_digest="",
            subjects=12,
            candidate=30 + gain,
            opponent=30,
            difference=Interval(gain, gain - 0.1, gain + 0.1),
        )
        for gain in (2.0, loss, 1.0)
    ]
    check = check_worst_cell(cells, GateConfig())
    assert (check.passed, check.detail) == (passes, f"cell {loss}")


@pytest.mark.parametrize(("subjects", "passes"), [(2, False), (4, False), (5, True)])
def test_fewer_than_five_subjects_prove_nothing(subjects, passes):
    gains = [0.2 + 0.01 * number for number in range(subjects)]
    found = bootstrap_interval(gains)
    check = check_gain(found)
    assert check.passed == passes
    cell = CellResult(
        key="c", decides=True, store_digest="", subjects=subjects, candidate=30.0, opponent=29.8,
        difference=found, novelty=Novelty(pair="as trained", protocol="as trained", noise="new"),
    )  # fmt: skip
    report = GateReport(
        verdict="refused", candidate="a/2", against="a/1", checks=(check,), difference=found,
        psnr=found, cells=(cell,), per_subject={f"s{i}": (30.0, 29.8) for i in range(subjects)},
    )  # fmt: skip
    told = [
        check.line(),
        report.summary,
        gate_page(report),
        gate_psnr({"gate.psnr": json.dumps(found)}),
    ]
    lacking = f"n = {subjects}, no interval"
    assert [lacking in text for text in told[:3]] == [not passes] * 3
    assert told[3].endswith(f", n = {subjects}")
    assert "pair, protocol as trained; phantom unknown; noise new" in told[2]
    plain = json.loads(json.dumps(report.to_json()))
    assert plain["cells"][0]["novelty"]["noise"] == "new"
    assert (plain["difference"]["low"] is None) == (not passes)
    assert gate_psnr({"gate.psnr": "[30.1, 29.0, 31.0]"}) == "30.10 [29.00, 31.00]", (
        "as 0.1.0 wrote it"
    )


def test_hostile_names_are_text_on_the_page():
    hostile = '</title><script>alert("x")</script>'
    check = dataclasses.replace(
        check_gain(bootstrap_interval([0.1])), value=hostile, detail=hostile
    )
    page = gate_page(
        GateReport(
            verdict="refused", candidate=hostile, against=hostile, checks=(check,),
            difference=None, psnr=None, cells=(), per_subject={},
        )
    )  # fmt: skip
    assert "<script" not in page
    assert page.count("&lt;script&gt;") == 8


def test_a_suite_that_is_lost_refuses_what_the_own_store_would_promote(
    tracker, workspace, registered, packages, simulated, config
):
    version = registered(packages.strong)  # it has seen nothing like the suite's brains
    alone = dataclasses.replace(config, suite=None)
    assert promote(tracker, workspace, version, simulated, alone, dry_run=True).passed
    report = promote(tracker, workspace, version, simulated, config)
    assert {"better", "worst cell"} <= {check.name for check in report.failures}
    assert find_alias(tracker, version.name, "champion") is None


def test_measured_subjects_decide_where_there_are_enough(store, small_store, workspace, config):
    measured = gate_cells(info(store), config, store, workspace)
    assert [(cell.key, cell.decides) for cell in measured.cells] == [("store", True)]
    assert not workspace.suites.exists()
    few = gate_cells(info(small_store), config, small_store, workspace)
    assert [(cell.key, cell.decides) for cell in few.cells] == [
        ("fmz-fdg-p1-low", True),
        ("fmz-fdg-p1-high", True),
        ("store", False),
    ]


def test_without_kinetics_and_without_subjects_there_is_no_evidence(
    tracker, workspace, registered, packages, small_store, config
):
    unknown = dataclasses.replace(info(small_store), tracers=("mystery", "fdg"))
    cells = gate_cells(unknown, config, small_store, workspace)
    assert [(cell.key, cell.decides) for cell in cells.cells] == [("store", True)]
    assert "mystery" in cells.lacking
    none = promote(tracker, workspace, registered(packages.strong), None, GateConfig(suite=None))
    assert [check.name for check in none.failures] == ["evidence"]
    assert none.failures[0].value == "0 subjects"
    assert find_alias(tracker, "dtsinn-fmz-fdg-p1", "champion") is None


def test_the_anatomy_is_the_one_that_it_was_trained_on(store, workspace):
    suite = load_suite("gate")
    for phantom, used in (("thorax", "thorax"), ("", "brain"), ("a patient", "brain")):
        assert suite_for(suite, info(store), phantom, workspace).phantom == used
    with pytest.raises(InputError, match="a gate takes the candidate's own pair"):
        suite_for(load_suite("quick"), info(store), "", workspace)


def test_a_version_whose_run_was_deleted_has_no_lineage(
    tracker, workspace, registered, packages, store
):
    version = registered(packages.strong)
    tracker.client.delete_run(version.run_id)
    report = promote(tracker, workspace, version, store, GateConfig(suite=None))
    assert [check.name for check in report.failures] == ["lineage"]
    assert "a run in the registry" in report.failures[0].value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cell_loss_limit: -1", "gate.cell_loss_limit; got -1.0; wanted at least 0"),
        ("suit: gate", "unknown key; got suit; try suite"),
        ("min_subjects: 1", "gate.min_subjects; got 1; wanted at least 2"),
        ("seed: -1", "gate.seed; got -1; wanted 0 or more"),
        ("resamples: 1000000000", "gate.resamples; got 1000000000; wanted 100 to 1000000"),
        ("confidence: .nan", "confidence; got nan; wanted a finite number"),
        (
            "min_subjects: 0:12",
            "min_subjects; got '0:12'; wanted a whole number; try seconds as one number",
        ),
    ],
)
def test_a_wrong_gate_is_refused_in_one_line(text, message, tmp_path):
    path = tmp_path / "gate.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as refused:
        load_gate(str(path))
    assert "\n" not in str(refused.value)
