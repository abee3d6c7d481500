"""Spectral analysis: its solver against scipy's, its physics, and its rows in an evaluation."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import nnls

from dtsinn.core.errors import InputError
from dtsinn.core.progress import no_progress
from dtsinn.core.seeds import generator
from dtsinn.core.workspace import Workspace
from dtsinn.data.inputs import SubjectInputs, lacks_inputs, subject_inputs
from dtsinn.data.plan import StorePlan
from dtsinn.data.store import Store, open_store
from dtsinn.data.writer import StoreWriter
from dtsinn.deploy.facts import Lineage
from dtsinn.deploy.info import SeparatorInfo
from dtsinn.deploy.separator import Separator
from dtsinn.evaluation import metrics
from dtsinn.evaluation.evaluate import evaluate
from dtsinn.evaluation.metrics import FEWEST
from dtsinn.evaluation.results import FLOOR, HALVES
from dtsinn.evaluation.score import halve
from dtsinn.evaluation.suite import cell_store, cells_of
from dtsinn.networks.build import baselines, build_network
from dtsinn.networks.invertible import InvertibleConfig
from dtsinn.networks.rivals.nnls import non_negative
from dtsinn.networks.rivals.spectral import (
    SpectralAnalysis,
    SpectralConfig,
    spectral_basis,
    spectral_separate,
)
from dtsinn.simulation.request import StudyRequest
from dtsinn.simulation.subject import draw_subject, tissue_curves

NAME = "spectral analysis"
REQUEST = StudyRequest(subjects=24, slices=2, size=32, seed=5)
"""That of the small store."""
RAW = SpectralConfig(terms=6, slow=0.005, fast=2.0, smoothing_px=0)


@pytest.fixture(scope="module")
def opened(small_path: Path) -> Store:
    return open_store(str(small_path))


@pytest.fixture(scope="module")
def inputs(opened: Store) -> dict[str, SubjectInputs]:
    return subject_inputs(opened)


@pytest.fixture(scope="module")
def first(opened: Store):
    return next(opened.subjects("test"))


@pytest.fixture(scope="module")
def known(inputs, first) -> SubjectInputs:
    return inputs[first.subject_N[0]]


def design(kind: str, known: SubjectInputs, store: Store) -> np.ndarray:
    """[T, J] a matrix that non-negative least squares has to cope with."""
    if kind == "random":
        return generator(3, kind).normal(size=(30, 12))
    if kind == "twins":  # rates that differ by rounding
        twins = SpectralConfig(terms=3, slow=0.1, fast=0.1 + 1e-12)
        return spectral_basis(known, store.header, twins).reshape(10, -1).T
    config = SpectralConfig(terms=int(kind))
    return spectral_basis(known, store.header, config).reshape(2 * (config.terms + 2), -1).T


@pytest.mark.parametrize("kind", ["random", "1", "4", "8", "twins"])
def test_many_problems_at_once_have_the_optima_of_scipy_one_by_one(kind, known, opened) -> None:
    design_TJ = design(kind, known, opened)
    rng = generator(4, kind)
    share_VJ = np.maximum(rng.normal(size=(200, design_TJ.shape[1])), 0) / design_TJ.max(axis=0)
    data_VT = share_VJ @ design_TJ.T
    data_VT += rng.normal(size=data_VT.shape) * data_VT.std() * 0.2
    data_VT[:3] = -np.abs(data_VT[:3])  # nothing non-negative helps
    data_VT[3] = 0
    x_VJ = non_negative(design_TJ.T @ design_TJ, data_VT @ design_TJ)
    assert (x_VJ >= 0).all()
    for x_J, data_T in zip(x_VJ, data_VT, strict=True):
        ours = np.linalg.norm(design_TJ @ x_J - data_T)
        scipys = nnls(design_TJ, data_T)[1]
        assert ours == pytest.approx(scipys, rel=1e-6, abs=1e-6 * np.linalg.norm(data_T))
    assert (x_VJ[3] == 0).all()


def test_an_optimum_meets_the_conditions_of_karush_kuhn_and_tucker(known, opened) -> None:
    design_TJ = design("6", known, opened)
    design_TJ = design_TJ / np.linalg.norm(design_TJ, axis=0)
    gram_JJ = design_TJ.T @ design_TJ
    right_VJ = generator(5, "data").normal(3.0, 3.0, (300, len(design_TJ))) @ design_TJ
    x_VJ = non_negative(gram_JJ, right_VJ)
    descent_VJ = (right_VJ - x_VJ @ gram_JJ) / np.abs(right_VJ).max(axis=1, keepdims=True)
    assert descent_VJ.max() <= 1e-6
    assert np.abs(descent_VJ[x_VJ > 0]).max() <= 1e-6
    assert 0 < (x_VJ > 0).mean() < 1


def test_the_basis_is_the_convolution_that_it_stands_for(known, opened) -> None:
    """Against a sum over a fine grid: decay from each injection, frames averaged."""
    header = opened.header
    config = SpectralConfig(terms=2, slow=0.02, fast=0.5)
    basis_KFT = spectral_basis(known, header, config)
    step = 0.5
    time = np.arange(0.0, header.protocol.end, step) + step / 2
    frame = np.searchsorted(header.protocol.frame_edges, time, side="right") - 1
    count = np.bincount(frame)
    for k in range(2):
        plasma = np.interp(time, known.time_I, known.plasma_KI[k])
        blood = np.interp(time, known.time_I, known.blood_KI[k])
        decay = np.log(2) / header.half_life[k]
        kernels = [np.exp(-(rate / 60 + decay) * time) for rate in (0, 0.02, 0.5)]
        size = 2 * len(time)
        curves = [
            np.fft.irfft(np.fft.rfft(plasma, size) * np.fft.rfft(kernel, size))[: len(time)] * step
            for kernel in kernels
        ]
        for curve, found_T in zip([*curves, blood], basis_KFT[k], strict=True):
            wanted_T = np.bincount(frame, curve) / count
            np.testing.assert_allclose(found_T, wanted_T, atol=5e-3 * wanted_T.max())


def test_the_curves_of_compartment_models_lie_in_the_basis(opened, inputs) -> None:
    """Tissue of the simulation: what the fit leaves over is small, for either tracer."""
    config = SpectralConfig(terms=16, slow=0.005, fast=2.0)
    basis_KFT = spectral_basis(inputs["study-5-0000"], opened.header, config)
    for basis_FT, curves_RT in zip(basis_KFT, tissue_curves(REQUEST, 0), strict=True):
        for curve_T in curves_RT[curves_RT.any(axis=1)]:
            assert nnls(basis_FT.T, curve_T)[1] <= 0.01 * np.linalg.norm(curve_T)


def test_a_mixture_of_the_basis_is_separated_exactly(known, opened) -> None:
    header = opened.header
    config = SpectralConfig(terms=2, slow=0.03, fast=0.3, smoothing_px=0)
    basis_KFT = spectral_basis(known, header, config)
    shares = generator(6, "shares").uniform(0, 1, (5, 6, *basis_KFT.shape[:2]))
    shares /= basis_KFT.max(axis=2)
    truth_NKTYX = np.einsum("yxkf,kft->ktyx", shares, basis_KFT)[None]
    answer = spectral_separate(truth_NKTYX.sum(axis=1), known, header, config)
    np.testing.assert_allclose(answer, truth_NKTYX, atol=1e-3 * truth_NKTYX.max())


def test_an_answer_is_non_negative_and_nothing_before_an_injection(first, known, opened) -> None:
    header = opened.header
    answer = spectral_separate(first.mixture_NTYX, known, header, SpectralConfig())
    assert answer.shape == first.tracers_NKTYX.shape
    assert (answer >= 0).all()
    late = header.protocol.injection_time[1]
    ends = np.array(header.protocol.frame_edges[1:])
    assert (answer[:, 1, ends <= late] == 0).all()
    assert answer[:, 1, ends > late].max() > 1


def test_a_slice_is_separated_by_itself_and_in_its_own_unit(first, known, opened) -> None:
    def separate(mixture):
        return spectral_separate(mixture, known, opened.header, SpectralConfig())

    whole = separate(first.mixture_NTYX)
    np.testing.assert_array_equal(separate(first.mixture_NTYX[1:]), whole[1:])
    np.testing.assert_allclose(
        separate(first.mixture_NTYX * 1e-3), whole * 1e-3, rtol=1e-3, atol=1e-6 * whole.max()
    )
    assert (separate(np.zeros_like(first.mixture_NTYX)) == 0).all()
    assert (separate(-np.abs(first.mixture_NTYX)) == 0).all()


def test_it_beats_halving_by_far(opened, inputs) -> None:
    psnr: dict[str, list[float]] = {"default": [], "raw": [], "halved": []}
    for samples in opened.subjects("gate"):
        known = inputs[samples.subject_N[0]]
        answers = {"halved": halve(samples.mixture_NTYX)}
        for name, config in (("default", SpectralConfig()), ("raw", RAW)):
            answers[name] = spectral_separate(samples.mixture_NTYX, known, opened.header, config)
        for name, answer in answers.items():
            psnr[name].append(float(np.mean(metrics.psnr(samples, answer, opened.header.protocol))))
    mean = {name: np.mean(values) for name, values in psnr.items()}
    assert min(mean["raw"], mean["default"]) > mean["halved"] + 8


def test_inputs_belong_to_the_subject(inputs) -> None:
    """Each subject's own draw, by its id, in whatever order the store holds them."""
    for subject in list(inputs)[::7]:
        drawn = draw_subject(REQUEST, int(subject.rpartition("-")[2]))
        np.testing.assert_array_equal(inputs[subject].plasma_KI, drawn.plasma)
        np.testing.assert_array_equal(inputs[subject].blood_KI, drawn.blood)


def test_a_store_without_inputs_does_not_fit(tiny_plan, write_store, tmp_path: Path) -> None:
    write_store(tmp_path / "measured.zarr", tiny_plan())
    bare = open_store(str(tmp_path / "measured.zarr"))
    reason = "the store has no input functions (input_time, plasma, blood)"
    assert lacks_inputs(bare) == SpectralAnalysis().fits(bare) == reason
    with pytest.raises(InputError, match="no input functions"):
        subject_inputs(bare)


def test_a_basis_that_makes_no_sense_is_refused() -> None:
    for wrong in ({"terms": 0}, {"slow": 0.0}, {"slow": 2.0}, {"smoothing_px": -1.0}):
        with pytest.raises(InputError):
            SpectralConfig(**wrong)
    with pytest.raises(InputError, match=r"spectral is no network.*nothing to train"):
        build_network(SpectralConfig(), 18)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("workspace"))


@pytest.fixture(scope="module")
def separator(opened: Store) -> Separator:
    """Untrained: its answer is the halved mixture."""
    protocol = opened.header.protocol
    model = InvertibleConfig(blocks=1, width=4, depth=3)
    info = SeparatorInfo(
        model=model,
        tracers=opened.header.tracers,
        protocol=protocol.name,
        frame_start=protocol.frame_start,
        frame_duration=protocol.frame_duration,
        injection_time=protocol.injection_time,
        half_life=opened.header.half_life,
        lineage=Lineage(
            run="run",
            config={},
            store_path="study.zarr",
            store_digest="ab" * 32,
            code_version="0.1.0",
            seed=0,
        ),
    )
    return Separator(build_network(model, protocol.frames), info)


@pytest.fixture(scope="module")
def written(separator, tiny_suite, opened, workspace, tmp_path_factory):
    out = tmp_path_factory.mktemp("evaluations") / "one"
    evaluation = evaluate(
        [("net", separator)],
        suite=tiny_suite,
        store=opened,
        workspace=workspace,
        out=out,
        baselines=baselines(),
    )
    return evaluation, out


def test_a_baseline_is_a_row_of_each_cell_on_the_same_subjects(written) -> None:
    evaluation, _ = written
    assert [cell.key for cell in evaluation.cells] == ["store", "fmz-fdg-p1-mid"]
    for cell in evaluation.cells:
        rows = [scores.model for scores in cell.series]
        assert rows == ["net", HALVES, NAME, FLOOR]
        subjects = [[score.subject for score in scores.subjects] for scores in cell.series]
        assert subjects[0] == subjects[1] == subjects[2] == subjects[3] != []
        few = cell.subjects < FEWEST
        assert cell.difference(NAME).verdict == ("no verdict" if few else "loses to")
        assert cell.difference("net", NAME).verdict == ("no verdict" if few else "loses to")
        assert not cell.baselines[1].trained_on
    assert {difference.first for _, difference in evaluation.losses} == {"net"}


def test_a_baseline_stands_in_record_table_and_report(written) -> None:
    evaluation, out = written
    record = json.loads((out / "evaluation.json").read_text())
    settings = {"kind": "spectral", "terms": 4, "slow": 0.01, "fast": 1.0, "smoothing_px": 1.25}
    assert record["baselines"][1:] == [{"name": NAME, "settings": settings}]
    row = record["cells"][0]["baselines"][1]
    assert (row["model"], row["verdict"]) == (NAME, "scored")
    assert row["summary"]["psnr"]["mean"] == evaluation.cells[0].baselines[1].summary.psnr.mean
    with (out / "table.csv").open(newline="") as lines:
        models = [line["model"] for line in csv.DictReader(lines)]
    assert models.count(NAME) == models.count("net") == models.count(FLOOR) == 2 + 5
    page = (out / "report.html").read_text()
    assert f"net against {NAME}, PSNR in pairs of subjects, 2 cells" in page
    assert "Cunningham and Jones" in page
    assert f"net − {NAME}" in page


def test_a_store_without_inputs_is_not_applicable_and_the_model_is_scored(
    separator, small_path: Path, workspace, tmp_path: Path, without_inputs
) -> None:
    bare = without_inputs(small_path, tmp_path / "bare.zarr")
    evaluation = evaluate(
        [("net", separator)],
        suite=None,
        store=bare,
        workspace=workspace,
        out=tmp_path / "out",
        baselines=baselines(),
    )
    cell = evaluation.cells[0]
    assert cell.models[0].applicable
    assert cell.baselines[1].reason.startswith("the store has no input functions")
    assert "not applicable: the store has no input" in (tmp_path / "out/report.html").read_text()


@pytest.fixture
def without_inputs():
    """Copies a store's images into a store that has no input functions, as a measured one."""

    def copy(path: Path, out: Path) -> Store:
        store = open_store(str(path))
        header = store.header
        chosen = np.flatnonzero(store.split_N == "test")
        plan = StorePlan(
            tracers=header.tracers,
            protocol=header.protocol,
            half_life=header.half_life,
            size=header.size,
            voxel_size=header.voxel_size,
            subject=tuple(store.subject_N[chosen]),
            slice_position=tuple(store.slice_N[chosen].tolist()),
            split=("test",) * len(chosen),
            region_names=header.region_names,
            block=len(chosen),
        )
        samples = store.read(chosen)
        writer = StoreWriter(str(out), plan)
        for block in writer.begin():
            images = {
                "mixture": samples.mixture_NTYX,
                "tracers": samples.tracers_NKTYX,
                "regions": samples.regions_NYX,
            }
            writer.write(block, images)
        writer.seal()
        return open_store(str(out))

    return copy


def test_no_model_may_take_the_name_of_a_baseline(separator, opened, workspace, tmp_path) -> None:
    pair = [(NAME, separator)]
    with pytest.raises(InputError, match="names of separators"):
        evaluate(
            pair,
            suite=None,
            store=opened,
            workspace=workspace,
            out=tmp_path / "out",
            baselines=baselines(),
        )
    alone = evaluate(pair, suite=None, store=opened, workspace=workspace, out=tmp_path / "alone")
    assert alone.models[0].name == NAME


def test_the_cells_of_a_suite_have_inputs(tiny_suite, workspace) -> None:
    store = cell_store(cells_of(tiny_suite)[0], workspace, no_progress)
    assert SpectralAnalysis().fits(store) == ""
