"""A separator in use: mixtures in, two tracers out, and back.

Shape letters: N sample, K tracer (2), T frame, Y X pixel. Arrays are numpy, kBq/mL.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dtsinn.core.errors import InputError, StoreError
from dtsinn.core.numerics import relative_error
from dtsinn.deploy.onnx_graphs import InferenceGraph, InverseGraph
from dtsinn.deploy.package import SeparatorInfo, features_of, load_package, separator_digest
from dtsinn.networks.build import kinds_with
from dtsinn.networks.rivals.linear import LinearNetwork
from dtsinn.networks.separator import SeparatorNetwork

if TYPE_CHECKING:  # a separator runs without the storage libraries
    from dtsinn.data.store import StoreHeader

Float32Array = npt.NDArray[np.float32]

LEAST_SIZE = 4
"""Fewest rows or columns of a slice: below that it is an argument in the wrong order."""
BATCH = 8
"""Slices at a time: a compromise of speed and memory."""


class Separator:
    """A loaded separator package; :meth:`load` makes it.

    Attributes:
        info: What it is.
        network: The network, frozen, float32, on the CPU.
        digest: Digest of its weights and configuration.
        floor: The linear map fitted to its training stores; None where the package has none.
    """

    def __init__(
        self,
        network: SeparatorNetwork,
        info: SeparatorInfo,
        digest: str = "",
        floor: LinearNetwork | None = None,
    ) -> None:
        self.info, self.floor = info, floor
        self.digest = digest or separator_digest(network.state_dict(), info)
        frozen = network.frozen().to("cpu", torch.float32)
        self.network: SeparatorNetwork = frozen.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network.condition_on(features_of(info))
        self._inference = InferenceGraph(self.network, torch.tensor(info.frame_duration))

    @classmethod
    def load(cls, folder: Path | str) -> Separator:
        """The separator of the package ``folder``, which is verified first.

        Raises:
            PackageError: The package is damaged, incomplete or not what it says.
        """
        return cls(*load_package(Path(folder)))

    def for_protocol(self, header: StoreHeader) -> Separator:
        """This separator for the scans of a store.

        A conditioned network gets that store's frames, injections and half-lives, and its
        scale weighs the frames by their durations there. Every other network knows no times: it
        stays as it is.
        """
        if not self.network.conditioned:
            return self
        fitted = copy.copy(self)
        fitted.network = copy.deepcopy(self.network)
        fitted.network.condition_on(features_of(header))
        duration = torch.tensor(header.protocol.frame_duration)
        fitted._inference = InferenceGraph(fitted.network, duration)
        return fitted

    def separate(self, mixture_NTYX: npt.NDArray[Any], *, batch: int = BATCH) -> Float32Array:
        """Separate mixtures into the two tracers.

        Each slice has its own scale and is separated by itself, whatever the batch. Where the
        network halves the resolution, other sizes are padded with zeros and the answer is cut.

        Args:
            mixture_NTYX: Mixtures in kBq/mL, any float type, T as in the model.
            batch: Slices at a time, at least 1.

        Returns:
            Tracers [N, 2, T, Y, X] in kBq/mL, in the order of ``info.tracers``.

        Raises:
            InputError: Another shape or type, or values that are not finite.
        """
        mixture = self._as_input("mixture", mixture_NTYX, (self.info.frames,))
        samples, frames, height, width = mixture.shape
        tracers = np.empty((samples, 2, frames, height, width), np.float32)
        with torch.inference_mode():
            for part in _parts(samples, batch):
                tracers[part] = self._inference(_images(mixture[part]))[0].numpy()
        return tracers

    def scale(self, mixture_NTYX: npt.NDArray[Any]) -> Float32Array:
        """Scales [N] in kBq/mL by which :meth:`separate` divides; :meth:`mix` takes them.

        Raises:
            InputError: As for :meth:`separate`.
        """
        mixture = self._as_input("mixture", mixture_NTYX, (self.info.frames,))
        scale_N: Float32Array = self._inference.scale(torch.from_numpy(mixture)).numpy()
        return scale_N

    def mix(
        self,
        tracers_NKTYX: npt.NDArray[Any],
        scale_N: npt.NDArray[Any] | None = None,
        latent_NTYX: npt.NDArray[Any] | None = None,
        *,
        batch: int = BATCH,
    ) -> Float32Array:
        """Mix two tracers again: the inverse of :meth:`separate`.

        Args:
            tracers_NKTYX: Tracers [N, 2, T, Y, X] in kBq/mL.
            scale_N: Scales [N] in kBq/mL of the mixtures, from :meth:`scale`. Without them
                the rule is applied to the sum of the tracers, which is exact only where that
                sum equals the mixture. A network with latent channels needs none.
            latent_NTYX: What :meth:`latent` gave of the mixtures, kBq/mL; None is that of tracers
                alone, 0. Only a network with latent channels has any.
            batch: Slices at a time, at least 1.

        Returns:
            Mixtures [N, T, Y, X] in kBq/mL.

        Raises:
            InputError: Another shape or type, values that are not finite, scales not above 0; a
                network without an inverse, or slices that :meth:`separate` had to pad.
        """
        self._check_exact()
        tracers = self._as_input("tracers", tracers_NKTYX, (2, self.info.frames))
        _check_divisible(tracers.shape[-2:], self.network.divisor)
        if self.network.has_latent:
            beside = self._as_latent(latent_NTYX, tracers)
        elif latent_NTYX is None:
            if scale_N is None:
                scale_N = self._inference.scale(torch.from_numpy(tracers.sum(axis=1))).numpy()
            beside = _check_scale(scale_N, len(tracers))
        else:
            got = f"some for a network of kind {self.info.model.kind}"
            raise InputError("latent channels", got=got, wanted="none")
        inverse = InverseGraph(self.network)
        mixture = np.empty((len(tracers), *tracers.shape[2:]), np.float32)
        with torch.inference_mode():
            for part in _parts(len(tracers), batch):
                given = torch.from_numpy(tracers[part]), torch.from_numpy(beside[part])
                mixture[part] = inverse(*given).numpy()
        return mixture

    def round_trip_error(self, mixture_NTYX: npt.NDArray[Any]) -> float:
        """Relative error of mixing again what was separated: its norm over the mixture's norm.

        Raises:
            InputError: As for :meth:`separate` and :meth:`mix`.
        """
        self._check_exact()
        mixture = self._as_input("mixture", mixture_NTYX, (self.info.frames,))
        tracers = self.separate(mixture)
        again = self.mix(tracers, self.scale(mixture), self.latent(mixture, tracers))
        return relative_error(again, mixture)

    def latent(
        self, mixture_NTYX: npt.NDArray[Any], tracers_NKTYX: npt.NDArray[Any]
    ) -> Float32Array | None:
        """What :meth:`mix` needs beside the tracers that mixtures were separated into, kBq/mL.

        Returns:
            Latent channels [N, T, Y, X]; None where the network has none.
        """
        if not self.network.has_latent:
            return None
        found = self.network.latent(torch.from_numpy(mixture_NTYX), torch.from_numpy(tracers_NKTYX))
        return None if found is None else found.numpy()

    def _as_latent(
        self, latent_NTYX: npt.NDArray[Any] | None, tracers_NKTYX: Float32Array
    ) -> Float32Array:
        """Latent channels as torch takes them; 0 where none are given."""
        wanted = (len(tracers_NKTYX), *tracers_NKTYX.shape[2:])
        if latent_NTYX is None:
            return np.zeros(wanted, np.float32)
        latent = self._as_input("latent channels", latent_NTYX, (self.info.frames,))
        if latent.shape != wanted:
            raise InputError("shape of the latent channels", got=latent.shape, wanted=wanted)
        return latent

    def fits(self, header: StoreHeader) -> str:
        """Why it cannot be applied to a store, or "" if it can.

        An equal number of frames is enough for it to run: the network knows no times, or is told
        of others by :meth:`for_protocol`. How well it does on other frame times or on another
        tracer pair is for an evaluation to say.
        """
        frames = header.protocol.frames
        if frames != self.info.frames:
            return f"store has {frames} frames, model {self.info.frames}"
        if min(header.size) < LEAST_SIZE:
            return f"store has {header.size[0]}x{header.size[1]} pixels, model takes 4x4 and more"
        return ""

    def check_fits(self, header: StoreHeader) -> None:
        """Refuse a store that it cannot be applied to.

        Raises:
            StoreError: What :meth:`fits` says.
        """
        reason = self.fits(header)
        if reason:
            raise StoreError(
                f"{header.path}: {reason}",
                hint=f"a store of {self.info.frames} frames, or another model",
            )

    def _check_exact(self) -> None:
        if not self.network.exact:
            raise InputError(
                "no inverse",
                got=f"a network of kind {self.info.model.kind}",
                wanted=f"one of kind {' or '.join(kinds_with(exact=True))}",
            )

    def _as_input(
        self, name: str, values: npt.NDArray[Any], middle: tuple[int, ...]
    ) -> Float32Array:
        """``values`` [N, *middle, Y, X] as torch takes them: float32, contiguous, writeable."""
        letters = "[N, T, Y, X]" if len(middle) == 1 else "[N, 2, T, Y, X]"
        wanted = f"{letters} with T = {self.info.frames}"
        values = np.asarray(values)
        if values.ndim != len(middle) + 3 or values.shape[1:-2] != middle:
            one_more = values.shape == (*middle, *values.shape[-2:])
            hint = f"{name}[None] for a single slice" if one_more else ""
            raise InputError(f"shape of the {name}", got=values.shape, wanted=wanted, hint=hint)
        if min(values.shape[-2:]) < LEAST_SIZE:
            raise InputError(
                f"slices of the {name}",
                got="x".join(str(size) for size in values.shape[-2:]),
                wanted=f"at least {LEAST_SIZE}x{LEAST_SIZE} pixels, as {letters}",
            )
        if values.dtype.kind != "f":
            raise InputError(
                f"type of the {name}",
                got=values.dtype,
                wanted="floating point, kBq/mL",
                hint=f"{name}.astype('float32')",
            )
        with np.errstate(over="ignore"):  # what becomes inf is refused by the next check
            single = np.require(values, np.float32, ("C", "W"))
        for sample, image in enumerate(single):
            if not np.isfinite(image).all():
                raise InputError(
                    f"sample {sample} of the {name}", got="NaN or inf", wanted="finite float32"
                )
        return single


def _check_divisible(size: tuple[int, ...], divisor: int) -> None:
    if any(side % divisor for side in size):
        raise InputError(
            "slices of the tracers cannot be mixed again",
            got=f"{size[0]}x{size[1]} pixels",
            wanted=f"sides that are multiples of {divisor}",
            hint="separating the mixture padded with zeros to such a size",
        )


def _check_scale(scale_N: npt.NDArray[Any], samples: int) -> Float32Array:
    scale = np.asarray(scale_N)
    if scale.shape != (samples,) or scale.dtype.kind != "f":
        raise InputError(
            "scale", got=f"{scale.dtype} {scale.shape}", wanted=f"floating point ({samples},)"
        )
    if not (np.isfinite(scale) & (scale > 0)).all():
        raise InputError("scale", got="values that are not finite or not above 0", wanted="kBq/mL")
    return np.require(scale, np.float32, ("C", "W"))


def _parts(samples: int, batch: int) -> Iterator[slice]:
    if batch < 1:
        raise InputError("batch", got=batch, wanted="at least 1")
    return (slice(start, start + batch) for start in range(0, samples, batch))


def _images(mixture_BTYX: Float32Array) -> Tensor:
    """As a tensor in channels-last order, in which the CPU convolves faster (measured)."""
    return torch.from_numpy(mixture_BTYX).contiguous(memory_format=torch.channels_last)
