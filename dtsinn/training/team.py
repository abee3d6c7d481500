"""The processes that train one network together, and what they exchange.

A step's micro-batches are dealt out to the processes in turn. None is ever cut, so each is
augmented and scored as it would be in a single process, and the mean of the gradients is that of
a single process up to the order of summation: the number of workers decides how fast a result
comes, not what it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn

from dtsinn.core.errors import DivergedError, InputError
from dtsinn.training.config import RunConfig


@dataclass(frozen=True, kw_only=True)
class Team:
    """This process among those that train together; by default it is alone."""

    rank: int = 0
    ranks: int = 1

    @classmethod
    def of_process_group(cls) -> Team:
        """The team of torch's default process group, which exists already."""
        return cls(rank=distributed.get_rank(), ranks=distributed.get_world_size())

    @property
    def leads(self) -> bool:
        """This process validates, keeps checkpoints and reports."""
        return self.rank == 0

    def check_divides(self, config: RunConfig) -> None:
        """Refuse a configuration whose steps have no equal share for each process.

        Raises:
            InputError: ``accumulate`` is no multiple of the number of processes.
        """
        if config.accumulate % self.ranks:
            raise InputError(
                f"accumulate cannot be shared by {self.ranks} workers",
                got=config.accumulate,
                wanted=f"a multiple of {self.ranks}",
                hint=f"--set accumulate={self.ranks}",
            )

    def sum_gradients(self, network: nn.Module, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        """Add up the gradients of all processes in place; returns the sums of the loss terms.

        One message carries both, so all processes see the same numbers at the same step, NaN too.
        """
        if self.ranks == 1:
            return terms
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        tensors = [*gradients, *terms.values()]
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        distributed.all_reduce(flat)
        parts = torch.split(flat, [tensor.numel() for tensor in tensors])
        for gradient, part in zip(gradients, parts, strict=False):
            gradient.copy_(part.view(gradient.shape))
        sums = parts[len(gradients) :]
        return {name: part.reshape(()) for name, part in zip(terms, sums, strict=True)}

    def sum(self, value: float, device: torch.device) -> float:
        """The sum of what the processes have."""
        if self.ranks == 1:
            return value
        summed = torch.tensor([value], dtype=torch.float64, device=device)
        distributed.all_reduce(summed)
        return float(summed)

    def broadcast(self, go_on: bool, device: torch.device) -> bool:
        """The first process's ``go_on``, for all of them; the others' own value does not count."""
        if self.ranks == 1:
            return go_on
        flag = torch.tensor([float(go_on)], device=device)
        distributed.broadcast(flag, src=0)
        return bool(flag)

    def run_on_leader(
        self, judge: Callable[[], dict[str, float]], device: torch.device
    ) -> dict[str, float]:
        """What the first process finds out; the others wait and learn its ``val_psnr``.

        Raises:
            DivergedError: From ``judge``; in all processes.
        """
        if self.ranks == 1:
            return judge()
        verdict = torch.full((1,), float("nan"), dtype=torch.float64, device=device)
        found: dict[str, float] = {}
        try:
            if self.leads:
                found = judge()
                verdict.fill_(found["val_psnr"])
        finally:
            distributed.broadcast(verdict, src=0)
        if not self.leads:
            found = {"val_psnr": float(verdict)}
            if verdict.isnan():
                raise DivergedError("the first worker's validation failed")
        return found


ALONE = Team()
"""A single process."""
