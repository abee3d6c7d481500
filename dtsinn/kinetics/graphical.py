"""Graphical analysis: Logan, Patlak, reference Logan, and uptake ratios.

The plots are laid through averages over frames, since that is what a frame holds: a plot's
equation, which is for a moment, is averaged over each frame. Curves are decay-corrected to the
injection. Shape letters: R region, T frame, I input sample; leading axes are carried through.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dtsinn.kinetics.curves import FloatArray, TracerFrames

SMALLEST = 1e-6
"""Part of a curve's largest value below which it counts as that: a plot divides by it."""


@dataclass(frozen=True, kw_only=True)
class InputMeans:
    """Parent in plasma, averaged over frames; decay-corrected to the injection."""

    plasma_T: FloatArray
    """kBq/mL"""
    area_T: FloatArray
    """Average over the frame of the integral from the injection, kBq/mL s."""


def input_means(time_I: FloatArray, plasma_I: FloatArray, frames: TracerFrames) -> InputMeans:
    """Average an input function and its running integral over frames, exactly.

    Args:
        time_I: [I] s after the injection, ascending.
        plasma_I: [..., I] kBq/mL, activity actually present, linear in between.
        frames: Those of the tracer.
    """
    later = time_I[time_I > 0]
    grid = np.unique(np.concatenate([later[later < frames.edge_T[-1]], frames.edge_T, [0.0]]))
    position = np.interp(grid, time_I, np.arange(time_I.size))
    left = np.minimum(position.astype(int), time_I.size - 2)
    part = position - left
    present = plasma_I[..., left] * (1 - part) + plasma_I[..., left + 1] * part
    value = present * np.exp(np.log(2.0) / frames.half_life * grid)
    step, before, after = np.diff(grid), value[..., :-1], value[..., 1:]
    area = _running_sum(step * (before + after) / 2)
    double = _running_sum(step * area[..., :-1] + step**2 * (2 * before + after) / 6)
    at_edge = np.searchsorted(grid, frames.edge_T)
    return InputMeans(
        plasma_T=np.diff(area[..., at_edge]) / frames.duration_T,
        area_T=np.diff(double[..., at_edge]) / frames.duration_T,
    )


def logan(
    curve_RT: FloatArray, plasma: InputMeans, frames: TracerFrames, start_min: float
) -> FloatArray:
    """[..., R] V_T in mL/cm3: the slope of ∫C/C against ∫C_p/C (Logan et al. 1990).

    Args:
        curve_RT: [..., R, T] kBq/mL, decay-corrected.
        plasma: Input, of the same leading axes.
        frames: Those of the tracer.
        start_min: Minutes after the injection from which frames are used.
    """
    late, below = frames.late(start_min), _above_zero(curve_RT)
    x = plasma.area_T[..., None, :] / below
    y = tissue_area(curve_RT, frames) / below
    return slope(x[..., late], y[..., late])


def patlak(
    curve_RT: FloatArray, plasma: InputMeans, frames: TracerFrames, start_min: float
) -> FloatArray:
    """[..., R] Ki in mL/cm3/min: the slope of C/C_p against ∫C_p/C_p (Patlak et al. 1983).

    Arguments are those of :func:`logan`.
    """
    late = frames.late(start_min)
    below = plasma.plasma_T[..., None, late]
    y = curve_RT[..., late] / below
    return 60.0 * slope(np.broadcast_to(plasma.area_T[..., None, late] / below, y.shape), y)


def reference_logan(
    curve_RT: FloatArray, reference_T: FloatArray, frames: TracerFrames, start_min: float
) -> FloatArray:
    """[..., R] DVR: Logan's slope with a reference region for the input (Logan et al. 1996).

    The term with the reference's k2 is left out: late in a scan it is nearly constant.

    Args:
        curve_RT: [..., R, T] kBq/mL, decay-corrected.
        reference_T: [..., T] of the region without specific binding.
        frames: Those of the tracer.
        start_min: Minutes after the injection from which frames are used.
    """
    late, below = frames.late(start_min), _above_zero(curve_RT)
    x = tissue_area(reference_T, frames)[..., None, :] / below
    y = tissue_area(curve_RT, frames) / below
    return slope(x[..., late], y[..., late])


def uptake_ratio(
    curve_RT: FloatArray, reference_T: FloatArray, frames: TracerFrames, start_min: float
) -> FloatArray:
    """[..., R] SUVR: mean uptake over that of the reference, from ``start_min`` to the end."""
    late = frames.late(start_min)
    duration_T = frames.duration_T[late]
    reference = reference_T[..., late] @ duration_T
    return np.asarray(curve_RT[..., late] @ duration_T / reference[..., None])


def tissue_area(curve_T: FloatArray, frames: TracerFrames) -> FloatArray:
    """[..., T] average over each frame of a curve's integral from the injection, kBq/mL s.

    What came in earlier frames is exact; within a frame the curve is a line of the slope that its
    neighbours give, whose double integral misses that of a constant by slope duration^2 / 12.
    """
    duration_T = frames.duration_T
    whole = np.cumsum(curve_T * duration_T, axis=-1)
    if duration_T.size < 2:
        return np.asarray(whole - curve_T * duration_T / 2)
    rise = np.gradient(curve_T, frames.middle_T, axis=-1)
    return np.asarray(whole - curve_T * duration_T / 2 - rise * duration_T**2 / 12)


def slope(x: FloatArray, y: FloatArray) -> FloatArray:
    """[...] slope of the least-squares line through the points of the last axis."""
    x = x - x.mean(axis=-1, keepdims=True)
    return np.asarray((x * (y - y.mean(axis=-1, keepdims=True))).sum(-1) / np.square(x).sum(-1))


def _above_zero(curve_RT: FloatArray) -> FloatArray:
    """The curves, but never 0 or less: an answer without activity gets a number, if a wrong one."""
    largest = np.abs(curve_RT).max(axis=-1, keepdims=True)
    least = SMALLEST * np.maximum(largest, np.finfo(float).tiny)
    return np.asarray(np.maximum(curve_RT, least))


def _running_sum(parts: FloatArray) -> FloatArray:
    return np.concatenate([np.zeros_like(parts[..., :1]), np.cumsum(parts, axis=-1)], axis=-1)
