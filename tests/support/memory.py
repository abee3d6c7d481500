"""What a computation allocates, by torch's profiler."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

MiB = 2**20


def growths(network: nn.Module, loss: Callable[[], Tensor]) -> tuple[float, float]:
    """Peak growth of the loss and its gradient, without and with the gradients themselves, MiB."""

    def step() -> None:
        loss().backward()  # type: ignore[no-untyped-call]

    step()
    activations = peak_growth(step)
    network.zero_grad(set_to_none=True)
    return activations / MiB, peak_growth(step) / MiB


def peak_growth(call: Callable[[], object]) -> int:
    """The most that ``call`` had allocated at a time, over what was allocated before, in bytes."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        call()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profiler.export_chrome_trace(str(path))
        events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    changes = [
        (event["ts"], event["args"]["Bytes"]) for event in events if event["name"] == "[memory]"
    ]
    held = most = 0
    for _, change in sorted(changes, key=lambda found: float(found[0])):
        held += change
        most = max(most, held)
    return most
