"""torch's export to ONNX, which takes seconds, once for each network of a test session.

Only what torch computes is kept, and only for modules that are equal in every weight and setting:
what dtsinn does before and after it is done each time.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import onnx
import torch

export = torch.onnx.export


class _Content(pickle.Pickler):
    """Writes tensors as what they hold, where pickle would tell their addresses."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, torch.Tensor):
            data = value.detach().cpu().numpy()
            return bytes, (data.tobytes(),), (data.shape, data.dtype.str)
        return NotImplemented


def exporting_once(folder: Path) -> Callable[..., Any]:
    """Torch's exporter, with what it returned before for an equal module kept in ``folder``.

    Processes may share the folder.
    """
    folder.mkdir(exist_ok=True)

    def export_once(graph: torch.nn.Module, example: Any, **settings: Any) -> Any:
        content = io.BytesIO()
        _Content(content).dump((graph, example, settings))
        kept = folder / hashlib.sha256(content.getbuffer()).hexdigest()
        if not kept.exists():
            program = export(graph, example, **settings)
            assert program is not None
            partial = kept.with_suffix(f".{os.getpid()}")
            partial.write_bytes(program.model_proto.SerializeToString())
            partial.replace(kept)
        return SimpleNamespace(model_proto=onnx.load_from_string(kept.read_bytes()))

    return export_once
