"""Training by several processes: the numbers are those of one."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import torch
from torch import distributed

from dtsinn.core.errors import InputError
from dtsinn.data.store import Store, open_store
from dtsinn.training.config import load_run_config
from dtsinn.training.feed import Feed
from dtsinn.training.loop import train
from dtsinn.training.state import TrainingState
from dtsinn.training.team import Team
from tests.support.forked import Forks

SETTINGS = [
    "steps=8", "validate_every=4", "model.width=4", "model.depth=3", "accumulate=4", "batch=2",
    "augmentation.recombination=0.5", "optimizer.ema=0.9", "loss.backward=0.1",
]  # fmt: skip
WORK = """
import sys
from tests.training.test_team import work
work(int(sys.argv[1]), *sys.argv[2:])
"""


def work(rank: int, store: str, folder: str) -> None:
    """One of two processes; it leaves its reports and its state."""
    torch.set_num_threads(1)
    meeting = f"file://{folder}/meeting"
    distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
    try:
        state = TrainingState(load_run_config("invertible", SETTINGS), 3)
        begun, own, reports = time.process_time(), [], []
        for report in train(open_store(store), state, Team.of_process_group()):
            own.append(time.process_time() - begun)
            reports.append(report)
        state.save(Path(folder) / f"state-{rank}")
        told = [report.metrics for report in reports]
        (Path(folder) / f"reports-{rank}.json").write_text(json.dumps(told))
        (Path(folder) / f"own-{rank}.json").write_text(json.dumps(own))
    finally:
        distributed.destroy_process_group()


def test_two_processes_learn_what_one_learns(
    tiny_store: Store, tmp_path: Path, forks: Forks
) -> None:
    config = load_run_config("invertible", SETTINGS)
    alone = TrainingState(config, 3)
    reports = list(train(tiny_store, alone))
    jobs = [forks.python(WORK, rank, tiny_store.header.path, tmp_path) for rank in (0, 1)]
    for job in jobs:
        _, err = job.communicate(timeout=240)
        assert job.returncode == 0, err
    told = [json.loads((tmp_path / f"reports-{rank}.json").read_text()) for rank in (0, 1)]
    for report, metrics in zip(reports, told[0], strict=True):
        for name in ("loss_forward", "loss_backward", "gradient_norm", "val_psnr"):
            assert metrics[name] == pytest.approx(report.metrics[name], rel=1e-5)
    assert [m["val_psnr"] for m in told[1]] == [m["val_psnr"] for m in told[0]]
    both = [json.loads((tmp_path / f"own-{rank}.json").read_text()) for rank in (0, 1)]
    for first, second, seconds in zip(*both, [m["cpu_seconds"] for m in told[0]], strict=True):
        # Each process's own clock, read around the same steps, is a little ahead of the run's.
        assert max(first, second) < seconds < first + second
    states = [
        TrainingState.load(tmp_path / f"state-{rank}" / "checkpoint-00000008") for rank in (0, 1)
    ]
    for name, value in states[0].network.state_dict().items():
        assert torch.equal(states[1].network.state_dict()[name], value)
        torch.testing.assert_close(value, alone.network.state_dict()[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_processes_share_out_the_micro_batches(tiny_store: Store, ranks: int) -> None:
    config = load_run_config("invertible", [*SETTINGS, "batch_end=4"])
    everything: dict[int, list[int]] = {}
    for rank in range(ranks):
        feed = Feed((tiny_store,), config, Team(rank=rank, ranks=ranks), 0)
        for step in range(8):
            parts = list(feed.parts(step))
            assert len(parts) == 4 // ranks
            everything |= {part.number: part.batch["index"].tolist() for part in parts}
    alone = Feed((tiny_store,), config, Team(), 0)
    expected = {p.number: p.batch["index"].tolist() for s in range(8) for p in alone.parts(s)}
    assert everything == expected


def test_steps_that_cannot_be_shared_are_refused(tiny_store: Store) -> None:
    state = TrainingState(load_run_config("invertible", SETTINGS), 3)
    with pytest.raises(InputError, match="shared by 3 workers; got 4; wanted a multiple of 3"):
        next(train(tiny_store, state, Team(ranks=3)))
