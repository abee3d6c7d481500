"""Aliases that are on the move when their process is killed, and the way back."""

import json
import random
import shutil
import subprocess
from pathlib import Path

import pytest

from dtsinn.core.errors import InputError
from dtsinn.core.tracker import RunStart
from dtsinn.core.workspace import Workspace
from dtsinn.registry.gate.config import GateConfig
from dtsinn.registry.promotion.alias_transaction import MOVING, history, recover_abandoned
from dtsinn.registry.promotion.first_champion import ensure_champion
from dtsinn.registry.promotion.promotion import promote, roll_back
from dtsinn.registry.registration import register
from dtsinn.registry.tracking.tracker import connect
from dtsinn.registry.versions import find_alias
from tests.support.aliases import violations

NAME = "dtsinn-fmz-fdg-p1"
CONFIG = GateConfig(suite=None)
ROUNDS = 5


def alias(tracker, name):
    found = find_alias(tracker, NAME, name)
    return found.version if found else None


@pytest.fixture(scope="module")
def led(tmp_path_factory, begin_workspace, packages, store):
    """A workspace after a promotion: version 2 leads, version 1, the linear map, led before."""
    workspace = begin_workspace(tmp_path_factory.mktemp("led") / "workspace")
    tracker = connect(workspace)
    key = "search/strong"
    assert ensure_champion(tracker, workspace, NAME, packages.strong, key, store).version == 1
    tracker.begin(RunStart(key=key, name=key, kind="training", experiment="x", time_ms=1_000))
    version = register(tracker, packages.strong, run_key=key)
    assert promote(tracker, workspace, version, store, CONFIG).passed
    return workspace.root


@pytest.fixture
def workspace(led, tmp_path):
    """A copy of it."""
    return Workspace(Path(shutil.copytree(led, tmp_path / "work space")))


def check_whole(tracker):
    """Nothing is on the move, and each champion took over from the one before."""
    assert violations(tracker, NAME) == []
    return len(history(tracker, NAME))


def test_the_way_back_and_forth_is_kept(tracker, workspace):
    champion, before = roll_back(tracker, workspace, NAME)
    assert (champion.version, before.version) == (1, 2)
    assert check_whole(tracker) == 3
    assert roll_back(tracker, workspace, NAME, to=2)[0].version == 2
    assert check_whole(tracker) == 4
    last = history(tracker, NAME)[-1]
    assert (last["what"], last["version"], last["before"]) == ("rolled back", 2, 1)
    for to, message in ((2, "is the champion already"), (7, "was never champion")):
        with pytest.raises(InputError, match=message):
            roll_back(tracker, workspace, NAME, to=to)
    with pytest.raises(InputError, match="no model is called nothing"):
        roll_back(tracker, workspace, "nothing")
    assert check_whole(tracker) == 4


def test_a_refusal_stays_in_the_history(tracker, workspace, registered, packages, store):
    assert not promote(tracker, workspace, registered(packages.weak), store, CONFIG).passed
    last = history(tracker, NAME)[-1]
    assert (last["what"], last["before"]) == ("refused", 2)
    assert "better" in last["note"]
    assert check_whole(tracker) == 3


def test_whatever_a_kill_leaves_half_done_is_finished(tracker, workspace, forks):
    """A process goes back and forth between two champions and is killed at random moments."""
    code = (
        "import sys; from pathlib import Path\n"
        "from dtsinn.core.workspace import Workspace\n"
        "from dtsinn.registry.promotion.promotion import roll_back\n"
        "from dtsinn.registry.tracking.tracker import connect\n"
        "space = Workspace(Path(sys.argv[1])); tracker = connect(space)\n"
        "while True:\n"
        f"    roll_back(tracker, space, '{NAME}')\n"
        "    print('moved', flush=True)\n"
    )
    drawn = random.Random(7)
    lines = check_whole(tracker)
    for _ in range(ROUNDS):
        job = forks.python(code, workspace.root)
        for _ in range(drawn.randint(1, 4)):
            assert job.stdout.readline() == b"moved\n"
        try:
            job.wait(drawn.uniform(0, 0.3))  # into the next move
        except subprocess.TimeoutExpired:
            job.kill()
        job.communicate()
        recover_abandoned(tracker, NAME)
        now = check_whole(tracker)
        assert now > lines
        lines = now


def test_what_was_announced_is_finished_by_the_next_command(tracker, workspace):
    plan = {
        "number": 3, "what": "rolled back", "version": 1, "before": 2, "note": "killed",
        "when": "2026-01-01T00:00:00+00:00", "by": "me", "tags": {},
    }  # fmt: skip
    tracker.client.set_registered_model_tag(NAME, MOVING, json.dumps(plan))
    tracker.client.set_registered_model_alias(NAME, "previous", "2")  # and then it died
    assert recover_abandoned(tracker, NAME) == f"{NAME}/1 was half rolled back: finished"
    assert (alias(tracker, "champion"), alias(tracker, "previous")) == (1, 2)
    assert check_whole(tracker) == 3
    assert recover_abandoned(tracker, NAME) == ""
    tracker.client.set_registered_model_tag(NAME, MOVING, "what?")
    assert "cannot be read was removed" in recover_abandoned(tracker, NAME)
    assert check_whole(tracker) == 3


def test_what_is_announced_after_the_lock_was_lost_is_dropped(
    tracker, workspace, registered, packages, store
):
    """Its writer was held up past its lease: others made version 3 the champion meanwhile."""
    late = {
        "number": 3, "what": "rolled back", "version": 1, "before": 2, "note": "late",
        "when": "2026-01-01T00:00:00+00:00", "by": "me", "tags": {},
    }  # fmt: skip
    assert promote(tracker, workspace, registered(packages.stronger), store, CONFIG).passed
    tracker.client.set_registered_model_tag(NAME, MOVING, json.dumps(late))
    assert "dropped, as it was against another champion" in recover_abandoned(tracker, NAME)
    assert (alias(tracker, "champion"), alias(tracker, "previous")) == (3, 2)
    assert check_whole(tracker) == 3
