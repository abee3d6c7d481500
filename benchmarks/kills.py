"""Killing again and again: until when, at which moments, and what was killed."""

from __future__ import annotations

import math
import random
import time
from typing import Any

from benchmarks.report import Say


class KillLoop:
    """Counts kills until there were enough, or the time is over.

    Args:
        rounds: Kills.
        seed: Decides their moments.
        say: Told of each.
        minutes: Longest time for them.

    Attributes:
        draw: Draws what is killed, and when.
        kills: What was noted of each, plain data.
    """

    def __init__(self, *, rounds: int, seed: int, say: Say, minutes: float = math.inf) -> None:
        self.rounds, self.say, self.minutes = rounds, say, minutes
        self.draw = random.Random(seed)  # noqa: S311 (moments, no secrets)
        self.kills: list[dict[str, Any]] = []
        self.begun = time.monotonic()

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self.begun

    @property
    def enough(self) -> bool:
        """Whether nothing more is to be killed."""
        return len(self.kills) >= self.rounds or self.seconds > 60 * self.minutes

    def note(self, told: str, **kill: Any) -> None:
        """Count a kill, and tell of it."""
        self.kills.append(kill)
        self.say(f"kill {len(self.kills)} of {self.rounds}: {told}")
