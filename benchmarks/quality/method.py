"""What the benchmark asks of every method, whatever it is made of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from benchmarks.quality.budget import Plan, Round
from benchmarks.quality.cost import Cost
from benchmarks.quality.search import Parameters, Space
from dtsinn.core.errors import InputError
from dtsinn.data.store import Store
from dtsinn.networks.method import SeparateSubject


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A method that is ready to separate, and what it took."""

    separate: SeparateSubject | None
    """None where the training diverged."""
    cpu_seconds: float = 0.0
    """Process CPU time from the first sample to the last step, validations between included."""
    val_psnr: float | None = None
    """Mean over ``val`` subjects and tracers, dB; None where the training diverged."""
    round_trip_error: float | None = None
    """Relative; None where there is no inverse."""
    weights: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """A row of the tables."""

    name: str
    """As the command line knows it."""
    title: str
    """As the tables show it."""
    role: Literal["floor", "rival", "published", "twin", "ours"]
    trained: bool = True
    """It has a budget of CPU seconds and seeds; else one run gives all there is."""

    @property
    @abstractmethod
    def modules(self) -> tuple[str, ...]:
        """Modules whose code decides the result; a change there makes new jobs."""

    @property
    def space(self) -> Space:
        """What the search moves; nothing where the settings are given."""
        return {}

    @abstractmethod
    def settings(self, parameters: Parameters) -> dict[str, Any]:
        """Everything that a training needs but budget and seed, as plain data."""

    def rounds(self, store: Store, settings: Mapping[str, Any]) -> Iterator[Round]:
        """Rounds of training whose seconds are measured, without an end."""
        raise InputError(f"{self.name} is not trained")

    @abstractmethod
    def fit(self, store: Store, settings: Mapping[str, Any], plan: Plan, seed: int) -> Fitted:
        """Train on the ``train`` subjects and keep what is best on the ``val`` subjects."""

    def load(self, store: Store, settings: Mapping[str, Any], weights: Path) -> Fitted:
        """What an earlier :meth:`fit` left in a file."""
        raise InputError(f"{self.name} keeps no weights")

    def cost(self, store: Store, settings: Mapping[str, Any]) -> Cost | None:
        """Size and work; None where there is no network."""
        return None
