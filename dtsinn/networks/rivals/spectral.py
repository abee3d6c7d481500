"""Spectral analysis of a mixture: two tracers from known input functions, with no training.

Each voxel's curve is a sum of non-negative parts (Cunningham and Jones, J. Cereb. Blood Flow
Metab. 13:15, 1993), of both tracers side by side::

    mixture(t) = sum_k [ v_k blood_k(t) + sum_j a_kj (plasma_k conv exp(-beta_j t)) ]

with beta_0 = 0, a trapped tracer, and the other rates on a logarithmic scale. Activity is the
one that is present: each tracer decays with its own half-life from its own injection, so that
the inputs already carry the decay and every exponential falls by the decay constant more. The
estimate of a tracer is the sum of its parts.

Shape letters: N sample (slice), K tracer (2), T frame, Y X pixel, I input sample, F part of a
tracer's curve, J part of either tracer's (K times F), V voxel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from dtsinn.core.errors import InputError
from dtsinn.core.protocol import Protocol
from dtsinn.data.body import BODY_FRACTION
from dtsinn.data.inputs import SubjectInputs, lacks_inputs, subject_inputs
from dtsinn.data.store import Samples, Store, StoreHeader
from dtsinn.networks.method import MethodConfig, SeparateSubject, UntrainedMethod, check_least
from dtsinn.networks.rivals.nnls import FloatArray, non_negative
from dtsinn.simulation.kinetics import frame_averages

FWHM_PER_SIGMA = 2.0 * np.sqrt(2.0 * np.log(2.0))
ACTIVITY_FLOOR = 0.02
"""Least activity that a frame's variance is taken from, as a part of the largest (uncited)."""


@dataclass(frozen=True, kw_only=True)
class SpectralConfig(MethodConfig):
    """Spectral analysis, voxel by voxel: a basis for known inputs, and nothing to train."""

    kind: Literal["spectral"] = "spectral"
    terms: int = 4
    """Exponentials of each tracer, beside its trapping and its blood; at least 1."""
    slow: float = 0.01
    """Smallest rate of an exponential, 1/min."""
    fast: float = 1.0
    """Largest rate, 1/min; the others lie between on a logarithmic scale."""
    smoothing_px: float = 1.25
    """FWHM of the Gaussian that smooths the mixture first, pixels; 0 is none."""

    def __post_init__(self) -> None:
        check_least(self, terms=1, smoothing_px=0)
        if not 0 < self.slow < self.fast < float("inf"):
            raise InputError(
                "model.slow and model.fast",
                got=f"{self.slow:g} and {self.fast:g} 1/min",
                wanted="rates above 0, the slower first",
            )


class SpectralAnalysis(UntrainedMethod):
    """The method that is told each subject's input functions."""

    Config = SpectralConfig
    title = "spectral analysis"
    description = (
        "A baseline without training (Cunningham and Jones, 1993). It is told each subject's input "
        "functions, which no network is, and fits each voxel's curve with non-negative "
        "exponentials of both tracers."
    )

    @classmethod
    def check_store(cls, store: Store) -> None:
        """Refuse a store without an input function for each subject."""
        subject_inputs(store)

    def fits(self, store: Store) -> str:
        """Why not: the store has no input functions."""
        return lacks_inputs(store)

    def on(self, store: Store) -> SeparateSubject:
        """Spectral analysis with the inputs of ``store``."""
        inputs = subject_inputs(store)

        def separate(samples: Samples) -> npt.NDArray[np.float32]:
            known = inputs[str(samples.subject_N[0])]
            return spectral_separate(samples.mixture_NTYX, known, store.header, self.config)

        return separate


def spectral_separate(
    mixture_NTYX: npt.NDArray[Any],
    inputs: SubjectInputs,
    header: StoreHeader,
    config: SpectralConfig,
) -> npt.NDArray[np.float32]:
    """Separate the slices of one subject.

    Args:
        mixture_NTYX: kBq/mL; negative voxels are welcome.
        inputs: Input functions of that subject.
        header: Gives frames and half-lives.
        config: The basis, and how much to smooth.

    Returns:
        Tracers [N, K, T, Y, X], kBq/mL, at least 0 and 0 before their injection.

    Raises:
        RunError: The fit does not end.
    """
    from scipy.ndimage import gaussian_filter  # slow to import, and every method is listed

    basis_KFT = spectral_basis(inputs, header, config)
    tracers, parts, frames = basis_KFT.shape
    basis_JT = basis_KFT.reshape(tracers * parts, frames)
    answer = np.empty((len(mixture_NTYX), tracers, *mixture_NTYX.shape[1:]), np.float32)
    sigma = config.smoothing_px / FWHM_PER_SIGMA
    for n, mixture_TYX in enumerate(mixture_NTYX):
        smooth_TYX = gaussian_filter(np.asarray(mixture_TYX, float), (0, sigma, sigma))
        weighted_JT = basis_JT * _weights(smooth_TYX, header.protocol)
        right_VJ = smooth_TYX.reshape(frames, -1).T @ weighted_JT.T
        used_J = basis_JT.any(axis=1)  # a late tracer may be seen in no frame
        share_VJ = np.zeros_like(right_VJ)
        gram = (weighted_JT @ basis_JT.T)[np.ix_(used_J, used_J)]
        share_VJ[:, used_J] = non_negative(gram, right_VJ[:, used_J])
        for k in range(tracers):
            curve_VT = share_VJ[:, k * parts : (k + 1) * parts] @ basis_KFT[k]
            answer[n, k] = curve_VT.T.reshape(mixture_TYX.shape)
    return answer


def spectral_basis(
    inputs: SubjectInputs, header: StoreHeader, config: SpectralConfig
) -> FloatArray:
    """[K, F, T] frame averages of each part for a unit share, kBq/mL, not decay-corrected.

    The parts of a tracer are its trapping, its exponentials from slow to fast (shares in
    mL/cm3/s) and its blood (a share of the voxel).
    """
    edges_T = np.array(header.protocol.frame_edges)
    time_I = np.unique(np.concatenate([inputs.time_I, edges_T]))
    rates = [0.0, *np.geomspace(config.slow, config.fast, config.terms)]
    kinetics = np.zeros((len(rates) + 1, 5))  # K1, k2, k3, k4 per minute, vB
    kinetics[:-1, 0] = 60.0
    kinetics[:-1, 1] = rates
    kinetics[-1, 4] = 1.0
    return np.array(
        [
            frame_averages(
                kinetics,
                time_I,
                np.interp(time_I, inputs.time_I, plasma_I),
                np.interp(time_I, inputs.time_I, blood_I),
                np.log(2.0) / half_life,
                edges_T,
            )
            for plasma_I, blood_I, half_life in zip(
                inputs.plasma_KI, inputs.blood_KI, header.half_life, strict=True
            )
        ]
    )


def _weights(mixture_TYX: FloatArray, protocol: Protocol) -> FloatArray:
    """[T] one over the expected variance of a frame: its duration over the body's activity.

    Shared by all voxels of a slice, which is what makes the fit of thousands quick.
    """
    duration_T = np.asarray(protocol.frame_duration)
    mean_YX = np.einsum("tyx,t->yx", mixture_TYX, duration_T / duration_T.sum())
    brightest = float(mean_YX.max())
    body_YX = mean_YX >= min(BODY_FRACTION * brightest, brightest)  # never empty
    activity_T = mixture_TYX[:, body_YX].mean(axis=1)
    floor = max(ACTIVITY_FLOOR * float(activity_T.max()), float(np.finfo(np.float32).tiny))
    return np.asarray(duration_T / np.maximum(activity_T, floor))
