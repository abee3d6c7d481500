"""Cells that are shared among processes, kept, and not scored twice."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import operator
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from dtsinn.core.errors import RunError
from dtsinn.core.progress import no_progress
from dtsinn.core.workspace import Workspace
from dtsinn.data.store import Store, open_store
from dtsinn.deploy.separator import Separator
from dtsinn.evaluation.cell_record import cell_of, cell_record, read_cell
from dtsinn.evaluation.evaluate import RESULT, Field, evaluate
from dtsinn.evaluation.suite import Suite
from dtsinn.evaluation.workers import run_here, share_among
from dtsinn.networks.build import build_network
from dtsinn.networks.invertible import InvertibleConfig
from dtsinn.networks.rivals.linear import LinearConfig, LinearNetwork
from dtsinn.training.config import load_run_config
from dtsinn.training.package import separator_info
from dtsinn.training.state import TrainingState

DIES = "__import__('os')._exit(9) if last else number"
"""Evaluated by workers, with a task as its names."""


@pytest.fixture(scope="module")
def suite(tiny_suite: Suite) -> Suite:
    return dataclasses.replace(tiny_suite, phantom="cylinder", size=16, noise=("low", "mid"))


@pytest.fixture
def separator(small_store: Store) -> Separator:
    model = InvertibleConfig(blocks=1, width=4, depth=3)
    state = TrainingState(dataclasses.replace(load_run_config("invertible"), model=model), 18)
    info = separator_info(state, small_store.header, "run")
    return Separator(build_network(model, 18), info, floor=LinearNetwork(18, LinearConfig()))


def asked_of(share: Any, asked: list[str]) -> Any:
    """``share``, and the keys of the cells that it is asked for."""

    def listening(work: Any, shared: Any, tasks: Any, progress: Any) -> Any:
        asked.extend(task.key for task in tasks)
        return share(work, shared, tasks, progress)

    return listening


def test_what_is_known_is_not_scored_again(
    separator: Separator, suite: Suite, tmp_path: Path
) -> None:
    asked: list[str] = []
    workspace = Workspace(tmp_path / "workspace")

    def grid(share: Any) -> Any:
        asked.clear()
        at: dict[str, Any] = {"workspace": workspace, "out": tmp_path / "out"}
        share = asked_of(share, asked)
        return evaluate([("net", separator)], suite=suite, store=None, share=share, **at).cells

    def stopped(work: Any, shared: Any, tasks: Any, progress: Any) -> Any:
        yield 0, work(shared, tasks[0])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        grid(stopped)
    assert asked == ["fmz-fdg-p1-low", "fmz-fdg-p1-mid"]
    cells = grid(run_here)
    assert asked == ["fmz-fdg-p1-mid"], "the first was kept"
    derived = (tmp_path / "out" / "derivatives" / "net" / "fmz-fdg-p1-low").rglob("*_tacs.tsv")
    assert len(list(derived)) == 10, "curves are kept too"
    record = json.loads((tmp_path / "out" / "evaluation.json").read_text())["cells"][0]
    assert cell_record(cell_of(record, "it")) == record

    kept = {cell.key: path for path in workspace.suites.glob(f"*-{RESULT}.json")
            if (cell := read_cell(path)) in cells}  # fmt: skip
    assert set(kept) == {cell.key for cell in cells}
    text = kept["fmz-fdg-p1-low"].read_text()
    kept["fmz-fdg-p1-low"].write_text(text[:-9])
    assert read_cell(kept["fmz-fdg-p1-low"]) is None
    kept["fmz-fdg-p1-mid"].write_text('{"format": "dtsinn-evaluation", "format_version": 99}')
    assert read_cell(kept["fmz-fdg-p1-mid"]) is None
    kept["fmz-fdg-p1-mid"].unlink()
    again = grid(share_among(2))
    assert len(asked) == 2, "one was damaged, one is gone"
    for one, other in zip(cells, again, strict=True):
        assert (one.key, one.store_digest) == (other.key, other.store_digest)
        for a, b in zip(one.every, other.every, strict=True):
            assert a.summary.psnr.mean == pytest.approx(b.summary.psnr.mean, abs=1e-3)
    field = Field(separators=(("net", separator),), baselines=(), workspace=workspace)
    assert field.digest != dataclasses.replace(field, separators=(("a", separator),)).digest
    bare = Separator(separator.network, separator.info)
    assert field.digest != dataclasses.replace(field, separators=(("net", bare),)).digest


def test_workers_may_run_in_another_folder(
    separator: Separator,
    suite: Suite,
    small_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def elsewhere(work: Any, shared: Any, tasks: Any, progress: Any) -> Any:
        for number, task in enumerate(tasks):
            with contextlib.chdir("/"):
                found = work(shared, task)
            yield number, found

    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.zarr").symlink_to(small_path)
    found = evaluate(
        [("net", separator)],
        suite=dataclasses.replace(suite, noise=("low",)),
        store=open_store("small.zarr"),
        workspace=Workspace(Path("workspace")),
        out=Path("out"),
        share=elsewhere,
    )
    assert [cell.applicable for cell in found.cells] == [True, True]
    assert any((tmp_path / "workspace" / "suites").glob(f"*-{RESULT}.json"))


def test_a_worker_that_dies_and_a_task_that_fails_are_told_in_a_line() -> None:
    tasks = [{"number": number, "last": number == 2} for number in range(3)]
    done: list[Any] = []
    with pytest.raises(RunError, match="a worker process was killed") as died:
        done.extend(share_among(2)(eval, DIES, tasks, no_progress))
    assert f"{len(done)} of 3 cells are kept" in str(died.value)
    assert "\n" not in str(died.value)
    with pytest.raises(ZeroDivisionError):
        list(share_among(2)(operator.truediv, 1, [1, 0], no_progress))


def test_workers_end_with_a_process_that_is_killed() -> None:
    program = (
        "from dtsinn.evaluation.workers import share_among\n"
        "source = '__import__(\"time\").sleep(seconds)'\n"
        "work = share_among(2)(eval, source, [{'seconds': 0}, {'seconds': 600}], print)\n"
        "print(next(work), flush=True)\n"
        "next(work)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == b"(0, None)\n"
        workers = psutil.Process(parent.pid).children(recursive=True)
        assert workers
        parent.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(workers, timeout=60)
    assert alive == []
