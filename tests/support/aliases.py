"""What must hold of a model's aliases and history, whoever was killed while they moved."""

from __future__ import annotations

from dtsinn.registry.promotion.alias_transaction import HISTORY, MOVING, history
from dtsinn.registry.tracking.tracker import MlflowTracker
from dtsinn.registry.versions import CHAMPION, PREVIOUS, find_alias


def violations(tracker: MlflowTracker, name: str) -> list[str]:
    """What does not hold, in words: nothing is on the move, each champion follows the one before.

    Args:
        tracker: The registry.
        name: The model; it has been promoted at least once.
    """
    tags = tracker.client.get_registered_model(name).tags
    numbers = sorted(int(key.removeprefix(HISTORY)) for key in tags if key.startswith(HISTORY))
    moves = [line for line in history(tracker, name) if line["what"] != "refused"]
    wrong = ["something is still on the move"] if MOVING in tags else []
    if numbers != list(range(1, len(numbers) + 1)):
        wrong.append(f"the lines of the history are {numbers}")
    for earlier, later in zip([{"version": None}, *moves], moves, strict=False):
        if later["before"] != earlier["version"]:
            wrong.append(f"{later} does not follow {earlier}")
    for alias, wanted in ((CHAMPION, moves[-1]["version"]), (PREVIOUS, moves[-1]["before"])):
        found = find_alias(tracker, name, alias)
        if (found.version if found else None) != wanted:
            wrong.append(f"{alias} is {found and found.version}, by the history {wanted}")
    return wrong
