"""The state of a run between two steps, and its checkpoints: tensors and JSON, no pickle."""

from __future__ import annotations

import dataclasses
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from dtsinn.core.config import STRICT, from_mapping, to_mapping
from dtsinn.core.errors import InputError
from dtsinn.networks.build import build_network
from dtsinn.networks.invertible import InvertibleSeparator
from dtsinn.training.config import RunConfig

PREFIX = "checkpoint-"
_FILES = ("network.safetensors", "best.safetensors", "optimizer.safetensors")


@dataclass(kw_only=True)
class Progress:
    """The numbers of a run's state."""

    __pydantic_config__ = STRICT

    step: int = 0
    best_psnr: float = -1e9
    """Highest validation PSNR so far, dB."""
    best_step: int = 0
    seconds: float = 0.0
    """Wall time in steps and validations, all sittings together."""
    cpu_seconds: float = 0.0
    """Process CPU time, likewise."""
    store_digest: str = ""
    """Of the store that it trains on; set at the first step."""


class TrainingState:
    """Network, optimiser, best weights and progress of one run."""

    def __init__(self, config: RunConfig, frames: int, device: str = "cpu") -> None:
        self.config = config
        self.device = device
        network = build_network(config.model, frames, config.seed)
        # Convolutions on the CPU are a fifth faster with channels last; GPUs prefer it too.
        self.network: InvertibleSeparator = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(),
            lr=config.optimizer.learning_rate,
            weight_decay=config.optimizer.weight_decay,
        )
        self.best: dict[str, Tensor] = _copy(self.network)
        self.progress = Progress()

    def keep_if_best(self, psnr: float) -> None:
        """Keep a copy of the weights when ``psnr`` is the highest yet."""
        if psnr > self.progress.best_psnr:
            self.progress.best_psnr = psnr
            self.progress.best_step = self.progress.step
            self.best = _copy(self.network)

    def best_network(self) -> InvertibleSeparator:
        """A network with the best weights, on the CPU."""
        network = build_network(self.config.model, self.network.frames)
        network.load_state_dict(self.best)
        return network

    def save(self, folder: Path) -> Path:
        """Write ``folder/checkpoint-<step>`` whole or not at all, and drop older ones."""
        for torn in folder.glob(f".{PREFIX}*.partial"):
            shutil.rmtree(torn)
        final = folder / f"{PREFIX}{self.progress.step:08d}"
        partial = final.with_name(f".{final.name}.partial")
        partial.mkdir(parents=True)
        self.write(partial)
        shutil.rmtree(final, ignore_errors=True)
        partial.rename(final)
        for old in folder.glob(f"{PREFIX}*"):
            if old != final:
                shutil.rmtree(old)
        return final

    def write(self, folder: Path) -> None:
        """Write the state's files into an existing ``folder``."""
        save_file(_copy(self.network), folder / _FILES[0])
        save_file(self.best, folder / _FILES[1])
        save_file(_optimizer_tensors(self.optimizer), folder / _FILES[2])
        state = {
            "progress": dataclasses.asdict(self.progress),
            "config": to_mapping(self.config),
            "frames": self.network.frames,
        }
        (folder / "state.json").write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, checkpoint: Path, device: str = "cpu") -> TrainingState:
        """The state that :meth:`write` left.

        Raises:
            InputError: A file of the checkpoint is missing or damaged.
        """
        try:
            text = (checkpoint / "state.json").read_text(encoding="utf-8")
            tensors = [load_file(checkpoint / name) for name in _FILES]
            plain = json.loads(text)
        except (OSError, ValueError, SafetensorError) as error:
            raise InputError(f"checkpoint {checkpoint} cannot be read", got=str(error)) from None
        config = from_mapping(RunConfig, plain["config"], f"{checkpoint}/state.json")
        state = cls(config, plain["frames"], device)
        network, state.best, optimizer = tensors
        state.network.load_state_dict(network)
        _load_optimizer(state.optimizer, optimizer)
        state.progress = from_mapping(Progress, plain["progress"], f"{checkpoint}/state.json")
        return state


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint in ``folder``, if there is one."""
    found = sorted(folder.glob(f"{PREFIX}*"))
    return found[-1] if found else None


def _copy(network: InvertibleSeparator) -> dict[str, Tensor]:
    return {
        name: value.detach().to("cpu", copy=True).contiguous()
        for name, value in network.state_dict().items()
    }


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {
        f"{parameter}.{name}": value.detach().cpu().contiguous()
        for parameter, values in optimizer.state_dict()["state"].items()
        for name, value in values.items()
    }


def _load_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        parameter, name = key.split(".")
        state.setdefault(int(parameter), {})[name] = value
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
