"""Whether scans fit together: two on one grid, all in one store; what the store says of them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from typing import Any

import numpy as np

from dtsinn.core.errors import InputError
from dtsinn.core.isotopes import is_same_nuclide
from dtsinn.importers.plan_file import PlannedTracer
from dtsinn.importers.scan import Scan

REGISTERED_MM = 0.01
"""How far apart the corners of two registered grids may lie, mm (uncited): headers hold float32,
and a qform less than that."""
VOXEL_SIZE_MM = 1e-3
"""By how much voxel sizes may differ, mm (uncited)."""


def refuse_unregistered(first: Scan, second: Scan, where: str) -> None:
    """Refuse a pair whose voxels do not lie in the same places.

    Args:
        first: Of the pair.
        second: Of the pair.
        where: Place of the subject in the plan, for messages.

    Raises:
        InputError: Size, voxel size, or a corner of the grid differs.
    """
    hint = "registering both scans and writing them on one grid"
    refuse_other_place(first, second, f"{where}.second", f"{where}.first", hint)


def refuse_other_place(
    one: Scan,
    other: Scan,
    where: str,
    wanted_where: str,
    hint: str = "resampling it to the grid of the scan",
) -> None:
    """Refuse a grid whose voxels do not lie where those of another do.

    Args:
        one: Whose grid is wanted.
        other: The other one.
        where: Its place in the plan, for messages.
        wanted_where: That of ``one``.
        hint: What to do.

    Raises:
        InputError: Size, voxel size, or a corner of the grid differs.
    """
    _same_size(one.size, other.size, where, wanted_where, hint)
    _same_voxels(one.voxel_size, other.voxel_size, where, wanted_where, hint)
    apart = np.abs(_corners(one) - _corners(other)).max()
    if apart > REGISTERED_MM:
        raise InputError(
            f"{where} is not registered to {wanted_where}",
            got=f"corners of the grids {apart:.3g} mm apart",
            wanted="the same origin and axes",
            hint=hint,
        )


def refuse_other_grid(one: Scan, other: Scan, where: str, wanted_where: str) -> None:
    """Refuse a scan whose slices another store would hold.

    Args:
        one: Whose slices are wanted.
        other: The scan.
        where: Its place in the plan, for messages.
        wanted_where: That of ``one``.

    Raises:
        InputError: Rows, columns or voxel size differ; the number of slices may.
    """
    hint = "resampling all subjects to one voxel size and one size of the slices"
    _same_size(one.size[1:], other.size[1:], where, wanted_where, hint)
    _same_voxels(one.voxel_size, other.voxel_size, where, wanted_where, hint)


def refuse_other_tracer(scan: Scan, tracer: PlannedTracer, where: str) -> None:
    """Refuse a scan of another radionuclide than the tracer's, such as a swapped pair.

    Raises:
        InputError: The scan's half-life is known and another.
    """
    if scan.half_life is not None and not is_same_nuclide(scan.half_life, tracer.half_life):
        raise InputError(
            f"{where}: half-life",
            got=f"{scan.half_life:g} s",
            wanted=f"{tracer.half_life:g} s, that of {tracer.name}",
            hint="the other order of first and second, or of tracers",
        )


def describe(scans: Iterable[tuple[Scan, float]]) -> list[dict[str, Any]]:
    """The distinct ways in which scans were acquired, as plain data without dates.

    Args:
        scans: Each with the time from which its frames are counted, s on its clock.

    Returns:
        For each way: ``frames`` as [count, seconds], ``first_frame`` in s after that time,
        ``decay_corrected``, and how many scans there are (``scans``).
    """
    ways: dict[str, int] = {}
    for scan, since in scans:
        way = {
            "frames": [
                [len(list(run)), seconds]
                for seconds, run in itertools.groupby(round(d, 3) for d in scan.frame_duration)
            ],
            "first_frame": round(scan.frame_start[0] - since, 3),
            "decay_corrected": scan.decay_corrected,
        }
        key = json.dumps(way)
        ways[key] = ways.get(key, 0) + 1
    return [json.loads(key) | {"scans": count} for key, count in sorted(ways.items())]


def _same_size(
    one: tuple[int, ...], other: tuple[int, ...], where: str, wanted_where: str, hint: str
) -> None:
    if one != other:
        axes = "slices, rows and columns" if len(one) == 3 else "rows and columns"
        raise InputError(
            f"{where}: size differs from that of {wanted_where}",
            got=f"{' x '.join(map(str, other))} {axes}",
            wanted=" x ".join(map(str, one)),
            hint=hint,
        )


def _same_voxels(
    one: tuple[float, ...], other: tuple[float, ...], where: str, wanted_where: str, hint: str
) -> None:
    if np.abs(np.subtract(one, other)).max() > VOXEL_SIZE_MM:
        raise InputError(
            f"{where}: voxel size differs from that of {wanted_where}",
            got=f"{' x '.join(f'{mm:.4g}' for mm in other)} mm (z, y, x)",
            wanted=" x ".join(f"{mm:.4g}" for mm in one),
            hint=hint,
        )


def _corners(scan: Scan) -> np.ndarray[Any, np.dtype[np.float64]]:
    """[2, 2, 2, 3] where the outermost voxels lie, mm."""
    Z, Y, X = scan.size
    z, y, x = scan.voxel_size
    right, front, head = (np.array(axis) for axis in scan.axes)
    steps = np.stack(
        [right * x * (X - 1), -front * y * (Y - 1), head * z * (Z - 1)]  # rows run to the back
    )
    choices = np.stack(np.meshgrid(*[[0, 1]] * 3, indexing="ij"), axis=-1)
    return np.asarray(np.array(scan.origin) + choices @ steps)
