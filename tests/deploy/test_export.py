"""Export: a copy with proof, or nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dtsinn.core.errors import PackageError, RunError
from dtsinn.deploy.export import (
    PARITY_LIMIT,
    ParityReport,
    check_parity,
    export_package,
    open_session,
    parity_mixture,
    worst_relative_error,
)
from dtsinn.deploy.package import SeparatorInfo, verify_package, write_package
from dtsinn.deploy.separator import Separator
from dtsinn.networks.build import build_network
from dtsinn.networks.invertible import InvertibleConfig, InvertibleSeparator

Reseal = Callable[[Path], None]


def test_an_export_is_the_same_package_with_proof(package: Path, tmp_path: Path) -> None:
    report = export_package(package, tmp_path / "out")
    assert verify_package(tmp_path / "out") == verify_package(package)
    assert report.failure == ""
    assert len({batch for batch, _, _ in report.cases}) == 2
    assert len({(height, width) for _, height, width in report.cases}) == 2
    assert report.inverse_error is not None
    assert report.round_trip_error is not None
    for error in (report.model_error, report.inverse_error, report.round_trip_error):
        assert 0 <= error <= PARITY_LIMIT
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("shape", [(1, 4, 5), (5, 33, 16), (2, 64, 64)])
def test_onnx_computes_what_torch_does_at_other_sizes(
    package: Path, separator: Separator, shape: tuple[int, int, int]
) -> None:
    batch, height, width = shape
    mixture = parity_mixture(batch, separator.info.frames, height, width)
    tracers, scale = open_session(package / "model.onnx").run(None, {"mixture": mixture})
    assert worst_relative_error(tracers, separator.separate(mixture)) <= PARITY_LIMIT
    assert worst_relative_error(scale, separator.scale(mixture)) <= PARITY_LIMIT
    feed = {"tracers": tracers, "scale": scale}
    (again,) = open_session(package / "inverse.onnx").run(None, feed)
    assert worst_relative_error(again, mixture) <= PARITY_LIMIT


def test_a_graph_of_other_weights_is_found_out(
    copied: Path, info: SeparatorInfo, network: InvertibleSeparator, reseal: Reseal, tmp_path: Path
) -> None:
    other = build_network(info.model, info.frames)  # at its start: an equal split
    write_package(tmp_path / "other", other, info)
    for name, check in (("model.onnx", "model.onnx against"), ("inverse.onnx", "inverse.onnx ag")):
        shutil.copytree(copied, tmp_path / name)
        shutil.copyfile(tmp_path / "other" / name, tmp_path / name / name)
        reseal(tmp_path / name)
        with pytest.raises(RunError, match=f"is not exported; got {check}") as caught:
            export_package(tmp_path / name, tmp_path / "out")
        assert caught.value.exit_code == 1
        assert not (tmp_path / "out").exists()
        assert not list(tmp_path.glob(".*"))


def test_a_graph_that_is_none_is_refused(copied: Path, reseal: Reseal, tmp_path: Path) -> None:
    (copied / "model.onnx").write_bytes(b"nothing")
    reseal(copied)
    with pytest.raises(PackageError, match=r"model\.onnx is no ONNX model"):
        export_package(copied, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["copied"]


def test_graphs_that_are_exchanged_are_refused(copied: Path, reseal: Reseal) -> None:
    shutil.copyfile(copied / "inverse.onnx", copied / "model.onnx")
    reseal(copied)
    with pytest.raises(PackageError, match=r"model\.onnx: inputs; got tracers, scale"):
        check_parity(copied)


def test_a_damaged_package_is_not_exported(copied: Path, tmp_path: Path) -> None:
    (copied / "card.md").write_text("changed")
    with pytest.raises(PackageError, match=r"card\.md was changed"):
        export_package(copied, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["copied"]


def test_an_existing_folder_is_not_overwritten(package: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(PackageError, match="out exists already"):
        export_package(package, tmp_path / "out")


@pytest.mark.parametrize("field", ["model_error", "inverse_error", "round_trip_error"])
@pytest.mark.parametrize("error", [2e-5, float("nan"), float("inf")])
def test_every_error_can_fail_a_report(field: str, error: float) -> None:
    good = {"model_error": 1e-6, "inverse_error": 1e-6, "round_trip_error": 1e-6}
    assert ParityReport(**good, cases=()).failure == ""
    assert "relative error" in ParityReport(**(good | {field: error}), cases=()).failure


def test_the_relative_error_is_of_the_worst_sample() -> None:
    wanted = np.array([[3.0, 4.0], [300.0, 400.0]])
    got = wanted + np.array([[0.5, 0.0], [0.0, 5.0]])
    assert worst_relative_error(got, wanted) == pytest.approx(0.1)
    assert worst_relative_error(wanted, wanted) == 0.0


@pytest.mark.slow
@pytest.mark.parametrize("blocks", [2, 8])
def test_parity_holds_at_full_size(
    blocks: int, make_separator: Callable[[InvertibleConfig, int], Path]
) -> None:
    report = check_parity(make_separator(InvertibleConfig(blocks=blocks), 18))
    assert report.failure == ""
