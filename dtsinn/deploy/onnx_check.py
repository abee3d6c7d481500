"""The graphs of a package that came from anywhere, looked at before ONNX Runtime opens them.

A graph may name other files, bring operators of its own, or fold a few bytes into terabytes while
a session opens it. Those that dtsinn writes do nothing of the kind.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import onnx

from dtsinn.core.bounds import refuse_more
from dtsinn.core.errors import PackageError
from dtsinn.deploy.manifest import INVERSE_NAME, MODEL_NAME

Ends = dict[str, int]

ENDS: dict[str, tuple[tuple[Ends, Ends], ...]] = {
    MODEL_NAME: (({"mixture": 4}, {"tracers": 5, "scale": 1}),),
    INVERSE_NAME: (
        ({"tracers": 5, "scale": 1}, {"mixture": 4}),
        ({"tracers": 5, "latent": 4}, {"mixture": 4}),
    ),
}
"""Inputs and outputs that each graph may have, in their order, and how many axes they have."""
DOMAINS = ("", "ai.onnx")
"""Where operators come from: two names of the standard's own set."""
_FLOAT, _FLOAT_BYTES = onnx.TensorProto.FLOAT, 4
_TENSOR, _NESTED = (
    onnx.AttributeProto.TENSOR,
    (
        *(onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS),
        *(onnx.AttributeProto.SPARSE_TENSOR, onnx.AttributeProto.SPARSE_TENSORS),
    ),
)


def check_graph(content: bytes, path: Path) -> None:
    """Refuse a graph that is not built as those that dtsinn writes.

    Args:
        content: The file, one of :data:`ENDS` by its name.
        path: Where it lies, for messages.

    Raises:
        PackageError: It is no ONNX, has other inputs or outputs, reads other files, has operators
            of other sets or graphs inside, or makes tensors that are too large.
    """
    try:
        model = onnx.load_model_from_string(content)
    except Exception as error:  # protobuf's share no base but Exception
        raise PackageError(f"{path} is no ONNX model", got=type(error).__name__) from None
    graph = model.graph
    _check_ends(graph, path)
    _check_nodes(model, path)
    tensors = [
        *graph.initializer,
        *(a.t for n in graph.node for a in n.attribute if a.HasField("t")),
    ]
    for tensor in tensors:
        if tensor.data_location != onnx.TensorProto.DEFAULT or tensor.external_data:
            raise _wrong(path, "a tensor in another file", "all tensors in it")
        if min(tensor.dims, default=1) < 0 or math.prod(tensor.dims) > len(content):
            raise _wrong(path, f"a tensor of {list(tensor.dims)}", "all its numbers in the file")
    try:
        onnx.checker.check_model(model)
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    except Exception as error:  # its exceptions share no base but Exception
        got = " ".join(str(error).split())[:120]
        raise PackageError(f"{path} is no valid ONNX model", got=got) from None
    for value in (*inferred.graph.value_info, *inferred.graph.output):
        # Axes without a length follow from the slices, which the user chooses.
        known = (max(1, axis.dim_value) for axis in value.type.tensor_type.shape.dim)
        refuse_more(str(path), math.prod(known) * _FLOAT_BYTES, len(content), PackageError)


def _check_ends(graph: onnx.GraphProto, path: Path) -> None:
    inside = {tensor.name for tensor in graph.initializer}
    found_inputs = [value for value in graph.input if value.name not in inside]
    names = [value.name for value in found_inputs]
    known = ENDS[path.name]
    inputs, outputs = next((ends for ends in known if list(ends[0]) == names), known[0])
    for what, found, wanted in (
        ("inputs", found_inputs, inputs),
        ("outputs", list(graph.output), outputs),
    ):
        if [(value.name, *_kind_of(value)) for value in found] != [
            (name, _FLOAT, axes) for name, axes in wanted.items()
        ]:
            raise PackageError(
                f"{path}: {what}",
                got=", ".join(value.name for value in found)[:80] or "none",
                wanted=", ".join(f"{name} of {axes} axes" for name, axes in wanted.items())
                + ", float32",
            )


def _check_nodes(model: onnx.ModelProto, path: Path) -> None:
    graph = model.graph
    if model.functions or graph.sparse_initializer:
        raise _wrong(path, "functions or sparse tensors", "neither")
    foreign = {node.domain for node in graph.node} | {one.domain for one in model.opset_import}
    for domain in sorted(foreign.difference(DOMAINS)):
        raise _wrong(path, f"operators of {domain[:40]!r}", "those of ONNX")
    for node in graph.node:
        if any(attribute.type in _NESTED for attribute in node.attribute):
            raise _wrong(path, f"a graph or sparse tensor inside {node.op_type[:40]!r}", "none")


def _kind_of(value: onnx.ValueInfoProto) -> tuple[int, int]:
    tensor: Any = value.type.tensor_type
    return tensor.elem_type, len(tensor.shape.dim)


def _wrong(path: Path, got: str, wanted: str) -> PackageError:
    return PackageError(f"{path} is not as dtsinn writes it", got=got, wanted=wanted)
