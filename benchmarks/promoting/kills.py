"""``kills``: what is left of promotions that are killed at random moments."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

from benchmarks.machine import describe_machine
from benchmarks.promoting.setting import registered, trained_state
from benchmarks.promoting.victim import CONFIG
from benchmarks.report import Result, Say, Table
from dtsinn.core.errors import RunError
from dtsinn.core.workspace import Workspace
from dtsinn.data.store import open_store
from dtsinn.registry.promotion.alias_transaction import MOVING, history, recover_abandoned
from dtsinn.registry.promotion.promotion import promote
from dtsinn.registry.tracking.tracker import MlflowTracker, connect
from dtsinn.simulation.request import StudyRequest
from dtsinn.simulation.study import simulate_study
from tests.support.aliases import violations

NAME = "kills"
STORE = StudyRequest(subjects=26, slices=1, size=32, noise="mid", seed=0)
SPLITS = {"train": 0.42, "val": 0.08, "gate": 0.5}
STEPS = (4, 80)
"""Of the first champion, and of the version that beats it."""
MOST_MOVES = 3
"""Before a kill, at least one."""
AIMED = 0.6
"""Part of the kills that wait until something moves."""
MOVE_s = 0.08
"""Longest time from then to the kill: about what a move takes."""
DELAY_s = 1.0
"""Longest time from the last of them to the kill: longer than a promotion takes, or a way back."""


def run(folder: Path, *, rounds: int, seed: int, say: Say) -> Result:
    """Kill so many processes that promote and go back without end.

    Args:
        folder: Where everything goes.
        rounds: Kills.
        seed: Of their moments.
        say: Told what is being done.

    Raises:
        RunError: The better version is not promoted, or a victim ends by itself.
    """
    path = str(folder / "store.zarr")
    simulate_study(STORE, path, splits=SPLITS)
    store, workspace = open_store(path, need_truth=True), Workspace(folder / "workspace")
    tracker = connect(workspace)
    for steps in STEPS:
        state = trained_state(store, ["model.width=8", "batch=4"], steps)
        version = registered(tracker, store, state, folder, f"steps-{steps}")
        report = promote(tracker, workspace, version, store, CONFIG)
        if not report.passed:
            raise RunError("the victims have nothing to promote", got=report.lines()[-1])
    command = [
        sys.executable, "-m", "benchmarks.promoting.victim", str(workspace.root), path, version.ref,
    ]  # fmt: skip
    draw = random.Random(seed)  # noqa: S311
    left, wrong, begun = Counter[str](), list[str](), time.monotonic()
    for number in range(rounds):
        _killed(tracker, version.name, command, draw)
        state_then = _left(tracker, version.name)
        left[state_then] += 1
        recover_abandoned(tracker, version.name)
        wrong += [f"kill {number}: {what}" for what in violations(tracker, version.name)]
        say(f"kill {number + 1} of {rounds}: {state_then}")
    moves = len(history(tracker, version.name))
    return Result(
        name=NAME,
        title="Promotions that are killed",
        machine=describe_machine(),
        notes=[
            "Real processes promote a version and take it back without end, on embedded SQLite; "
            f"SIGKILL after 1 to {MOST_MOVES} moves: some up to {DELAY_s:g} s later, {AIMED:.0%} "
            f"up to {1000 * MOVE_s:g} ms after the next one was seen to begin; seed {seed}. After "
            "each the next command's first step is done, and champion, previous and the whole "
            "history are compared.",
        ],
        tables=[
            Table(
                title="",
                columns=["what", "number"],
                rows=[
                    ["kills", str(rounds)],
                    *([what, str(count)] for what, count in left.most_common()),
                    ["moves, and lines of the history", str(moves)],
                    ["violations", str(len(wrong))],
                ],
            )
        ],
        data={
            "rounds": rounds, "seed": seed, "left": dict(left), "moves": moves,
            "violations": wrong, "seconds": time.monotonic() - begun,
        },
    )  # fmt: skip


def _killed(tracker: MlflowTracker, name: str, command: list[str], draw: random.Random) -> None:
    """Kill a victim: at any moment, or as soon as it is seen to move something, and soon after."""
    aimed = draw.random() < AIMED
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as job:
        for _ in range(draw.randint(1, MOST_MOVES)):
            if job.stdout is None or job.stdout.readline() != b"moved\n":
                raise RunError("a victim ended by itself", got=job.communicate()[1].decode()[-300:])
        while aimed and not _is_moving(tracker, name):
            if job.poll() is not None:
                raise RunError("a victim ended by itself", got=job.communicate()[1].decode()[-300:])
        try:
            job.wait(draw.uniform(0, MOVE_s if aimed else DELAY_s))
        except subprocess.TimeoutExpired:
            job.kill()


def _is_moving(tracker: MlflowTracker, name: str) -> bool:
    return MOVING in tracker.client.get_registered_model(name).tags


def _left(tracker: MlflowTracker, name: str) -> str:
    """Whether the kill came while aliases moved."""
    if _is_moving(tracker, name):
        return "of them in the middle of a move, which was finished"
    return "of them between two moves"
