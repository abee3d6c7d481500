"""The state of a run between two steps, and its checkpoints: tensors and JSON, no pickle."""

from __future__ import annotations

import copy
import dataclasses
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save_file
from torch import Tensor

from dtsinn.core.atomic import replace_folder
from dtsinn.core.bounds import MOST_TEXT, UnfitFileError, most_memory, parse_json, read_bytes
from dtsinn.core.causes import brief, cure_of
from dtsinn.core.config import STRICT, from_mapping, to_mapping
from dtsinn.core.errors import InputError
from dtsinn.core.formats import CHECKPOINT
from dtsinn.networks.build import Shapes, build_network, build_outline
from dtsinn.networks.invertible import InvertibleSeparator
from dtsinn.networks.separator import SeparatorNetwork
from dtsinn.training.config import RunConfig

PREFIX = "checkpoint-"
GAIN_dB = 0.01
"""Least gain of a validation over the last one that counted as a gain (uncited)."""
BETA1 = 0.9
"""Decay, per step, of the running average of the gradient (Adam's own)."""
_NETWORK, _BEST, _OPTIMIZER, _AVERAGE = (
    f"{name}.safetensors" for name in ("network", "best", "optimizer", "average")
)


@dataclass(kw_only=True)
class Progress:
    """The numbers of a run's state."""

    __pydantic_config__ = STRICT

    step: int = 0
    best_psnr: float = -1e9
    """Highest validation PSNR so far, dB."""
    best_step: int = 0
    seconds: float = 0.0
    """Wall time in steps and validations, all sessions together."""
    cpu_seconds: float = 0.0
    """Process CPU time of all workers, likewise."""
    gained_psnr: float = -1e9
    """Validation PSNR of the last gain of at least :data:`GAIN_dB`, dB."""
    stale: int = 0
    """Validations since then."""
    store_digest: str = ""
    """Digest of the store that it trains on, or of several, with commas; set at the first step."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Metrics of the last report; who goes on from a checkpoint reports them again, as that report
    may not have arrived."""
    reported_ms: int = 0
    """When that was, in ms since 1970 UTC."""
    init: str = ""
    """Digest of the separator whose weights it started from, if any."""
    init_tracers: str = ""
    """That separator's pair, with a comma."""


@dataclass(frozen=True, kw_only=True)
class _Stored:
    """The content of ``state.json``."""

    __pydantic_config__ = STRICT

    format: str
    format_version: int
    progress: Progress
    config: RunConfig
    frames: int


class TrainingState:
    """Network, optimiser, best weights and progress of one run.

    Attributes:
        checkpoint: Where it was written or read last, if it was.
        average: The network with the running average of the weights, where one is kept.
    """

    def __init__(self, config: RunConfig, frames: int, device: str = "cpu") -> None:
        self.config = config
        self.device = device
        network = build_network(config.model, frames, config.seed)
        # Convolutions on the CPU are a fifth faster with channels last; GPUs prefer it too.
        self.network: SeparatorNetwork = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        if isinstance(self.network, InvertibleSeparator):
            self.network.memory = config.memory
            self.network.precision = config.precision
        self.average = copy.deepcopy(self.network) if config.optimizer.ema else None
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(),
            lr=config.optimizer.learning_rate,
            betas=(BETA1, config.optimizer.beta2),
            weight_decay=config.optimizer.weight_decay,
            fused=True,
        )
        self.best: dict[str, Tensor] = _copy(self.network)
        self.progress = Progress()
        self.checkpoint: Path | None = None

    @property
    def validated_network(self) -> SeparatorNetwork:
        """The network that is validated and kept: the average where there is one."""
        return self.network if self.average is None else self.average

    @property
    def steps(self) -> int:
        """The whole budget: a fit in closed form is one step."""
        return 1 if self.network.learning == "closed form" else self.config.steps

    @property
    def ended(self) -> str:
        """Why nothing follows, or nothing."""
        if self.progress.step >= self.steps:
            return "the budget is spent"
        if 0 < self.config.patience <= self.progress.stale:
            return f"no gain of {GAIN_dB:g} dB in {self.progress.stale} validations"
        return ""

    def start_from(self, weights: Mapping[str, Tensor]) -> None:
        """Take weights of the same configuration in place of those drawn from the seed."""
        for network in filter(None, (self.network, self.average)):
            network.load_state_dict(dict(weights))
        self.best = _copy(self.network)

    def average_weights(self) -> None:
        """Take the weights of a step, the one that comes next in the count, into the average."""
        if self.average is not None:
            decay = decay_at(self.config.optimizer.ema, self.progress.step)
            update_average(self.average, self.network, decay)

    def record_validation(self, psnr: float) -> None:
        """Take note of a validation; its weights are kept when ``psnr`` is the highest yet."""
        progress = self.progress
        if psnr > progress.best_psnr:
            progress.best_psnr = psnr
            progress.best_step = progress.step
            self.best = _copy(self.validated_network)
        if psnr >= progress.gained_psnr + GAIN_dB:
            progress.gained_psnr, progress.stale = psnr, 0
        else:
            progress.stale += 1

    def best_network(self) -> SeparatorNetwork:
        """A network with the best weights, on the CPU."""
        network = build_network(self.config.model, self.network.frames)
        network.load_state_dict(self.best)
        return network

    def save(self, folder: Path) -> Path:
        """Write ``folder/checkpoint-<step>`` whole or not at all, and drop older ones."""
        for torn in folder.glob(f".{PREFIX}*.partial"):
            shutil.rmtree(torn)
        final = folder / f"{PREFIX}{self.progress.step:08d}"
        with replace_folder(final) as partial:
            self.write(partial)
        for old in folder.glob(f"{PREFIX}*"):
            if old != final:
                shutil.rmtree(old)
        self.checkpoint = final
        return final

    def write(self, folder: Path) -> None:
        """Write the state's files into an existing ``folder``."""
        save_file(_copy(self.network), folder / _NETWORK)
        save_file(self.best, folder / _BEST)
        save_file(_optimizer_tensors(self.optimizer), folder / _OPTIMIZER)
        if self.average is not None:
            save_file(_copy(self.average), folder / _AVERAGE)
        state = CHECKPOINT.mark | {
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
        stored = _read_stored(checkpoint)
        _check_model(checkpoint, stored)
        state = cls(stored.config, stored.frames, device)
        state.restore(checkpoint)
        return state

    def restore(self, checkpoint: Path) -> None:
        """Become what :meth:`write` left of a state of the same configuration.

        Raises:
            InputError: A file of the checkpoint is missing or damaged.
        """
        progress = _read_stored(checkpoint).progress
        self.best = _read_tensors(checkpoint / _BEST)
        try:
            weights = _read_tensors(checkpoint / _NETWORK)
            if _kinds(self.best) != _kinds(weights):
                raise ValueError("best weights of another model")
            self.network.load_state_dict(weights)
            _load_optimizer(self.optimizer, _read_tensors(checkpoint / _OPTIMIZER))
            if self.average is not None:
                self.average.load_state_dict(_read_tensors(checkpoint / _AVERAGE))
        except (RuntimeError, ValueError) as error:
            raise InputError(
                f"checkpoint {checkpoint} does not hold the model that it names",
                got=brief(error),
                hint="a new run; an older dtsinn may have written it",
            ) from None
        self.progress, self.checkpoint = progress, checkpoint


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint in ``folder``, if there is one."""
    found = sorted(folder.glob(f"{PREFIX}*"))
    return found[-1] if found else None


def _read_stored(checkpoint: Path) -> _Stored:
    path = checkpoint / "state.json"
    try:
        content = parse_json(_read(path, MOST_TEXT))
    except (OSError, ValueError) as error:
        what = f"checkpoint {checkpoint} cannot be read"
        raise InputError(what, got=brief(error), hint=cure_of(error)) from None
    if not isinstance(content, dict):
        raise InputError(f"checkpoint {checkpoint} cannot be read", got=type(content).__name__)
    return from_mapping(_Stored, CHECKPOINT.read(content, str(path)), str(path))


def _read(path: Path, most: int) -> bytes:
    if path.is_symlink():
        raise UnfitFileError(f"{path.name}: a link")
    return read_bytes(path, most)


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load(_read(path, most_memory(path.stat().st_size)))
    except (OSError, SafetensorError, RuntimeError, ValueError, KeyError) as error:
        what = f"checkpoint {path.parent} cannot be read"
        raise InputError(what, got=brief(error), hint=cure_of(error)) from None


def _check_model(checkpoint: Path, stored: _Stored) -> None:
    """Refuse a model that the checkpoint's weights are not of, before it is built."""
    weights = _read_tensors(checkpoint / _NETWORK)
    try:
        if stored.frames < 1:
            raise InputError("frames", got=stored.frames, wanted="a whole number above 0")
        if build_outline(stored.config.model, stored.frames, weights) != _kinds(weights):
            raise InputError("weights of another model")
    except InputError as error:
        raise InputError(
            f"checkpoint {checkpoint} does not hold the model that it names",
            got=str(error),
            hint="a new run; an older dtsinn may have written it",
        ) from None


def _kinds(weights: Mapping[str, Tensor]) -> Shapes:
    return {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in weights.items()}


def _copy(network: SeparatorNetwork) -> dict[str, Tensor]:
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
    """Give ``optimizer`` the moments that :func:`_optimizer_tensors` left.

    They take their parameter's order in memory, which the fused step takes for granted.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        number, name = key.split(".")
        if int(number) >= len(parameters):
            raise ValueError(f"{key}, of {len(parameters)} parameters")
        of = parameters[int(number)]
        if name != "step":
            if value.shape != of.shape:
                raise ValueError(f"{key} of shape {list(value.shape)}, not {list(of.shape)}")
            value = torch.empty_like(of, requires_grad=False).copy_(value)
        state.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})


def decay_at(decay: float, updates: int) -> float:
    """The decay after ``updates`` earlier ones.

    It begins low, so that the average soon forgets the random start: min(decay, (1 + t)/(10 + t)),
    as TensorFlow's ``ExponentialMovingAverage`` with ``num_updates`` has it.
    """
    return min(decay, (1 + updates) / (10 + updates))


@torch.no_grad()
def update_average(average: SeparatorNetwork, network: SeparatorNetwork, decay: float) -> None:
    """Move the weights of ``average`` a part of 1 - ``decay`` towards those of ``network``."""
    torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - decay)
    learned = {name for name, _ in network.named_parameters()}
    current = network.state_dict()
    for name, kept in average.state_dict().items():
        if name not in learned:  # a permutation, a running statistic: as it is now
            kept.copy_(current[name])
