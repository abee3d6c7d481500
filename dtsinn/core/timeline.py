"""A protocol as one line of text, to scale, for the terminal."""

from __future__ import annotations

import math

from dtsinn.core.errors import InputError
from dtsinn.core.protocol import Protocol

NARROWEST = 10
"""Characters below which no timeline is drawn (uncited)."""
EDGE, EDGES, FRAME, BOTH = "|", "#", "-", "*"


def timeline_text(protocol: Protocol, minutes: float, width: int = 72) -> str:
    """Frames and injections as characters, such as ``1-|-|-2-|---|---|``.

    ``|`` is the border of a frame, ``#`` several borders that this scale does not tell apart,
    ``1`` and ``2`` the injections, ``*`` both of them. The line ends where the scan ends.

    Args:
        protocol: What to draw.
        minutes: What ``width`` stands for, so that protocols under each other share a scale.
        width: Characters of a scan of that length.

    Raises:
        InputError: The scan is longer than ``minutes``, or there are too few characters.
    """
    # In minutes, as whoever calls has divided too: 60 times a sixtieth may be less than the whole.
    if not (math.isfinite(minutes) and minutes >= protocol.end / 60):
        raise InputError(
            f"timeline of protocol {protocol.name!r}",
            got=f"{minutes:g} min",
            wanted=f"at least {protocol.end / 60:g} min",
        )
    if width < NARROWEST:
        raise InputError("width of a timeline", got=width, wanted=f"at least {NARROWEST}")

    def column(second: float) -> int:
        return round(second / (minutes * 60) * (width - 1))

    edges = [column(edge) for edge in protocol.frame_edges]
    line = [FRAME] * (edges[-1] + 1)
    for place in edges:
        line[place] = EDGE if line[place] == FRAME else EDGES
    first, second = (column(time) for time in protocol.injection_time)
    line[first], line[second] = "1", "2"
    if first == second:
        line[first] = BOTH
    return "".join(line)
