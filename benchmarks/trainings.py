"""Trainings of the product that benchmarks measure: the default run with changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dtsinn.data.store import Store
from dtsinn.training.config import load_run_config
from dtsinn.training.loop import train
from dtsinn.training.state import TrainingState


def train_state(
    stores: Store | Sequence[Store],
    changes: Sequence[str],
    steps: int,
    *,
    validations: int = 3,
    on_step: Callable[[int, int], None] = lambda step, steps: None,
) -> TrainingState:
    """Train the default run with changes, on one store or on several in turn.

    Args:
        stores: Data.
        changes: Settings, as ``dtsinn train --set`` takes them.
        steps: Of the training.
        validations: How many, at equal distances.
        on_step: Told of each step.
    """
    own = [f"steps={steps}", f"validate_every={-(-steps // validations)}", *changes]
    first = stores if isinstance(stores, Store) else stores[0]
    state = TrainingState(load_run_config("default", own), first.header.protocol.frames)
    for _ in train(stores, state, on_step=on_step):
        pass
    return state
