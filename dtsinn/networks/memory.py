"""How coupling blocks keep activations for the gradient: all of them, few, or none.

``plain`` lets autograd keep all. ``checkpoint`` keeps what goes into each block and computes the
rest of a block again when its gradient is due. ``reversible`` keeps nothing but the last output:
each block finds its input from its output by running backwards and hands it to the block before
it, so the memory of a step does not grow with depth.

Running backwards multiplies rounding errors where a network is wild, so each block compares what
it finds with a few values of its true input, and does not go on from anything else.

Shape letters: B batch, T frame, C channel, Y X pixel, F feature.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from dtsinn.core.errors import DivergedError
from dtsinn.networks.coupling import Conditioner, CouplingBlock, Precision, SubnetContext
from dtsinn.networks.squeezes import Squeeze

Memory = Literal["plain", "checkpoint", "reversible"]
Direction = Literal["forward", "inverse"]

RECOVERY_LIMITS: dict[Precision, float] = {"float32": 1e-2, "bf16": 1e-1}
"""Largest relative difference of a recovered input from the true one (uncited; measured with last
convolutions of SD 0.02 to 0.1 and from the Xavier start). In float32 it is 5e-7 where a network is
tame, and the gradient is off by up to ten times as much. With bf16 subnets it is 1e-3; at the limit
the gradient is off by 1e-2, which is what their rounding does to it anyway."""
PROBES = 8
"""Channels, rows and columns of an input whose values are kept to compare (uncited)."""
RMS_FLOOR = 1e-3
"""Least size of an input, in units of the sample's scale, that differences are relative to: an
empty slice has none (uncited)."""


@dataclass(frozen=True, kw_only=True)
class Link:
    """A block, and the squeeze before it if there is one."""

    squeeze: Squeeze | None
    block: CouplingBlock
    name: str
    """For messages."""

    def run(self, x_BCYX: Tensor, direction: Direction, context: SubnetContext) -> Tensor:
        """Squeeze and block in one direction; the two directions undo each other."""
        if direction == "forward":
            return self.block(self.squeezed(x_BCYX), context)  # type: ignore[no-any-return]
        return self.spread(self.block.inverse(x_BCYX, context))

    def squeezed(self, x_BCYX: Tensor) -> Tensor:
        """After the squeeze."""
        return self.squeeze.forward(x_BCYX) if self.squeeze else x_BCYX

    def spread(self, x_BCYX: Tensor) -> Tensor:
        """Before the squeeze; also the squeeze's gradient, as all squeezes are orthogonal."""
        return self.squeeze.inverse(x_BCYX) if self.squeeze else x_BCYX


def run_links(
    links: Sequence[Link],
    x_BCYX: Tensor,
    direction: Direction,
    context: SubnetContext,
    memory: Memory,
) -> Tensor:
    """Run all links, one after the other, and keep for the gradient what ``memory`` says.

    Args:
        links: In the order in which they run.
        x_BCYX: Goes into the first one.
        direction: In which each link runs.
        context: What the subnets get beside their input.
        memory: See the module.

    Raises:
        DivergedError: In the backward pass of ``reversible``: an input cannot be recovered.
    """
    relay = _Relay()
    for number, link in enumerate(links, 1):
        if memory == "plain":
            x_BCYX = link.run(x_BCYX, direction, context)
        elif memory == "checkpoint":
            x_BCYX = checkpoint(
                link.run, x_BCYX, direction, context, use_reentrant=False, preserve_rng_state=False
            )
        else:
            plan = _Plan(
                link=link,
                direction=direction,
                context=context,
                relay=relay,
                first=number == 1,
                last=number == len(links),
            )
            x_BCYX = _Reversible.apply(plan, x_BCYX, *link.block.parameters())  # type: ignore[no-untyped-call]
    return x_BCYX


class _Relay:
    """Hands what one block recovered, its input, to the block before it, whose output that is."""

    def __init__(self) -> None:
        self._held: list[Tensor] = []

    def hand_on(self, x_BCYX: Tensor) -> None:
        self._held = [x_BCYX]

    def take(self) -> Tensor:
        return self._held.pop()


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """What a reversible block must know of its pass."""

    link: Link
    direction: Direction
    context: SubnetContext
    relay: _Relay
    first: bool
    """No block before it needs what it recovers."""
    last: bool
    """Its output is kept; all others' outputs are recovered."""


class _Reversible(torch.autograd.Function):
    """One link that keeps no input; one function a block, so that gradients are freed early."""

    @staticmethod
    def forward(ctx: Any, plan: _Plan, x_BCYX: Tensor, *parameters: Tensor) -> Tensor:
        y_BCYX = plan.link.run(x_BCYX, plan.direction, plan.context)
        ctx.plan, ctx.fingerprint = plan, _Fingerprint.of(x_BCYX)
        if plan.last:
            ctx.save_for_backward(y_BCYX)
        return y_BCYX

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BCYX: Tensor) -> tuple[Any, ...]:
        plan: _Plan = ctx.plan
        held_BCYX = ctx.saved_tensors[0] if plan.last else plan.relay.take()
        pull = _Pull(plan.link.block, ctx.needs_input_grad[2:], plan.context)
        back = _back_forward if plan.direction == "forward" else _back_inverse
        held_BCYX, grad_BCYX = back(plan.link, pull, held_BCYX, grad_BCYX)
        ctx.fingerprint.check(held_BCYX, RECOVERY_LIMITS[plan.context.precision], plan.link.name)
        if not plan.first:
            plan.relay.hand_on(held_BCYX)
        return None, grad_BCYX, *pull.gradients


@dataclass(frozen=True, kw_only=True)
class _Fingerprint:
    """A few numbers of a block's input, by which a recovered one is known to be wrong."""

    rms: Tensor
    """Root mean square of all values."""
    probes: Tensor
    """Some values, spread over channels and pixels."""

    @classmethod
    def of(cls, x_BCYX: Tensor) -> _Fingerprint:
        step_C, step_Y, step_X = (-(-size // PROBES) for size in x_BCYX.shape[1:])
        probes = x_BCYX[:, ::step_C, ::step_Y, ::step_X].clone()
        return cls(rms=x_BCYX.norm() / x_BCYX.numel() ** 0.5, probes=probes)

    def check(self, x_BCYX: Tensor, limit: float, name: str) -> None:
        again = self.of(x_BCYX)
        probed = (again.probes - self.probes).square().mean().sqrt()
        off = torch.maximum(probed, (again.rms - self.rms).abs())
        difference = float(off / self.rms.clamp_min(RMS_FLOOR))
        if not difference <= limit:  # NaN too
            raise DivergedError(
                f"{name} cannot be run backwards to recover its input",
                got=f"a relative error of {difference:.2g}",
                wanted=f"at most {limit:g}",
                hint="memory=checkpoint or a lower learning rate",
            )


class _Pull:
    """Pulls gradients back through the parts of a block, and gathers those of its parameters."""

    def __init__(
        self, block: CouplingBlock, wanted: Sequence[bool], context: SubnetContext
    ) -> None:
        self.context = context
        self._parameters = list(block.parameters())
        self._places = [place for place, want in enumerate(wanted) if want]
        self.gradients: list[Tensor | None] = [None] * len(self._parameters)

    def __call__(self, outputs: Sequence[Tensor], given: Sequence[Tensor], leaf: Tensor) -> Tensor:
        """The gradient of ``leaf``, from those ``given`` of ``outputs``, whose graph is freed."""
        inputs = [leaf, *(self._parameters[place] for place in self._places)]
        found = torch.autograd.grad(outputs, inputs, given, allow_unused=True)
        for place, gradient in zip(self._places, found[1:], strict=True):
            if gradient is not None:
                self.gradients[place] = gradient
        return found[0]


def _back_forward(
    link: Link, pull: _Pull, y_BCYX: Tensor, grad_BCYX: Tensor
) -> tuple[Tensor, Tensor]:
    """Input and its gradient, from output and its gradient, of a link that ran forward.

    The couplings are undone with the very subnet outputs that the gradient needs, so each subnet
    is computed once.
    """
    block, (y1, y2), (grad_y1, grad_y2) = link.block, _halves(y_BCYX), _halves(grad_BCYX)
    x2, grad_x2, grad = _undone(pull, block.on_second, y1, y2, grad_y2)
    grad_y1 = grad_y1 + grad
    x1, grad_x1, grad = _undone(pull, block.on_first, x2, y1, grad_y1)
    grad_x2 = grad_x2 + grad
    leaf = _leaf(block.mixing.inverse(torch.cat((x1, x2), dim=1)))
    with torch.enable_grad():
        again_BCYX = block.mixing(leaf)
    grad_BCYX = pull((again_BCYX,), (torch.cat((grad_x1, grad_x2), dim=1),), leaf)
    return link.spread(leaf.detach()), link.spread(grad_BCYX)


def _back_inverse(
    link: Link, pull: _Pull, x_BCYX: Tensor, grad_BCYX: Tensor
) -> tuple[Tensor, Tensor]:
    """The same of a link that ran backwards, whose input is y and whose output is x."""
    block = link.block
    leaf = _leaf(block.mixing(link.squeezed(x_BCYX)))
    with torch.enable_grad():
        again_BCYX = block.mixing.inverse(leaf)
    grad_x1, grad_x2 = _halves(pull((again_BCYX,), (link.squeezed(grad_BCYX),), leaf))
    x1, x2 = _halves(leaf.detach())
    y1, grad_y1, grad = _done_again(pull, block.on_first, x2, x1, grad_x1)
    grad_x2 = grad_x2 + grad
    y2, grad_y2, grad = _done_again(pull, block.on_second, y1, x2, grad_x2)
    grad_y1 = grad_y1 + grad
    return torch.cat((y1, y2), dim=1), torch.cat((grad_y1, grad_y2), dim=1)


def _undone(
    pull: _Pull, conditioner: Conditioner, other: Tensor, y: Tensor, grad_y: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """x, its gradient and that of ``other``, where y = conditioner(other).forward(x)."""
    leaf = _leaf(other)
    with torch.enable_grad():
        affine = conditioner(leaf, pull.context)
    fixed = affine.detached()
    x = fixed.inverse(y)
    if affine.gain is None or fixed.gain is None:  # both or neither
        return x, grad_y, pull((affine.shift,), (grad_y,), leaf)
    return x, grad_y * fixed.gain, pull((affine.gain, affine.shift), (grad_y * x, grad_y), leaf)


def _done_again(
    pull: _Pull, conditioner: Conditioner, other: Tensor, x: Tensor, grad_x: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """y, its gradient and that of ``other``, where x = conditioner(other).inverse(y)."""
    leaf = _leaf(other)
    with torch.enable_grad():
        affine = conditioner(leaf, pull.context)
    fixed = affine.detached()
    y = fixed.forward(x)
    if affine.gain is None or fixed.gain is None:  # both or neither
        return y, grad_x, pull((affine.shift,), (-grad_x,), leaf)
    grad_y = grad_x / fixed.gain
    return y, grad_y, pull((affine.gain, affine.shift), (-grad_y * x, -grad_y), leaf)


def _leaf(x: Tensor) -> Tensor:
    return x.detach().requires_grad_()


def _halves(x_BCYX: Tensor) -> tuple[Tensor, Tensor]:
    first, second = x_BCYX.chunk(2, dim=1)
    return first, second
