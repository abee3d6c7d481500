"""Successive halving: which trials go on, decided as their reports come in.

Trials are compared at rungs, steps that lie a factor apart. A trial that reaches a rung goes on
when it is among the best ``1 / reduction`` of all that have been there so far; nobody waits for
others (asynchronous successive halving, Li et al., MLSys 2020, the variant that stops). Brackets
(Hyperband, Li et al., JMLR 2018) differ in how early the first rung is: trials take turns in them,
and each bracket compares its own trials only.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar

from dtsinn.core.errors import InputError
from dtsinn.core.kinds import Kinds

REDUCTION = 3.0
"""One in so many of the trials that reach a rung goes on."""
FIRST_PART = 2 / 3
"""First rung as a part of the whole budget. Learning rates cross late: the ones that end best are
among the worst before half of the budget, while they are high (benchmark ``efficiency``)."""
BRACKETS = 1
"""Trials all start at the first rung: where it is late, earlier ones are not worth a hedge."""


class Halving:
    """The rungs, and what trials had there; no clock, no randomness, nothing of Ray.

    Args:
        first: Step of the first rung of the keenest bracket.
        most: Steps of a whole trial; no rung stands there.
        reduction: Factor between rungs, and one over the part of trials that goes on; above 1.
        brackets: Number of brackets; the n-th leaves out the first n rungs.

    Raises:
        InputError: A reduction that leaves the rungs where they are.
    """

    def __init__(self, *, first: int, most: int, reduction: float, brackets: int = 1) -> None:
        if not reduction > 1:
            raise InputError("reduction of halving", got=reduction, wanted="a number above 1")
        self.first, self.most, self.reduction = first, most, reduction
        self.levels = tuple(_levels(first, most, reduction))
        self.brackets = max(1, min(brackets, len(self.levels) + 1))
        self._seen: dict[tuple[int, int], dict[str, float]] = {}
        """Values by trial, of each bracket and rung."""

    def bracket(self, number: int) -> int:
        """The bracket of the ``number``-th trial, from 0 on."""
        return number % self.brackets

    def goes_on(self, trial: str, number: int, step: int, value: float) -> bool:
        """Whether a trial goes on after a report; a report that comes twice changes nothing.

        Args:
            trial: Its name.
            number: Its place among all trials, from 0 on.
            step: Training steps behind it.
            value: What is maximised.
        """
        bracket = self.bracket(number)
        for level in self.levels[bracket:]:
            if step < level:
                break
            seen = self._seen.setdefault((bracket, level), {})
            if trial in seen:
                continue
            seen[trial] = value
            if not self._among_best(value, seen.values()):
                return False
        return True

    def _among_best(self, value: float, seen: Iterable[float]) -> bool:
        values = list(seen)
        ahead = sum(other > value for other in values)
        return ahead < math.ceil(len(values) / self.reduction)


def _levels(first: int, most: int, reduction: float) -> Iterable[int]:
    level = float(first)
    while round(level) < most:
        yield round(level)
        level *= reduction


class Scheduler(ABC):
    """Which trials are stopped early.

    An implementer promises :meth:`halving`, and that it follows from the arguments alone, for a
    search that is resumed makes it anew and feeds it the same reports.

    Attributes:
        stops: Whether it stops anybody.
    """

    stops: ClassVar[bool] = True

    @staticmethod
    @abstractmethod
    def halving(steps: int, every: int) -> Halving | None:
        """Its rungs; None where it stops nobody.

        Args:
            steps: Of a whole trial.
            every: Steps between its reports.
        """


class ASHA(Scheduler):
    """One bracket with a late first rung."""

    @staticmethod
    def halving(steps: int, every: int) -> Halving:
        """From the first report after :data:`FIRST_PART` of the budget on."""
        first = every * math.ceil(FIRST_PART * steps / every)
        return Halving(first=first, most=steps, reduction=REDUCTION, brackets=BRACKETS)


class Hyperband(Scheduler):
    """All brackets."""

    @staticmethod
    def halving(steps: int, every: int) -> Halving:
        """From the first report on."""
        return Halving(first=every, most=steps, reduction=REDUCTION, brackets=steps)


class NoStopping(Scheduler):
    """All trials are trained to their ends."""

    stops = False

    @staticmethod
    def halving(steps: int, every: int) -> None:
        """None."""


SCHEDULERS: Kinds[Scheduler] = Kinds(
    "scheduler",
    Scheduler,  # type: ignore[type-abstract]
    {"asha": ASHA, "hyperband": Hyperband, "none": NoStopping},
)
"""The schedulers by the name that ``--scheduler`` takes."""


def expected_share(halving: Halving) -> float:
    """Part of all steps that trials take where at each rung the expected part goes on."""
    shares = []
    for bracket in range(halving.brackets):
        share, reached, left = 0.0, 0, 1.0
        for level in halving.levels[bracket:]:
            share += left * (level - reached) / halving.most
            reached, left = level, left / halving.reduction
        shares.append(share + left * (halving.most - reached) / halving.most)
    return sum(shares) / len(shares)
