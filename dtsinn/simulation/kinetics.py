"""Compartment models: tissue curves of many regions, exact for a piecewise-linear input.

Shape suffixes: R region, M exponential term, I input sample, T frame; leading axes, such as one
of subjects, are carried through.

Decay is put into the model instead of being multiplied on: if C solves dC/dt = a C_p - b C, then
A = C e^(-λt) solves dA/dt = a (C_p e^(-λt)) - (b + λ) A. With the activity actually present as
input, every curve here is activity actually present, and the frame average needs no quadrature:
integrating the equation gives ∫A = (a ∫u - ΔA) / (b + λ).
"""

from __future__ import annotations

import itertools

import numpy as np

from dtsinn.simulation.input_function import FloatArray

GRID_STEP_S = 0.5
"""Longest interval of the grid on which inputs count as linear, s."""


def time_grid(end_s: float, knots_s: FloatArray, step_s: float = GRID_STEP_S) -> FloatArray:
    """[I] s from 0 to ``end_s`` in steps of at most ``step_s``, through all knots.

    Args:
        end_s: End of the scan.
        knots_s: Times that must lie on the grid: frame edges, arrivals of the input.
        step_s: Longest interval.
    """
    steps = np.arange(0.0, end_s, step_s)
    return np.unique(np.concatenate([steps, knots_s[(knots_s >= 0) & (knots_s < end_s)], [end_s]]))


def impulse_response(kinetics_RP: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The tissue's answer to an impulse, ``sum_m coefficient e^(-rate t)``, without blood.

    Args:
        kinetics_RP: [..., R, 5] K1 (mL/cm3/min), k2, k3, k4 (1/min), vB.

    Returns:
        Coefficients [..., R, 2] in 1/s (mL/cm3/s) and rates [..., R, 2] in 1/s (Gunn, Gunn,
        Cunningham 2001 for the two-tissue model; k3 = 0 leaves the one-tissue model).
    """
    K1, k2, k3, k4 = (kinetics_RP[..., column] / 60.0 for column in range(4))
    total = k2 + k3 + k4
    root = np.sqrt(np.maximum(np.square(total) - 4.0 * k2 * k4, 0.0))
    fast = (total + root) / 2.0
    # The product of both rates is k2 k4; the difference (total - root) / 2 would cancel.
    slow = np.divide(k2 * k4, fast, out=np.zeros_like(fast), where=fast > 0)
    apart = np.where(k3 > 0, fast - slow, 1.0)
    slow_share = np.where(k3 > 0, (k3 + k4 - slow) / apart, 0.0)
    fast_share = np.where(k3 > 0, (fast - k3 - k4) / apart, 1.0)
    rates = np.stack([np.where(k3 > 0, slow, 0.0), np.where(k3 > 0, fast, k2)], axis=-1)
    return K1[..., None] * np.stack([slow_share, fast_share], axis=-1), rates


def frame_averages(
    kinetics_RP: FloatArray,
    time_I: FloatArray,
    plasma_I: FloatArray,
    blood_I: FloatArray,
    decay_constant: float,
    edges_T: FloatArray,
) -> FloatArray:
    """Frame-averaged activity actually present in each region: ``(1 - vB) C_tissue + vB C_blood``.

    Args:
        kinetics_RP: [..., R, 5] K1 (mL/cm3/min), k2, k3, k4 (1/min), vB.
        time_I: [I] s, ascending, holding every frame edge; the inputs are linear in between.
        plasma_I: [..., I] parent in plasma, kBq/mL, not decay-corrected.
        blood_I: [..., I] whole blood, kBq/mL, not decay-corrected.
        decay_constant: Of the isotope, 1/s.
        edges_T: [T + 1] frame edges, s, contained in ``time_I``.

    Returns:
        [..., R, T] kBq/mL.
    """
    at_edge = np.searchsorted(time_I, edges_T)
    plasma_T = np.diff(_running_integral(time_I, plasma_I)[..., at_edge])
    blood_T = np.diff(_running_integral(time_I, blood_I)[..., at_edge])
    coefficient_RM, rate_RM = impulse_response(kinetics_RP)
    decay_RM = rate_RM + decay_constant
    leaving_M = decay_RM.reshape(*decay_RM.shape[:-2], -1)
    change_MT = np.diff(_states_at(leaving_M, time_I, plasma_I, at_edge))
    change_RMT = change_MT.reshape(*decay_RM.shape, -1)
    integral_RMT = (plasma_T[..., None, None, :] - change_RMT) / decay_RM[..., None]
    tissue_RT = np.einsum("...rm,...rmt->...rt", coefficient_RM, integral_RMT)
    vB_R1 = kinetics_RP[..., 4:5]
    average_RT = ((1.0 - vB_R1) * tissue_RT + vB_R1 * blood_T[..., None, :]) / np.diff(edges_T)
    # Before the arrival both inputs are exactly 0: so is the answer, without rounding.
    empty_T = at_edge[1:] <= _last_empty(blood_I)[..., None]
    return np.asarray(np.where(empty_T[..., None, :], 0.0, average_RT))


def _last_empty(blood_I: FloatArray) -> FloatArray:
    """[...] index of the last sample before activity arrives; the sample count where none does."""
    present = blood_I > 0
    last = np.where(present.any(axis=-1), present.argmax(axis=-1) - 1, blood_I.shape[-1])
    return np.asarray(last)


def _running_integral(time_I: FloatArray, value_I: FloatArray) -> FloatArray:
    """[..., I] integral of the piecewise-linear curve from the first sample."""
    areas = np.diff(time_I) * (value_I[..., 1:] + value_I[..., :-1]) / 2.0
    return np.concatenate([np.zeros_like(areas[..., :1]), np.cumsum(areas, axis=-1)], axis=-1)


def _states_at(
    decay_M: FloatArray, time_I: FloatArray, input_I: FloatArray, at_edge: np.ndarray
) -> FloatArray:
    """[..., M, T + 1] the piecewise-linear input convolved with e^(-decay t), at the edges."""
    h = np.diff(time_I)
    x = decay_M[..., None] * h
    # ∫ e^(-decay (h - s)) u(s) ds over one interval = before * u(0) + after * u(h)
    whole = np.where(x > 0, -np.expm1(-x) / np.where(x > 0, x, 1.0), 1.0)
    series = 0.5 - x / 6.0 + np.square(x) / 24.0 - x**3 / 120.0
    after = np.where(x < 1e-2, series, (1.0 - whole) / np.maximum(x, 1e-2))  # below, it cancels
    inputs = input_I[..., None, :]
    pieces = h * ((whole - after) * inputs[..., :-1] + after * inputs[..., 1:])
    # From the first sample on: a scan may begin when activity is there already.
    stops = [0, *at_edge.tolist()]
    states = np.zeros((*decay_M.shape, len(stops)))
    for edge, (first, last) in enumerate(itertools.pairwise(stops)):
        left = time_I[last] - time_I[first + 1 : last + 1]
        fresh = (pieces[..., first:last] * np.exp(-decay_M[..., None] * left)).sum(axis=-1)
        carried = states[..., edge] * np.exp(-decay_M * (time_I[last] - time_I[first]))
        states[..., edge + 1] = carried + fresh
    return states[..., 1:]
