"""``conditioning``: one network for several protocols, told of them or not.

Two protocols of equal frame count are trained on alone, together, and together with the network
told of each; all are scored on both, and on protocols that no training saw.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.prepare import prepare_store, separator_of, train_state
from benchmarks.report import Result, Say, Seeds, Steps, Table, span
from dtsinn.data.store import Store
from dtsinn.evaluation.score import Separate, halve, psnr_of_subjects
from dtsinn.simulation.request import StudyRequest

TRAINED = ("p1", "p3")
"""Protocols of the trainings: 18 frames each, the second injection after 20 and after 10 min."""
UNSEEN = ("delay05", "delay10", "delay20")
"""Protocols that are only scored, where they have as many frames."""
SUBJECTS, SLICES, SIZE, SEED = 60, 4, 64, 91


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One row."""

    name: str
    protocols: tuple[str, ...]
    """What it is trained on; the steps take the protocols in turn."""
    told: bool = False


VARIANTS = (
    *(Variant(name=f"{name} alone", protocols=(name,)) for name in TRAINED),
    Variant(name="both, not told", protocols=TRAINED),
    Variant(name="both, told", protocols=TRAINED, told=True),
)


def run(folder: Path, *, steps: Steps = 1500, seeds: Seeds = 3, say: Say) -> Result:
    """Train every variant with every seed for ``steps`` steps, and report.

    Args:
        folder: Where the stores go.
        steps: Of every training, whatever the number of protocols.
        seeds: Trainings of each variant.
        say: Told what is being done.
    """
    stores = make_stores(folder, say)
    trials = []
    for seed in range(seeds):
        for variant in VARIANTS:
            trials.append(measure(stores, variant, seed, steps))
            told = ", ".join(f"{name} {psnr:.1f}" for name, psnr in trials[-1]["psnr"].items())
            say(f"seed {seed}, {variant.name}: {told} dB")
    floor = {name: _mean(halve, store) for name, store in stores.items()}
    return Result(
        name="conditioning",
        title="One network for several protocols",
        notes=[
            f"FMZ then FDG, brain, noise mid, {SIZE} x {SIZE} pixels, {SUBJECTS} subjects of "
            f"{SLICES} slices; the same subjects in every protocol. Coupling blocks, {steps} "
            f"steps in every row, {seeds} seeds, mean in dB with the lowest and the highest.",
            f"Trained on {' and '.join(TRAINED)}; the other protocols were seen by no training.",
            "Told: `model.conditioning=protocol`; frame times, durations, injections and "
            "half-lives scale and shift the channels of every subnet.",
        ],
        tables=[_table(stores, trials, floor)],
        data={"steps": steps, "floor": floor, "trials": trials},
    )


def make_stores(folder: Path, say: Say) -> dict[str, Store]:
    """The stores by protocol: those trained on, then the unseen ones of as many frames."""
    requests = {
        name: StudyRequest(
            protocol=name,
            population="varied",
            subjects=SUBJECTS,
            slices=SLICES,
            size=SIZE,
            seed=SEED,
        )
        for name in (*TRAINED, *UNSEEN)
    }
    frames = requests[TRAINED[0]].parts.protocol.frames
    stores = {}
    for name, request in requests.items():
        if request.parts.protocol.frames == frames:
            say(f"simulating protocol {name}")
            stores[name] = prepare_store(name, request, folder)
    return stores


def measure(stores: Mapping[str, Store], variant: Variant, seed: int, steps: int) -> dict[str, Any]:
    """Train one variant and score it on every protocol.

    Returns:
        ``psnr``, protocol -> mean of the ``test`` subjects and of both tracers, dB.
    """
    used = [stores[name] for name in variant.protocols]
    conditioning = "protocol" if variant.told else "none"
    state = train_state(used, [f"seed={seed}", f"model.conditioning={conditioning}"], steps)
    separator = separator_of(state, used[0])
    psnr = {
        name: _mean(separator.for_protocol(store.header).separate, store)
        for name, store in stores.items()
    }
    return {"variant": variant.name, "seed": seed, "psnr": psnr}


def _mean(separate: Separate, store: Store) -> float:
    return float(np.mean(list(psnr_of_subjects(separate, store, "test").values())))


def _table(
    stores: Mapping[str, Store], trials: Sequence[Mapping[str, Any]], floor: Mapping[str, float]
) -> Table:
    rows = [["halving, no training", *(f"{floor[name]:.1f}" for name in stores)]]
    for variant in VARIANTS:
        found = [trial["psnr"] for trial in trials if trial["variant"] == variant.name]
        rows.append([variant.name, *(span([psnr[name] for psnr in found]) for name in stores)])
    return Table(
        title="PSNR of the test subjects, by protocol, dB",
        columns=["trained on", *stores],
        rows=rows,
    )
