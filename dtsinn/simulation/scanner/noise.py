"""Image-domain noise: the variance of a voxel follows the activity actually present."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np

from dtsinn.core.config import STRICT, from_mapping, read_yaml
from dtsinn.core.errors import InputError
from dtsinn.simulation.anatomy.fields import Float32Array, noise_matrix
from dtsinn.simulation.input_function import FloatArray


@dataclass(frozen=True, kw_only=True)
class NoiseLevel:
    """One level of noise.

    Attributes:
        relative_sd: What the level was calibrated to, see :mod:`.calibration`.
        alpha: Standard deviation of a voxel at 1 kBq/mL in a frame of 1 s, (kBq/mL)^0.5 s^0.5.
    """

    __pydantic_config__ = STRICT

    relative_sd: float
    alpha: float


@dataclass(frozen=True, kw_only=True)
class ImageNoise:
    """Resolution and noise of reconstructed images, the same for every phantom and tracer.

    Attributes:
        resolution_fwhm_mm: Of the in-plane Gaussian point spread, mm.
        noise_fwhm_mm: Of the Gaussian filter that correlates the noise, mm.
        levels: Noise levels by name.
    """

    __pydantic_config__ = STRICT

    resolution_fwhm_mm: float
    noise_fwhm_mm: float
    levels: Mapping[str, NoiseLevel]

    def __post_init__(self) -> None:
        numbers = {
            "resolution_fwhm_mm": self.resolution_fwhm_mm,
            "noise_fwhm_mm": self.noise_fwhm_mm,
            **{f"levels.{name}.alpha": level.alpha for name, level in self.levels.items()},
        }
        for key, value in numbers.items():
            if not (math.isfinite(value) and value > 0):
                raise InputError(f"noise: {key}", got=value, wanted="a number above 0")


@functools.cache
def load_image_noise() -> ImageNoise:
    """The image-domain noise that ships with dtsinn."""
    path = Path(str(resources.files("dtsinn") / "configs" / "noise.yaml"))
    return from_mapping(ImageNoise, read_yaml(path), str(path))


def noise_levels() -> tuple[str, ...]:
    """Names of the noise levels."""
    return tuple(load_image_noise().levels)


def noise_level(name: str) -> float:
    """The alpha of a noise level, (kBq/mL)^0.5 s^0.5.

    Raises:
        InputError: No such level.
    """
    levels = load_image_noise().levels
    if name not in levels:
        raise InputError(
            "no such noise level", got=repr(name), wanted=f"one of {', '.join(levels)}"
        )
    return levels[name].alpha


def noise_sd(activity: FloatArray, frame_duration: FloatArray, alpha: float) -> FloatArray:
    """Standard deviation of voxels, ``alpha sqrt(activity / duration)``.

    Args:
        activity: [..., T, Y, X] kBq/mL of both tracers together, not decay-corrected.
        frame_duration: [T] s.
        alpha: Noise level, (kBq/mL)^0.5 s^0.5.

    Returns:
        [..., T, Y, X] kBq/mL.
    """
    return np.asarray(alpha * np.sqrt(np.maximum(activity, 0.0) / frame_duration[:, None, None]))


def correlated_noise(
    rng: np.random.Generator,
    shape: tuple[int, ...],
    pixel: float,
    fwhm: float,
    slice_mm: float | None = None,
) -> Float32Array:
    """Noise of unit variance, smooth over the last two axes, and over the first of a stack.

    Args:
        rng: Source of randomness.
        shape: Of the result, (..., Y, X).
        pixel: Edge of a pixel, mm.
        fwhm: Of the Gaussian filter, mm.
        slice_mm: Distance of the slices along the first axis; None where they lie apart.
    """
    white = rng.standard_normal(shape, dtype=np.float32)
    rows = noise_matrix(shape[-2], pixel, fwhm)
    columns = noise_matrix(shape[-1], pixel, fwhm)
    smooth: Float32Array = np.asarray(rows @ white @ columns.T, dtype=np.float32)
    if slice_mm is None:
        return smooth
    across = noise_matrix(shape[0], slice_mm, fwhm)
    return np.asarray(np.tensordot(across, smooth, axes=1), dtype=np.float32)
