"""Evaluations of real separators on real stores, and what is left on the disk."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
import shutil

import numpy as np
import pytest
import torch
import zarr

from dtsinn.core.bounds import MOST_TEXT
from dtsinn.core.errors import InputError
from dtsinn.core.formats import EVALUATION
from dtsinn.core.isotopes import decay_correction
from dtsinn.core.progress import no_progress
from dtsinn.core.protocol import load_protocol
from dtsinn.core.workspace import Workspace
from dtsinn.data.store import open_store
from dtsinn.deploy.facts import Lineage
from dtsinn.deploy.info import SeparatorInfo
from dtsinn.deploy.separator import Separator
from dtsinn.evaluation.evaluate import evaluate
from dtsinn.evaluation.floor import separate_with
from dtsinn.evaluation.metrics import Interval
from dtsinn.evaluation.novelty import Novelty
from dtsinn.evaluation.record import check_out
from dtsinn.evaluation.report import render
from dtsinn.evaluation.results import FLOOR, HALVES, Difference
from dtsinn.evaluation.score import score_subjects
from dtsinn.evaluation.suite import Combination, cell_store, cells_of
from dtsinn.kinetics.measure import SubjectMeter
from dtsinn.networks.build import build_network
from dtsinn.networks.invertible import InvertibleConfig
from dtsinn.networks.normalisation import sample_scale
from dtsinn.networks.rivals.linear import LinearConfig, LinearNetwork
from dtsinn.simulation.request import StudyRequest
from dtsinn.simulation.study import simulate_study

MODEL = InvertibleConfig(blocks=1, width=8, depth=3)

OTHER_PROTOCOL = """
name: short
description: half an hour in 6 frames
source: made up for this test
injections: [0, 600]
frames: [[6, 300]]
"""


def made_info(seed: int) -> SeparatorInfo:
    protocol = load_protocol("p1")
    return SeparatorInfo(
        model=MODEL,
        tracers=("fmz", "fdg"),
        protocol=protocol.name,
        frame_start=protocol.frame_start,
        frame_duration=protocol.frame_duration,
        injection_time=protocol.injection_time,
        half_life=(1224.0, 6588.0),
        lineage=Lineage(
            run=f"runs/{seed}",
            config={},
            store_path="study.zarr",
            store_digest="ab" * 32,
            code_version="0.1.0",
            seed=seed,
        ),
    )


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    return Workspace(tmp_path_factory.mktemp("workspace"))


@pytest.fixture(scope="module")
def store(tiny_suite, workspace):
    return cell_store(cells_of(tiny_suite)[0], workspace, no_progress)


@pytest.fixture(scope="module")
def untrained():
    """A tame start: it is the halved mixture."""
    return Separator(build_network(MODEL, 18), made_info(0))


@pytest.fixture(scope="module")
def trained(store):
    """A few steps on the very subjects that it is scored on: enough to beat halving.

    Its floor is fitted to them too, and ends far above.
    """
    network = build_network(MODEL, 18)
    held = list(store.subjects("test"))
    mixture, truth = (
        torch.from_numpy(np.concatenate([getattr(samples, name) for samples in held]))
        for name in ("mixture_NTYX", "tracers_NKTYX")
    )
    scale = sample_scale(mixture, torch.tensor(store.header.protocol.frame_duration))
    mixture, truth = mixture / scale[:, None, None, None], truth / scale[:, None, None, None, None]
    optimiser = torch.optim.Adam(network.parameters(), 3e-3)
    for _ in range(60):
        optimiser.zero_grad()
        (network(mixture) - truth).square().mean().backward()
        optimiser.step()
    floor = LinearNetwork(18, LinearConfig())
    body = torch.from_numpy(np.concatenate([samples.regions_NYX for samples in held]) > 0)
    floor.solve(floor.moments(mixture, truth, body, 0), 0)
    return Separator(network, made_info(1), floor=floor)


@pytest.fixture(scope="module")
def wide_suite(tiny_suite, tmp_path_factory):
    """The tiny suite and a protocol whose frames fit no model here."""
    path = tmp_path_factory.mktemp("protocols") / "short.yaml"
    path.write_text(OTHER_PROTOCOL)
    other = Combination(tracers=("fmz", "fdg"), protocol=str(path))
    return dataclasses.replace(tiny_suite, combinations=(*tiny_suite.combinations, other))


@pytest.fixture(scope="module")
def written(trained, untrained, wide_suite, store, workspace, tmp_path_factory):
    out = tmp_path_factory.mktemp("evaluations") / "both"
    pair = [("new", trained), ("old", untrained)]
    told = []
    evaluation = evaluate(
        pair,
        suite=wide_suite,
        store=store,
        workspace=workspace,
        out=out,
        progress=lambda *step: told.append(step),
    )
    assert told[-1] == ("report", 1, 1)
    return evaluation, out


def test_cells_are_the_store_then_the_suite(written):
    evaluation, _ = written
    assert [cell.key for cell in evaluation.cells] == [
        "store",
        "fmz-fdg-p1-mid",
        "fmz-fdg-short-mid",
    ]
    assert [cell.source for cell in evaluation.cells] == ["store", "simulated", "simulated"]
    assert evaluation.headline.key == "store"


def test_scores_are_those_of_score_subjects(written, trained, store):
    evaluation, _ = written
    cell = evaluation.cells[1]
    meter = SubjectMeter.of(store)
    assert list(cell.models[0].subjects) == score_subjects(trained.separate, store, "test", meter)
    assert cell.store_digest == store.header.digest
    assert cell.models[0].trained_on
    assert cell.models[0].novelty == Novelty(pair="as trained", protocol="as trained")
    assert (cell.population, cell.conditions) == ("uniform", "")


def test_a_cell_that_does_not_fit_is_not_applicable_and_not_simulated(
    written, wide_suite, workspace
):
    cell = written[0].cells[2]
    assert not cell.applicable
    assert cell.floor is None
    assert {scores.reason for scores in cell.models} == {"store has 6 frames, model 18"}
    assert not any(scores.trained_on for scores in cell.models)
    made = {path.stem for path in workspace.suites.glob("*.zarr")}
    assert cells_of(wide_suite)[1].digest not in made


def test_models_are_compared_in_pairs_with_halving_and_with_the_floor(written):
    cell = written[0].cells[0]
    gain, untrained, between = (
        cell.difference("new", HALVES),
        cell.difference("old", HALVES),
        cell.difference("new", "old"),
    )
    assert gain.verdict == "beats"
    assert untrained.verdict == "level with"  # it is the halved mixture, bit for bit
    assert tuple(untrained.psnr)[:3] == pytest.approx((0, 0, 0), abs=1e-4)
    assert untrained.psnr.n == 5
    assert between.psnr.mean == pytest.approx(gain.psnr.mean, abs=1e-3)
    means = {scores.model: scores.summary.psnr.mean for scores in cell.series}
    assert list(means) == ["new", "old", HALVES, FLOOR]
    over = cell.difference("new")
    assert over.psnr.mean == pytest.approx(means["new"] - means[FLOOR])
    assert over.psnr.mean == pytest.approx(np.mean(cell.over_floor(cell.models[0])))
    assert [over.verdict, cell.difference(HALVES).verdict] == ["loses to"] * 2
    assert {difference.first for _, difference in written[0].losses} == {"new", "old"}


def test_the_floor_comes_with_the_model_for_its_own_pair_and_protocol(written, trained, store):
    for cell in written[0].cells[:2]:
        assert cell.floor.fitted == "with the model"
    meter = SubjectMeter.of(store)
    wanted = score_subjects(separate_with(trained.floor, store.header), store, "test", meter)
    assert list(written[0].cells[1].floor.subjects) == wanted


def test_the_record_is_whole_finite_and_names_no_path(written, trained, store):
    evaluation, out = written
    text = (out / "evaluation.json").read_text()
    record = json.loads(text)
    assert (record["format"], record["format_version"]) == ("dtsinn-evaluation", 4)
    assert record["models"][0]["digest"] == trained.digest
    assert record["models"][1]["lineage"]["run"] == "runs/0"
    assert record["baselines"] == [{"name": HALVES, "settings": {}}]
    assert record["cells"][0]["floor"]["fitted"] == "with the model"
    assert set(record["units"]) <= set(record["definitions"])
    cell = record["cells"][0]
    assert cell["store_digest"] == store.header.digest
    subject = cell["models"][0]["subjects"][0]
    assert subject["psnr"] == list(evaluation.cells[0].models[0].subjects[0].psnr)
    assert record["cells"][2]["models"][0]["verdict"] == "not applicable"
    assert str(out.parents[2]) not in text + (out / "report.html").read_text()


def test_the_table_has_a_row_per_cell_model_and_subject(written):
    _, out = written
    with (out / "table.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert len(rows) == 2 * 5 * 5 + 2  # cells x series x subjects, and two that do not apply
    assert all(float(row["mean_psnr_dB"]) > 0 for row in rows if not row["not_applicable"])
    over = {row["model"]: float(row["over_linear_dB"]) for row in rows if row["subject"]}
    assert over[FLOOR] == 0 > over["new"] > over["old"]
    assert rows[-1]["not_applicable"] == "store has 6 frames, model 18"
    assert [rows[0][f"{part}_seen"] for part in ("pair", "protocol", "phantom", "noise")] == [
        "as trained", "as trained", "unknown", "unknown",
    ]  # fmt: skip
    assert (rows[-1]["pair_seen"], rows[-1]["protocol_seen"]) == ("as trained", "new")


def test_the_report_is_one_file_that_owns_up(written):
    _, out = written
    page = (out / "report.html").read_text()
    for outside in ("http://", "https://", "<script", "<link", 'src="pictures'):
        assert outside not in page
    assert page.count("data:image/png;base64,") == len(list((out / "pictures").iterdir()))
    for beside in re.findall(r'href="([^"]+)"', page):
        assert (out / beside).exists()
    assert "<th>Over linear, dB</th>" in page
    assert "<td>fitted with the model</td>" in page
    assert "not applicable: store has 6 frames, model 18" in page
    assert "beats it in 2, is level with it in 0, loses to it in 0" in page
    for badge in ("as trained", "unknown"):
        assert f'<span class="tag">{badge}</span>' in page
    assert page.count('<span class="tag new">new</span>') == 2  # both models: a new protocol
    assert (out / "pictures" / "store-new-fmz-worst.png").read_bytes()[:4] == b"\x89PNG"


def test_the_report_links_only_what_is_beside_it(written):
    evaluation, _ = written
    scores = evaluation.cells[0].models[0]
    unread = dataclasses.replace(
        scores, subjects=tuple(dataclasses.replace(s, measures=None) for s in scores.subjects)
    )
    cell = dataclasses.replace(evaluation.cells[0], models=(unread,))
    link = '<a href="derivatives/">'
    bare = dataclasses.replace(evaluation, cells=(cell,), models=evaluation.models[:1])
    assert link in render(evaluation, [], {})
    assert link not in render(bare, [], {})


def test_the_report_begins_with_the_claim_and_what_fails(written):
    _, out = written
    page = (out / "report.html").read_text()
    titles = re.findall(r"<h2>([^<]+)</h2>", page)
    assert titles[:2] == ["The claim", "What fails"]
    assert titles[-1] == "What the numbers mean"
    assert "technical task-specific efficacy" in page
    assert "worse in 2." in page  # both models lose to the linear map
    assert "Not applicable: store has 6 frames, model 18." in page


def test_an_earlier_evaluation_is_replaced_by_equal_bytes(
    written, trained, untrained, wide_suite, store, workspace
):
    _, out = written
    before = {p.relative_to(out): p.read_bytes() for p in out.rglob("*") if p.is_file()}
    (out / "stale.txt").write_text("from an older version")
    again = [("new", trained), ("old", untrained)]
    evaluate(again, suite=wide_suite, store=store, workspace=workspace, out=out)
    after = {p.relative_to(out): p.read_bytes() for p in out.rglob("*") if p.is_file()}
    assert after == before
    assert [path.name for path in out.parent.iterdir()] == [out.name]


def test_a_folder_with_other_files_is_refused_before_anything_runs(
    untrained, store, workspace, tmp_path
):
    kept = tmp_path / "mine" / "thesis.txt"
    kept.parent.mkdir()
    kept.write_text("years of work")
    told = []
    with pytest.raises(InputError, match="in the way"):
        evaluate(
            [("old", untrained)],
            suite=None,
            store=store,
            workspace=workspace,
            out=kept.parent,
            progress=lambda *step: told.append(step),
        )
    assert kept.read_text() == "years of work"
    assert told == []


def test_an_earlier_evaluation_of_any_size_may_be_replaced(tmp_path):
    with (tmp_path / "evaluation.json").open("w") as record:
        record.write(json.dumps(EVALUATION.mark, indent=1)[:-1])
        record.truncate(MOST_TEXT + 1)
    check_out(tmp_path)
    newer = EVALUATION.mark | {"format_version": EVALUATION.version + 1}
    (tmp_path / "evaluation.json").write_text(json.dumps(newer))
    with pytest.raises(InputError, match="written by a newer dtsinn"):
        check_out(tmp_path)
    (tmp_path / "evaluation.json").write_text(json.dumps({"format": "mine"}))
    with pytest.raises(InputError, match="in the way"):
        check_out(tmp_path)


def test_hostile_names_are_text_in_the_report_and_never_paths(
    untrained, store, workspace, tmp_path
):
    out = tmp_path / "out"
    name = "<script>alert(1)</script>"
    evaluate([(name, untrained)], suite=None, store=store, workspace=workspace, out=out)
    assert name not in (out / "report.html").read_text()
    assert (out / "pictures" / "store-script-alert-1-script-fmz-worst.png").exists()

    evaluation = evaluate(
        [("/home/someone/package", untrained)],
        suite=None,
        store=store,
        workspace=workspace,
        out=out,
    )
    assert evaluation.models[0].name == "package"


def test_a_store_without_test_subjects_is_not_applicable(untrained, workspace, tmp_path):
    request = StudyRequest(phantom="cylinder", subjects=2, slices=1, size=16)
    simulate_study(request, str(tmp_path / "store"), workers=1, splits={"train": 1.0})
    store = open_store(str(tmp_path / "store"))
    at = {"workspace": workspace, "out": tmp_path / "out"}
    evaluation = evaluate([("old", untrained)], suite=None, store=store, **at)
    assert evaluation.headline is None
    assert evaluation.cells[0].models[0].reason == "the store has no subject in split 'test'"


def test_a_subject_that_comes_out_otherwise_ends_the_single_tracer_scans_alone(
    untrained, store, workspace, tmp_path
):
    path = tmp_path / "changed.zarr"
    shutil.copytree(store.header.path, path)
    tracers = zarr.open_group(path, mode="r+")["tracers"]
    tracers[-1] = tracers[-1] * 1.1  # of the last subject, which nobody looks at first
    changed = open_store(str(path), need_truth=True)
    found = evaluate(
        [("old", untrained)], suite=None, store=changed, workspace=workspace, out=tmp_path / "out"
    )
    (cell,) = found.cells
    assert "cannot be scanned again: another truth" in cell.single_tracer.reason
    assert (len(cell.models[0].subjects), cell.single_tracer.subjects) == (5, ())


def test_what_cannot_be_evaluated_is_refused(untrained, store, workspace, tmp_path):
    at = {"suite": None, "workspace": workspace, "out": tmp_path / "out"}
    with pytest.raises(InputError, match="at least one separator"):
        evaluate([], store=store, **at)
    with pytest.raises(InputError, match="a suite or a store"):
        evaluate([("old", untrained)], store=None, **at)
    for names in (("a", "a"), ("a", FLOOR)):
        with pytest.raises(InputError, match="none twice"):
            evaluate([(name, untrained) for name in names], store=store, **at)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (None, None, "no verdict"),  # too few subjects
        (0.2, 0.4, "beats"),
        (-0.4, -0.2, "loses to"),
        (-0.1, 0.1, "level with"),
        (2e-6, 5e-6, "level with"),  # rounding is no victory
        (-5e-6, -2e-6, "level with"),
    ],
)
def test_a_verdict_follows_the_interval(
    low: float | None, high: float | None, verdict: str
) -> None:
    interval = Interval(mean=0.3, low=low, high=high)
    assert Difference(first="a", second="b", psnr=interval).verdict == verdict


def test_curves_and_parameters_are_tables_that_petfit_reads(written, store):
    _, out = written
    (place,) = (out / "derivatives" / "new" / "fmz-fdg-p1-mid").glob("sub-*0000")
    about = json.loads((place.parent / "dataset_description.json").read_text())
    assert about["DatasetType"] == "derivative"
    table = place / "pet" / f"{place.name}_trc-FDG_desc-combinedregions_tacs.tsv"
    with table.open(newline="") as lines:
        rows = list(csv.DictReader(lines, delimiter="\t"))
    protocol = store.header.protocol
    after = protocol.frames - protocol.first_frame(1)
    regions = list(dict.fromkeys(row["region"] for row in rows))
    assert len(rows) == after * len(regions)
    assert float(rows[0]["frame_start"]) == 0.0  # counted from the injection
    assert float(rows[after - 1]["frame_end"]) == protocol.end - protocol.injection_time[1]
    sidecar = json.loads(table.with_suffix(".json").read_text())
    assert sidecar["TAC"]["Units"] == "kBq/mL"
    true = out / "derivatives" / "truth" / table.relative_to(out / "derivatives" / "new")
    with true.open(newline="") as lines:
        truth = list(csv.DictReader(lines, delimiter="\t"))
    samples = next(store.subjects("test"))
    label = store.header.region_names.index(regions[0])
    inside = samples.regions_NYX == label
    last = samples.tracers_NKTYX[:, 1, -1][inside].mean()
    start, length = protocol.frame_start[-1] - 1200, protocol.frame_duration[-1]
    factor = decay_correction(start, length, store.header.half_life[1], 0.0)
    assert float(truth[after - 1]["TAC"]) == pytest.approx(last * factor, rel=1e-5)


def test_the_report_says_what_cannot_be_read(written):
    _, out = written
    page = (out / "report.html").read_text()
    assert "What a clinic reads" in page
