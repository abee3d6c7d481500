"""``roundtrip``: how exact the inverse stays with depth, and how close ONNX Runtime is to torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.prepare import train_state
from benchmarks.report import Result, Say, Steps, make_table
from dtsinn.data.store import Store
from dtsinn.deploy.export import PARITY_LIMIT, check_parity
from dtsinn.deploy.separator import Separator
from dtsinn.training.config import load_run_config
from dtsinn.training.package import package_run

BLOCKS = (2, 4, 8, 16)
UNLIMITED = 1e30
"""Round-trip limit of the trainings: a lost inverse is to be measured here, not refused."""


def run(
    store: Store,
    folder: Path,
    *,
    steps: Steps = 300,
    say: Say,
    blocks: Sequence[int] = BLOCKS,
) -> Result:
    """Train a separator of each depth for ``steps`` steps, measure it, and report."""
    found = []
    for number in blocks:
        say(f"{number} blocks, {steps} steps")
        found.append(measure(store, folder, number, steps))
    table = make_table(
        found,
        {
            "blocks": lambda one: one["blocks"],
            "val PSNR dB": lambda one: f"{one['val_psnr']:.2f}",
            "round trip, torch": lambda one: f"{one['round_trip']:.1e}",
            "model.onnx": lambda one: f"{one['onnx_model']:.1e}",
            "inverse.onnx": lambda one: f"{one['onnx_inverse']:.1e}",
            "round trip, ONNX": lambda one: f"{one['onnx_round_trip']:.1e}",
        },
        "Relative errors in float32",
    )
    return Result(
        name="roundtrip",
        title="The inverse after training, and ONNX against torch",
        notes=[
            f"Coupling blocks with another number of blocks, {steps} steps each: long "
            "enough to leave the start, too short to compare the PSNR of depths.",
            "Round trip in torch: test subjects, the worst one. ONNX: the synthetic mixtures of "
            "the export's own proof, two batch and two image sizes, the worst one.",
            f"dtsinn refuses an export above {PARITY_LIMIT:g} and stops a training above "
            f"{load_run_config('default').round_trip_limit:g}; here neither is enforced.",
        ],
        tables=[table],
        data={"separators": found, "limit": PARITY_LIMIT},
    )


def measure(store: Store, folder: Path, blocks: int, steps: int) -> dict[str, Any]:
    """Train, package and measure one separator.

    Returns:
        ``val_psnr`` in dB, and relative errors: ``round_trip``, mixing again what was separated,
        against the mixture, the worst test subject; ``onnx_model`` and ``onnx_inverse``, the graphs
        against torch; ``onnx_round_trip``, ``inverse.onnx`` after ``model.onnx``, against the
        mixture.
    """
    changes = [f"model.blocks={blocks}", f"round_trip_limit={UNLIMITED}"]
    state = train_state(store, changes, steps, validations=1)
    package = folder / f"{blocks}-blocks"
    package_run(state, store, package, f"{blocks}-blocks")
    separator = Separator.load(package)
    parity = check_parity(package)
    errors = [
        separator.round_trip_error(samples.mixture_NTYX) for samples in store.subjects("test")
    ]
    return {
        "blocks": blocks,
        "steps": steps,
        "val_psnr": state.progress.best_psnr,
        "round_trip": float(np.max(errors)),
        "onnx_model": parity.model_error,
        "onnx_inverse": parity.inverse_error or 0.0,
        "onnx_round_trip": parity.round_trip_error or 0.0,
    }
