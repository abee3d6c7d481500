"""How much sooner a method gets where random search ends: speed-ups with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.efficiency.simulate import Trace
from dtsinn.core.seeds import generator

RESAMPLES = 4000
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A method on a table; steps are counted in whole trainings."""

    method: str
    steps: tuple[float, float, float]
    """Lower quartile, median and upper quartile of what it takes to reach the target; what did
    not reach it counts as the whole budget."""
    reached: int
    """Searches that reached the target within random's budget."""
    searches: int
    speed_up: tuple[float, float, float]
    """Random's steps over the method's, paired by seed: geometric mean, and the ends of its 95 %
    bootstrap interval."""
    middle: float
    """Random's median steps over the method's median steps."""
    best: float
    """Median test PSNR of the incumbent after ``early`` steps, dB."""
    trials: float
    """Trials begun, mean."""
    finished: float
    """Trials that spent their budget, mean."""


def target_of(traces: Sequence[Trace], budget: int) -> float:
    """Random's own final best: the median over its searches of the test PSNR at the end, dB."""
    return float(np.median([trace.at(budget) for trace in traces]))


def steps_to(traces: Sequence[Trace], target: float, cap: int) -> Floats:
    """Steps to the target, one value per search; ``cap`` where it was not reached."""
    reached = [trace.reach(target) for trace in traces]
    return np.array([cap if steps is None else min(steps, cap) for steps in reached], dtype=float)


def judge(
    method: str,
    traces: Sequence[Trace],
    of_random: Sequence[Trace],
    *,
    target: float,
    budget: int,
    training: int,
    early: int,
) -> Verdict:
    """Compare the searches of a method with those of random, seed by seed.

    Args:
        method: Its name.
        traces: Its searches of random's budget, one per seed.
        of_random: Random's, with as many seeds, of twice its budget.
        target: Test PSNR to reach, dB.
        budget: Steps of a whole search of random's.
        training: Steps of a whole training.
        early: Steps that every search spends.
    """
    own = steps_to(traces, target, 2 * budget if traces is of_random else budget)
    random = steps_to(of_random, target, 2 * budget)
    logs = np.log(random / own)
    draws = generator("efficiency", "bootstrap").integers(len(logs), size=(RESAMPLES, len(logs)))
    low, high = np.quantile(logs[draws].mean(axis=1), (0.025, 0.975))
    quartiles = np.quantile(own, (0.25, 0.5, 0.75)) / training
    return Verdict(
        method=method,
        steps=(float(quartiles[0]), float(quartiles[1]), float(quartiles[2])),
        reached=sum((trace.reach(target) or 2 * budget) <= budget for trace in traces),
        searches=len(traces),
        speed_up=(float(np.exp(logs.mean())), float(np.exp(low)), float(np.exp(high))),
        middle=float(np.median(random) / np.median(own)),
        best=float(np.median([trace.at(early) for trace in traces])),
        trials=float(np.mean([trace.trials for trace in traces])),
        finished=float(np.mean([trace.finished for trace in traces])),
    )
