"""How torch computes while a run trains, where the run's configuration has a say; its memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def is_out_of_memory(error: Exception) -> bool:
    """Whether a computation found no memory: on the CPU torch raises a plain RuntimeError."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


@contextmanager
def computing(deterministic: bool) -> Iterator[None]:
    """Within it only repeatable algorithms are used, if ``deterministic``; after it, as before."""
    if not deterministic:
        yield
        return
    before = torch.are_deterministic_algorithms_enabled()
    warned = torch.is_deterministic_algorithms_warn_only_enabled()
    # cuBLAS repeats itself only with a workspace of fixed size, which it asks for here.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warned)
