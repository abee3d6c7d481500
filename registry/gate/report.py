"""What the gate found: its checks and the decision, as text and as plain data."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from dtsinn.core.formats import GATE_REPORT
from dtsinn.evaluation.metrics import Interval
from dtsinn.evaluation.novelty import Novelty

NO_CHAMPION = "the linear map, not registered yet"
"""The opponent in a dry run where there is no champion: the one that there would be."""
NOT_APPLICABLE = "not applicable"
Verdict = Literal["passed", "refused", "unchanged"]


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that the gate looked at."""

    name: str
    value: float | str
    limit: float | str
    passed: bool
    detail: str = ""
    applicable: bool = True
    """Whether there were data to look at; without them it neither passes nor refuses."""

    @classmethod
    def without_data(cls, name: str, limit: float | str, why: str) -> Check:
        """A check whose data are missing: it is named, and refuses nothing."""
        return cls(
            name=name, value=NOT_APPLICABLE, limit=limit, passed=True, detail=why, applicable=False
        )

    @property
    def verdict(self) -> str:
        """``ok``, ``FAIL`` or ``n/a``."""
        return ("ok" if self.passed else "FAIL") if self.applicable else "n/a"

    def line(self) -> str:
        """For the terminal."""
        verdict = f"{self.verdict:4}"
        value = f"{self.value:.4g}" if isinstance(self.value, float) else self.value
        limit = f"{self.limit:g}" if isinstance(self.limit, float) else self.limit
        tail = f"  ({self.detail})" if self.detail else ""
        return f"{verdict} {self.name}: {value}, wanted {limit}{tail}"


@dataclass(frozen=True, kw_only=True)
class CellResult:
    """How candidate and opponent did in one cell."""

    key: str
    decides: bool
    store_digest: str
    subjects: int
    candidate: float
    opponent: float
    """Mean PSNR of both, dB."""
    difference: Interval
    """Candidate minus opponent in pairs, dB."""
    novelty: Novelty = field(default_factory=Novelty)
    """What of the cell the candidate's training had seen."""


@dataclass(frozen=True, kw_only=True)
class GateReport:
    """What the gate found and decided."""

    verdict: Verdict
    candidate: str
    against: str
    """The champion, or :data:`NO_CHAMPION`; ``halved mixture`` in older reports."""
    checks: tuple[Check, ...] = ()
    difference: Interval | None = None
    """Mean PSNR of the candidate minus the opponent's and its interval over subjects, dB."""
    psnr: Interval | None = None
    """Mean PSNR of the candidate and its interval over subjects, dB."""
    cells: tuple[CellResult, ...] = ()
    dry_run: bool = False
    first_champion: str = ""
    """Version that was made champion before, without the gate, because there was none: the linear
    map."""
    per_subject: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Subject that decided -> mean PSNR of candidate and opponent over its cells, dB."""

    @property
    def subjects(self) -> int:
        """How many decided."""
        return len(self.per_subject)

    @property
    def passed(self) -> bool:
        """Whether the candidate may be champion (or is it already)."""
        return self.verdict != "refused"

    @property
    def failures(self) -> tuple[Check, ...]:
        """The checks that refused it."""
        return tuple(check for check in self.checks if not check.passed)

    def lines(self) -> list[str]:
        """For the terminal: a first champion, the checks, then the decision."""
        first = [say_first_champion(self.first_champion)] if self.first_champion else []
        if self.verdict == "unchanged":
            own = "the champion's own weights: nothing to do"
            if self.against == NO_CHAMPION:
                own = "the linear map, which would be the first champion without the gate"
            return [*first, f"{self.candidate} holds {own}"]
        names = ", ".join(check.name for check in self.failures)
        end = {
            "passed": f"{self.candidate} passes the gate against {self.against}",
            "refused": f"{self.candidate} is refused against {self.against}: {names}",
        }[self.verdict]
        tail = "; a dry run, nothing was changed" if self.dry_run else ""
        return [*first, *(check.line() for check in self.checks), end + tail]

    @property
    def summary(self) -> str:
        """The decision in one line."""
        if self.difference is None:
            return "; ".join(check.name for check in self.failures)
        found = self.difference
        gain = f"{found.mean:+z.2f} dB ({found.range_text(2, '+')}) on {self.subjects} subjects"
        failed = ", ".join(check.name for check in self.failures)
        return f"{gain}; {failed}" if failed else gain

    def to_json(self) -> dict[str, Any]:
        """Plain data with no NaN: what ``--json`` prints and the run keeps."""
        return {
            **GATE_REPORT.mark,
            "verdict": self.verdict,
            "dry_run": self.dry_run,
            "candidate": self.candidate,
            "against": self.against,
            "first_champion": self.first_champion,
            "subjects": self.subjects,
            "unit": "dB",
            "difference": None if self.difference is None else self.difference._asdict(),
            "psnr": None if self.psnr is None else self.psnr._asdict(),
            "cells": [
                dataclasses.asdict(cell) | {"difference": cell.difference._asdict()}
                for cell in self.cells
            ],
            "checks": [
                dataclasses.asdict(check)
                | {"value": _plain(check.value), "limit": _plain(check.limit)}
                for check in self.checks
            ],
            "per_subject": {
                subject: {"candidate": candidate, "opponent": opponent}
                for subject, (candidate, opponent) in self.per_subject.items()
            },
        }


def say_first_champion(ref: str) -> str:
    """Say that a version, ``NAME/1``, was made the first champion."""
    return f"{ref} is the linear map, registered as the first champion: networks challenge it"


def _plain(value: float | str) -> float | str:
    return value if isinstance(value, str) or np.isfinite(value) else str(value)
