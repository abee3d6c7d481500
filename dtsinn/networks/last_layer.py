"""The last layer of a trained network, solved in closed form.

Steps of an optimiser leave small offsets in frames of little activity, to which their loss is all
but blind and V_T is not. What the last convolution sees is fixed by then, so the best one is a
ridge regression: pixels of small regions weigh more, and air still counts for something.

Shape letters: B batch, K tracer (2), T frame, C channel, Y X pixel, F feature, O output (a frame of
one tracer).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from dtsinn.networks.corrected import CorrectedNetwork
from dtsinn.networks.moments import solve_ridge, sum_products
from dtsinn.networks.padding import cut, pad_to_multiple
from dtsinn.networks.separator import SeparatorNetwork

AIR = 0.2
"""What a pixel outside of the body counts for (uncited)."""
RIDGE = 1e-5
"""See :func:`dtsinn.networks.moments.solve_ridge` (uncited)."""


class LastLayer:
    """The equations of a network's last convolution, to be solved by ``closed_form.fit``."""

    rounds = 1
    balanced: ClassVar[bool] = True

    def __init__(self, network: CorrectedNetwork, tail: nn.Conv2d) -> None:
        self.network, self.tail = network, tail
        self.seen = threading.local()
        """Input and output of the convolution, of the thread that asks."""

    def parameters(self) -> Iterator[Tensor]:
        """The convolution's."""
        return self.tail.parameters()

    @torch.no_grad()
    def moments(
        self, mixture_BTYX: Tensor, tracers_BKTYX: Tensor, weight_BYX: Tensor, turn: int
    ) -> Tensor:
        """[F + O, F + O] products of what it sees and what it must give."""
        device, divisor = self.tail.weight.device, self.network.divisor
        mixture_BTYX, tracers_BKTYX, weight_BYX = (
            pad_to_multiple(values.to(device), divisor)
            for values in (mixture_BTYX, tracers_BKTYX, weight_BYX.float())
        )
        answer_BOYX = self.network(mixture_BTYX).flatten(1, 2)
        seen_BCYX, given_BOYX = self.seen.pair
        size = answer_BOYX.shape[-2:]
        wanted_BOYX = tracers_BKTYX.flatten(1, 2) - answer_BOYX + cut(given_BOYX, *size)
        features_BFYX = cut(self._features(seen_BCYX), *size)
        values = torch.cat((features_BFYX, wanted_BOYX), dim=1)
        return sum_products(values, weight_BYX.where(weight_BYX > 0, AIR))

    @torch.no_grad()
    def solve(self, moments: Tensor, turn: int) -> None:
        """Take the weights and the bias that the equations ask for."""
        weight, bias = self.tail.weight, self.tail.bias
        found_OF = solve_ridge(moments, weight[0].numel() + 1, RIDGE).to(weight)
        weight.copy_(found_OF[:, :-1].reshape(weight.shape))
        if bias is not None:
            bias.copy_(found_OF[:, -1])

    def _features(self, seen_BCYX: Tensor) -> Tensor:
        """The values under the kernel at each pixel, and 1: [B, F, Y, X]."""
        batch, _, height, width = seen_BCYX.shape
        kernel = self.tail.kernel_size
        padding = (kernel[0] // 2, kernel[1] // 2)
        under = functional.unfold(seen_BCYX, kernel, padding=padding)
        features = under.reshape(batch, -1, height, width)
        return torch.cat((features, torch.ones_like(features[:, :1])), dim=1)


@contextmanager
def last_layer(network: SeparatorNetwork) -> Iterator[LastLayer | None]:
    """The equations of ``network``'s last layer; None where that does not give frames."""
    tail = network.tails[-1] if isinstance(network, CorrectedNetwork) else None
    if tail is None or tail.out_channels != 2 * network.frames or tail.bias is None:
        yield None
        return
    layer = LastLayer(network, tail)  # type: ignore[arg-type]

    def keep(module: nn.Module, given: tuple[Tensor, ...], found: Tensor) -> None:
        layer.seen.pair = (given[0], found)

    handle = tail.register_forward_hook(keep)
    try:
        yield layer
    finally:
        handle.remove()
