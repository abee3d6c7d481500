"""What an import takes and yet says: order of the tracers, injections inside frames, splits.

A remark is a pair of place and text, so that what holds for many subjects is one line.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from dtsinn.core.errors import InputError
from dtsinn.core.isotopes import HALF_LIFE_SHARE
from dtsinn.core.plausibility import LEAST_DELAY_S
from dtsinn.core.protocol import Protocol
from dtsinn.data.splits import LEAST_SUBJECTS
from dtsinn.importers.scan import Scan

INJECTION_S = 1.0
"""By how much injection times of one study may differ, s (uncited): they are noted by hand."""
HEADER_INJECTION_S = 60.0
"""By how much a header's injection time may miss the plan's, s (uncited): many are noted to the
minute."""
APPARENT_SHARE = 0.1
"""Up to which activity that falls as a nuclide decays is taken for it (uncited)."""
SILENT_SHARE = 0.01
"""Share of the brightest frame below which a frame has no activity (uncited)."""

SUM_RATIO = 1.25
"""Up to which a mixture and the sum of its tracers differ by noise alone (uncited)."""

Remark = tuple[str, str]


def format_remarks(remarks: Iterable[Remark]) -> tuple[str, ...]:
    """A line for each text, which names the first of its places and counts the others."""
    places: dict[str, list[str]] = {}
    for where, text in remarks:
        places.setdefault(text, []).append(where)
    return tuple(
        f"{where[0]}{f' and {len(where) - 1} more' if len(where) > 1 else ''}: {text}"
        for text, where in places.items()
    )


def injections_inside(protocol: Protocol, tracers: Sequence[str], where: str) -> list[Remark]:
    """Injections that are no border of frames: their frame holds time before and after."""
    remarks = []
    for tracer, injected in zip(tracers, protocol.injection_time, strict=True):
        for frame, start in enumerate(protocol.frame_start):
            end = start + protocol.frame_duration[frame]
            if start + INJECTION_S < injected < end - INJECTION_S:
                text = (
                    f"{tracer} is injected at {injected:g} s, inside frame {frame} from {start:g} "
                    f"to {end:g} s, which holds the time before and after"
                )
                remarks.append((where, text))
    return remarks


def check_order(
    scan: Scan,
    tracers: Sequence[str],
    half_life: Sequence[float],
    injections: Sequence[float],
    where: str,
) -> list[Remark]:
    """Hold the nuclides that a header lists against the order of a plan's tracers.

    Args:
        scan: Of both tracers.
        tracers: Names, by order of injection.
        half_life: Of each, s.
        injections: Of each, s after the start of the first frame.
        where: Place of the scan in the plan, for messages.

    Raises:
        InputError: The header lists two nuclides, and the plan has them the other way round.
    """
    if abs(half_life[0] / half_life[1] - 1) <= 2 * HALF_LIFE_SHARE:
        return []  # nothing tells them apart
    hint = f"tracers: [{tracers[1]}, {tracers[0]}] in the plan, if they were given in that order"
    begin = scan.frame_start[0]
    listed = [
        (math.inf if time is None else time - begin, _which(nuclide, half_life))
        for nuclide, time in scan.administered
        if nuclide is not None
    ]
    if len(listed) == 2:
        times = [time for time, _ in listed]
        ordered = sorted(listed, key=lambda one: one[0]) if math.inf not in times else listed
        if [k for _, k in ordered] == [1, 0]:
            raise InputError(
                f"{where}: the header lists the tracers' nuclides in the other order",
                got=f"that of {tracers[1]} first",
                wanted=f"{tracers[0]} first, as in the plan",
                hint=hint,
            )
    if len(listed) != 1:
        return []
    ((time, k),) = listed
    if k is None:
        return [(where, "the header names a nuclide that is neither tracer's")]
    near = [abs(time - injected) <= HEADER_INJECTION_S for injected in injections]
    if not near[k] and near[1 - k]:
        text = (
            f"the header has the nuclide of {tracers[k]} at {time:.1f} s, when the plan has "
            f"{tracers[1 - k]} injected; try {hint}"
        )
        return [(where, text)]
    return []


def activity_remarks(
    mean_T: npt.NDArray[np.float64],
    protocol: Protocol,
    tracers: Sequence[str],
    half_life: Sequence[float],
    where: str,
) -> list[Remark]:
    """What the activity between the injections says of the first tracer.

    Args:
        mean_T: [T] of the mixture, kBq/mL present.
        protocol: Frames and injection times.
        tracers: Names, by order of injection.
        half_life: Of each, s.
        where: Place of the subject, for messages.
    """
    start_T = np.array(protocol.frame_start)
    end_T = start_T + protocol.frame_duration
    first, second = protocol.injection_time
    alone = np.flatnonzero((start_T >= first - INJECTION_S) & (end_T <= second + INJECTION_S))
    if not alone.size:
        return []
    if mean_T[alone].max() <= SILENT_SHARE * mean_T.max():
        text = (
            f"no activity between the injections of {tracers[0]} and {tracers[1]}; try the "
            "injection times, and the order of tracers, in the plan"
        )
        return [(where, text)]
    falling = alone[int(np.argmax(mean_T[alone])) :]
    if _falls_as_the_other(mean_T[falling], (start_T + end_T)[falling] / 2, half_life, 0):
        text = (
            f"before {tracers[1]} is injected, activity falls as {tracers[1]} decays, not "
            f"{tracers[0]}; try tracers: [{tracers[1]}, {tracers[0]}] in the plan, if they were "
            "given in that order"
        )
        return [(where, text)]
    return []


def tracer_remarks(
    mean_KT: npt.NDArray[np.float64],
    mixture_T: npt.NDArray[np.float64],
    protocol: Protocol,
    tracers: Sequence[str],
    half_life: Sequence[float],
    where: str,
) -> list[Remark]:
    """What the activity of each tracer says of its injection and its nuclide, and of the sum.

    Args:
        mean_KT: [K, T] of the tracers, kBq/mL present.
        mixture_T: [T] of the mixture.
        protocol: Frames and injection times.
        tracers: Names, by order of injection.
        half_life: Of each, s.
        where: Place of the subject, for messages.
    """
    remarks = []
    start_T = np.array(protocol.frame_start)
    middle_T = start_T + np.array(protocol.frame_duration) / 2
    for k, (tracer, injected) in enumerate(zip(tracers, protocol.injection_time, strict=True)):
        mean_T = mean_KT[k]
        silent = start_T[int(np.argmax(mean_T > SILENT_SHARE * mean_T.max()))] - injected
        if silent >= LEAST_DELAY_S:
            text = f"{tracer} has no activity in the {silent:g} s after its injection"
            remarks.append((where, f"{text}; try the right injection_time, in s, in the plan"))
        late = middle_T > (injected + protocol.end) / 2
        if _falls_as_the_other(mean_T[late], middle_T[late], half_life, k):
            other = tracers[1 - k]
            text = f"{tracer} falls as {other} decays; try the other order of first and second"
            remarks.append((where, f"{text}, if they are swapped"))
    ratio = float(mixture_T.mean() / mean_KT.sum(axis=0).mean())
    if not 1 / SUM_RATIO <= ratio <= SUM_RATIO:
        text = f"the mixture has {ratio:.2g} times the activity of both tracers together"
        remarks.append((where, f"{text}; try one scale for all images"))
    return remarks


def _falls_as_the_other(
    mean_T: npt.NDArray[np.float64],
    middle_T: npt.NDArray[np.float64],
    half_life: Sequence[float],
    k: int,
) -> bool:
    """Whether activity of tracer k falls as the other's nuclide decays, and not as its own."""
    apparent = apparent_half_life(mean_T, middle_T)
    return (
        _which(apparent, half_life, APPARENT_SHARE) == 1 - k
        and _which(apparent, [half_life[k]], 0.5) is None
    )


def apparent_half_life(
    mean_T: npt.NDArray[np.float64], middle_T: npt.NDArray[np.float64]
) -> float | None:
    """Half-life, s, with which activity falls; None where it does not, or frames are below 3."""
    if len(mean_T) < 3 or mean_T.min() <= 0:
        return None
    rate = -float(np.polyfit(middle_T, np.log(mean_T), 1)[0])
    return math.log(2.0) / rate if rate > 0 else None


def split_remarks(splits: Sequence[str]) -> list[str]:
    """One line on splits that have too few subjects for what they are for; none where all do."""
    lacking = [
        f"{splits.count(split) or 'none'} in {split} ({least} {purpose})"
        for split, (least, purpose) in LEAST_SUBJECTS.items()
        if splits.count(split) < least
    ]
    if not lacking:
        return []
    return [
        f"few subjects: {', '.join(lacking)}; try split: train, val, gate or test beside each "
        "subject of the plan (splits: in a MATLAB plan), or more subjects"
    ]


def _which(
    half_life: float | None, known: Sequence[float], share: float = HALF_LIFE_SHARE
) -> int | None:
    """Which of the known half-lives this is."""
    if half_life is None:
        return None
    misses = [abs(half_life / one - 1) for one in known]
    best = int(np.argmin(misses))
    return best if misses[best] <= share else None
