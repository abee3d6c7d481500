"""Export of a separator package, with a proof that ONNX Runtime computes what torch does."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dtsinn.core.atomic import fresh_folder
from dtsinn.core.errors import RunError
from dtsinn.core.numerics import relative_error
from dtsinn.core.seeds import generator
from dtsinn.deploy.manifest import INVERSE_NAME, MODEL_NAME
from dtsinn.deploy.onnx_session import open_session as open_session
from dtsinn.deploy.onnx_session import run_session as run_session
from dtsinn.deploy.package import copy_package, load_network, read_package, set_calibration
from dtsinn.deploy.separator import Separator
from dtsinn.networks.separator import SeparatorNetwork

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

PARITY_LIMIT = 1e-5
"""Largest relative error between two float32 computations of the same thing (uncited)."""
PARITY_BATCHES = (1, 3)
PARITY_SIZES = ((32, 32), (41, 54))
"""The second is what networks that halve the resolution have to pad."""

Float32Array = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class ParityReport:
    """How far ONNX Runtime and torch are apart: the worst sample over all cases.

    Errors are relative: the norm of the difference over the norm of what was wanted.
    """

    model_error: float
    """``model.onnx`` against torch, tracers and scale."""
    inverse_error: float | None
    """``inverse.onnx`` against torch; None where there is no inverse."""
    round_trip_error: float | None
    """``inverse.onnx`` after ``model.onnx`` against the mixture; None likewise."""
    cases: tuple[tuple[int, int, int], ...]
    """Batch size, rows and columns of the mixtures tried; for the inverse they are cut to a size
    that needs no padding."""
    limit: float = PARITY_LIMIT
    """Largest error that passes."""

    @property
    def failure(self) -> str:
        """The first check that did not pass, with its error; "" if all did."""
        checks = {
            "model.onnx against torch": self.model_error,
            "inverse.onnx against torch": self.inverse_error,
            "round trip through model.onnx and inverse.onnx": self.round_trip_error,
        }
        for name, error in checks.items():
            if error is not None and not error <= self.limit:  # also refuses NaN
                return f"{name}: relative error {error:.1e}"
        return ""


def export_package(package: Path, out: Path, calibration: str | None = None) -> ParityReport:
    """Copy a verified package to ``out`` and prove there that its graphs compute the same.

    ``out`` appears only when the proof holds.

    Args:
        package: The package.
        out: Where to; must not exist.
        calibration: Content of its ``calibration.json``, empty for none; by default as it is.

    Raises:
        PackageError: The package does not verify, or ``out`` exists.
        RunError: ONNX Runtime refuses a graph, or an error exceeds the limit.
    """
    load_network(package)  # so that errors name its own path, not the copy's
    with fresh_folder(out) as partial:
        copy_package(package, partial)
        if calibration is not None:
            set_calibration(partial, calibration)
        report = check_parity(partial)
        if report.failure:
            raise RunError(
                f"{package} is not exported", got=report.failure, wanted=f"at most {report.limit:g}"
            )
    return report


def check_parity(package: Path) -> ParityReport:
    """Measure ONNX Runtime against torch for the package, two batch and two image sizes.

    Raises:
        PackageError: The package does not verify.
        RunError: ONNX Runtime refuses a graph.
    """
    separator = Separator.load(package)
    mixtures = [
        parity_mixture(batch, separator.info.frames, *size)
        for batch, size in product(PARITY_BATCHES, PARITY_SIZES)
    ]
    graphs = read_package(package)[0].contents
    model = open_session(package / MODEL_NAME, graphs[MODEL_NAME])
    inverse_error = round_trip_error = None
    if separator.network.exact:
        inverse = open_session(package / INVERSE_NAME, graphs[INVERSE_NAME])
        whole = [invertible_part(m, separator.network) for m in mixtures]
        inverse_error = _worst([_inverse_error(inverse, separator, m) for m in whole])
        round_trip_error = _worst([_round_trip(model, inverse, separator, m) for m in whole])
    return ParityReport(
        model_error=_worst([_model_error(model, separator, m) for m in mixtures]),
        inverse_error=inverse_error,
        round_trip_error=round_trip_error,
        cases=tuple((m.shape[0], m.shape[2], m.shape[3]) for m in mixtures),
    )


def _model_error(session: InferenceSession, separator: Separator, mixture: Float32Array) -> float:
    wanted = separator.separate(mixture), separator.scale(mixture)
    answers = run_session(session, {"mixture": mixture}, *wanted)
    return _worst([worst_relative_error(*pair) for pair in zip(answers, wanted, strict=True)])


def _inverse_error(session: InferenceSession, separator: Separator, mixture: Float32Array) -> float:
    tracers, scale = separator.separate(mixture), separator.scale(mixture)
    latent = separator.latent(mixture, tracers)
    wanted = separator.mix(tracers, scale, latent)
    (mixed,) = run_session(session, _inverse_inputs(tracers, scale, latent), wanted)
    return worst_relative_error(mixed, wanted)


def _round_trip(
    model: InferenceSession, inverse: InferenceSession, separator: Separator, mixture: Float32Array
) -> float:
    tracers, scale = run_session(model, {"mixture": mixture})
    inputs = _inverse_inputs(tracers, scale, separator.latent(mixture, tracers))
    (again,) = run_session(inverse, inputs, mixture)
    return worst_relative_error(again, mixture)


def _inverse_inputs(
    tracers: Float32Array, scale: Float32Array, latent: Float32Array | None
) -> dict[str, Float32Array]:
    """What ``inverse.onnx`` takes."""
    beside = {"scale": scale} if latent is None else {"latent": latent}
    return {"tracers": tracers, **beside}


def invertible_part(mixture_NTYX: Float32Array, network: SeparatorNetwork) -> Float32Array:
    """As much of the slices as the network separates without padding them."""
    height, width = (side - side % network.divisor for side in mixture_NTYX.shape[-2:])
    return np.ascontiguousarray(mixture_NTYX[..., :height, :width])


def parity_mixture(batch: int, frames: int, height: int, width: int) -> Float32Array:
    """Mixtures [B, T, Y, X] in kBq/mL to compare on: a bright disc in noise, some of it negative.

    The slices differ in brightness by orders of magnitude, so that a wrong scale shows.
    """
    random = generator("parity", batch, frames, height, width)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    disc_YX = (y**2 + x**2 < 0.7).astype(np.float64)
    curve_T = random.gamma(2.0, 5.0, frames)
    brightness_B = 10.0 ** random.uniform(-1, 2, batch)
    clean = brightness_B[:, None, None, None] * curve_T[:, None, None] * disc_YX
    noise = random.normal(0, 0.2, clean.shape) * brightness_B[:, None, None, None]
    mixture: Float32Array = (clean * random.uniform(0.5, 1.5, clean.shape) + noise).astype("f4")
    return mixture


def worst_relative_error(got: npt.NDArray[Any], wanted: npt.NDArray[Any]) -> float:
    """Largest relative error of a sample (first axis)."""
    return max(relative_error(*pair) for pair in zip(got, wanted, strict=True))


def _worst(errors: list[float]) -> float:
    return float(np.max(errors))  # unlike max(), it does not lose a NaN
