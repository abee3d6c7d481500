"""Validation: PSNR of the ``val`` subjects and the round trip of the inverse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dtsinn.core.errors import DivergedError
from dtsinn.data.store import Samples, Store
from dtsinn.deploy.onnx_graphs import InferenceGraph
from dtsinn.deploy.package import features_of
from dtsinn.evaluation.kinetics import kinetic_metrics
from dtsinn.evaluation.score import psnr_of_subjects
from dtsinn.kinetics.measure import SubjectMeasures, SubjectMeter
from dtsinn.networks.invertible import InvertibleSeparator, round_trip_error
from dtsinn.networks.normalisation import per_sample
from dtsinn.networks.padding import pad_to_multiple
from dtsinn.networks.roundtrip import worst_block
from dtsinn.networks.separator import SeparatorNetwork

BATCH = 4
"""Slices that go through the network at once."""


def validate_all(
    stores: Sequence[Store],
    network: SeparatorNetwork,
    device: torch.device,
    round_trip_limit: float,
    meters: Sequence[SubjectMeter],
) -> dict[str, float]:
    """Metrics of :func:`validate` over several stores: their means, and the worst round trip.

    What only some of the stores can tell is left out.

    Returns:
        Of one store its metrics; of several also ``val_psnr_<i>`` of each, counted from 1.

    Raises:
        DivergedError: As :func:`validate` does.
    """
    found = [
        validate(store, network, device, round_trip_limit, meter)
        for store, meter in zip(stores, meters, strict=True)
    ]
    if len(found) == 1:
        return found[0]
    shared = [name for name in found[0] if all(name in each for each in found)]
    metrics = {name: float(np.mean([each[name] for each in found])) for name in shared}
    if "round_trip_error" in metrics:
        metrics["round_trip_error"] = max(each["round_trip_error"] for each in found)
    return metrics | {f"val_psnr_{i}": each["val_psnr"] for i, each in enumerate(found, start=1)}


def validate(
    store: Store,
    network: SeparatorNetwork,
    device: torch.device,
    round_trip_limit: float,
    meter: SubjectMeter | None = None,
) -> dict[str, float]:
    """Metrics of the network, conditioned on the store's protocol, on the store's ``val`` split.

    Args:
        store: With the truth.
        network: That is validated.
        device: Where it is.
        round_trip_limit: Largest relative error of the inverse.
        meter: Of the store; None spares what it measures.

    Returns:
        ``val_psnr`` (mean of both tracers over subjects), ``val_psnr_<tracer>``, in dB; where the
        store can tell them those of :func:`kinetic_metrics`; and for an exact network
        ``round_trip_error`` (relative, on the first slices).

    Raises:
        DivergedError: The output is not finite, or the round trip is above the limit; then it
            names the block that is to blame.
    """
    training = network.training
    network.condition_on(features_of(store.header))
    graph = InferenceGraph(network, torch.tensor(store.header.protocol.frame_duration)).to(device)
    first: list[Tensor] = []

    def separate(mixture_NTYX: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        parts = []
        for mixture_BTYX in torch.split(torch.from_numpy(mixture_NTYX), BATCH):
            moved = mixture_BTYX.to(device, memory_format=torch.channels_last)
            with torch.no_grad():
                tracers_BKTYX, scale_B = graph(moved)
            if not first:
                first.append(pad_to_multiple(moved / per_sample(scale_B, moved), network.divisor))
            parts.append(tracers_BKTYX.cpu().numpy())
        return np.concatenate(parts)

    measures: dict[str, SubjectMeasures] = {}

    def measure(samples: Samples, predicted_NKTYX: npt.NDArray[np.floating[Any]]) -> None:
        if meter is not None:
            measured = meter.measure_judged(samples, predicted_NKTYX)
            measures[str(samples.subject_N[0])] = measured

    psnr = np.array(list(psnr_of_subjects(separate, store, "val", measure).values()))
    if not np.isfinite(psnr).all():
        raise DivergedError("the network's output is not finite", hint="a lower learning rate")
    checked = {}
    if network.exact:
        checked["round_trip_error"] = _check_round_trip(network, first[0], round_trip_limit)
    network.train(training)
    one, other = store.header.tracers
    return {
        "val_psnr": float(psnr.mean()),
        f"val_psnr_{one}": float(psnr[:, 0].mean()),
        f"val_psnr_{other}": float(psnr[:, 1].mean()),
        **kinetic_metrics(measures, store.header.protocol),
        **checked,
    }


def _check_round_trip(network: SeparatorNetwork, mixture_BTYX: Tensor, limit: float) -> float:
    """The relative round-trip error, refused above ``limit``."""
    error = round_trip_error(network, mixture_BTYX)
    if error <= limit:
        return error
    got = f"a relative round-trip error of {error:.1e}"
    if isinstance(network, InvertibleSeparator):
        worst = worst_block(network, mixture_BTYX)
        got += f", most of it in {worst}, which alone has {worst.error:.1e}"
    raise DivergedError(
        "the network has lost its inverse",
        got=got,
        wanted=f"at most {limit:.0e}",
        hint="a lower learning rate or clamp",
    )
