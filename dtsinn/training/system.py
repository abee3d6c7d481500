"""What the machine does while a run trains, under the names that MLflow shows as system metrics."""

from __future__ import annotations

import psutil
import torch

MB = 1e6
"""Bytes."""


class SystemMeter:
    """Looks at the machine that this process runs on.

    Args:
        device: Where the network is.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._process = psutil.Process()
        psutil.cpu_percent()  # what it says next is of the time since

    def look(self) -> dict[str, float]:
        """Use of all cores since the last look, and of memory now.

        Returns:
            ``system/cpu_utilization_percentage``, ``system/system_memory_usage_megabytes`` and
            ``..._percentage``, ``system/process_memory_megabytes``; of a GPU also
            ``system/gpu_0_memory_usage_megabytes`` and ``..._percentage``.
        """
        memory = psutil.virtual_memory()
        found = {
            "cpu_utilization_percentage": psutil.cpu_percent(),
            "system_memory_usage_megabytes": (memory.total - memory.available) / MB,
            "system_memory_usage_percentage": memory.percent,
            "process_memory_megabytes": self._process.memory_info().rss / MB,
        }
        if self.device.type == "cuda":
            free, total = torch.cuda.mem_get_info(self.device)
            number = self.device.index or 0
            found[f"gpu_{number}_memory_usage_megabytes"] = (total - free) / MB
            found[f"gpu_{number}_memory_usage_percentage"] = 100 * (total - free) / total
        return {f"system/{name}": float(value) for name, value in found.items()}
