"""``python -m benchmarks.promoting.kill_target WORKSPACE STORE REF``: promote, go back, and so on.

It says ``moved`` after each, until it is killed.
"""

from __future__ import annotations

import sys
from pathlib import Path

from dtsinn.core.workspace import Workspace
from dtsinn.data.store import open_store
from dtsinn.registry.gate.config import GateConfig
from dtsinn.registry.promotion.promotion import promote, roll_back
from dtsinn.registry.references import find_version
from dtsinn.registry.tracking import environment
from dtsinn.registry.tracking.tracker import connect

CONFIG = GateConfig(suite=None)
"""The store's own ``gate`` subjects decide: a few, so that most of the time aliases move."""


def alternate(workspace: Workspace, store: str, ref: str) -> None:
    """Promote a version against the one that it beats, take it back, and again."""
    tracker, opened = connect(workspace), open_store(store)
    version = find_version(ref, tracker)
    while True:
        promote(tracker, workspace, version, opened, CONFIG)
        print("moved", flush=True)
        roll_back(tracker, workspace, version.name)
        print("moved", flush=True)


if __name__ == "__main__":
    environment.apply()
    alternate(Workspace(Path(sys.argv[1])), *sys.argv[2:])
