"""Noise models: what each promises, and the dictionary of those that exist.

Shape letters: S slice, K tracer (2), T frame, L label, Y X pixel.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from dtsinn.core.config import to_mapping
from dtsinn.core.kinds import Kinds
from dtsinn.simulation.anatomy.anatomy import Anatomy
from dtsinn.simulation.anatomy.fields import Float32Array, axial_blur_matrix
from dtsinn.simulation.scanner.noise import (
    correlated_noise,
    load_image_noise,
    noise_level,
    noise_sd,
)
from dtsinn.simulation.scanner.scanner import Scanner

if TYPE_CHECKING:
    from dtsinn.simulation.request import StudyRequest


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One subject before there is any noise."""

    truth: Float32Array
    """[S, K, T, Y, X] kBq/mL, each tracer at the scanner's resolution."""
    anatomy: Anatomy
    pixel_mm: float
    """Edge of a pixel."""
    slice_mm: float | None
    """Distance of contiguous slices; None where they lie apart and have nothing in common."""
    random: Callable[..., np.random.Generator]
    """The generator of one kind of draws of this subject."""
    device: str
    """Where projections are computed."""


class NoiseModel(ABC):
    """What a noise level means, and what it does to the images of a subject.

    An implementer promises that the scene and the request alone decide the images, and that
    levels, resolution and record follow from the scanner.

    Attributes:
        scans: It simulates a scanner, so that labels may be scans too.
    """

    scans: ClassVar[bool] = False

    @staticmethod
    @abstractmethod
    def levels(scanner: Scanner) -> Mapping[str, Any]:
        """The noise levels by name."""

    @staticmethod
    @abstractmethod
    def strength(level: str, scanner: Scanner) -> float:
        """What a level means, as a number.

        Raises:
            InputError: There is no such level.
        """

    @staticmethod
    @abstractmethod
    def resolution_mm(scanner: Scanner) -> float:
        """Full width at half maximum of the point spread, mm; the truth has it too."""

    @classmethod
    @abstractmethod
    def record(cls, level: str, scanner: Scanner) -> dict[str, Any]:
        """What a store says of the noise, in numbers that outlive the files they came from."""

    @classmethod
    @abstractmethod
    def images(cls, request: StudyRequest, scene: Scene) -> tuple[Float32Array, Float32Array]:
        """The mixture [S, T, Y, X] and the labels [S, K, T, Y, X], kBq/mL."""

    @classmethod
    @abstractmethod
    def single_tracers(cls, request: StudyRequest, scene: Scene) -> Float32Array:
        """Each tracer [S, K, T, Y, X] as a scan of it alone shows it: same dose, frames, noise."""


class ImageNoiseModel(NoiseModel):
    """Noise is added to images; its variance follows the activity."""

    @staticmethod
    def levels(scanner: Scanner) -> Mapping[str, Any]:
        """Those of ``configs/noise.yaml``."""
        return load_image_noise().levels

    @staticmethod
    def strength(level: str, scanner: Scanner) -> float:
        """Alpha, (kBq/mL)^0.5 s^0.5."""
        return noise_level(level)

    @staticmethod
    def resolution_mm(scanner: Scanner) -> float:
        """That of ``configs/noise.yaml``."""
        return load_image_noise().resolution_fwhm_mm

    @classmethod
    def record(cls, level: str, scanner: Scanner) -> dict[str, Any]:
        """Alpha and the resolution."""
        return {
            "alpha": cls.strength(level, scanner),
            "alpha_units": "(kBq/mL)^0.5 s^0.5",
            "resolution_fwhm_mm": cls.resolution_mm(scanner),
        }

    @classmethod
    def images(cls, request: StudyRequest, scene: Scene) -> tuple[Float32Array, Float32Array]:
        """The sum of both tracers plus noise, and the truth."""
        total = scene.truth.sum(axis=1)
        fwhm = load_image_noise().noise_fwhm_mm
        unit = correlated_noise(
            scene.random("noise"), total.shape, scene.pixel_mm, fwhm, scene.slice_mm
        )
        duration = np.array(request.parts.protocol.frame_duration)
        sd = noise_sd(total, duration, cls.strength(request.noise, request.parts.scanner))
        return np.asarray(total + sd * unit, dtype=np.float32), scene.truth

    @classmethod
    def single_tracers(cls, request: StudyRequest, scene: Scene) -> Float32Array:
        """The truth plus noise of each tracer's own."""
        duration, fwhm = (
            np.array(request.parts.protocol.frame_duration),
            load_image_noise().noise_fwhm_mm,
        )
        alpha = cls.strength(request.noise, request.parts.scanner)
        scans = []
        for k, tracer in enumerate(request.parts.tracers):
            alone = scene.truth[:, k]
            rng = scene.random("noise", tracer.name)
            unit = correlated_noise(rng, alone.shape, scene.pixel_mm, fwhm, scene.slice_mm)
            scans.append(alone + noise_sd(np.asarray(alone, float), duration, alpha) * unit)
        return np.stack(scans, axis=1).astype(np.float32)


class OSEMNoiseModel(NoiseModel):
    """Photons are counted and images reconstructed by OSEM."""

    scans = True

    @staticmethod
    def levels(scanner: Scanner) -> Mapping[str, Any]:
        """Those of the scanner."""
        return scanner.trues

    @staticmethod
    def strength(level: str, scanner: Scanner) -> float:
        """Expected trues per slice and scan."""
        return scanner.trues_of(level)

    @staticmethod
    def resolution_mm(scanner: Scanner) -> float:
        """That of the scanner."""
        return scanner.resolution_fwhm_mm

    @classmethod
    def record(cls, level: str, scanner: Scanner) -> dict[str, Any]:
        """The counts and the whole scanner."""
        return {"trues_per_slice": cls.strength(level, scanner), "scanner": to_mapping(scanner)}

    @classmethod
    def images(cls, request: StudyRequest, scene: Scene) -> tuple[Float32Array, Float32Array]:
        """The reconstructed mixture, and the truth or scans of each tracer alone.

        A scan of one tracer alone has the sensitivity of the mixture's: the same scanner and time.
        Slices are reconstructed one by one; in a stack of contiguous ones the filter after the
        reconstruction goes across them too, which takes noise away.
        """
        scan = cls._scanner(request, scene)
        mixture = scan(scene.truth.sum(axis=1))
        if request.labels == "truth":
            return mixture, scene.truth
        return mixture, cls.single_tracers(request, scene)

    @classmethod
    def single_tracers(cls, request: StudyRequest, scene: Scene) -> Float32Array:
        """The reconstruction of each tracer's own counts."""
        scan = cls._scanner(request, scene)
        names = [tracer.name for tracer in request.parts.tracers]
        return np.stack([scan(scene.truth[:, k], name) for k, name in enumerate(names)], axis=1)

    @classmethod
    def _scanner(cls, request: StudyRequest, scene: Scene) -> Callable[..., Float32Array]:
        """What scans activity [S, T, Y, X], with a sensitivity that fits the mixture."""
        from dtsinn.simulation.scanner.reconstruction import (
            scanner_model,  # with torch, which takes seconds
        )

        parts = request.parts
        duration = np.array(parts.protocol.frame_duration)
        coefficients = np.array([region.attenuation for region in parts.phantom.regions])
        attenuation = np.einsum("l,slyx->syx", coefficients, scene.anatomy.fractions)
        model = scanner_model(parts.scanner, request.size, scene.pixel_mm, scene.device)
        trues = cls.strength(request.noise, parts.scanner)
        sensitivity = model.sensitivity(scene.truth.sum(axis=1), attenuation, duration, trues)

        def scan(activity: Float32Array, *what: str) -> Float32Array:
            rng = scene.random("counts", *what)
            seen = model.acquire_and_reconstruct(rng, activity, attenuation, duration, sensitivity)
            if scene.slice_mm is None:
                return seen
            fwhm = parts.scanner.postfilter_fwhm_mm
            return np.tensordot(axial_blur_matrix(len(seen), scene.slice_mm, fwhm), seen, axes=1)

        return scan


NOISE_MODELS: Kinds[NoiseModel] = Kinds(
    "noise model",
    NoiseModel,  # type: ignore[type-abstract]
    {"image": ImageNoiseModel, "osem": OSEMNoiseModel},
)
"""The noise models by the name that ``--noise-model`` takes."""
