"""``roundtrip``: how exact the inverse stays with depth, and how close ONNX Runtime is to torch."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.report import Result, Say, Steps, Table
from dtsinn.data.store import Store
from dtsinn.deploy.export import PARITY_LIMIT, check_parity
from dtsinn.deploy.separator import Separator
from dtsinn.training.config import load_run_config
from dtsinn.training.loop import train
from dtsinn.training.package import package_run
from dtsinn.training.state import TrainingState

NAME = "roundtrip"
BLOCKS = (2, 4, 8, 16)
UNLIMITED = 1e30
"""Round-trip limit of the trainings: a lost inverse is to be measured here, not refused."""


@dataclass(frozen=True, kw_only=True)
class Exactness:
    """Relative errors of one trained separator, float32."""

    blocks: int
    steps: int
    val_psnr: float
    """dB"""
    round_trip: float
    """Mixing again what was separated, against the mixture; the worst test subject."""
    onnx_model: float
    """``model.onnx`` against torch."""
    onnx_inverse: float
    """``inverse.onnx`` against torch."""
    onnx_round_trip: float
    """``inverse.onnx`` after ``model.onnx``, against the mixture."""


def run(store: Store, *, steps: Steps = 300, say: Say, blocks: Sequence[int] = BLOCKS) -> Result:
    """Train a separator of each depth for ``steps`` steps, measure it, and report."""
    found = []
    for number in blocks:
        say(f"{number} blocks, {steps} steps")
        found.append(measure(store, number, steps))
    table = Table(
        title="Relative errors in float32",
        columns=[
            "blocks",
            "val PSNR dB",
            "round trip, torch",
            "model.onnx",
            "inverse.onnx",
            "round trip, ONNX",
        ],
        rows=[
            [
                str(one.blocks),
                f"{one.val_psnr:.2f}",
                *(
                    f"{error:.1e}"
                    for error in (
                        one.round_trip,
                        one.onnx_model,
                        one.onnx_inverse,
                        one.onnx_round_trip,
                    )
                ),
            ]
            for one in found
        ],
    )
    return Result(
        name=NAME,
        title="The inverse after training, and ONNX against torch",
        notes=[
            f"The default separator with another number of blocks, {steps} steps each: long "
            "enough to leave the start, too short to compare the PSNR of depths.",
            "Round trip in torch: test subjects, the worst one. ONNX: the synthetic mixtures of "
            "the export's own proof, two batch and two image sizes, the worst one.",
            f"dtsinn refuses an export above {PARITY_LIMIT:g} and stops a training above "
            f"{load_run_config('default').round_trip_limit:g}; here neither is enforced.",
        ],
        tables=[table],
        data={"separators": [asdict(one) for one in found], "limit": PARITY_LIMIT},
    )


def measure(store: Store, blocks: int, steps: int) -> Exactness:
    """Train, package and measure one separator."""
    config = load_run_config(
        "default",
        [
            f"model.blocks={blocks}",
            f"steps={steps}",
            f"validate_every={steps}",
            f"round_trip_limit={UNLIMITED}",
        ],
    )
    state = TrainingState(config, store.header.protocol.frames)
    for _ in train(store, state):
        pass
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "separator"
        package_run(state, store.header, package, f"{blocks}-blocks")
        separator = Separator.load(package)
        parity = check_parity(package)
    errors = [
        separator.round_trip_error(samples.mixture_NTYX) for samples in store.subjects("test")
    ]
    return Exactness(
        blocks=blocks,
        steps=steps,
        val_psnr=state.progress.best_psnr,
        round_trip=float(np.max(errors)),
        onnx_model=parity.model_error,
        onnx_inverse=parity.inverse_error or 0.0,
        onnx_round_trip=parity.round_trip_error or 0.0,
    )
