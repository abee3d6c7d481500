"""Whether a model knows such scans: checks that need no labels, and what they say together.

Each check has a name, a value, a limit and a line of words. With calibration subjects the limits of
what is measured are theirs (:mod:`.population`), and further checks say whether the scan is like
them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from dtsinn.core.isotopes import is_same_nuclide
from dtsinn.core.protocol import CONTIGUITY_S, Protocol
from dtsinn.core.tracer import tracer_names
from dtsinn.deploy.facts import SeparatorFacts
from dtsinn.importers.mixture_frames import FrameFit
from dtsinn.importers.remarks import HEADER_INJECTION_S
from dtsinn.kinetics.conservation import FAINT, applicable_frames
from dtsinn.separation.population import Features, Population, scan_shapes
from dtsinn.separation.run import Totals
from dtsinn.separation.scan import Mixture

FloatArray = npt.NDArray[np.float64]
Outcome = Literal["passed", "failed", "not told"]


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a scan inside keeps to where no calibration subjects tell; all of them uncited."""

    resampling: float = 5.0
    """% by which resampled frames may be wrong."""
    injection: float = 10.0
    """% of the frame after an injection, by which its time may differ from the model's."""
    body: float = 15.0
    """% by which the answers' sum may miss the mixture in the body. A gate asks for 5 % as a mean
    over subjects; single scans of a network's own training population missed up to 11 % in the
    first frame, which holds little activity (measured)."""
    tile: float = 20.0
    """% of the same in the worst tile of 2,000 voxels: up to 13 % of those scans."""
    before_second: float = 15.0
    """% by which tracer 1 may miss the mixture of the body before the second injection."""
    before_own: float = 5.0
    """% of the mixture that tracer 2 may have in the body before its own injection."""
    negative: float = 10.0
    """% of a tracer's activity in the body that may be below 0 in a frame."""


LIMITS = Limits()
CALIBRATED = "calibration subjects"
"""Basis of a limit."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One question to a scan and its answer.

    Attributes:
        name: Short, in lower case.
        outcome: ``not told`` where the scan does not say what is asked.
        words: A line for people.
        value: What was found; None where it is no number.
        limit: Up to which it passes.
        unit: Of both.
        basis: Where the limit comes from.
    """

    name: str
    outcome: Outcome
    words: str
    value: float | None = None
    limit: float | None = None
    unit: str = ""
    basis: str = "uncited"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """All checks of a scan.

    Attributes:
        checks: In the order in which they are shown.
        accepted: Why the user takes the scan all the same; empty where nobody said so.
        p_value: Share of the calibration subjects, the scan with them, that are as unlike the
            others as it is; None without them.
    """

    checks: tuple[Check, ...]
    accepted: str = ""
    p_value: float | None = None

    @property
    def inside(self) -> bool:
        """Whether no check failed."""
        return not self.failed

    @property
    def failed(self) -> tuple[Check, ...]:
        """Those that did."""
        return tuple(check for check in self.checks if check.outcome == "failed")

    @property
    def text(self) -> str:
        """``inside``, or ``outside: `` and why."""
        if self.inside:
            return "inside"
        return "outside: " + "; ".join(check.words for check in self.failed)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "verdict": "inside" if self.inside else "outside",
            "text": self.text,
            "accepted": self.accepted,
            "p_value": self.p_value,
            "checks": [asdict(check) for check in self.checks],
        }


def judge(
    mixture: Mixture,
    facts: SeparatorFacts,
    fit: FrameFit,
    protocol: Protocol,
    totals: Totals,
    *,
    population: Population | str = "the model has none",
    accepted: str = "",
    limits: Limits = LIMITS,
) -> Verdict:
    """Put all checks of a separated scan together.

    Args:
        mixture: The scan.
        facts: What the model separates.
        fit: How its frames became the model's.
        protocol: Frames of the answer, with the scan's own injections.
        totals: Of the answer.
        population: The calibration subjects, or why there are none.
        accepted: Why the user takes a scan outside.
        limits: What passes; where calibration subjects say otherwise, what they say.
    """
    told = [
        _check_frames(fit, limits),
        _check_names(mixture, facts),
        _check_half_lives(mixture, facts),
        *_check_injections(mixture, facts, fit, limits),
    ]
    measured = _measure(totals, protocol, facts, limits)
    if isinstance(population, str):
        words = f"not compared with the training population: no calibration subjects, {population}"
        untold = Check(name="population", outcome="not told", words=words)
        return Verdict(checks=(*told, *measured, untold), accepted=accepted)
    features = features_of(totals, protocol, facts)
    return Verdict(
        checks=(
            *told,
            *(_limit_by(population, check) for check in measured),
            *_check_population(population, features),
        ),
        accepted=accepted,
        p_value=population.p_value(features),
    )


def features_of(totals: Totals, protocol: Protocol, facts: SeparatorFacts) -> Features:
    """What of a separated scan is compared with the calibration subjects."""
    return Features(
        shares={
            check.name: abs(check.value)
            for check in _measure(totals, protocol, facts, LIMITS)
            if check.value is not None
        },
        shapes=scan_shapes(totals, protocol),
    )


def _measure(
    totals: Totals, protocol: Protocol, facts: SeparatorFacts, limits: Limits
) -> list[Check]:
    return [
        *_check_sums(totals, protocol, facts, limits),
        *_check_negative(totals, protocol, facts, limits),
    ]


def _limit_by(population: Population, check: Check) -> Check:
    """The check with the limit of the calibration subjects, where they have one."""
    if check.value is None or check.name not in population.checks:
        return check
    limit = population.limit(check.name)
    outcome = _outcome(abs(check.value), limit)
    return replace(check, limit=limit, outcome=outcome, basis=CALIBRATED)


def _check_population(population: Population, features: Features) -> list[Check]:
    checks = []
    for name, distance in population.distances(features).items():
        if name not in features.shapes:
            continue
        limit = population.limit(name)
        checks.append(
            Check(
                name=name,
                outcome=_outcome(distance, limit),
                words=f"{name} unlike the training population's, {distance / limit:.2g} times as "
                "far as the limit",
                value=distance,
                limit=limit,
                unit="SD",
                basis=CALIBRATED,
            )
        )
    return checks


def told_injections(mixture: Mixture, fit: FrameFit, facts: SeparatorFacts) -> tuple[float, float]:
    """S from the start of the first frame: those of the scan, else the model's."""
    if mixture.injections is None:
        return facts.injection_time
    first, second = mixture.injections
    return first - fit.begin, second - fit.begin


def _check_frames(fit: FrameFit, limits: Limits) -> Check:
    error = 100 * fit.error
    return Check(
        name="frames",
        outcome=_outcome(error, limits.resampling),
        words=f"frames: {fit.words if fit.weights is not None else 'those of the model'}",
        value=error,
        limit=limits.resampling,
        unit="%",
    )


def _check_names(mixture: Mixture, facts: SeparatorFacts) -> Check:
    pair = " then ".join(facts.tracers)
    if not mixture.tracers:
        return Check(
            name="tracers", outcome="not told", words=f"the scan names no tracers: {pair} assumed"
        )
    known = [known_tracer(name, facts.tracers) for name in mixture.tracers]
    if known == list(facts.tracers):
        return Check(name="tracers", outcome="passed", words=f"tracers: {pair}")
    return Check(
        name="tracers",
        outcome="not told",
        words=f"nobody but the user knows that the scan's tracers are {pair}",
    )


def known_tracer(name: str, wanted: Sequence[str]) -> str | None:
    """The tracer that a scan's word, such as ``[18F]FDG``, names; None of words not known."""
    plain = "".join(letter for letter in name.lower() if letter.isalnum())
    for tracer in (*wanted, *sorted(tracer_names(), key=len, reverse=True)):
        if "".join(letter for letter in tracer.lower() if letter.isalnum()) in plain:
            return tracer
    return None


def _check_half_lives(mixture: Mixture, facts: SeparatorFacts) -> Check:
    if len(mixture.half_lives) == 2:
        words = "half-lives: the model's"
        return Check(name="half-lives", outcome="passed", words=words)
    words = "the scan names one nuclide of the two" if mixture.half_lives else ""
    return Check(
        name="half-lives",
        outcome="not told",
        words=words or "the scan names no nuclides: the model's assumed",
    )


def _check_injections(
    mixture: Mixture, facts: SeparatorFacts, fit: FrameFit, limits: Limits
) -> list[Check]:
    if mixture.injections is None:
        said = mixture.scan.injection_time
        near = said is None or any(
            abs(said - fit.begin - time) <= HEADER_INJECTION_S for time in facts.injection_time
        )
        if said is not None and not near:
            words = (
                f"the header has an injection {said - fit.begin:g} s after the first frame's "
                f"start, the model at {facts.injection_time[0]:g} and {facts.injection_time[1]:g} s"
            )
            return [Check(name="injections", outcome="failed", words=words)]
        words = "the scan does not say when both tracers were injected: the model's times assumed"
        return [Check(name="injections", outcome="not told", words=words)]
    checks = []
    told = told_injections(mixture, fit, facts)
    times = zip(facts.tracers, told, facts.injection_time, strict=True)
    for k, (name, own, wanted) in enumerate(times):
        after = facts.timing.starts_after(k)
        first = after.index(True) if any(after) else -1
        share = 100 * abs(own - wanted) / facts.frame_duration[first]
        checks.append(
            Check(
                name=f"injection of {name}",
                outcome=_outcome(share, limits.injection),
                words=f"{name} injected at {own:g} s, the model knows {wanted:g} s",
                value=share,
                limit=limits.injection,
                unit="% of the frame after it",
            )
        )
    return checks


def _check_sums(
    totals: Totals, protocol: Protocol, facts: SeparatorFacts, limits: Limits
) -> list[Check]:
    first, second = facts.tracers
    fits_T = applicable_frames(protocol)
    bright_T = totals.mixture_T > FAINT * totals.mixture_T.max()
    body_T = _percent(totals.tracers_KT.sum(axis=0), totals.mixture_T)
    ends_T = np.array(protocol.frame_edges[1:])
    early_T = (ends_T <= protocol.injection_time[1] + CONTIGUITY_S) & bright_T
    started_T = early_T & np.array(protocol.starts_after(0))
    tiles_T = 100 * np.abs(totals.tile_JT).max(axis=0, initial=0.0)
    has_tiles = len(totals.tile_JT) > 0
    return [
        _worst(
            "conservation, body",
            "the answers' sum misses the mixture",
            np.where(fits_T & bright_T, body_T, np.nan),
            limits.body,
            "as the default gate",
        ),
        _worst(
            "conservation, worst tile",
            "the answers' sum misses the mixture in a part of the body",
            np.where(fits_T & bright_T, tiles_T, np.nan) if has_tiles else np.array([np.nan]),
            limits.tile,
            "as the default gate",
        ),
        _worst(
            f"{first} before {second}",
            f"before {second} is injected, {first} misses the mixture",
            np.where(started_T, _percent(totals.tracers_KT[0], totals.mixture_T), np.nan),
            limits.before_second,
        ),
        _worst(
            f"{second} before its injection",
            f"before its injection, {second} has a part of the mixture",
            np.where(started_T, 100 * totals.tracers_KT[1] / _above_0(totals.mixture_T), np.nan),
            limits.before_own,
        ),
    ]


def _check_negative(
    totals: Totals, protocol: Protocol, facts: SeparatorFacts, limits: Limits
) -> list[Check]:
    checks = []
    for k, name in enumerate(facts.tracers):
        after_T = np.array(protocol.starts_after(k))
        share_T = np.where(after_T, 100 * totals.negative_KT[k], np.nan)
        words = f"{name} is below 0 for a part of its activity"
        checks.append(_worst(f"{name} below 0", words, share_T, limits.negative))
    return checks


def _worst(
    name: str, words: str, value_T: FloatArray, limit: float, basis: str = "uncited"
) -> Check:
    """A check of the frame whose value is farthest from 0, in percent."""
    there = np.isfinite(value_T)
    if not there.any():
        return Check(name=name, outcome="not told", words=f"{name}: no frame tells", limit=limit)
    frame = int(np.where(there, np.abs(value_T), -1.0).argmax())
    value = float(value_T[frame])
    return Check(
        name=name,
        outcome=_outcome(abs(value), limit),
        words=f"{words}, by {value:.2g} % in frame {frame + 1}",
        value=value,
        limit=limit,
        unit="%",
        basis=basis,
    )


def refuse_other_nuclides(half_lives: Sequence[float], wanted: Sequence[float]) -> str:
    """Why a scan of these half-lives, s, is none of the model's; "" where it may be."""
    if len(half_lives) == 2:
        same = [is_same_nuclide(*pair) for pair in zip(half_lives, wanted, strict=True)]
        return "" if all(same) else "its nuclides are not the model's"
    for seconds in half_lives:
        if not any(is_same_nuclide(seconds, one) for one in wanted):
            return "its nuclide is none of the model's"
    return ""


def _outcome(value: float, limit: float) -> Outcome:
    return "passed" if math.isfinite(value) and value <= limit else "failed"


def _percent(found_T: FloatArray, true_T: FloatArray) -> FloatArray:
    return np.asarray(100 * (found_T / _above_0(true_T) - 1))


def _above_0(values_T: FloatArray) -> FloatArray:
    return np.maximum(values_T, np.finfo(np.float32).tiny)
