"""The two graphs of a separator, kBq/mL in and out, and their way into ONNX files.

Shape letters: B batch, K tracer (2), T frame, Y X pixel. Python (:mod:`.separator`) and ONNX run
these same modules, so there is one place where the scale goes in and comes out again.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dtsinn.core.errors import RunError
from dtsinn.networks.normalisation import per_sample, sample_scale
from dtsinn.networks.padding import cut, pad_to_multiple
from dtsinn.networks.separator import SeparatorNetwork

LEAFSPEC_WARNING = r"`isinstance\(treespec, LeafSpec\)` is deprecated"
TORCHVISION_REMARK = "torchvision is not installed"
STRIPPED_FIELDS = ("metadata_props", "doc_string")


class InferenceGraph(nn.Module):
    """Mixture -> tracers and scale.

    Slices of sizes that the network does not take are padded with zeros, below and at the right,
    which does not move the scale, and the answer is cut to the size of the slice.

    Args:
        network: A frozen network.
        duration_T: Frame durations in s, the weights of the scale.
    """

    duration_T: Tensor

    def __init__(self, network: SeparatorNetwork, duration_T: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("duration_T", duration_T)
        self.eval()

    def scale(self, mixture_BTYX: Tensor) -> Tensor:
        """Scales [B] in kBq/mL."""
        return sample_scale(mixture_BTYX, self.duration_T)

    def forward(self, mixture_BTYX: Tensor) -> tuple[Tensor, Tensor]:
        """[B, T, Y, X] kBq/mL -> [B, 2, T, Y, X] kBq/mL and scales [B] kBq/mL."""
        scale_B = self.scale(mixture_BTYX)
        tracers_BKTYX = self._any_size(mixture_BTYX / per_sample(scale_B, mixture_BTYX))
        return tracers_BKTYX * per_sample(scale_B, tracers_BKTYX), scale_B

    def _any_size(self, mixture_BTYX: Tensor) -> Tensor:
        step = self.network.divisor
        if step == 1:
            whole_BKTYX: Tensor = self.network(mixture_BTYX)
            return whole_BKTYX
        height, width = mixture_BTYX.shape[-2:]
        return cut(self.network(pad_to_multiple(mixture_BTYX, step)), height, width)


class InverseGraph(nn.Module):
    """Tracers, and what the inverse needs beside them -> mixture.

    That is the scale: the inverse cannot know it, and the rule applied to the sum of the tracers
    gives another one wherever that sum differs from the mixture. A network with latent channels
    needs those instead; its inverse is homogeneous of degree one.

    Sides must be multiples of the network's divisor: of other slices :class:`InferenceGraph` cuts
    off what the inverse would need.

    Args:
        network: A frozen network.
    """

    def __init__(self, network: SeparatorNetwork) -> None:
        super().__init__()
        self.network = network
        self.eval()

    def forward(self, tracers_BKTYX: Tensor, beside: Tensor) -> Tensor:
        """[B, 2, T, Y, X] kBq/mL, and scales [B] or latent [B, T, Y, X], kBq/mL: [B, T, Y, X]."""
        if self.network.has_latent:
            return self.network.inverse(tracers_BKTYX, beside)
        mixture_BTYX = self.network.inverse(tracers_BKTYX / per_sample(beside, tracers_BKTYX))
        return mixture_BTYX * per_sample(beside, mixture_BTYX)


def write_inference_graph(graph: InferenceGraph, path: Path) -> None:
    """Write ``model.onnx``: ``mixture`` [B, T, Y, X] -> ``tracers``, ``scale``.

    Raises:
        RunError: The exporter failed.
    """
    example = torch.ones(2, graph.network.frames, *_example_size(graph.network))
    axes = ({0: "batch", 2: "height", 3: "width"},)
    _write(graph, (example,), axes, ["mixture"], ["tracers", "scale"], path)


def write_inverse_graph(network: SeparatorNetwork, path: Path) -> None:
    """Write ``inverse.onnx``: ``tracers`` [B, 2, T, Y, X], ``scale`` [B] -> ``mixture``.

    A network with latent channels takes ``latent`` [B, T, Y, X] in place of the scale.

    Raises:
        RunError: The exporter failed.
    """
    size, frames, auto = _example_size(network), network.frames, torch.export.Dim.AUTO
    # What stands beside the tracers has axes without names: torch finds that they equal those of
    # the tracers and warns when both ask for the name that they then share anyway.
    name, beside, axes = "scale", torch.ones(2), {0: auto}
    if network.has_latent:
        name, beside, axes = "latent", torch.ones(2, frames, *size), {0: auto, 2: auto, 3: auto}
    example = (torch.ones(2, 2, frames, *size), beside)
    named = ({0: "batch", 3: "height", 4: "width"}, axes)
    _write(InverseGraph(network), example, named, ["tracers", name], ["mixture"], path)


def _example_size(network: SeparatorNetwork) -> tuple[int, int]:
    """Sides that the network takes; they differ, and so do those of what it halves from 1.

    Otherwise the exporter would take them for fixed.
    """
    step = network.divisor
    height = max(16, 2 * step)
    return height, height + max(4, step)


def _write(
    graph: nn.Module,
    example: tuple[Tensor, ...],
    axes: tuple[dict[int, Any], ...],
    inputs: Sequence[str],
    outputs: Sequence[str],
    path: Path,
) -> None:
    import onnx  # here: training only runs the graphs

    try:
        with _quiet_exporter():
            program = torch.onnx.export(
                graph,
                example,
                dynamo=True,
                external_data=False,
                input_names=inputs,
                output_names=outputs,
                dynamic_shapes=axes,
                verbose=False,
            )
        if program is None:
            raise RunError(f"{path.name} was not exported", got="no graph from torch")
        model = program.model_proto
    except torch.onnx.errors.OnnxExporterError as error:
        first = str(error).strip().split("\n", 1)[0]
        raise RunError(f"{path.name} cannot be exported", got=first) from error
    strip(model)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString(deterministic=True))


def strip(message: Any) -> None:
    """Clear, in a whole ONNX message, the fields where exporters leave notes.

    torch stores the stack trace of every node there, with absolute paths of this machine.
    """
    for field, value in message.ListFields():
        if field.name in STRIPPED_FIELDS:
            message.ClearField(field.name)
        elif field.message_type is not None:
            for part in (value,) if hasattr(value, "ListFields") else value:
                strip(part)


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Silence the two remarks of torch's exporter that say nothing about our graphs.

    - torch 2.13 copies its own tree specs and thereby warns about its own deprecated check.
    - It logs that the operators of torchvision are absent; dtsinn uses none of them.

    All else is heard.
    """
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")

    def other(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith(TORCHVISION_REMARK)

    logger.addFilter(other)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=LEAFSPEC_WARNING, category=FutureWarning)
            yield
    finally:
        logger.removeFilter(other)
