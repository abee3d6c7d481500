"""Where the gate's subjects come from, and what they decide."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from dtsinn.commands.registry import gate_psnr
from dtsinn.core.errors import InputError
from dtsinn.core.protocol import load_protocol
from dtsinn.deploy.package import read_info, write_package
from dtsinn.evaluation.kinetics import KineticSummary
from dtsinn.evaluation.metrics import Interval, bootstrap_interval
from dtsinn.evaluation.novelty import Novelty
from dtsinn.evaluation.suite import load_suite
from dtsinn.kinetics.conservation import Conservation
from dtsinn.networks.build import build_network
from dtsinn.networks.normalisation import per_sample, sample_scale
from dtsinn.networks.rivals.linear import LinearConfig, LinearNetwork
from dtsinn.registry.gate.cells import gate_cells, suite_for
from dtsinn.registry.gate.checks import (
    SubjectMeans,
    check_conservation,
    check_gain,
    check_kinetics,
    check_regions,
    check_worst_cell,
)
from dtsinn.registry.gate.config import GateConfig, load_gate
from dtsinn.registry.gate.page import gate_page
from dtsinn.registry.gate.report import CellResult, GateReport
from dtsinn.registry.promotion.first_champion import ensure_champion
from dtsinn.registry.promotion.promotion import promote
from dtsinn.registry.versions import get_alias, get_version
from dtsinn.simulation.images import render_subject
from dtsinn.simulation.request import StudyRequest, region_names

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


HEADS = """
name: heads-gate
description: heads in which the caudate can be read
subjects: 12
slices: 8
size: 64
seed: 12
noise: [mid]
"""
STRIATUM = ("caudate", "putamen")


@pytest.fixture
def biased(tmp_path, store):
    """A linear map of few heads whose labels have too much of the first tracer in the striatum."""
    request = StudyRequest(
        tracers=("fmz", "fdg"), protocol="p1", phantom="brain", subjects=5, slices=8
    )
    protocol = request.parts.protocol
    network = LinearNetwork(protocol.frames, LinearConfig(context=1))
    striatum = [region_names(request).index(name) for name in STRIATUM]
    sums = 0
    for index in range(request.subjects):
        images = render_subject(request, index)
        mixture, tracers = torch.from_numpy(images.mixture), torch.from_numpy(images.tracers)
        tracers[:, 0] *= torch.from_numpy(1 + 0.3 * np.isin(images.regions, striatum))[:, None]
        scale = sample_scale(mixture, torch.tensor(protocol.frame_duration))
        mixture, tracers = (values / per_sample(scale, values) for values in (mixture, tracers))
        body = torch.from_numpy(images.regions > 0)
        sums = sums + network.moments(mixture, tracers, body, 0)
    network.solve(sums, 0)
    described = dataclasses.replace(
        info(store, network.config),
        frame_start=protocol.frame_start,
        frame_duration=protocol.frame_duration,
        injection_time=protocol.injection_time,
    )
    write_package(tmp_path / "biased", network, described)
    return tmp_path / "biased"


@pytest.fixture
def halving(tmp_path, biased):
    """A linear map of the same frames that was not fitted."""
    described = read_info(biased)
    write_package(tmp_path / "halving", build_network(described.model, described.frames), described)
    return tmp_path / "halving"


def test_a_separator_of_good_psnr_and_biased_caudate_is_refused(
    tracker, workspace, registered, halving, biased, tmp_path
):
    first = registered(halving)
    ensure_champion(tracker, workspace, first.name, halving, first.run_key, None)
    suite = tmp_path / "heads.yaml"
    suite.write_text(HEADS)
    report = promote(tracker, workspace, registered(biased), None, GateConfig(suite=str(suite)))
    checks = {check.name: check for check in report.checks}
    assert checks["better"].passed
    assert report.psnr.mean > 30
    refused = checks["worst region"]
    assert (refused.passed, refused.detail) == (False, "caudate, fmz")
    assert float(refused.value.split()[0]) > 15
    assert "worst region" in report.lines()[-1]
    assert checks["conserved, body"].passed
    assert checks["conserved, |z|"].applicable
    assert get_alias(tracker, first.name, "champion").ref == report.against == first.ref


def kinetics(bias=6.0, worst=12.0, **more):
    return KineticSummary(
        kinetic_bias=bias, worst_bias=worst, worst_bias_region="caudate, fmz",
        judged={"fmz": "V_T"}, **more,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("bias", "worst", "others", "failed"),
    [
        (10.0, 14.0, {}, []),
        (10.1, 14.0, {}, ["kinetic bias"]),
        (10.0, 14.1, {}, ["worst region"]),
        (6.0, 12.0, {"the champion": (4.0, 10.0)}, []),
        (6.1, 12.0, {"the champion": (4.0, 10.0)}, ["kinetic bias against the champion"]),
        (4.0, 12.1, {"the champion": (4.0, 10.0)}, ["worst region against the champion"]),
        (
            *(5.5, 10.0, {"the champion": (4.0, 10.0), "the linear map": (3.0, 9.0)}),
            ["kinetic bias against the linear map"],
        ),
    ],
)
def test_kinetics_are_held_against_limits_champion_and_linear_map(bias, worst, others, failed):
    known = {name: kinetics(*values) for name, values in others.items()}
    found = check_kinetics(kinetics(bias, worst), known, GateConfig())
    assert [check.name for check in found if not check.passed] == failed
    assert len(found) == 2 + 2 * len(others)


def test_conservation_is_held_against_limits():
    limits = GateConfig()
    sums = Conservation(
        body=4.0, tiles=16.0, regions=8.0, regions_mean=2.0, worst_region="caudate, frame 1",
        z=None, before_second=1.0,
    )  # fmt: skip
    found = {c.name: c for c in check_conservation(kinetics(conservation=sums), limits)}
    assert [name for name, check in found.items() if not check.passed] == ["conserved, tiles"]
    assert found["conserved, |z|"].line().startswith("n/a  conserved, |z|: not applicable")
    assert found["conserved, regions"].detail == "caudate, frame 1"


@pytest.mark.parametrize(("having", "lost"), [(4, "+1.00"), (5, "+20.00")])
def test_a_region_that_few_subjects_have_refuses_nothing(having, lost):
    def means(bias, subject):
        own = {("fmz", "cortex"): bias / 20}
        if subject < having:
            own["fmz", "lesion"] = bias
        return SubjectMeans(psnr=(30.0, 30.0), regional_bias=own)

    pairs = [(means(20.0, subject), means(0.0, subject)) for subject in range(8)]
    (check,) = check_regions(pairs, GateConfig())
    assert check.value.startswith(lost)
    assert check.passed == (having < 5)


def test_what_cannot_be_told_is_named_and_refuses_nothing(
    tracker, workspace, registered, packages, store
):
    report = promote(tracker, workspace, registered(packages.strong), store, GateConfig(suite=None))
    told = {check.name: check for check in report.checks}
    for name in ("kinetic bias", "worst region", "conserved, tiles"):
        assert (told[name].verdict, told[name].passed) == ("n/a", True)
    assert "frames start at or after 20 min" in told["kinetic bias"].detail
    assert told["conserved, body"].applicable
    assert "n/a" in gate_page(report)
    nobody = check_kinetics(None, {}, GateConfig(), "no subjects at noise mid decide")
    assert {check.detail for check in nobody} == {"no subjects at noise mid decide"}


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
    written = json.loads(get_version(tracker, "dtsinn-fmz-fdg-p1", 1).tags["gate.psnr"])
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
    seen = "pair, protocol as trained; phantom, population, conditions unknown; noise new"
    assert seen in told[2]
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
    assert get_alias(tracker, version.name, "champion").ref == report.against


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
    assert get_alias(tracker, "dtsinn-fmz-fdg-p1", "champion").ref == none.against


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
