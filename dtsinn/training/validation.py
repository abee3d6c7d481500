"""Validation: PSNR of the ``val`` subjects and the round trip of the inverse."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from dtsinn.core.errors import DivergedError
from dtsinn.data.store import Store
from dtsinn.deploy.onnx_graphs import InferenceGraph
from dtsinn.evaluation.score import psnr_of_subjects
from dtsinn.networks.invertible import InvertibleSeparator, round_trip_error
from dtsinn.networks.normalisation import per_sample

BATCH = 4
"""Slices that go through the network at once."""


def validate(
    store: Store, network: InvertibleSeparator, device: torch.device, round_trip_limit: float
) -> dict[str, float]:
    """Metrics of the network on the store's ``val`` split.

    Returns:
        ``val_psnr`` (mean of both tracers over subjects), ``val_psnr_<tracer>``, in dB, and
        ``round_trip_error`` (relative, on the first slices).

    Raises:
        DivergedError: The output is not finite, or the round trip is above the limit.
    """
    graph = InferenceGraph(network, torch.tensor(store.header.protocol.frame_duration)).to(device)
    errors: list[float] = []

    def separate(mixture_NTYX: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        parts = []
        for mixture_BTYX in torch.split(torch.from_numpy(mixture_NTYX), BATCH):
            moved = mixture_BTYX.to(device, memory_format=torch.channels_last)
            with torch.no_grad():
                tracers_BKTYX, scale_B = graph(moved)
            if not errors:
                errors.append(round_trip_error(network, moved / per_sample(scale_B, moved)))
            parts.append(tracers_BKTYX.cpu().numpy())
        return np.concatenate(parts)

    psnr = np.array(list(psnr_of_subjects(separate, store, "val").values()))
    if not np.isfinite(psnr).all() or not np.isfinite(errors[0]):
        raise DivergedError("the network's output is not finite", hint="a lower learning rate")
    if errors[0] > round_trip_limit:
        raise DivergedError(
            "the network has lost its inverse",
            got=f"a relative round-trip error of {errors[0]:.1e}",
            wanted=f"at most {round_trip_limit:.0e}",
            hint="a lower learning rate or clamp",
        )
    first, second = store.header.tracers
    return {
        "val_psnr": float(psnr.mean()),
        f"val_psnr_{first}": float(psnr[:, 0].mean()),
        f"val_psnr_{second}": float(psnr[:, 1].mean()),
        "round_trip_error": errors[0],
    }
