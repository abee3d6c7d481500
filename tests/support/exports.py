"""torch's export to ONNX, which takes seconds, once for each kind of network of a test session.

Only torch's trace is kept, and serves modules that are equal in every setting and shape: each has
its own weights put into it, and is then optimised by torch as any other: but for the names of
nodes it is what a trace of its own would give. What dtsinn does before and after is done each time.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx
import onnx_ir
import torch
from torch.onnx._internal.exporter._onnx_program import ONNXProgram
from torch.onnx._internal.exporter._registration import ONNXRegistry

if TYPE_CHECKING:
    import pytest

EXPORT = torch.onnx.export
REGISTRY = ONNXRegistry.__dict__["from_torchlib"]


class _Content(pickle.Pickler):
    """Writes tensors as what they hold, where pickle would tell their addresses."""

    def __init__(self, file: io.BytesIO, shapes: set[int]) -> None:
        super().__init__(file)
        self._shapes = shapes
        """Ids of those that are written as their shape alone."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            held = b"" if id(value) in self._shapes else _bytes(value)
            return bytes, (held,), (tuple(value.shape), str(value.dtype))
        return NotImplemented


def export_once(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Keep in ``folder``, which processes may share, what torch exports."""
    folder.mkdir(exist_ok=True)
    patch.setattr(torch.onnx, "export", partial(export_kept, folder))
    # torch collects its few hundred functions anew for every export, in half a second.
    patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(cache(ONNXRegistry.from_torchlib)))


def export_anew(patch: pytest.MonkeyPatch) -> None:
    """Let torch do all of it again."""
    patch.setattr(torch.onnx, "export", EXPORT)
    patch.setattr(ONNXRegistry, "from_torchlib", REGISTRY)


def export_kept(folder: Path, graph: torch.nn.Module, example: Any, **settings: Any) -> Any:
    """What torch exports, traced by it unless a module like this one was before."""
    tensors = {**dict(graph.named_parameters()), **dict(graph.named_buffers())}
    content = io.BytesIO()
    _Content(content, {id(one) for one in tensors.values()}).dump((graph, example, settings))
    kept = folder / hashlib.sha256(content.getbuffer()).hexdigest()
    if not kept.exists():
        program = EXPORT(graph, example, optimize=False, **settings)
        assert program is not None
        _check_holds(program, tensors)
        _write(kept, program.model_proto.SerializeToString())
    model = onnx.load_from_string(kept.read_bytes())
    for weights in model.graph.initializer:
        if weights.name in tensors:
            weights.raw_data = _bytes(tensors[weights.name])
    program = ONNXProgram(onnx_ir.from_proto(model), None)
    program.optimize()
    return program


def _check_holds(program: Any, tensors: dict[str, torch.Tensor]) -> None:
    """All that the graph uses of them stands in the model by its name, and as it is."""
    signature = program.exported_program.graph_signature
    names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    held = {one.name: one.raw_data for one in program.model_proto.graph.initializer}
    for node in program.exported_program.graph.nodes:
        if node.op == "placeholder" and node.name in names and node.users:
            assert held[names[node.name]] == _bytes(tensors[names[node.name]])


def _write(path: Path, content: bytes) -> None:
    partial_path = path.with_suffix(f".{os.getpid()}")
    partial_path.write_bytes(content)
    partial_path.replace(path)


def _bytes(tensor: torch.Tensor) -> bytes:
    held: bytes = tensor.detach().cpu().contiguous().numpy().tobytes()
    return held
