"""``power``: how often the gate promotes what is no better, and what is better by half a decibel.

Networks are trained, and score many subjects of the gate's suite. For each two of them, gates are
simulated: subjects are drawn from all that were scored, the mean difference is taken out in every
cell, tracer and region, a true one is put in, and the gate's own code decides. What is left is the
scatter of real subjects between two real networks, which is what makes a gate err.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Annotated, Any

import numpy as np
import typer

from benchmarks.prepare import prepare_store, separator_of, train_state
from benchmarks.report import Result, Say, Steps, Table, make_table
from dtsinn.core.progress import no_progress
from dtsinn.core.seeds import generator
from dtsinn.core.workspace import Workspace
from dtsinn.deploy.info import SeparatorInfo
from dtsinn.evaluation.score import SubjectScore, score_subjects
from dtsinn.evaluation.suite import SPLIT, cell_store, cells_of, load_suite
from dtsinn.registry.gate.cells import GateCell, suite_for
from dtsinn.registry.gate.comparison import CellScores
from dtsinn.registry.gate.config import GateConfig, load_gate
from dtsinn.registry.gate.decide import compare
from dtsinn.registry.gate.report import GateReport
from dtsinn.simulation.request import StudyRequest

STORE = StudyRequest(subjects=60, slices=8, size=64, noise="mid", seed=0, population="varied")
"""Trained on: as the demo's."""
POOL_SEED = 55
"""Of the subjects that gates are drawn from; not the gate's own, which nothing else may use."""
TRUE_dB = (0.0, 0.5)
MOST_FALSE, LEAST_TRUE = 0.05, 0.80
"""Promotions without a true difference, at most, and with 0.5 dB, at least (targets)."""
NETWORKS = {
    "default, seed 0": ["seed=0"],
    "default, seed 1": ["seed=1"],
    "two blocks": ["seed=0", "model.blocks=2"],
    "residual CNN": ["seed=0", "model.kind=residual-cnn", "loss.backward=0"],
    "U-Net": ["seed=0", "model.kind=unet", "loss.backward=0"],
}
"""Changes to the default run."""


PairFound = dict[str, Any]
"""Simulated gates between two networks; see :func:`gates_between`."""


def run(
    folder: Path,
    *,
    steps: Steps = 400,
    pool: Annotated[int, typer.Option(help="Subjects that are scored.")] = 192,
    gates: Annotated[int, typer.Option(help="Gates of each pair and difference.")] = 400,
    say: Say,
) -> Result:
    """Train, score, and simulate gates.

    Args:
        folder: Where stores go.
        steps: Of each training.
        pool: Subjects that are scored.
        gates: That are simulated for each two networks and each true difference.
        say: Told what is being done.
    """
    say(f"simulating {STORE.subjects} subjects to train on")
    store = prepare_store("train", STORE, folder)
    separators = {}
    for name, changes in NETWORKS.items():
        separators[name] = separator_of(train_state(store, changes, steps, validations=4), store)
        say(f"trained {name}")
    config = load_gate()
    say(f"simulating {pool} subjects of the gate's suite")
    cells = cells_of_pool(separators["default, seed 0"].info, config, pool, Workspace(folder))
    scores: dict[str, CellScores] = {}
    for name, one in separators.items():
        scores[name] = {c.key: score_subjects(one.separate, c.store, c.split) for c in cells}
        psnr = fmean(score.mean_psnr for found in scores[name].values() for score in found)
        say(f"scored {name}: {psnr:.2f} dB")
    deciding = load_suite(str(config.suite)).subjects
    found = []
    for pair in itertools.permutations(scores.items(), 2):
        found += [
            gates_between(*pair, cells, config, subjects, gates)
            for subjects in (deciding, config.min_subjects)
        ]
        say(f"{pair[0][0]} against {pair[1][0]}: {_told(found[-2])}")
    return Result(
        name="power",
        title="What the gate lets through",
        notes=[
            f"{len(NETWORKS)} networks, {steps} steps each on {STORE.subjects} subjects, scored "
            f"on {pool} other subjects at {len(cells)} noise levels (the gate's suite with another "
            f"seed). For each ordered pair {gates} gates for each true difference: subjects drawn "
            "with return; the mean paired difference is taken out in every cell, tracer and "
            "region, and the true one put in.",
            "All checks that look at scores decide, as the gate does; `interval alone` is the part "
            "in which the interval lay above 0.",
            f"Wanted: at most {MOST_FALSE:.0%} without a true difference, at least "
            f"{LEAST_TRUE:.0%} with +{TRUE_dB[1]:g} dB, on {deciding} subjects. A store of "
            f"measured scans may decide with {config.min_subjects}.",
        ],
        tables=[_table(found), _pairs([one for one in found if one["subjects"] == deciding])],
        data={"steps": steps, "pool": pool, "gates": gates, "pairs": found},
    )


def cells_of_pool(
    info: SeparatorInfo, config: GateConfig, subjects: int, workspace: Workspace
) -> list[GateCell]:
    """The cells of the gate's suite with other, and more, subjects."""
    suite = replace(load_suite(str(config.suite)), subjects=subjects, seed=POOL_SEED)
    return [
        GateCell(key=cell.key, store=cell_store(cell, workspace, no_progress), split=SPLIT)
        for cell in cells_of(suite_for(suite, info, suite.phantom, workspace))
    ]


def gates_between(
    candidate: tuple[str, CellScores],
    opponent: tuple[str, CellScores],
    cells: Sequence[GateCell],
    config: GateConfig,
    subjects: int,
    gates: int,
) -> PairFound:
    """Simulate gates between two networks.

    Returns:
        ``candidate`` and ``opponent``; ``subjects`` that decide in each gate; ``scatter``, SD over
        subjects of the paired difference, mean of the cells, dB; ``measured``, mean of the
        difference before it was taken out, dB; ``promoted``, true difference in dB -> part of the
        gates that promote; ``interval``, the same where only the interval is asked.
    """
    (name, ours), (other, theirs) = candidate, opponent
    level = {key: level_with(ours[key], theirs[key]) for key in ours}
    pool = len(next(iter(ours.values())))
    rng = generator(0, "power", name, other, str(subjects))
    report = GateReport(verdict="refused", candidate=name, against=other)
    promoted, above = dict.fromkeys(TRUE_dB, 0), dict.fromkeys(TRUE_dB, 0)
    for draw_S in rng.integers(pool, size=(gates, subjects)):
        drawn = {key: _drawn(found, draw_S) for key, found in level.items()}
        met = {key: _drawn(found, draw_S) for key, found in theirs.items()}
        for true in TRUE_dB:
            better = {
                key: [_lifted(score, true) for score in found] for key, found in drawn.items()
            }
            found = compare(report, cells, better, met, config)
            promoted[true] += all(check.passed for check in found.checks)
            above[true] += found.difference is not None and found.difference.lies_above(0)
    difference_S = [
        fmean(ours[key][n].mean_psnr - theirs[key][n].mean_psnr for key in ours)
        for n in range(pool)
    ]
    return {
        "candidate": name,
        "opponent": other,
        "subjects": subjects,
        "scatter": stdev(difference_S),
        "measured": fmean(difference_S),
        "promoted": {f"{true:g}": count / gates for true, count in promoted.items()},
        "interval": {f"{true:g}": count / gates for true, count in above.items()},
    }


def level_with(ours: Sequence[SubjectScore], theirs: Sequence[SubjectScore]) -> list[SubjectScore]:
    """Our scores without the mean difference from theirs, per tracer and region."""
    gain_K = np.mean([np.subtract(a.psnr, b.psnr) for a, b in zip(ours, theirs, strict=True)], 0)
    places = {(tracer, region) for s in ours for tracer in s.regional_bias
              for region in s.regional_bias[tracer]}  # fmt: skip
    grown = {
        (tracer, region): fmean(
            abs(a.regional_bias[tracer][region]) - abs(b.regional_bias[tracer][region])
            for a, b in zip(ours, theirs, strict=True)
            if region in a.regional_bias[tracer] and region in b.regional_bias[tracer]
        )
        for tracer, region in places
    }
    return [
        replace(
            score,
            psnr=(score.psnr[0] - float(gain_K[0]), score.psnr[1] - float(gain_K[1])),
            regional_bias={
                tracer: {
                    region: max(0.0, abs(bias) - grown[tracer, region])
                    for region, bias in regions.items()
                }
                for tracer, regions in score.regional_bias.items()
            },
        )
        for score in ours
    ]


def _drawn(found: Sequence[SubjectScore], draw_S: np.ndarray) -> list[SubjectScore]:
    """The drawn ones, each a subject of its own, also where it was drawn before."""
    return [replace(found[n], subject=f"{place}") for place, n in enumerate(draw_S)]


def _lifted(score: SubjectScore, by_dB: float) -> SubjectScore:
    return replace(score, psnr=(score.psnr[0] + by_dB, score.psnr[1] + by_dB))


def _told(found: PairFound) -> str:
    parts = (f"{part:.1%} at {true} dB" for true, part in found["promoted"].items())
    return f"scatter {found['scatter']:.2f} dB; promoted {', '.join(parts)}"


def _table(found: Sequence[PairFound]) -> Table:
    def of(row: tuple[int, float], what: str) -> list[float]:
        return [one[what][f"{row[1]:g}"] for one in found if one["subjects"] == row[0]]

    return make_table(
        itertools.product(sorted({one["subjects"] for one in found}, reverse=True), TRUE_dB),
        {
            "gates": lambda row: f"{row[0]} subjects, true difference {row[1]:+g} dB",
            "promoted": lambda row: f"{fmean(of(row, 'promoted')):.1%}",
            "lowest and highest pair": lambda row: (
                f"{min(of(row, 'promoted')):.1%} to {max(of(row, 'promoted')):.1%}"
            ),
            "interval alone": lambda row: f"{fmean(of(row, 'interval')):.1%}",
        },
        "Promotions, over all pairs of networks",
    )


def _pairs(found: Sequence[PairFound]) -> Table:
    no, half = TRUE_dB
    return make_table(
        found,
        {
            "candidate, opponent": lambda one: f"{one['candidate']}, {one['opponent']}",
            "scatter, dB": lambda one: f"{one['scatter']:.2f}",
            "measured, dB": lambda one: f"{one['measured']:+.2f}",
            f"promoted at {no:+g} dB": lambda one: f"{one['promoted'][f'{no:g}']:.1%}",
            f"promoted at {half:+g} dB": lambda one: f"{one['promoted'][f'{half:g}']:.1%}",
        },
        "Pair by pair",
    )
