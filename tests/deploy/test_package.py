"""Writing and loading packages: whole, equal for equal networks, strict about weights."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
import safetensors.torch
import torch

import dtsinn
from dtsinn.core.errors import PackageError
from dtsinn.deploy.info import read_info
from dtsinn.deploy.package import (
    Lineage,
    SeparatorInfo,
    load_network,
    load_package,
    package_digest,
    separator_digest,
    verify_package,
    write_package,
)
from dtsinn.deploy.separator import Separator
from dtsinn.networks.invertible import InvertibleSeparator
from dtsinn.networks.rivals.linear import LinearNetwork
from tests.support.exports import export_anew

Reseal = Callable[[Path], None]

EXPORTER = "torch.onnx._internal.exporter._registration"


def test_the_network_and_its_info_survive(
    package: Path, network: InvertibleSeparator, info: SeparatorInfo
) -> None:
    loaded, read, _ = load_network(package)
    expected = network.state_dict()
    assert loaded.state_dict().keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in loaded.state_dict().items())
    assert all(parameter.requires_grad for parameter in loaded.parameters())
    assert dataclasses.replace(read, lineage=info.lineage) == info


def test_the_floor_survives_outside_of_the_digest(
    package: Path,
    network: InvertibleSeparator,
    info: SeparatorInfo,
    floor: LinearNetwork,
    tmp_path: Path,
) -> None:
    kept = Separator.load(package).floor
    assert kept is not None
    assert (kept.config.context, kept.frames) == (1, floor.frames)
    assert torch.equal(kept.map.weight, floor.map.weight)
    write_package(tmp_path / "bare", network, info)
    assert package_digest(tmp_path / "bare") == package_digest(package)
    assert load_package(tmp_path / "bare")[3] is None


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"map.weight": torch.zeros(8, 4, 3, 3)[..., :2]}, "tensor map.weight; got float32"),
        ({"map.weight": torch.zeros(8, 4, 9, 9)}, "model.context; got 4; wanted 0, 1 or 2"),
        ({"map.weight": torch.full((8, 4, 1, 1), torch.inf)}, "got NaN or inf"),
        ({"other": torch.zeros(8, 4, 1, 1)}, "tensor map.weight is missing"),
        ({}, "the model has more parts than its weights; wanted 0 tensors"),
    ],
)
def test_a_floor_that_is_no_linear_map_is_refused(
    copied: Path, reseal: Reseal, weights: dict[str, torch.Tensor], message: str
) -> None:
    content = {name: tensor.contiguous() for name, tensor in weights.items()}
    (copied / "floor.safetensors").write_bytes(safetensors.torch.save(content))
    reseal(copied)
    with pytest.raises(PackageError, match=r"floor\.safetensors") as caught:
        Separator.load(copied)
    assert message in str(caught.value)


def test_two_writes_of_one_network_are_the_same_files(
    network: InvertibleSeparator,
    info: SeparatorInfo,
    floor: LinearNetwork,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    export_anew(monkeypatch)
    # torch's loggers do not all propagate, so the handler goes to each level.
    loggers = [logging.getLogger(name) for name in ("torch", "torch.onnx", EXPORTER)]
    for logger in loggers:
        logger.addHandler(caplog.handler)
    try:
        for name in ("again", "first"):
            write_package(tmp_path / name, network, info, floor)
    finally:
        for logger in loggers:
            logger.removeHandler(caplog.handler)
    loud = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert not loud  # the exporter's remarks reach nobody
    assert capfd.readouterr() == ("", "")
    assert verify_package(tmp_path / "again") == verify_package(tmp_path / "first")
    assert package_digest(tmp_path / "again") == package_digest(tmp_path / "first")
    assert {path.name for path in tmp_path.iterdir()} == {"again", "first"}


def test_the_digest_is_of_weights_and_configuration_alone(
    network: InvertibleSeparator, info: SeparatorInfo, package: Path
) -> None:
    weights = network.state_dict()
    digest = separator_digest(weights, info)
    assert digest == package_digest(package)
    other_life = Lineage(
        run="x", config={}, store_path="y", store_digest="z", code_version="1", seed=9
    )
    for same in (
        dataclasses.replace(info, lineage=other_life),
        dataclasses.replace(info, metrics={}),
        dataclasses.replace(info, protocol="renamed"),
    ):
        assert separator_digest(weights, same) == digest
    others = {
        separator_digest(weights, changed)
        for changed in (
            dataclasses.replace(info, model=dataclasses.replace(info.model, clamp=0.7)),  # type: ignore[call-arg]
            dataclasses.replace(info, tracers=("fdg", "fmz")),
            dataclasses.replace(info, injection_time=(0.0, 91.0)),
            dataclasses.replace(info, half_life=(1221.8, 6586.0)),
            dataclasses.replace(info, frame_duration=(60.0, 60.0, 60.0, 61.0)),
        )
    }
    assert len(others | {digest}) == 6


def test_every_weight_moves_the_digest(network: InvertibleSeparator, info: SeparatorInfo) -> None:
    weights = network.state_dict()
    digests = {separator_digest(weights, info)}
    for name, tensor in weights.items():
        moved = tensor.clone()
        moved.view(-1)[-1] += 1e-3
        digests.add(separator_digest(weights | {name: moved}, info))
    assert len(digests) == len(weights) + 1


def test_no_file_names_this_machine(package: Path, tmp_path: Path) -> None:
    repository = Path(dtsinn.__file__).resolve().parents[1]
    libraries = Path(torch.__file__).resolve().parents[1]
    home, tests = Path.home(), Path(__file__).resolve().parent
    traces = [str(path).encode() for path in (repository, libraries, home, tests, tmp_path.parent)]
    for path in package.iterdir():
        content = path.read_bytes()
        for trace in (*traces, b"site-packages", b"stack_trace", b"Traceback"):
            assert trace not in content, f"{trace!r} in {path.name}"
        if path.suffix == ".onnx":
            assert b".py" not in content


def test_an_existing_folder_is_refused_and_left_alone(
    network: InvertibleSeparator, info: SeparatorInfo, tmp_path: Path
) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(PackageError, match="taken exists already"):
        write_package(tmp_path / "taken", network, info)
    assert list(tmp_path.rglob("*")) == [tmp_path / "taken"]


def test_weights_that_are_no_numbers_are_not_written(
    network: InvertibleSeparator, info: SeparatorInfo, tmp_path: Path
) -> None:
    with torch.no_grad():
        network.blocks[0].on_second.subnets["shift"].tail.bias[1] = float("nan")  # type: ignore[index, union-attr]
    with pytest.raises(PackageError, match=r"on_second\.subnets\.shift\.tail\.bias; got NaN"):
        write_package(tmp_path / "out", network, info)
    assert not list(tmp_path.iterdir())


def test_a_network_that_is_not_what_its_info_says_is_not_written(
    network: InvertibleSeparator, info: SeparatorInfo, tmp_path: Path
) -> None:
    wider = dataclasses.replace(info, model=dataclasses.replace(info.model, width=5))  # type: ignore[call-arg]
    with pytest.raises(PackageError, match=r"head\.bias; got float32 \[4\]; wanted float32 \[5\]"):
        write_package(tmp_path / "out", network, wider)
    with pytest.raises(PackageError, match=r"mixing\.fixed is none of the model's"):
        write_package(tmp_path / "out", network.frozen(), info)
    assert not list(tmp_path.iterdir())


def test_writing_leaves_the_network_as_it_is(
    network: InvertibleSeparator, info: SeparatorInfo, tmp_path: Path
) -> None:
    before = {name: tensor.clone() for name, tensor in network.double().state_dict().items()}
    write_package(tmp_path / "out", network, info)  # from float64, written as float32
    assert network.training
    assert all(torch.equal(before[name], now) for name, now in network.state_dict().items())
    loaded, *_ = load_network(tmp_path / "out")
    assert all(torch.equal(before[name].float(), now) for name, now in loaded.state_dict().items())


def test_missing_extra_and_misshapen_tensors_are_refused(copied: Path, reseal: Reseal) -> None:
    path = copied / "weights.safetensors"
    whole = safetensors.torch.load(path.read_bytes())
    name = "blocks.0.mixing.packed"
    wrong = {
        f"{name} is missing": {key: value for key, value in whole.items() if key != name},
        "more is none of the model's": whole | {"more": torch.zeros(1)},
        f"{name}; got float32 [7, 8]": whole | {name: torch.zeros(7, 8)},
        f"{name}; got float64": whole | {name: whole[name].double()},
        f"{name}; got NaN or inf": whole | {name: whole[name] * float("inf")},
    }
    for message, weights in wrong.items():
        path.write_bytes(safetensors.torch.save(weights))
        reseal(copied)
        verify_package(copied)
        with pytest.raises(PackageError) as caught:
            load_network(copied)
        assert message in str(caught.value)


def test_weights_that_are_no_safetensors_are_refused(copied: Path, reseal: Reseal) -> None:
    (copied / "weights.safetensors").write_bytes(b"\x80\x04N.")  # a pickle of None
    reseal(copied)
    with pytest.raises(PackageError, match=r"weights\.safetensors cannot be read"):
        load_network(copied)


def test_a_package_without_its_inverse_is_refused(copied: Path, reseal: Reseal) -> None:
    (copied / "inverse.onnx").unlink()
    reseal(copied)
    with pytest.raises(PackageError, match=r"inverse\.onnx is missing"):
        verify_package(copied)


def test_the_graphs_have_the_promised_names_and_axes(package: Path) -> None:
    frames = read_info(package).frames
    expected = {
        "model.onnx": (
            {"mixture": ["batch", frames, "height", "width"]},
            {"tracers": ["batch", 2, frames, "height", "width"], "scale": ["batch"]},
        ),
        "inverse.onnx": (
            {"tracers": ["batch", 2, frames, "height", "width"], "scale": ["batch"]},
            {"mixture": ["batch", frames, "height", "width"]},
        ),
    }
    for name, (inputs, outputs) in expected.items():
        graph = onnx.load(package / name, load_external_data=False).graph
        assert axes_of(graph.input) == inputs
        assert axes_of(graph.output) == outputs
        assert all(
            tensor.data_location != onnx.TensorProto.EXTERNAL for tensor in graph.initializer
        )


def axes_of(values: list[onnx.ValueInfoProto]) -> dict[str, list[str | int]]:
    return {
        value.name: [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]
        for value in values
    }
