"""Protocols: the frames of a scan and when the two tracers are injected into it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dtsinn.core.checks import short_name
from dtsinn.core.config import STRICT, config_names, find_config, from_mapping, read_yaml
from dtsinn.core.errors import InputError, StoreError, naming
from dtsinn.core.plausibility import DAY_S, Answer, check_times, is_yes
from dtsinn.core.yaml_text import format_yaml

MOST_FRAMES = 10_000
"""Frames of one length, at most: list mode at a second a frame for three hours."""
CONTIGUITY_S = 1.5e-3
"""Up to which two times are one, s: scanners round to 1 ms, and sums of seconds round again."""


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """Frames and injection times; it names no tracers.

    Attributes:
        name: Short name, as on the command line.
        description: One line for people.
        source: Where the frames come from, or "uncited".
        frame_start: [T] s from the start of the scan; the first is 0.
        frame_duration: [T] s.
        injection_time: Of the first and the second tracer, s from the start of the scan.
    """

    __pydantic_config__ = STRICT

    name: str
    description: str
    source: str
    frame_start: tuple[float, ...]
    frame_duration: tuple[float, ...]
    injection_time: tuple[float, float]

    def __post_init__(self) -> None:
        where = f"protocol {self.name!r}"
        _check_frames(where, self.frame_start, self.frame_duration)
        _check_injections(where, self.injection_time, self.end)

    @property
    def frames(self) -> int:
        """Number of frames."""
        return len(self.frame_start)

    @property
    def end(self) -> float:
        """End of the last frame, s."""
        return self.frame_start[-1] + self.frame_duration[-1]

    @property
    def frame_edges(self) -> tuple[float, ...]:
        """[T + 1] start of each frame and end of the last, s."""
        return (*self.frame_start, self.end)

    def starts_after(self, tracer: int) -> tuple[bool, ...]:
        """[T] whether a frame starts at or after a tracer's injection, to :data:`CONTIGUITY_S`."""
        earliest = self.injection_time[tracer] - CONTIGUITY_S
        return tuple(start >= earliest for start in self.frame_start)

    def first_frame(self, tracer: int) -> int:
        """Index of the first frame that starts at or after a tracer's injection.

        Frames are in order, so the scored frames are this one and all later ones.

        Raises:
            StoreError: No frame does.
        """
        after = self.starts_after(tracer)
        if any(after):
            return after.index(True)
        raise StoreError(
            f"no frame of protocol {self.name!r} starts after injection {tracer + 1}",
            got=f"an injection at {self.injection_time[tracer]:g} s",
            wanted=f"at most {self.frame_start[-1]:g} s",
        )


@dataclass(frozen=True, kw_only=True)
class _ProtocolFile:
    """What a protocol's YAML file says: frames as ``[count, seconds]``.

    ``unusual_times: yes`` says that a scan of days or of seconds is meant.
    """

    __pydantic_config__ = STRICT

    name: str
    description: str
    source: str
    injections: tuple[float, float]
    frames: tuple[tuple[int, float], ...]
    unusual_times: Answer = False


def protocol_names() -> list[str]:
    """Names of the protocols that ship with dtsinn."""
    return config_names("protocols")


def load_protocol(name_or_path: str) -> Protocol:
    """The protocol of a shipped name or of a user's YAML file.

    The file gives ``injections: [0, 1200]`` in seconds and ``frames: [[4, 150], [2, 300]]`` as
    count times seconds, contiguous from 0.

    Raises:
        InputError: No such protocol, or its file holds something wrong.
    """
    path: Path = find_config("protocols", name_or_path)
    file = from_mapping(_ProtocolFile, read_yaml(path), str(path))
    short_name(str(path), file.name)
    for count, _ in file.frames:
        if not 1 <= count <= MOST_FRAMES:
            raise InputError(f"{path}: frames: count", got=count, wanted=f"1 to {MOST_FRAMES}")
    durations = [seconds for count, seconds in file.frames for _ in range(count)]
    starts = [0.0, *itertools.accumulate(durations)][:-1]
    with naming(path):
        protocol = Protocol(
            name=file.name,
            description=file.description,
            source=file.source,
            frame_start=tuple(starts),
            frame_duration=tuple(float(seconds) for seconds in durations),
            injection_time=file.injections,
        )
    if not is_yes(file.unusual_times):
        _check_unit(protocol, str(path))
    return protocol


def protocol_text(protocol: Protocol) -> str:
    """A protocol as the text of a file that :func:`load_protocol` reads."""
    lengths = itertools.groupby(protocol.frame_duration)
    content: dict[str, Any] = {
        "name": protocol.name,
        "description": protocol.description,
        "source": protocol.source,
        "injections": list(protocol.injection_time),
        "frames": [[len(list(frames)), seconds] for seconds, frames in lengths],
    }
    try:
        _check_unit(protocol, protocol.name)
    except InputError:  # frames of a store or package are taken as they are
        content["unusual_times"] = True
    return format_yaml(content)


def protocol_of_frames(
    name: str,
    frame_start: Sequence[float],
    frame_duration: Sequence[float],
    injection_time: Sequence[float],
) -> Protocol:
    """The protocol of explicit frames, as read back from a store or a scan.

    Args:
        name: What to call it.
        frame_start: [T] s from the start of the scan.
        frame_duration: [T] s.
        injection_time: [2] s from the start of the scan.

    Raises:
        InputError: The numbers make no protocol.
    """
    injections = tuple(float(time) for time in injection_time)
    if len(injections) != 2:
        raise InputError(
            f"protocol {name!r}: injection_time", got=f"{len(injections)} times", wanted="two"
        )
    return Protocol(
        name=name,
        description="explicit frames",
        source="read from data",
        frame_start=tuple(float(time) for time in frame_start),
        frame_duration=tuple(float(time) for time in frame_duration),
        injection_time=(injections[0], injections[1]),
    )


def _check_unit(protocol: Protocol, where: str) -> None:
    """Refuse a protocol of a file whose times look like ms or minutes."""
    injections = protocol.injection_time
    check_times(where, protocol.frame_duration, injections, place="its file")


def _check_frames(where: str, starts: Sequence[float], durations: Sequence[float]) -> None:
    if not starts or len(starts) != len(durations):
        raise InputError(
            f"{where}: frames",
            got=f"{len(starts)} starts and {len(durations)} durations",
            wanted="one of each per frame, and at least one frame",
        )
    for frame, seconds in enumerate(durations):
        if not (math.isfinite(seconds) and seconds > 0):
            raise InputError(
                f"{where}: duration of frame {frame}", got=seconds, wanted="seconds above 0"
            )
    expected = 0.0
    for frame, (start, seconds) in enumerate(zip(starts, durations, strict=True)):
        if not abs(start - expected) <= CONTIGUITY_S:  # also refuses NaN
            raise InputError(
                f"{where}: start of frame {frame}",
                got=f"{start:g} s",
                wanted=f"{expected:g} s, so that frames are contiguous from 0",
            )
        expected = start + seconds


def _check_injections(where: str, times: tuple[float, float], end: float) -> None:
    for time in times:
        if not 0 <= time < end:
            raise InputError(
                f"{where}: injection",
                got=f"{time:g} s",
                wanted=f"inside the scan, 0 to {end:g} s",
                hint="frames in seconds, not minutes" if 0 <= time < 60 * end <= DAY_S else "",
            )
    if times[1] < times[0]:
        raise InputError(
            f"{where}: injections", got=f"{times[0]:g}, {times[1]:g} s", wanted="ascending times"
        )
