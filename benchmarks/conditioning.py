"""``conditioning``: one network for several protocols, told of them or not.

Two protocols of equal frame count are trained on alone, together, and together with the network
told of each; all are scored on both, and on protocols that no training saw.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.report import Result, Say, Seeds, Steps, Table
from dtsinn.data.store import Store, open_store
from dtsinn.deploy.separator import Separator
from dtsinn.evaluation.score import Separate, halve, psnr_of_subjects
from dtsinn.simulation.request import StudyRequest
from dtsinn.simulation.study import simulate
from dtsinn.training.config import load_run_config
from dtsinn.training.loop import train
from dtsinn.training.package import separator_info
from dtsinn.training.state import TrainingState

NAME = "conditioning"
TRAINED = ("p1", "p3")
"""Protocols of the trainings: 18 frames each, the second injection after 20 and after 10 min."""
UNSEEN = ("delay05", "delay10", "delay20")
"""Protocols that are only scored, where they have as many frames."""
SUBJECTS, SLICES, SIZE, SEED = 60, 4, 64, 91
VALIDATIONS = 3


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


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One training with its scores."""

    variant: str
    seed: int
    psnr: dict[str, float]
    """Protocol -> mean of the ``test`` subjects and of both tracers, dB."""


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
            told = ", ".join(f"{name} {psnr:.1f}" for name, psnr in trials[-1].psnr.items())
            say(f"seed {seed}, {variant.name}: {told} dB")
    floor = {name: _mean(halve, store) for name, store in stores.items()}
    return Result(
        name=NAME,
        title="One network for several protocols",
        notes=[
            f"FMZ then FDG, brain, noise mid, {SIZE} x {SIZE} pixels, {SUBJECTS} subjects of "
            f"{SLICES} slices; the same subjects in every protocol. Default separator, {steps} "
            f"steps in every row, {seeds} seeds, mean in dB with the lowest and the highest.",
            f"Trained on {' and '.join(TRAINED)}; the other protocols were seen by no training.",
            "Told: `model.conditioning=protocol`; frame times, durations, injections and "
            "half-lives scale and shift the channels of every subnet.",
        ],
        tables=[_table(stores, trials, floor)],
        data={"steps": steps, "floor": floor, "trials": [asdict(trial) for trial in trials]},
        pictures={},
    )


def make_stores(folder: Path, say: Say) -> dict[str, Store]:
    """The stores by protocol: those trained on, then the unseen ones of as many frames."""
    requests = {
        name: StudyRequest(protocol=name, subjects=SUBJECTS, slices=SLICES, size=SIZE, seed=SEED)
        for name in (*TRAINED, *UNSEEN)
    }
    frames = requests[TRAINED[0]].parts.protocol.frames
    stores = {}
    for name, request in requests.items():
        if request.parts.protocol.frames == frames:
            say(f"simulating protocol {name}")
            simulate(request, str(folder / f"{name}.zarr"))
            stores[name] = open_store(str(folder / f"{name}.zarr"), need_truth=True)
    return stores


def measure(stores: Mapping[str, Store], variant: Variant, seed: int, steps: int) -> Trial:
    """Train one variant and score it on every protocol."""
    config = load_run_config(
        "default",
        [
            f"steps={steps}",
            f"validate_every={-(-steps // VALIDATIONS)}",
            f"seed={seed}",
            f"model.conditioning={'protocol' if variant.told else 'none'}",
        ],
    )
    used = [stores[name] for name in variant.protocols]
    state = TrainingState(config, used[0].header.protocol.frames)
    for _ in train(used, state):
        pass
    info = separator_info(state, used[0].header, variant.name)
    separator = Separator(state.best_network(), info)
    return Trial(
        variant=variant.name,
        seed=seed,
        psnr={
            name: _mean(separator.for_protocol(store.header).separate, store)
            for name, store in stores.items()
        },
    )


def _mean(separate: Separate, store: Store) -> float:
    scores = psnr_of_subjects(separate, store, "test")
    return float(np.mean(list(scores.values())))


def _table(
    stores: Mapping[str, Store], trials: Sequence[Trial], floor: Mapping[str, float]
) -> Table:
    rows = [["halving, no training", *(f"{floor[name]:.1f}" for name in stores)]]
    for variant in VARIANTS:
        found = [trial for trial in trials if trial.variant == variant.name]
        cells = []
        for name in stores:
            psnr = [trial.psnr[name] for trial in found]
            cells.append(f"{np.mean(psnr):.2f} [{min(psnr):.2f}, {max(psnr):.2f}]")
        rows.append([variant.name, *cells])
    return Table(
        title="PSNR of the test subjects, by protocol, dB",
        columns=["trained on", *stores],
        rows=rows,
    )
