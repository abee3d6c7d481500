"""What 0.1.0 wrote, read by a dtsinn whose every configuration class has one field more.

A program of its own: the field is there before the first class of dtsinn is made. It prints the
names of the classes that have it, and fails where anything that was written before no longer holds.
"""

from __future__ import annotations

import dataclasses
import shutil
import sys
from pathlib import Path
from typing import Any

GROWN: list[str] = []
PLAIN = {"SearchPlan", "RunStart"}
"""Classes that are written to disk and read by no configuration reader."""
_dataclass = dataclasses.dataclass


def with_later_field(cls: Any = None, /, **options: Any) -> Any:
    """``dataclass``, and one defaulted field more for what is configured or written."""
    if cls is None:
        return lambda made: with_later_field(made, **options)
    if hasattr(cls, "__pydantic_config__") or cls.__name__ in PLAIN:
        cls.__annotations__["added_later"] = "bool"
        cls.added_later = False
        GROWN.append(cls.__qualname__)
    return _dataclass(cls, **options)


dataclasses.dataclass = with_later_field  # type: ignore[assignment]


def main(golden: Path, folder: Path, digest: str) -> None:
    """Use each file that 0.1.0 left."""
    from dtsinn.data.store import open_store
    from dtsinn.deploy.package import package_digest
    from dtsinn.deploy.separator import Separator
    from dtsinn.evaluation.suite import load_suite
    from dtsinn.registry.gate.config import load_gate
    from dtsinn.search.events.state import read_state
    from dtsinn.search.plan import change_plan, read_plan
    from dtsinn.search.space.reader import load_space
    from dtsinn.training.config import load_run_config
    from dtsinn.training.finetune import read_parent
    from dtsinn.training.run import resumed_state
    from dtsinn.training.state import TrainingState

    store = open_store(str(golden / "store.zarr"))

    separator = Separator.load(golden / "package")
    parent = read_parent(golden / "package")
    assert {package_digest(golden / "package"), separator.digest, parent.digest} == {digest}
    assert separator.info.model.added_later is False  # type: ignore[attr-defined]
    samples = next(store.subjects("test"))
    assert separator.separate(samples.mixture_NTYX).shape == samples.tracers_NKTYX.shape

    shutil.copytree(golden / "run", folder / "run")
    state = resumed_state(store, folder / "run", "cpu")
    assert state.config.optimizer.added_later is state.config.added_later is False  # type: ignore[attr-defined]
    assert TrainingState.load(state.save(folder / "run")).progress == state.progress

    # The default network is another one by now; the file does not say which it meant.
    asked = (golden / "inputs" / "wide.yaml").read_text(encoding="utf-8")
    wide = folder / "wide.yaml"
    wide.write_text(asked.replace("base: default", "base: invertible"), encoding="utf-8")
    for name in ("done", "halted"):
        history = read_state(golden / "searches" / name)
        plan = read_plan(golden / "searches" / name, history)
        assert plan.added_later is False  # type: ignore[attr-defined]
        space = load_space(str(wide))
        assert change_plan(plan, {"space": space, "trials": 9}).trials == 9
        for trial in history.trials.values():
            assert plan.space.config(trial.suggestion).steps == 800

    assert load_run_config(str(golden / "inputs" / "train.yaml")).added_later is False  # type: ignore[attr-defined]
    assert load_suite(str(golden / "inputs" / "gate-suite.yaml")).added_later is False  # type: ignore[attr-defined]
    assert load_gate(str(golden / "inputs" / "gate.yaml")).added_later is False  # type: ignore[attr-defined]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
    sys.stdout.write(" ".join(sorted(GROWN)))
