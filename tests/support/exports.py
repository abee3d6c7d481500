"""torch's export to ONNX, which takes seconds, once for each network of a test session.

Only what torch computes is kept, and only of modules that are equal in every weight and setting:
what dtsinn does before it and after it is done each time.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import pytest
import torch
from torch.onnx._internal.exporter._registration import ONNXRegistry

EXPORT = torch.onnx.export
REGISTRY = ONNXRegistry.__dict__["from_torchlib"]


class _Content(pickle.Pickler):
    """Writes tensors as what they hold, where pickle would tell their addresses."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            data = value.detach().cpu().numpy()
            return bytes, (data.tobytes(),), (data.shape, data.dtype.str)
        return NotImplemented


def export_once(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Keep in ``folder``, which processes may share, what torch exports."""
    folder.mkdir(exist_ok=True)

    def export(graph: torch.nn.Module, example: Any, **settings: Any) -> Any:
        content = io.BytesIO()
        _Content(content).dump((graph, example, settings))
        kept = folder / hashlib.sha256(content.getbuffer()).hexdigest()
        if not kept.exists():
            program = EXPORT(graph, example, **settings)
            assert program is not None
            partial = kept.with_suffix(f".{os.getpid()}")
            partial.write_bytes(program.model_proto.SerializeToString())
            partial.replace(kept)
        return SimpleNamespace(model_proto=onnx.load_from_string(kept.read_bytes()))

    patch.setattr(torch.onnx, "export", export)
    # torch collects its few hundred functions anew for every export, in half a second.
    patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(cache(ONNXRegistry.from_torchlib)))


def export_anew(patch: pytest.MonkeyPatch) -> None:
    """Let torch do all of it again."""
    patch.setattr(torch.onnx, "export", EXPORT)
    patch.setattr(ONNXRegistry, "from_torchlib", REGISTRY)
