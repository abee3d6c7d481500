"""The conformance test of networks.

Shape letters: B batch, K tracer (2), T frame, Y X pixel.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime
import torch

from dtsinn.core.config import from_mapping, to_mapping
from dtsinn.core.errors import InputError
from dtsinn.deploy.onnx_graphs import InferenceGraph, write_inference_graph
from dtsinn.networks.conditioning import FEATURES
from dtsinn.networks.invertible import relative_error
from dtsinn.networks.method import MethodConfig
from dtsinn.networks.separator import ClosedFormNetwork, SeparatorNetwork
from dtsinn.testing.require import drawn, own_random, redraw, require

FRAMES = 3
SIZES = ((1, 1), (5, 7), (6, 9))
"""Sides of slices, in units of the network's divisor."""
SMALL = {"width": 4, "depth": 3, "blocks": 1}
"""Settings of a small network, where it has them."""
STEPS = 3
"""At the first, zeros at the end of the network, or of a part of it, let nothing through."""
EXACT = 1e-6
"""Largest relative error of an inverse in double precision (uncited)."""
PARITY = 1e-4
"""Largest relative error of ONNX Runtime against torch, as the export of a package has it."""


def small_config(network: type[SeparatorNetwork]) -> Any:
    """A configuration of a small network: its defaults, but few channels and layers.

    Args:
        network: The class.
    """
    known: Any = network.Config
    return known(**{key: value for key, value in SMALL.items() if hasattr(known, key)})


def check_network(network: type[SeparatorNetwork], config: Any = None) -> None:
    """Try what :class:`dtsinn.networks.separator.SeparatorNetwork` promises.

    Args:
        network: The class; it need not be in the dictionary.
        config: A configuration of it, such as for options that the defaults leave out; None is
            :func:`small_config`.

    Raises:
        AssertionError: A promise does not hold.
    """
    name = network.__name__
    require(issubclass(network, SeparatorNetwork), f"{name} inherits from SeparatorNetwork")
    config = _check_config(network, small_config(network) if config is None else config)

    def make(frames: int = FRAMES, seed: int = 0) -> SeparatorNetwork:
        return _make(network, config, frames, seed)

    _check_start(make, name)
    _check_answers(make, name)
    _check_gradient(make(), name)
    if issubclass(network, ClosedFormNetwork):
        _check_fit(make, name)
    _check_copies(make, name)


def check_export(network: type[SeparatorNetwork], config: Any = None) -> None:
    """Try that ONNX Runtime answers as torch does; this takes seconds.

    Args:
        network: The class; it need not be in the dictionary.
        config: A configuration of it; None is :func:`small_config`.

    Raises:
        RunError: The network cannot be exported.
        AssertionError: The answers differ.
    """
    made = _make(network, small_config(network) if config is None else config)
    redraw(made)
    graph = InferenceGraph(made.float().frozen(), torch.full((FRAMES,), 60.0))
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        path = Path(folder) / "model.onnx"
        write_inference_graph(graph, path)
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        for size in ((9, 6), (16, 5)):
            mixture_BTYX = drawn(2, FRAMES, *size).float()
            found, _ = session.run(None, {"mixture": mixture_BTYX.numpy()})
            error = relative_error(torch.as_tensor(found), graph(mixture_BTYX)[0])
            what = f"{network.__name__}: ONNX Runtime answers as torch does, to {PARITY:g}"
            require(error < PARITY, what)


def _make(
    network: type[SeparatorNetwork], config: Any, frames: int = FRAMES, seed: int = 0
) -> SeparatorNetwork:
    """A network in double precision, told of a protocol where it listens."""
    build: Callable[[int, Any, int], SeparatorNetwork] = network
    with own_random():
        made = build(frames, config, seed).double()
    if made.conditioned:
        made.condition_on(drawn(frames, FEATURES))
    return made


def _check_config(network: type[SeparatorNetwork], config: Any) -> Any:
    """The class's facts and its configuration, read again from plain data."""
    name, made = network.__name__, type(config)
    require(bool(network.title), f"{name}.title says what reports call it")
    closed = issubclass(network, ClosedFormNetwork)
    require(network.learning == ("closed form" if closed else "gradient"), f"{name} is trained")
    require(network.has_weights, f"{name} has weights")
    require(issubclass(made, MethodConfig), f"{made.__name__} inherits from MethodConfig")
    require(isinstance(config, network.Config), f"{made.__name__} is {name}.Config")
    params: Any = getattr(made, "__dataclass_params__", None)
    require(params is not None and params.frozen, f"{made.__name__} is a frozen dataclass")
    again = from_mapping(made, to_mapping(config), name)
    require(again == config, f"{made.__name__} survives its plain form")
    try:
        from_mapping(made, to_mapping(config) | {"no_such_setting": 1}, name)
    except InputError:
        return again
    raise AssertionError(f"{made.__name__} refuses unknown settings")


def _check_start(make: Callable[..., SeparatorNetwork], name: str) -> None:
    """The seed alone decides the weights."""
    first = make()
    with own_random():
        torch.rand(3)  # moves the global generator, which has no say
        again = make()
    other = make(seed=1)
    same, different = (
        all(torch.equal(a, b) for a, b in zip(first.parameters(), one.parameters(), strict=True))
        for one in (again, other)
    )
    require(same, f"{name}: one seed gives the same weights every time")
    draws = first.learning == "gradient"
    require(not (draws and different), f"{name}: another seed gives other weights")
    require(first.frames == FRAMES, f"{name} keeps its number of frames")


@torch.no_grad()
def _check_answers(make: Callable[..., SeparatorNetwork], name: str) -> None:
    """Shapes, finite numbers, samples by themselves, and the inverse where there is one."""
    for frames in (1, FRAMES):
        network = make(frames)
        redraw(network)
        for size in SIZES:
            sides = [side * network.divisor for side in size]
            mixture_BTYX = drawn(3, frames, *sides)
            answer_BKTYX = network(mixture_BTYX)
            what = f"{name}: a mixture of {frames} frames and {sides[0]} x {sides[1]} pixels"
            require(answer_BKTYX.shape == (3, 2, frames, *sides), f"{what} gives two tracers")
            require(bool(torch.isfinite(answer_BKTYX).all()), f"{what} gives finite numbers")
            alone_BKTYX = torch.cat([network(one[None]) for one in mixture_BTYX])
            require(
                relative_error(answer_BKTYX, alone_BKTYX) < EXACT,
                f"{name}: samples of a batch do not see each other",
            )
            if network.exact:
                latent = network.latent(mixture_BTYX, answer_BKTYX)
                require(
                    type(network).inverse is not SeparatorNetwork.inverse
                    and relative_error(network.inverse(answer_BKTYX, latent), mixture_BTYX) < EXACT,
                    f"{name}: what is mixed again is the mixture, for it says that it is exact",
                )


def _check_gradient(network: SeparatorNetwork, name: str) -> None:
    """A gradient reaches every weight, once a few steps have left the zeros of the start."""
    truth_BKTYX = drawn(2, 2, FRAMES, *(8 * network.divisor,) * 2)
    mixture_BTYX = truth_BKTYX.sum(dim=1)
    parameters = {key: p for key, p in network.named_parameters() if p.requires_grad}
    require(bool(parameters), f"{name} has weights to train")
    for _ in range(STEPS):
        network.zero_grad()
        loss = (network(mixture_BTYX) - truth_BKTYX).square().mean()
        loss.backward()
        reached = {key: p.grad is not None and bool(p.grad.any()) for key, p in parameters.items()}
        with torch.no_grad():
            for parameter in parameters.values():
                if parameter.grad is not None:
                    parameter.sub_(0.1 * parameter.grad)
    lost = [key for key, there in reached.items() if not there]
    require(not lost, f"{name}: a gradient reaches every weight, also {', '.join(lost)}")


@torch.no_grad()
def _check_fit(make: Callable[..., Any], name: str) -> None:
    """The moments of samples add up, and their solution is better than an equal split."""
    network, again = make(), make()
    side = 6 * network.divisor
    truth_BKTYX = drawn(3, 2, FRAMES, side, side) * torch.tensor([1.0, 2.0])[:, None, None, None]
    mixture_BTYX = truth_BKTYX.sum(dim=1)
    body_BYX = drawn(3, side, side) > 0
    given = (mixture_BTYX, truth_BKTYX, body_BYX)
    start = (network(mixture_BTYX) - truth_BKTYX).movedim((1, 2), (-2, -1))[body_BYX]
    for turn in range(network.rounds):
        whole = network.moments(*given, turn)
        parts = sum(network.moments(*(one[n : n + 1] for one in given), turn) for n in range(3))
        require(relative_error(whole, parts) < EXACT, f"{name}: the moments of samples add up")
        for one in (network, again):
            one.solve(whole, turn)
    found_BKTYX = network(mixture_BTYX)
    fitted = (found_BKTYX - truth_BKTYX).movedim((1, 2), (-2, -1))[body_BYX]
    require(
        bool(fitted.square().sum() < start.square().sum()),
        f"{name}: what it is fitted to it separates better than an equal split",
    )
    require(torch.equal(again(mixture_BTYX), found_BKTYX), f"{name}: one sum has one solution")


@torch.no_grad()
def _check_copies(make: Callable[..., SeparatorNetwork], name: str) -> None:
    """The state holds all, on any device, and a frozen copy answers the same."""
    network, other = make(), make(seed=1)
    redraw(network)
    mixture_BTYX = drawn(2, FRAMES, *(4 * network.divisor,) * 2)
    answer_BKTYX = network(mixture_BTYX)
    other.load_state_dict(network.state_dict(), strict=True)
    require(torch.equal(other(mixture_BTYX), answer_BKTYX), f"{name}: its state is all that it is")
    frozen = network.frozen()
    found = relative_error(frozen(mixture_BTYX), answer_BKTYX)
    require(found < EXACT, f"{name}: a frozen copy answers the same")
    require(
        not frozen.training and not any(p.requires_grad for p in frozen.parameters()),
        f"{name}: nothing of a frozen copy is trained",
    )
    require(network.training, f"{name}: a frozen copy leaves the network as it is")
    with torch.device("meta"):
        outline = type(network)(FRAMES, network.config, 0)  # type: ignore[call-arg]
    shapes = [
        {key: tuple(value.shape) for key, value in one.state_dict().items()}
        for one in (outline, network)
    ]
    require(shapes[0] == shapes[1], f"{name}: it can be outlined without memory")
