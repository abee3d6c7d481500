"""Packages of strangers: no model beyond its weights, no graph but dtsinn's, read only once."""

from __future__ import annotations

import json
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import safetensors.torch
import torch
from onnx import TensorProto, helper, numpy_helper

from dtsinn.core.errors import InputError, PackageError
from dtsinn.deploy import manifest
from dtsinn.deploy.export import export_package
from dtsinn.deploy.package import load_network, verify_package
from dtsinn.deploy.separator import Separator
from dtsinn.networks.build import build_network, build_outline
from dtsinn.networks.invertible import InvertibleConfig
from dtsinn.training.config import RunConfig
from dtsinn.training.state import TrainingState

Reseal = Callable[[Path], None]


def refused(call: Callable[[], Any]) -> str:
    """The line with which a call is refused, of few bytes of Python's."""
    tracemalloc.start()
    try:
        with pytest.raises(InputError) as caught:
            call()
        assert tracemalloc.get_traced_memory()[1] < 50 * 2**20
    finally:
        tracemalloc.stop()
    line = str(caught.value)
    assert "\n" not in line
    return line


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("width", 1_000_000, "model.width; got 1000000; wanted at most 504, its weights"),
        ("width", 30_000, "model.width"),
        ("blocks", 10**9, "model.blocks"),
        ("depth", 10**6, "model.depth"),
        ("blocks", 10**30, "model.blocks"),
        ("blocks", 500, "the model has more parts than its weights; wanted 14 tensors"),
        ("depth", 500, "the model has more parts than its weights"),
        ("width", 500, "tensor blocks.0"),
        ("squeeze", ",".join(["haar"] * 40), "the model"),
        ("squeeze", ",".join(["none"] * 10**5), "the model has more parts"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_model_beyond_its_weights_is_never_built(
    copied: Path, reseal: Reseal, key: str, value: Any, message: str
) -> None:
    content = json.loads((copied / "separator.json").read_text("utf-8"))
    content["model"][key] = value
    (copied / "separator.json").write_text(json.dumps(content))
    reseal(copied)
    line = refused(lambda: load_network(copied))
    assert str(copied) in line
    assert message in line


def test_frames_beyond_the_weights_are_refused(copied: Path, reseal: Reseal) -> None:
    content = json.loads((copied / "separator.json").read_text("utf-8"))
    content["frame_start"] = [60.0 * frame for frame in range(30_000)]
    content["frame_duration"] = [60.0] * 30_000
    (copied / "separator.json").write_text(json.dumps(content))
    reseal(copied)
    line = refused(lambda: load_network(copied))
    assert "weights.safetensors: tensor" in line or "model.onnx" in line


def test_every_network_is_outlined_as_it_is_built() -> None:
    config = InvertibleConfig(
        blocks=2, subnet="unet", squeeze="none,haar", conditioning="protocol", mixing="orthogonal"
    )
    weights = build_network(config, 5).state_dict()
    found = {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in weights.items()}
    assert build_outline(config, 5, weights) == found


@pytest.mark.parametrize(
    "content",
    [b"[" * 10**5, b'{"a":' * 10**5, b" " * 17 * 2**20, b"\xff"],
    ids=["lists", "mappings", "spaces", "no text"],
)
@pytest.mark.parametrize("name", ["manifest.json", "separator.json"])
def test_json_without_end_is_refused(
    copied: Path, reseal: Reseal, name: str, content: bytes
) -> None:
    (copied / name).write_bytes(content)
    if name != "manifest.json":
        reseal(copied)
    assert name in refused(lambda: verify_package(copied))


def test_what_was_verified_is_what_is_used(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = manifest.verify_files

    def exchanged(folder: Path) -> manifest.VerifiedFiles:
        files = read(folder)
        for path in folder.iterdir():
            path.write_bytes(b"of somebody else")
        return files

    monkeypatch.setattr("dtsinn.deploy.package.verify_files", exchanged)
    network, *_ = load_network(copied)  # whose files are no longer there
    assert all(bool(tensor.isfinite().all()) for tensor in network.state_dict().values())
    with pytest.raises(PackageError, match=r"manifest\.json cannot be read as JSON"):
        load_network(copied)


def _one_output(model: onnx.ModelProto) -> None:
    del model.graph.output[1:]


def _other_input(model: onnx.ModelProto) -> None:
    model.graph.input[0].name = "image"


def _whole_numbers(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64


def _external(model: onnx.ModelProto) -> None:
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")


def _foreign(model: onnx.ModelProto) -> None:
    model.graph.node[0].domain = "com.somebody"


def _unknown(model: onnx.ModelProto) -> None:
    model.graph.node[0].op_type = "Unheard"


def _inside(model: onnx.ModelProto) -> None:
    graph = helper.make_graph([], "inside", [], [])
    model.graph.node[0].attribute.append(helper.make_attribute("body", graph))


def _function(model: onnx.ModelProto) -> None:
    function = helper.make_function("own", "F", [], [], [], [helper.make_opsetid("", 20)])
    model.functions.append(function)


def _huge_tensor(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(
        TensorProto(name="huge", data_type=TensorProto.FLOAT, dims=[10**6, 10**6])
    )


def _huge_constant(model: onnx.ModelProto) -> None:
    shape = numpy_helper.from_array(np.array([10**6, 10**6]), "shape")
    model.graph.initializer.append(shape)
    model.graph.node.insert(0, helper.make_node("ConstantOfShape", ["shape"], ["huge"]))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_one_output, "model.onnx: outputs; got tracers; wanted tracers of 5 axes, scale of 1"),
        (_other_input, "model.onnx: inputs; got image; wanted mixture of 4 axes, float32"),
        (_whole_numbers, "model.onnx: inputs; got mixture"),
        (_external, "got a tensor in another file"),
        (_foreign, "got operators of 'com.somebody'"),
        (_unknown, "model.onnx is no valid ONNX model"),
        (_inside, "a graph or sparse tensor inside"),
        (_function, "got functions or sparse tensors"),
        (_huge_tensor, "got a tensor of [1000000, 1000000]"),
        (_huge_constant, "model.onnx needs more memory than is allowed; got 4.0 TB"),
    ],
)
def test_a_graph_that_is_not_of_dtsinns_make_is_refused(
    copied: Path, reseal: Reseal, spoil: Callable[[onnx.ModelProto], None], message: str
) -> None:
    path = copied / "model.onnx"
    model = onnx.load_model_from_string(path.read_bytes())
    spoil(model)
    path.write_bytes(model.SerializeToString())
    reseal(copied)
    line = refused(lambda: Separator.load(copied))
    assert str(path) in line
    assert message in line


def test_a_damaged_package_leaves_no_export(copied: Path, reseal: Reseal, tmp_path: Path) -> None:
    (copied / "model.onnx").write_bytes(b"")
    reseal(copied)
    line = refused(lambda: export_package(copied, tmp_path / "out"))
    assert str(copied / "model.onnx") in line
    assert [path.name for path in tmp_path.iterdir()] == ["copied"]


@pytest.fixture
def checkpoint(tmp_path: Path, config: InvertibleConfig) -> Path:
    return TrainingState(RunConfig(model=config), 4).save(tmp_path)


OTHER = "does not hold the model that it names"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("blocks", 10**9, "model.blocks; got 1000000000; wanted at most"),
        ("blocks", 400, OTHER),
        ("width", 30_000, OTHER),
        ("depth", 10**6, "model.depth; got 1000000; wanted at most"),
        ("frames", 10**9, OTHER),
        ("frames", "4", "frames; got '4'; wanted a whole number"),
        ("frames", 0, OTHER),
    ],
)
def test_a_checkpoint_of_a_model_beyond_its_weights_is_refused(
    checkpoint: Path, key: str, value: Any, message: str
) -> None:
    content = json.loads((checkpoint / "state.json").read_text("utf-8"))
    (content if key == "frames" else content["config"]["model"])[key] = value
    (checkpoint / "state.json").write_text(json.dumps(content))
    assert message in refused(lambda: TrainingState.load(checkpoint))


@pytest.mark.parametrize("name", ["state.json", "network.safetensors", "optimizer.safetensors"])
def test_links_and_pipes_are_no_files_of_a_checkpoint(checkpoint: Path, name: str) -> None:
    path = checkpoint / name
    path.rename(checkpoint.parent / name)
    path.symlink_to(checkpoint.parent / name)
    assert f"cannot be read; got {name}: a link" in refused(lambda: TrainingState.load(checkpoint))
    path.unlink()
    os.mkfifo(path)
    line = refused(lambda: TrainingState.load(checkpoint))
    assert "cannot be read; got a pipe, no regular file" in line


def test_best_weights_of_another_model_are_refused(checkpoint: Path) -> None:
    path = checkpoint / "best.safetensors"
    path.write_bytes(safetensors.torch.save({"more": torch.zeros(1)}))
    assert "best weights of another model" in refused(lambda: TrainingState.load(checkpoint))
