"""The loss of a training: which terms, with which weights, in which order.

Terms of the separating pass share one run of the network; the mixing pass runs it backwards. A
training differentiates the first pass before the second one begins, so that the activations of
only one of them are in memory. All activities are in units of the sample's scale.
Shape letters: B batch, K tracer (2), T frame, Y X pixel.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, make_dataclass
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from dtsinn.core.config import STRICT
from dtsinn.core.errors import InputError
from dtsinn.core.kinds import Kinds
from dtsinn.networks.build import kinds_with
from dtsinn.networks.separator import SeparatorNetwork
from dtsinn.training import terms
from dtsinn.training.loss_term import LossBatch, LossTerm, LossTiming

TERMS: Kinds[LossTerm] = Kinds(
    "loss term",
    LossTerm,  # type: ignore[type-abstract]
    {
        "forward": terms.Forward,
        "backward": terms.Backward,
        "consistency": terms.Consistency,
        "structure": terms.Structure,
        "time_activity": terms.TimeActivity,
        "non_negativity": terms.NonNegativity,
    },
    group="dtsinn.losses",
)
"""The terms by name, which is that of their weight too."""
MAIN = "forward"
"""The term whose weight does not rise over :attr:`LossConfig.ramp`."""

_OPTIONS: list[Any] = [term.Options for term in TERMS.own.values() if hasattr(term, "Options")]
_OUTSIDE = Annotated[float, Field(exclude_if=lambda weight: weight == 0)]
"""A weight of 0 is not written, so that a file that does without a term is read without it."""


def _weights() -> Any:
    """A class with the weight of each term as a field; nothing of other packages is loaded."""
    own = [(name, float, term.weight) for name, term in TERMS.own.items()]
    taken = {"ramp", *(name for options in _OPTIONS for name in options.__dataclass_fields__)}
    names = [name for name in TERMS.outside if name.isidentifier() and name not in taken]
    fields = [*own, *((name, _OUTSIDE, 0.0) for name in names)]
    return make_dataclass("Weights", fields, frozen=True, kw_only=True)


@dataclass(frozen=True, kw_only=True)
class LossConfig(*_OPTIONS, _weights()):  # type: ignore[misc]
    """Weights of the loss terms, and their options.

    A weight of 0 leaves a term out, and its cost too.
    """

    __pydantic_config__ = STRICT

    ramp: float = 0.0
    """Part of the training over which all weights but ``forward`` rise linearly from 0."""

    def __post_init__(self) -> None:
        weights = self.weights(1.0)
        for name, weight in weights.items():
            if not 0 <= weight <= 1e6:
                raise InputError(f"loss.{name}", got=weight, wanted="0 to 1e6")
        if not 0 <= self.ramp <= 1:
            raise InputError("loss.ramp", got=self.ramp, wanted="a number in [0, 1]")
        if not any(TERMS[name].sufficient for name, weight in weights.items() if weight):
            sufficient = [f"loss.{name}" for name, term in TERMS.own.items() if term.sufficient]
            raise InputError(f"{' and '.join(sufficient)} are both 0", wanted="one above 0")
        if self.forward == 0 and self.backward_target == "own":
            raise InputError(
                "loss.backward_target own teaches nothing by itself", wanted="loss.forward above 0"
            )
        if self.forward == 0 and self.ramp > 0:
            raise InputError(
                "loss.ramp starts a training without any loss", wanted="loss.forward above 0"
            )

    def weights(self, share: float) -> dict[str, float]:
        """The weight of every term when the part ``share`` of the training is done."""
        risen = min(1.0, share / self.ramp) if self.ramp else 1.0
        weights = {name: getattr(self, name, 0.0) for name in TERMS}
        return {name: w if name == MAIN else risen * w for name, w in weights.items()}

    def check_inverse(self, kind: str, learned: bool) -> None:
        """Refuse terms that teach an inverse of a network that has none, or one that is fixed.

        Args:
            kind: The network's kind.
            learned: Whether it has an inverse that can be trained.

        Raises:
            InputError: A term with a weight needs one.
        """
        for name, weight in self.weights(1.0).items():
            if weight and not learned and TERMS[name].needs_inverse:
                able = " or ".join(kinds_with(exact=True, has_latent=False))
                raise InputError(
                    f"loss.{name} needs an inverse that is learned",
                    got=f"{weight:g} with model.kind {kind}",
                    wanted=f"0, or model.kind {able}",
                )


def loss_passes(
    network: SeparatorNetwork,
    mixture_BTYX: Tensor,
    tracers_BKTYX: Tensor,
    timing: LossTiming,
    config: LossConfig,
    share: float,
    regions_BYX: Tensor | None = None,
) -> Iterator[dict[str, Tensor]]:
    """The weighted terms by name, pass by pass; their sum is what training minimises.

    Nothing of a mixing pass is computed before the iterator is asked for it.

    Args:
        network: Mixtures -> tracers.
        mixture_BTYX: What was measured, in scales.
        tracers_BKTYX: The truth, in scales.
        timing: Of the protocol.
        config: Which terms.
        share: Part of the training that is done, in [0, 1).
        regions_BYX: Labels of regions, where there are any.

    Yields:
        The terms of the separating pass, then each term that needs the inverse; a pass without
        terms is left out.

    Raises:
        InputError: ``backward`` is asked of a network without an inverse.
    """
    config.check_inverse(network.config.kind, network.exact and not network.has_latent)
    weights = {name: weight for name, weight in config.weights(share).items() if weight}
    mixing = [name for name in weights if TERMS[name].needs_inverse]

    def one_pass(*names: str) -> dict[str, Tensor]:
        batch = LossBatch(
            network=network,
            mixture_BTYX=mixture_BTYX,
            tracers_BKTYX=tracers_BKTYX,
            timing=timing,
            regions_BYX=regions_BYX,
        )
        return {name: weights[name] * TERMS[name].value(batch, config) for name in names}

    if len(weights) > len(mixing):
        yield one_pass(*(name for name in weights if name not in mixing))
    yield from map(one_pass, mixing)


def total(weighted: dict[str, Tensor]) -> Tensor:
    """The sum of the weighted terms."""
    return torch.stack(list(weighted.values())).sum()
