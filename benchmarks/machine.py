"""What a measurement was taken on: processor, cores, versions, date. No name of any machine."""

from __future__ import annotations

import datetime as dt
import os
import platform
from pathlib import Path

import torch
import zarr

from dtsinn.core.version import code_version


def describe_machine() -> dict[str, str]:
    """Facts to read a measurement with, in the order in which they are shown."""
    return {
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "torch threads": str(torch.get_num_threads()),
        "torch": torch.__version__,
        "zarr": zarr.__version__,
        "python": platform.python_version(),
        "dtsinn": code_version(),
        "date": dt.datetime.now(tz=dt.UTC).date().isoformat(),
    }


def _processor() -> str:
    """Model name, with family and model number, since virtual machines shorten the name."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return platform.processor() or platform.machine()
    found: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        found.setdefault(key.strip(), value.strip())
    name = found.get("model name", platform.machine())
    family, model = found.get("cpu family"), found.get("model")
    return f"{name} (family {family}, model {model})" if family and model else name
