"""Verdicts, limits, the claim and the heat maps: what the report says of given numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest

from dtsinn.core.config import load_config
from dtsinn.evaluation.charts import overview
from dtsinn.evaluation.claim import CLASS, state_claim
from dtsinn.evaluation.findings import (
    find_failures,
    find_in,
    kinetic_difference,
    not_applicable,
    state_verdict,
    worst_cell,
)
from dtsinn.evaluation.heatmaps import arrange, draw_heat_maps
from dtsinn.evaluation.kinetics import KineticSummary
from dtsinn.evaluation.limits import LIMITS
from dtsinn.evaluation.metrics import Interval
from dtsinn.evaluation.novelty import Novelty
from dtsinn.evaluation.results import (
    FLOOR,
    CellResult,
    Difference,
    Evaluation,
    ModelInfo,
    ModelScores,
    Summary,
)
from dtsinn.evaluation.score import SubjectScore
from dtsinn.evaluation.tables import (
    NBSP,
    list_untold,
    tabulate_failures,
    tabulate_kinetics,
    tabulate_lesions,
)
from dtsinn.kinetics.agreement import agreement
from dtsinn.kinetics.conservation import Conservation, SubjectConservation
from dtsinn.kinetics.lesions import LesionScore
from dtsinn.kinetics.measure import SubjectMeasures
from dtsinn.kinetics.readouts import SubjectReadouts
from dtsinn.registry.gate.config import GateConfig

FLAT = Interval(1.0, 0.9, 1.1, 6)


def make_subject(number: int, error: float) -> SubjectScore:
    """A subject whose V_T of FMZ is ``error`` percent too high in its one region."""
    return SubjectScore(
        subject=f"s{number}",
        psnr=(30.0, 30.0),
        ssim=(0.9, 0.9),
        nrmse=(0.1, 0.1),
        regional_bias={},
        before_injection=(0.0, 0.0),
        sum_residual=0.0,
        measures=SubjectMeasures(
            readouts=SubjectReadouts(
                quantity={"fmz": "V_T"},
                values={"fmz": {"V_T": {"frontal": (1 + error / 100, 1.0)}}},
            ),
            conservation=SubjectConservation(body=[], tile=[]),
        ),
    )


def make_scores(
    name: str, bias: float, worst: float, errors: Sequence[float], body: float = 1.0
) -> ModelScores:
    conserved = Conservation(
        body=body, tiles=2.0, regions=3.0, regions_mean=1.0, worst_region="frontal", z=2.0,
        before_second=None,
    )  # fmt: skip
    kinetics = KineticSummary(
        kinetic_error=bias, kinetic_bias=bias, worst_error=worst, worst_bias=worst,
        worst_bias_region="frontal, fmz", conservation=conserved,
    )  # fmt: skip
    pair = (FLAT, FLAT)
    return ModelScores(
        model=name,
        novelty=Novelty(pair="as trained", protocol="as trained", noise="new"),
        subjects=tuple(make_subject(i, error) for i, error in enumerate(errors)),
        summary=Summary(
            psnr=FLAT, psnr_by_tracer=pair, ssim=pair, nrmse=pair, before_injection=pair,
            sum_residual=FLAT, kinetics=kinetics,
        ),
    )  # fmt: skip


def make_cell(
    protocol: str = "p1", noise: str = "mid", *, gain: tuple[float, float] = (0.1, 0.3),
    bias: float = 5.0, worst: float = 8.0, errors: Sequence[float] = (2, 3, 2, 3, 2),
    body: float = 1.0,
) -> CellResult:  # fmt: skip
    return CellResult(
        key=f"fmz-fdg-{protocol}-{noise}",
        source="simulated",
        tracers=("fmz", "fdg"),
        protocol=protocol,
        noise=noise,
        phantom="brain",
        store_digest="",
        models=(make_scores("net", bias, worst, errors, body),),
        floor=make_scores(FLOOR, 4.0, 7.0, (4, 5, 4, 5, 4)),
        differences=(
            Difference(first="net", second=FLOOR, psnr=Interval(sum(gain) / 2, *gain, n=5)),
        ),
    )


def make_evaluation(*cells: CellResult) -> Evaluation:
    model = ModelInfo(
        name="net", digest="ab", tracers=("fmz", "fdg"), protocol="p1", lineage={"steps": 300}
    )
    return Evaluation(
        suite="s", description="", split="test", models=(model,), cells=cells, code_version="1"
    )


def test_the_limits_are_those_of_the_shipped_gate() -> None:
    gate = load_config(GateConfig, "gates", "default")
    assert {f"{limit.key}_limit": limit.most for limit in LIMITS} == {
        name: value
        for name, value in vars(gate).items()
        if name in {f"{limit.key}_limit" for limit in LIMITS}
    }


@pytest.mark.parametrize(
    ("cell", "failures"),
    [
        (make_cell(), []),
        (make_cell(gain=(-0.3, -0.1)), ["psnr"]),
        (make_cell(gain=(-0.3, 0.1)), []),  # level: no failure
        (make_cell(errors=(9, 11, 9, 11, 10)), ["kinetics"]),
        (make_cell(bias=10.5), ["kinetic_bias"]),
        (make_cell(worst=14.5), ["worst_region"]),
        (make_cell(body=5.5, worst=20.0), ["worst_region", "body_residual"]),
    ],
)
def test_failures_follow_intervals_and_limits(cell: CellResult, failures: list[str]) -> None:
    found = find_in(cell, cell.models[0])
    names = ["psnr"] * found.loses_psnr + ["kinetics"] * found.loses_kinetics
    assert names + [limit.key for limit in found.exceeded] == failures
    assert found.failures == len(failures)
    assert bool(find_failures(make_evaluation(cell))) == bool(failures)


def test_kinetic_errors_are_compared_subject_by_subject() -> None:
    cell = make_cell(errors=(5, 6, 5, 6, 5))
    found = kinetic_difference(cell, cell.models[0], cell.floor)
    assert found is not None
    assert tuple(found)[:3] == pytest.approx((1, 1, 1))  # each is one point worse


def test_failures_are_listed_worst_first_and_only_what_fails_is_marked() -> None:
    bad, worse = make_cell("p1", worst=15.0), make_cell("p3", worst=40.0)
    evaluation = make_evaluation(make_cell("p2"), bad, worse)
    assert worst_cell(evaluation) is worse
    table = tabulate_failures(evaluation)
    assert [row[0] for row in table.rows] == [worse.title, bad.title]
    marked = [[cell for cell in row if 'class="bad"' in cell] for row in table.rows]
    assert [len(cells) for cells in marked] == [1, 1]
    assert "40.0 %" in marked[0][0]


def test_a_region_that_few_subjects_have_is_named_and_left_out_of_the_table() -> None:
    cell = make_cell()
    own = cell.models[0]
    values = {f"s{n}": {"frontal": (1.1, 1.0)} for n in range(6)}
    values["s0"]["lesion"] = (3.0, 1.0)
    found = agreement("V_T", values)
    assert own.summary is not None
    assert own.summary.kinetics is not None
    assert found is not None
    kinetics = dataclasses.replace(
        own.summary.kinetics, judged={"fmz": "V_T"}, readouts={"fmz": {"V_T": found}}
    )
    summary = dataclasses.replace(own.summary, kinetics=kinetics)
    models = (dataclasses.replace(own, summary=summary),)
    evaluation = make_evaluation(dataclasses.replace(cell, models=models), make_cell("p3"))
    table = tabulate_kinetics(evaluation)
    row = dict(zip(table.head, table.rows[0], strict=True))
    assert (row["Worst region, bias"], row["Worst subject"]) == (
        "frontal +10.0",
        "subject s0, frontal +10.0",
    )
    assert (row["n"], row["Left out"], row["SD, %"]) == ("6", "1", "0.0")
    note = "V_T of FMZ: lesion left out, as too few subjects have it"
    assert list_untold(evaluation) == [f"{note} ({cell.title})."]
    alone = dataclasses.replace(evaluation, cells=evaluation.cells[:1])
    assert list_untold(alone) == [f"{note}."]


def test_lesions_have_a_table_of_the_subjects_that_have_any() -> None:
    cell = make_cell()
    own, lesion = cell.models[0], LesionScore(
        contrast_recovery=0.8, contrast_to_noise=3.0, true_contrast_to_noise=4.0, cross_talk=None
    )  # fmt: skip
    first, *others = own.subjects
    assert first.measures is not None
    assert own.summary is not None
    assert own.summary.kinetics is not None
    measures = dataclasses.replace(first.measures, lesions={"fmz": lesion})
    kinetics = dataclasses.replace(own.summary.kinetics, lesions={"fmz": lesion})
    changed = dataclasses.replace(
        own,
        subjects=(dataclasses.replace(first, measures=measures), *others),
        summary=dataclasses.replace(own.summary, kinetics=kinetics),
    )
    table = tabulate_lesions(make_evaluation(dataclasses.replace(cell, models=(changed,))))
    found = [tuple(str(text).replace(NBSP, " ") for text in row) for row in table.rows]
    pairs = "0.80 / none", "3.0 / none", "4.0 / none", "none / none"
    assert found == [(cell.title, "net", "1", *pairs)]
    assert tabulate_lesions(make_evaluation(cell)).rows == ()


def test_the_verdict_counts_cells_and_names_what_cannot_be_told() -> None:
    text = state_verdict(make_evaluation(make_cell(worst=15.0), make_cell("p3")), "net")
    assert text.startswith("Something fails in 1 of 2 cells. PSNR")
    assert "better in 2, level in 0, worse in 0." in text
    assert "kinetic_bias: within 10 %, at most 5.0 %." in text
    assert "Bias of the worst region: above 14 % in 1 of 2, at most 15.0 %." in text
    assert text.endswith("Activity is conserved within its limits.")
    bare = make_cell()
    summary = bare.models[0].summary
    assert summary is not None
    blind = dataclasses.replace(
        bare.models[0], subjects=(), summary=dataclasses.replace(summary, kinetics=None)
    )
    text = state_verdict(make_evaluation(dataclasses.replace(bare, models=(blind,))), "net")
    assert text.startswith("Nothing fails in 1 cell.")
    assert "kinetic_bias cannot be told." in text
    assert text.endswith("Conservation of activity cannot be told.")


def test_cells_that_do_not_apply_are_grouped_by_reason() -> None:
    cells = [
        dataclasses.replace(make_cell(p), models=(ModelScores(model="net", reason="6 frames"),))
        for p in ("p2", "p3")
    ]
    evaluation = make_evaluation(*cells)
    assert not_applicable(evaluation) == {"6 frames": [cell.title for cell in cells]}
    assert worst_cell(evaluation) is None
    assert state_verdict(evaluation, "net") == "Not applicable in any cell."
    assert state_claim(evaluation, {}).statement == "Nothing is claimed: no cell applies."


def test_the_claim_has_the_parts_that_the_guidelines_ask_for() -> None:
    claim = state_claim(make_evaluation(make_cell(), make_cell("p3", worst=40.0)), {})
    parts = dict(claim.parts)
    assert parts["Class of the claim"].startswith(CLASS)
    assert "V_T by Logan" in parts["Task"]
    assert "Ki by Patlak" in parts["Task"]
    assert "2 simulated cells of 5 subjects" in parts["Data"]
    assert "protocol p1 and p3" in parts["Data"]
    assert "none of the subjects was trained on" in parts["Data"]
    assert "300 steps" in parts["Method"]
    assert "noise mid" in parts["Generalisation"]
    assert not claim.statement.endswith("see below.")
    failing = state_claim(make_evaluation(make_cell(worst=40.0)), {})
    assert failing.statement.endswith("That fails: see below.")


def test_the_overview_of_level_cells_shows_no_rounding(check_texts) -> None:
    figure = overview(make_evaluation(make_cell(gain=(-1e-7, 1e-7)), make_cell("p3", gain=(0, 0))))
    low, high = figure.axes[0].get_xlim()
    assert low <= -0.2 < 0.2 <= high
    check_texts(figure)


def test_a_grid_puts_one_cell_in_each_square() -> None:
    cells = [make_cell(p, n) for p in ("p1", "p2", "p3") for n in ("low", "mid", "high")]
    rows, columns, places = arrange(cells)
    assert (rows, columns) == (["protocol"], ["noise"])
    assert len(places) == 9
    gain, bias = draw_heat_maps(make_evaluation(*cells))
    assert [len(squares) for _, squares in gain.rows] == [3, 3, 3]
    assert gain.heads == ((("low", 1), ("mid", 1), ("high", 1)),)
    assert all(square is not None and square.text == "+0.2 ▲" for square in gain.rows[0][1])
    assert all(square is not None and not square.strong for square in bias.rows[0][1])


def test_conditions_are_an_axis_and_stand_in_the_claim() -> None:
    cells = [
        dataclasses.replace(make_cell(noise=noise), conditions=conditions, key=noise + conditions)
        for conditions in ("", "dose twice")
        for noise in ("mid", "high")
    ]
    rows, columns, places = arrange(cells)
    assert (rows, columns, len(places)) == (["conditions"], ["noise"], 4)
    assert "dose twice" in dict(state_claim(make_evaluation(*cells), {}).parts)["Data"]


def test_a_large_grid_is_folded_into_few_columns() -> None:
    cells = [
        dataclasses.replace(
            make_cell(protocol, noise), tracers=(first, "fdg"), phantom=phantom,
            key=f"{first}-{protocol}-{noise}-{phantom}",
        )
        for first in ("fmz", "dtbz", "raclopride")
        for protocol in ("p1", "p2", "p3")
        for phantom in ("brain", "thorax")
        for noise in ("low", "mid", "high")
    ]  # fmt: skip
    (gain, _) = draw_heat_maps(make_evaluation(*cells))
    assert gain.heads[0] == (("brain", 3), ("thorax", 3))
    assert [text for text, _ in gain.heads[1]] == ["low", "mid", "high"] * 2
    assert [name for name, _ in gain.rows][:2] == ["FMZ + FDG, p1", "FMZ + FDG, p2"]
    assert len(gain.rows) == 9


def test_cells_that_would_share_a_square_have_rows_of_their_own() -> None:
    cells = [make_cell(), dataclasses.replace(make_cell(), key="twice-the-dose"), make_cell("p3")]
    rows, columns, places = arrange(cells)
    assert (rows, columns) == (["cell"], [])
    assert len(places) == 3


def test_few_cells_have_no_heat_map_and_failures_are_framed() -> None:
    cells = [make_cell("p1", gain=(-0.4, -0.2), bias=12.0), make_cell("p2"), make_cell("p3")]
    assert draw_heat_maps(make_evaluation(*cells[:2])) == []
    gain, bias = draw_heat_maps(make_evaluation(*cells))
    square, other = gain.rows[0][1][0], bias.rows[0][1][0]
    assert square is not None
    assert other is not None
    assert (square.text, square.strong) == ("−0.3 ▼", True)
    assert (other.text, other.strong) == ("12.0 ▼", True)


def test_models_of_several_pairs_are_a_matrix_with_specialists_on_its_diagonal() -> None:
    pairs = ("fmz", "fdg"), ("dtbz", "fdg")
    names = ["a", "b"]

    def column(pair: tuple[str, str], gains: Sequence[float]) -> CellResult:
        cell = make_cell()
        return dataclasses.replace(
            cell,
            key="-".join(pair),
            tracers=pair,
            models=tuple(dataclasses.replace(cell.models[0], model=name) for name in names),
            differences=tuple(
                Difference(first=name, second=FLOOR, psnr=Interval(gain, gain, gain, n=5))
                for name, gain in zip(names, gains, strict=True)
            ),
        )

    cells = column(pairs[0], (1, -3)), column(pairs[1], (-2, 2))
    models = tuple(
        ModelInfo(name=name, digest=name, tracers=pair, protocol="p1", lineage={})
        for name, pair in zip(names, pairs, strict=True)
    )
    evaluation = dataclasses.replace(make_evaluation(*cells), models=models)
    gain, bias = draw_heat_maps(evaluation)
    assert gain.corner == "trained on \\ tested on"
    assert gain.heads == ((("FMZ + FDG", 1), ("DTBZ + FDG", 1)),)
    assert [name for name, _ in gain.rows] == ["FMZ + FDG", "DTBZ + FDG"]
    texts = [[square.text for square in row if square] for _, row in gain.rows]
    assert texts == [["+1.0 ▲", "−2.0 ▼"], ["−3.0 ▼", "+2.0 ▲"]]
    assert bias.rows[0][1][0] is not None
    same = dataclasses.replace(evaluation, models=(models[0], dataclasses.replace(models[0])))
    assert draw_heat_maps(same) == [], "two cells, and models of one pair"


def test_the_claim_says_what_it_does_not_know_of_the_subjects() -> None:
    store = dataclasses.replace(make_cell(), key="store", source="store", store_digest="cd")
    evaluation = make_evaluation(store)
    own = dataclasses.replace(evaluation.models[0], lineage={"store_digest": "cd"})
    told = [
        dict(state_claim(dataclasses.replace(evaluation, models=models), {}).parts)["Data"]
        for models in ((own,), evaluation.models)
    ]
    assert told[0].endswith("none of the subjects was trained on")
    assert told[1].endswith("whether the training had seen subjects of the store is not known")
