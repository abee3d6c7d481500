"""What every method of separation promises, whatever it is: the contract behind ``model.kind``.

Shape letters: N sample (slice), K tracer (2), T frame, Y X pixel.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from dtsinn.core.config import STRICT, to_mapping
from dtsinn.core.errors import InputError
from dtsinn.data.store import Samples, Store

MOST = {"blocks": 10_000, "depth": 10_000, "terms": 10_000, "levels": 10}
"""Largest number of parts that a method has one after the other (uncited): more are never built
in a life."""

Learning = Literal["gradient", "closed form", "nothing"]
"""How a method comes by its weights: by steps of an optimiser, by one solution of equations that
are summed over a store, or not at all."""
SeparateSubject = Callable[[Samples], NDArray[np.floating[Any]]]
"""All slices of one subject -> tracers [N, K, T, Y, X] in kBq/mL."""


@dataclass(frozen=True, kw_only=True)
class MethodConfig:
    """The settings of a method, under ``model`` in a run's configuration.

    A kind inherits from it as a frozen, keyword-only dataclass. Its ``kind`` is a
    ``Literal["the-name"]`` with that name as default, every other field has a default too, and
    ``__post_init__`` refuses what cannot be built (:func:`check_least`). Unknown keys are errors.
    """

    __pydantic_config__ = STRICT

    kind: str


class Method(ABC):
    """A way to separate mixtures into two tracers.

    An implementer promises the class attributes below. What more there is depends on ``learning``:
    a method with weights is a :class:`dtsinn.networks.separator.SeparatorNetwork`; one that learns
    nothing is an :class:`UntrainedMethod`. Callers ask these attributes, never for a name.

    Attributes:
        Config: Its configuration, a :class:`MethodConfig`.
        title: What reports and tables call it.
        learning: How it comes by its weights.
        has_weights: There is something to package, register and promote.
        exact: There is an inverse, and it is exact up to rounding.
        has_latent: It carries latent channels, with which its inverse is exact. Nothing about that
            inverse can be trained.
    """

    Config: ClassVar[type[MethodConfig]]
    title: ClassVar[str]
    learning: ClassVar[Learning]
    has_weights: ClassVar[bool]
    exact: ClassVar[bool] = False
    has_latent: ClassVar[bool] = False

    @classmethod  # noqa: B027 -- most methods need nothing more
    def check_store(cls, store: Store) -> None:
        """Refuse a store that lacks what the method must know beside mixtures and true tracers.

        Raises:
            InputError: It does, and which arrays are missing.
        """


class UntrainedMethod(Method):
    """A method without weights: all it knows of a subject is what the store says of it.

    An implementer promises :meth:`fits` and :meth:`on`, and a ``description`` for reports. Its
    answers depend on the configuration and on the subject alone, and it never looks at the truth.

    Args:
        config: Its configuration; None is the defaults.
    """

    learning = "nothing"
    has_weights = False
    description: ClassVar[str]

    def __init__(self, config: Any = None) -> None:
        self.config: Any = self.Config() if config is None else config  # type: ignore[call-arg]

    @property
    def settings(self) -> Mapping[str, Any]:
        """All that decides its answers, as plain data."""
        return to_mapping(self.config)

    @abstractmethod
    def fits(self, store: Store) -> str:
        """Why it cannot separate the subjects of ``store``, or "" if it can."""

    @abstractmethod
    def on(self, store: Store) -> SeparateSubject:
        """The function that separates the subjects of a store which the method fits."""


def check_least(config: Any, **least: int) -> None:
    """Refuse settings below what can be built, or beyond what ever is.

    Args:
        config: The configuration.
        least: The smallest value of each setting.

    Raises:
        InputError: A setting is below it, or above :data:`MOST`.
    """
    for name, value in least.items():
        given = getattr(config, name)
        if given < value:
            raise InputError(f"model.{name}", got=given, wanted=f"at least {value}")
        if given > MOST.get(name, given):
            raise InputError(f"model.{name}", got=given, wanted=f"at most {MOST[name]}")
