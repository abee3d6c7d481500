"""``kills``: what is left of promotions that are killed at random moments."""

from __future__ import annotations

import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

from benchmarks.kills import KillLoop
from benchmarks.prepare import prepare_store, registered, train_state
from benchmarks.report import Kills, KillSeed, Result, Say, facts_table
from dtsinn.core.errors import RunError
from dtsinn.core.workspace import Workspace
from dtsinn.data.store import open_store
from dtsinn.registry.gate.config import GateConfig
from dtsinn.registry.promotion.alias_transaction import MOVING, history, recover_abandoned
from dtsinn.registry.promotion.promotion import promote, roll_back
from dtsinn.registry.references import find_version
from dtsinn.registry.tracking import environment
from dtsinn.registry.tracking.tracker import MlflowTracker, connect
from dtsinn.simulation.request import StudyRequest
from tests.support.aliases import violations

CONFIG = GateConfig(suite=None)
"""The store's own ``gate`` subjects decide: a few, so that most of the time aliases move."""


def alternate(workspace: Workspace, store: str, ref: str) -> None:
    """Promote a version against the one that it beats, take it back, and again.

    It says ``moved`` after each, until it is killed: this module is also the target's.
    """
    tracker, opened = connect(workspace), open_store(store)
    version = find_version(ref, tracker)
    while True:
        promote(tracker, workspace, version, opened, CONFIG)
        print("moved", flush=True)
        roll_back(tracker, workspace, version.name)
        print("moved", flush=True)


STORE = StudyRequest(subjects=26, slices=1, size=32, noise="mid", seed=0, population="varied")
SPLITS = {"train": 0.42, "val": 0.08, "gate": 0.5}
CONTEXTS = (0, 2)
"""Of the linear map that is the first champion, and of the one that beats it."""
MOST_MOVES = 3
"""Before a kill, at least one."""
AIMED = 0.6
"""Part of the kills that wait until something moves."""
MOVE_s = 0.08
"""Longest time from then to the kill: about what a move takes."""
DELAY_s = 1.0
"""Longest time from the last of them to the kill: longer than a promotion takes, or a way back."""


def run(folder: Path, *, rounds: Kills = 30, seed: KillSeed = 0, say: Say) -> Result:
    """Kill so many processes that promote and go back without end.

    Args:
        folder: Where everything goes.
        rounds: Kills.
        seed: Of their moments.
        say: Told what is being done.

    Raises:
        RunError: The better version is not promoted, or a target ends by itself.
    """
    store, workspace = prepare_store("store", STORE, folder, SPLITS), Workspace(folder / "work")
    path = store.header.path
    tracker = connect(workspace)
    for context in CONTEXTS:
        linear = ["model.kind=linear", f"model.context={context}"]
        state = train_state(store, linear, steps=1, validations=1)
        version = registered(tracker, store, state, folder, f"context-{context}")
        report = promote(tracker, workspace, version, store, CONFIG)
        if not report.passed:
            raise RunError("the targets have nothing to promote", got=report.lines()[-1])
    command = [
        sys.executable, "-m", "benchmarks.promoting.kills", str(workspace.root), path,
        version.ref,
    ]  # fmt: skip
    loop, left, wrong = KillLoop(rounds=rounds, seed=seed, say=say), Counter[str](), list[str]()
    while not loop.enough:
        _kill(tracker, version.name, command, loop.draw)
        between = not _is_moving(tracker, version.name)
        found = "between two moves" if between else "in the middle of a move, which was finished"
        left[found] += 1
        recover_abandoned(tracker, version.name)
        broken = violations(tracker, version.name)
        wrong += [f"kill {len(loop.kills)}: {what}" for what in broken]
        loop.note(found, violations=broken)
    moves = len(history(tracker, version.name))
    facts = {
        "kills": rounds,
        **{f"of them {what}": count for what, count in left.most_common()},
        "moves, and lines of the history": moves,
        "violations": len(wrong),
    }
    return Result(
        name="kills",
        title="Promotions that are killed",
        notes=[
            "Real processes promote a version and take it back without end, on embedded SQLite; "
            f"SIGKILL after 1 to {MOST_MOVES} moves: some up to {DELAY_s:g} s later, {AIMED:.0%} "
            f"up to {1000 * MOVE_s:g} ms after the next one was seen to begin; seed {seed}. After "
            "each the next command's first step is done, and champion, previous and the whole "
            "history are compared.",
        ],
        tables=[facts_table(facts, value="number")],
        data={
            "rounds": rounds,
            "seed": seed,
            "left": dict(left),
            "moves": moves,
            "violations": wrong,
            "seconds": loop.seconds,
        },
    )


def _kill(tracker: MlflowTracker, name: str, command: list[str], draw: random.Random) -> None:
    """Kill a target: at any moment, or as soon as it is seen to move something, and soon after."""
    aimed = draw.random() < AIMED
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as job:
        moved = [
            job.stdout is not None and job.stdout.readline() == b"moved\n"
            for _ in range(draw.randint(1, MOST_MOVES))
        ]
        while aimed and job.poll() is None and not _is_moving(tracker, name):
            pass
        if not all(moved) or job.poll() is not None:
            raise RunError("a target ended by itself", got=job.communicate()[1].decode()[-300:])
        try:
            job.wait(draw.uniform(0, MOVE_s if aimed else DELAY_s))
        except subprocess.TimeoutExpired:
            job.kill()


def _is_moving(tracker: MlflowTracker, name: str) -> bool:
    return MOVING in tracker.client.get_registered_model(name).tags


if __name__ == "__main__":
    environment.apply()
    alternate(Workspace(Path(sys.argv[1])), *sys.argv[2:])
