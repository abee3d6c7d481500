"""Compartment models fitted to regional curves by weighted least squares.

A model's curve is linear in the amplitudes of its exponentials and in the blood volume, so that
only the rates are searched for (variable projection, Golub and Pereyra 1973): by
Levenberg-Marquardt steps for all regions and subjects at once, in the logarithm of the rates. No
quantity is bounded, so that the minimum is that of the plain model. Shape letters: R region, T
frame, I input sample, M exponential; leading axes, such as one of subjects, are carried through.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from dtsinn.kinetics.curves import FloatArray, TracerFrames
from dtsinn.simulation.kinetics import frame_averages

LONGEST_FRAME_S, FIRST_PASS_S = 30.0, 120.0
"""K1 is in the first two minutes: frames there may be half a minute long at most."""
RATES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""Rates from which a search may start, 1/min; of all, or all pairs, each region takes its best."""
ACTIVITY_FLOOR = 0.02
"""Least activity that a frame's variance is taken from, as a part of the largest (uncited)."""
SLOWEST, FASTEST = 1e-6, 60.0
"""Limits of a rate, 1/min: beyond, a curve does not change any more."""
STEPS = 200
STIFF = 1e9
"""Damping at which no step helps any more."""
TOLERANCE = 1e-13
"""Relative fall of the sum of squares below which a fit has ended."""
DIFFERENCE = 1e-5
"""Step of the numerical derivative, in the logarithm of a rate."""


@dataclass(frozen=True, kw_only=True)
class CompartmentFit:
    """Fitted kinetics; every field is [..., R]."""

    K1: FloatArray
    """mL/cm3/min"""
    k2: FloatArray
    """1/min"""
    k3: FloatArray
    """1/min; 0 of a one-tissue model."""
    k4: FloatArray
    """1/min; 0 of a one-tissue model."""
    vB: FloatArray
    """Fraction."""
    sum_of_squares: FloatArray
    """Weighted."""

    @property
    def V_T(self) -> FloatArray:  # noqa: N802 - the field's name
        """mL/cm3; infinite where nothing returns from the second tissue."""
        with np.errstate(divide="ignore", invalid="ignore"):
            bound = np.where(self.k3 == 0, 0.0, self.k3 / self.k4)
            return np.asarray(self.K1 / self.k2 * (1 + bound))

    @property
    def Ki(self) -> FloatArray:  # noqa: N802 - the field's name
        """mL/cm3/min, as if k4 were 0."""
        return np.asarray(self.K1 * self.k3 / (self.k2 + self.k3))


@dataclass(frozen=True, kw_only=True)
class ModelInput:
    """What reaches the tissue, and when it is looked at; activity actually present."""

    time_I: FloatArray
    """[I] s after the injection."""
    plasma_I: FloatArray
    """[..., I] parent, kBq/mL."""
    blood_I: FloatArray
    """[..., I] whole blood, kBq/mL."""
    frames: TracerFrames


def fit_compartments(
    curve_RT: FloatArray, weight_RT: FloatArray, given: ModelInput, *, tissues: int
) -> CompartmentFit:
    """Fit a one- or two-tissue model with blood volume.

    Args:
        curve_RT: [..., R, T] frame averages from the injection on, not decay-corrected, kBq/mL.
        weight_RT: Weights of the squares, that broadcast with the curves.
        given: Input functions, of the same leading axes.
        tissues: 1 or 2.
    """
    root_RT = np.sqrt(np.broadcast_to(weight_RT, curve_RT.shape))
    aim_RT = curve_RT * root_RT
    project = _Projection(aim_RT, root_RT, given, tissues)
    lowest, highest = np.log(SLOWEST), np.log(FASTEST)
    rate_RM = project.best_start()
    rest_RT = project.residual(rate_RM)
    cost_R = np.square(rest_RT).sum(-1)
    damping_R = np.full(cost_R.shape, 1e-3)
    ended_R = np.zeros(cost_R.shape, dtype=bool)
    for _ in range(STEPS):
        slope_RTM = project.derivative(rate_RM)
        normal_RMM = np.einsum("...tm,...tn->...mn", slope_RTM, slope_RTM)
        fall_RM = np.einsum("...tm,...t->...m", slope_RTM, rest_RT)
        scale_RM = np.einsum("...mm->...m", normal_RMM) + np.finfo(float).tiny
        damped = normal_RMM + np.eye(tissues) * (damping_R[..., None] * scale_RM)[..., None]
        step_RM = -np.linalg.solve(damped, fall_RM[..., None])[..., 0]
        tried_RM = np.clip(rate_RM + np.clip(step_RM, -2.0, 2.0), lowest, highest)
        new_RT = project.residual(tried_RM)
        new_R = np.square(new_RT).sum(-1)
        better_R = new_R < cost_R
        fallen_R = cost_R - new_R
        rate_RM = np.where(better_R[..., None], tried_RM, rate_RM)
        rest_RT = np.where(better_R[..., None], new_RT, rest_RT)
        ended_R |= (np.abs(fallen_R) <= TOLERANCE * cost_R) | (damping_R >= STIFF)
        cost_R = np.where(better_R, new_R, cost_R)
        damping_R = np.clip(np.where(better_R, damping_R / 10, damping_R * 10), 1e-12, STIFF)
        if bool(ended_R.all()):
            break
    return project.kinetics(rate_RM, cost_R)


def fit_regions(curve_RT: FloatArray, given: ModelInput, *, tissues: int) -> CompartmentFit:
    """Fit regional curves as scans give them, each frame by what its variance is expected to be.

    Args:
        curve_RT: [..., R, T] kBq/mL, decay-corrected to the injection.
        given: Input functions, of the same leading axes.
        tissues: 1 or 2.
    """
    frames = given.frames
    present_RT = frames.present(curve_RT)
    activity_T = present_RT.mean(axis=-2)
    highest = activity_T.max(axis=-1, keepdims=True)
    floor = np.maximum(ACTIVITY_FLOOR * highest, float(np.finfo(np.float32).tiny))
    weight_RT = (frames.duration_T / np.maximum(activity_T, floor))[..., None, :]
    return fit_compartments(present_RT, weight_RT, given, tissues=tissues)


class _Projection:
    """The fit of what is linear, for given rates; rates are logarithms of 1/min."""

    def __init__(
        self, aim_RT: FloatArray, root_RT: FloatArray, given: ModelInput, tissues: int
    ) -> None:
        self.aim_RT, self.root_RT, self.given, self.tissues = aim_RT, root_RT, given, tissues
        edges = given.frames.edge_T
        inside = (given.time_I > 0) & (given.time_I < edges[-1])
        grid = np.unique(np.concatenate([[0.0], given.time_I[inside], edges]))
        self._grid = grid
        self._plasma, self._blood = (
            _resample(values, given.time_I, grid) for values in (given.plasma_I, given.blood_I)
        )
        blood = np.array([0.0, 0.0, 0.0, 0.0, 1.0])
        self._blood_T = self._curves(np.broadcast_to(blood, (*self._lead, 1, 5)))

    @property
    def _lead(self) -> tuple[int, ...]:
        return self.aim_RT.shape[:-2]

    def _curves(self, kinetics_RP: FloatArray) -> FloatArray:
        frames = self.given.frames
        decay = np.log(2.0) / frames.half_life
        return frame_averages(
            kinetics_RP, self._grid, self._plasma, self._blood, decay, frames.edge_T
        )

    def _basis(self, rate_RM: FloatArray) -> FloatArray:
        """[..., R, T, M + 1] weighted curves: one of each rate for K1 of 1, and blood."""
        kinetics = np.zeros((*rate_RM.shape, 5))
        kinetics[..., 0] = 1.0
        kinetics[..., 1] = np.exp(rate_RM)
        regions, terms = rate_RM.shape[-2:]
        flat = kinetics.reshape(*rate_RM.shape[:-2], regions * terms, 5)
        curves = self._curves(flat).reshape(*rate_RM.shape, -1)
        shape = (*curves.shape[:-2], 1, curves.shape[-1])
        blood = np.broadcast_to(self._blood_T[..., None, :], shape)
        basis_RMT = np.concatenate([curves, blood], axis=-2) * self.root_RT[..., None, :]
        return np.asarray(np.swapaxes(basis_RMT, -1, -2))

    def amplitudes(self, rate_RM: FloatArray) -> FloatArray:
        """[..., R, M + 1]."""
        basis = self._basis(rate_RM)
        return np.asarray((np.linalg.pinv(basis) @ self.aim_RT[..., None])[..., 0])

    def residual(self, rate_RM: FloatArray) -> FloatArray:
        """[..., R, T] weighted: model minus curve."""
        basis = self._basis(rate_RM)
        fitted = basis @ (np.linalg.pinv(basis) @ self.aim_RT[..., None])
        return np.asarray(fitted[..., 0] - self.aim_RT)

    def derivative(self, rate_RM: FloatArray) -> FloatArray:
        """[..., R, T, M] of the residual, by central differences."""
        columns = []
        for m in range(self.tissues):
            step = DIFFERENCE * np.eye(self.tissues)[m]
            change = self.residual(rate_RM + step) - self.residual(rate_RM - step)
            columns.append(change / (2 * DIFFERENCE))
        return np.stack(columns, axis=-1)

    def best_start(self) -> FloatArray:
        """[..., R, M] of all combinations of :data:`RATES`, slow first, each region's best."""
        shape = (*self.aim_RT.shape[:-1], self.tissues)
        tried = [
            np.broadcast_to(np.log(rates), shape)
            for rates in itertools.combinations(RATES, self.tissues)
        ]
        costs = np.array([np.square(self.residual(rates)).sum(-1) for rates in tried])
        best = np.array(tried)
        return np.asarray(np.take_along_axis(best, costs.argmin(0)[None, ..., None], axis=0)[0])

    def kinetics(self, rate_RM: FloatArray, cost_R: FloatArray) -> CompartmentFit:
        """Rates and amplitudes as the field's parameters."""
        amplitude = self.amplitudes(rate_RM)
        vB = amplitude[..., -1]
        order = np.argsort(rate_RM, axis=-1)
        rate = np.exp(np.take_along_axis(rate_RM, order, axis=-1))
        share = np.take_along_axis(amplitude[..., :-1], order, axis=-1)
        K1 = share.sum(-1) / (1 - vB)
        k3 = k4 = np.zeros_like(K1)
        k2 = rate[..., 0]
        if self.tissues == 2:
            # The impulse response's amplitudes give k3 + k4, the rates' sum and product the rest.
            slow, fast = rate[..., 0], rate[..., 1]
            back = share[..., 0] / share.sum(-1) * (fast - slow) + slow
            k2 = slow + fast - back
            k4 = slow * fast / k2
            k3 = back - k4
        return CompartmentFit(K1=K1, k2=k2, k3=k3, k4=k4, vB=vB, sum_of_squares=cost_R)


def _resample(value_I: FloatArray, time_I: FloatArray, grid: FloatArray) -> FloatArray:
    """[..., G] a piecewise-linear curve at other times, constant beyond its ends."""
    flat = value_I.reshape(-1, time_I.size)
    found = np.array([np.interp(grid, time_I, values) for values in flat])
    return found.reshape(*value_I.shape[:-1], grid.size)
