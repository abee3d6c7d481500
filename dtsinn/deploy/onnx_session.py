"""Graphs in ONNX Runtime: opened on a device, and run. Nothing here needs torch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dtsinn.core.causes import brief
from dtsinn.core.errors import InputError, RunError

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

Float32Array = npt.NDArray[np.float32]

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
"""What ONNX Runtime calls a device."""


def open_session(
    path: Path, graph: bytes | None = None, *, device: str = "cpu"
) -> InferenceSession:
    """ONNX Runtime on a device, with as many threads as this process may use.

    Args:
        path: An ONNX file.
        graph: Its content, where it was read and verified already.
        device: One of :data:`PROVIDERS`.

    Raises:
        InputError: ONNX Runtime here has no such device.
        RunError: It refuses the graph.
    """
    # Here, as its import starts a thread.
    from onnxruntime import InferenceSession, SessionOptions, get_available_providers

    if device not in PROVIDERS:
        raise InputError("device", got=repr(device), wanted=f"one of {', '.join(PROVIDERS)}")
    if PROVIDERS[device] not in get_available_providers():
        raise InputError(
            f"ONNX Runtime has no {device} here",
            got=", ".join(get_available_providers()),
            wanted=PROVIDERS[device],
            hint="pip install onnxruntime-gpu in the place of onnxruntime, or --device cpu",
        )
    options = SessionOptions()
    # By default it takes one thread per core of the machine, pinned, whatever this process got.
    options.intra_op_num_threads = _threads()
    options.inter_op_num_threads = 1
    # Between two batches its threads would wait at work, where others read, sum up and write.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors only: the warnings are about its own optimisations
    try:
        session = InferenceSession(
            path if graph is None else graph, options, providers=[PROVIDERS[device]]
        )
    except Exception as error:  # its exceptions share no base but Exception
        raise RunError(f"ONNX Runtime refuses {path.name}", got=brief(error)) from error
    if session.get_providers()[0] != PROVIDERS[device]:  # it falls back where a driver is missing
        raise InputError(
            f"ONNX Runtime cannot use {device} here",
            got=session.get_providers()[0],
            wanted=PROVIDERS[device],
            hint="nvidia-smi, and a CUDA that fits this onnxruntime-gpu, or --device cpu",
        )
    return session


def run_session(
    session: InferenceSession, inputs: dict[str, Float32Array], *wanted: Float32Array
) -> list[npt.NDArray[Any]]:
    """The outputs of a graph, each of the shape of ``wanted``, where such are given.

    Raises:
        RunError: ONNX Runtime fails, or an output has another shape.
    """
    try:
        outputs: list[npt.NDArray[Any]] = session.run(None, inputs)
    except Exception as error:  # its exceptions share no base but Exception
        raise RunError("ONNX Runtime fails", got=brief(error)) from error
    for output, like in zip(outputs, wanted, strict=False):
        if output.shape != like.shape:
            raise RunError(
                "ONNX Runtime's answer has another shape", got=output.shape, wanted=like.shape
            )
    return outputs


def _threads() -> int:
    """As many as OpenMP is told to take, as torch does, else the cores that this process has."""
    told = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    if told.isdigit() and int(told):
        return int(told)
    # Not every system tells which cores a process may use.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
