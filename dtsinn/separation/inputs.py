"""Input functions of a scan, as a person measured them: one curve for each tracer."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dtsinn.core.bounds import read_text
from dtsinn.core.errors import InputError
from dtsinn.core.protocol import CONTIGUITY_S, Protocol
from dtsinn.separation.verdict import known_tracer

FloatArray = npt.NDArray[np.float64]
WHERE = "the input"
TIME = "time_s"
HEAD_S = 60.0
"""Up to which after an injection the first sample may come, s (uncited): before it, plasma is
taken to rise from 0."""
END_S = 60.0
"""Up to which before the end of the scan the last sample may come, s (uncited)."""


LEAST_UPTAKE, MOST_UPTAKE = 1 / 30, 1e3
"""Mean activity in the body over that in plasma, from an injection on, between which it is taken to
be in the same unit (uncited): blood alone is 1/20 of a brain, and a curve in Bq/mL a thousandth."""


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """Input functions, metabolite-corrected, activity actually present.

    Attributes:
        curves: Tracer -> times [I], s after its injection and ascending from 0 on, and the parent
            in plasma [I], kBq/mL.
    """

    curves: dict[str, tuple[FloatArray, FloatArray]]


def read_inputs(path: Path, tracers: Sequence[str], begin: float, protocol: Protocol) -> Inputs:
    """Read a table of input functions.

    Args:
        path: Columns ``time_s``, on the scan's clock, and one for each tracer by its name.
        tracers: The model's, by order of injection.
        begin: Start of the first frame on the scan's clock, s.
        protocol: Frames and injections, which the curves have to cover.

    Raises:
        InputError: It is missing or no such table, holds one curve of total activity, or does not
            cover the scan.
    """
    columns = _read_columns(path)
    time = columns.pop(TIME, None)
    wanted = f"{TIME}, {' and '.join(tracers)}, their columns parted by tabs"
    if time is None:
        raise InputError(f"{WHERE} has no column {TIME}", got=", ".join(columns), wanted=wanted)
    named = {known_tracer(name, tracers): values for name, values in columns.items()}
    if set(named) != set(tracers) or len(columns) > len(named):
        if len(columns) == 1:
            raise InputError(
                f"{WHERE} has one curve",
                got=f"the column {next(iter(columns))[:32]!r}",
                wanted=wanted,
                hint="the parent of each tracer: total activity holds both tracers",
            )
        raise InputError(f"{WHERE}: columns", got=", ".join(columns)[:120], wanted=wanted)
    time_I = np.array(time) - begin
    if len(time_I) < 3 or (np.diff(time_I) <= 0).any():
        raise InputError(f"{WHERE}: {TIME}", wanted="three ascending times or more")
    curves = {}
    for tracer, injected in zip(tracers, protocol.injection_time, strict=True):
        after_I = time_I > injected
        if (
            not after_I.any()
            or time_I[after_I][0] > injected + HEAD_S
            or (time_I[-1] < protocol.end - END_S)
        ):
            raise InputError(
                f"{WHERE} does not cover the scan of {tracer}",
                got=f"samples from {time_I[0]:g} to {time_I[-1]:g} s after the first frame's start",
                wanted=f"{injected:g} to {protocol.end:g} s",
            )
        since_I = np.concatenate([[0.0], time_I[after_I] - injected])
        plasma_I = np.concatenate([[0.0], np.array(named[tracer])[after_I]])
        curves[tracer] = (since_I, plasma_I)
    return Inputs(curves=curves)


def refuse_other_units(inputs: Inputs, body_T: FloatArray, protocol: Protocol) -> None:
    """Refuse curves that are in another unit than the scan, by what the body took up.

    The first tracer is compared before the second comes, where a frame is.

    Args:
        inputs: Input functions.
        body_T: Mean over the body of the scan, kBq/mL.
        protocol: Frames and injections.

    Raises:
        InputError: They are.
    """
    start_T, end_T = np.array(protocol.frame_start), np.array(protocol.frame_edges[1:])
    for k, (tracer, (time_I, plasma_I)) in enumerate(inputs.curves.items()):
        injected = protocol.injection_time[k]
        seen_T = np.array(protocol.starts_after(k))
        alone_T = seen_T & (end_T <= protocol.injection_time[1] + CONTIGUITY_S)
        seen_T = alone_T if alone_T.any() else seen_T
        if not seen_T.any():
            continue
        duration_T = (end_T - start_T)[seen_T]
        begin, end = start_T[seen_T][0] - injected, end_T[seen_T][-1] - injected
        grid = np.unique(np.clip(time_I, begin, end))
        plasma = np.trapezoid(np.interp(grid, time_I, plasma_I), grid) / (grid[-1] - grid[0])
        body = body_T[seen_T] @ duration_T / duration_T.sum()
        if not LEAST_UPTAKE * plasma <= body <= MOST_UPTAKE * plasma:
            raise InputError(
                f"{WHERE} of {tracer} is in another unit than kBq/mL",
                got=f"{plasma:.3g} in plasma beside {body:.3g} kBq/mL in the body on average",
                wanted="kBq/mL, not decay-corrected",
                hint="its column divided by 1000, if it is in Bq/mL",
            )


def _read_columns(path: Path) -> dict[str, list[float]]:
    try:
        rows = list(csv.reader(read_text(path, "utf-8-sig").splitlines(), delimiter="\t"))
    except (OSError, ValueError, csv.Error) as error:
        got = getattr(error, "strerror", None) or "no text in UTF-8"
        raise InputError(f"{WHERE} cannot be read", got=f"{path}: {got}") from None
    head, body = (rows[0], [row for row in rows[1:] if row]) if rows else ([], [])
    if len(head) < 2 or len(set(head)) < len(head):
        raise InputError(
            f"{WHERE} is no table",
            got=f"{len(head)} columns",
            wanted=f"{TIME} and one for each tracer, parted by tabs",
        )
    values: dict[str, list[float]] = {name.strip(): [] for name in head}
    for number, row in enumerate(body, 1):
        for name, cell in zip(values, row, strict=False):
            try:
                value = float(cell)
            except ValueError:
                value = math.nan
            if len(row) != len(head) or not math.isfinite(value):
                raise InputError(f"{WHERE}, row {number}", wanted=f"{len(head)} numbers")
            values[name].append(value)
    return values
