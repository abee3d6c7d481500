"""The way into ONNX: notes of the exporter are stripped, and only known remarks silenced."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import onnx
import pytest
from onnx import helper

from dtsinn.deploy.onnx_graphs import _quiet_exporter, strip

EXPORTER = "torch.onnx._internal.exporter._registration"


def note(message: object) -> None:
    message.metadata_props.add(key="stack", value="/home/jane/code.py")  # type: ignore[attr-defined]
    message.doc_string = "/home/jane"  # type: ignore[attr-defined]


def test_notes_are_stripped_at_every_depth_and_nothing_else() -> None:
    value = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["batch", 2])
    result = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["batch", 2])
    weight = helper.make_tensor("w", onnx.TensorProto.FLOAT, [2], [1.0, 2.0])
    inner = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [], [result], [weight])
    holder = helper.make_node("If", ["c"], ["y"], then_branch=inner, else_branch=inner)
    graph = helper.make_graph([holder], "main", [value], [result], [weight])
    model = helper.make_model(graph)
    plain = model.SerializeToString(deterministic=True)
    branch = model.graph.node[0].attribute[0].g
    noted = [model, model.graph, model.graph.node[0], model.graph.input[0]]
    noted += [model.graph.initializer[0], branch, branch.node[0], branch.initializer[0]]
    for message in noted:
        note(message)
    model.graph.node[0].attribute[0].doc_string = "/home/jane"
    assert b"jane" in model.SerializeToString()
    strip(model)
    assert model.SerializeToString(deterministic=True) == plain


def test_the_graphs_of_a_package_carry_no_notes(package: Path) -> None:
    for name in ("model.onnx", "inverse.onnx"):
        model = onnx.load(package / name)
        plain = model.SerializeToString(deterministic=True)
        strip(model)
        assert model.SerializeToString(deterministic=True) == plain


def test_other_remarks_of_the_exporter_are_heard(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger(EXPORTER)
    logger.addHandler(caplog.handler)  # torch's loggers do not propagate
    try:
        with _quiet_exporter():
            logger.warning("torchvision is not installed. Skipping torchvision::nms")
            logger.warning("an operator is missing")
        logger.warning("torchvision is not installed. Skipping torchvision::nms")
    finally:
        logger.removeHandler(caplog.handler)
    heard = [record.getMessage() for record in caplog.records]
    assert heard[0] == "an operator is missing"
    assert heard[-1].startswith("torchvision")


def test_other_warnings_are_heard() -> None:
    with _quiet_exporter(), pytest.warns(FutureWarning, match="something else"):
        warnings.warn("something else", FutureWarning, stacklevel=1)
    with pytest.raises(FutureWarning, match="treespec"):
        warnings.warn("`isinstance(treespec, LeafSpec)` is deprecated", FutureWarning, stacklevel=1)
