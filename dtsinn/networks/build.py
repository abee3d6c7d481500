"""From a model configuration to a network, and the one dictionary of methods."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from dtsinn.core.config import ByKind
from dtsinn.core.errors import InputError
from dtsinn.core.kinds import Kinds
from dtsinn.networks.cascade import CascadeNetwork
from dtsinn.networks.invertible import InvertibleSeparator
from dtsinn.networks.latent import LatentSeparator
from dtsinn.networks.method import Method, MethodConfig, UntrainedMethod
from dtsinn.networks.rivals.ced import CED
from dtsinn.networks.rivals.cnn3d import CNN3D
from dtsinn.networks.rivals.linear import LinearNetwork
from dtsinn.networks.rivals.plain import PlainNetwork
from dtsinn.networks.rivals.residual_cnn import ResidualCNN
from dtsinn.networks.rivals.spectral import SpectralAnalysis
from dtsinn.networks.rivals.temporal import TemporalNetwork
from dtsinn.networks.rivals.unet import UNet
from dtsinn.networks.separator import SeparatorNetwork

METHODS: Kinds[Method] = Kinds(
    "model.kind",
    Method,
    {
        "invertible": InvertibleSeparator,
        "latent": LatentSeparator,
        "cascade": CascadeNetwork,
        "temporal": TemporalNetwork,
        "cnn3d": CNN3D,
        "ced": CED,
        "unet": UNet,
        "residual-cnn": ResidualCNN,
        "plain": PlainNetwork,
        "linear": LinearNetwork,
        "spectral": SpectralAnalysis,
    },
    group="dtsinn.networks",
)
"""Methods by the name that ``model.kind`` takes."""

ModelConfig = Annotated[MethodConfig, ByKind(METHODS)]
"""The configuration of any of them."""

MOST_REDRAWN = 4
"""Parameters made for each that stays: some parts replace those of their base (uncited)."""

Shapes = dict[str, tuple[tuple[int, ...], torch.dtype]]


def kinds_with(**capabilities: Any) -> dict[str, type[Method]]:
    """The methods whose class attributes have these values, such as ``exact=True``, by name."""
    return {
        name: method
        for name, method in METHODS.loadable().items()
        if all(getattr(method, key) == value for key, value in capabilities.items())
    }


def baselines() -> list[UntrainedMethod]:
    """The methods that learn nothing, as they are by default: the rivals of an evaluation."""
    return [method() for method in kinds_with(learning="nothing").values()]  # type: ignore[misc]


def build_network(config: ModelConfig, frames: int, seed: int = 0) -> SeparatorNetwork:
    """A fresh network for sequences of ``frames`` frames, its weights drawn from ``seed``.

    Raises:
        InputError: The configuration is of a method without weights.
    """
    if not METHODS[config.kind].has_weights:
        raise InputError(
            f"model.kind {config.kind} is no network",
            got="nothing to train",
            wanted=f"one of {', '.join(kinds_with(has_weights=True))}",
            hint="dtsinn evaluate --baselines",
        )
    make: Callable[[int, ModelConfig, int], SeparatorNetwork] = METHODS[config.kind]  # type: ignore[assignment]
    # torch's layers draw weights from the global generator before ours replaces them.
    with torch.random.fork_rng(devices=[]):
        return make(frames, config, seed)


def build_outline(config: ModelConfig, frames: int, weights: Mapping[str, Tensor]) -> Shapes:
    """Names, shapes and types of what the network of ``config`` is made of; it takes no memory.

    A configuration of a few bytes may ask for any network, so it is held against ``weights``, those
    that came with it, while it is built, and given up once it has far more tensors.

    Raises:
        InputError: It asks for a network that ``weights`` cannot be of, or that is none at all.
    """
    numbers = sum(tensor.numel() for tensor in weights.values())
    for name, value in vars(config).items():
        if type(value) is int and value > numbers:
            raise InputError(f"model.{name}", got=value, wanted=f"at most {numbers}, its weights")
    here, made = threading.get_ident(), 0

    def count(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal made
        made += threading.get_ident() == here
        if made > MOST_REDRAWN * len(weights):
            raise InputError(
                "the model has more parts than its weights", wanted=f"{len(weights)} tensors"
            )

    hook = register_module_parameter_registration_hook(count)
    try:
        with torch.device("meta"):
            return {
                name: (tuple(tensor.shape), tensor.dtype)
                for name, tensor in build_network(config, frames).state_dict().items()
            }
    except InputError:
        raise
    except Exception as error:  # sizes beyond what torch can count raise many kinds
        got = " ".join(str(error).split())[:120]
        raise InputError("the model cannot be built", got=got) from None
    finally:
        hook.remove()


def parameter_count(network: SeparatorNetwork) -> int:
    """Number of trainable parameters."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)
