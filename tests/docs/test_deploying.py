"""``docs/deploying.md`` is done as it says: its code, its service, its installation offline."""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import dtsinn
from dtsinn.core.workspace import Workspace
from dtsinn.data.store import open_store
from dtsinn.workflows import calibrating
from dtsinn.workflows.pipeline import export_model
from tests.support.independent_scan import make_head, write_scan

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "deploying.md").read_text("utf-8")
PYTHON = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
SHELL = re.findall(r"^```\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
SEPARATING, GRAPH, INVERSE, SAVING, ASKING = PYTHON
CALIBRATED = 40
"""Subjects of the package's calibration: as many as two cores simulate in a second or two."""


@pytest.fixture(scope="module")
def folder(small_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package, calibrated by few subjects, a scan, and a mixture of the model's frames."""
    folder = tmp_path_factory.mktemp("deploying")
    store = open_store(str(small_path))
    run = dtsinn.train(
        store, steps=1, settings={"model.blocks": 1}, workspace=folder / "workspace", name="one"
    )
    with pytest.MonkeyPatch.context() as patch:
        few = partial(calibrating.find_calibration, subjects=CALIBRATED)
        patch.setattr(calibrating, "find_calibration", few)
        export_model(run.version.ref, folder / "mine", Workspace(folder / "workspace"))
    write_scan(folder, make_head(), "sub-01_pet")
    np.save(folder / "mixture.npy", next(store.subjects("test")).mixture_NTYX)
    return folder


def run_code(code: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_script_separates(folder: Path) -> None:
    verdict, tracers = run_code(SEPARATING, folder).splitlines()
    assert verdict.startswith("outside: "), "the model had one step"
    assert all((folder / path).is_file() for path in tracers.split())


def test_the_graph_alone_separates_and_mixes(folder: Path) -> None:
    check = (
        "print(abs(again - mixture).max() / abs(mixture).max(), *map(np.shape, (tracers, scale)))"
    )
    error, shapes = run_code(GRAPH + INVERSE + check, folder).split(maxsplit=1)
    assert float(error) < 1e-5
    assert shapes == "(2, 2, 18, 32, 32) (2,)\n"


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """The address of MLflow's server of ``served``, from the command on the page."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (command,) = re.findall(r"`(mlflow models serve -m served .*?)`", PAGE)
    words = shlex.split(command.replace("5001", str(port)))
    beside = str(Path(sys.executable).parent)
    environment = {
        "PATH": os.pathsep.join([beside, os.environ["PATH"]]),
        "PYTHONPATH": str(ROOT),
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    }
    with subprocess.Popen(
        [sys.executable, "-m", *words],
        cwd=folder,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as server:
        assert server.stdout is not None
        try:
            said = []
            for line in server.stdout:
                said.append(line)
                if "Uvicorn running on" in line:
                    break
            else:
                pytest.fail("".join(said))
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(server.pid, signal.SIGTERM)


@pytest.mark.slow
def test_mlflow_serves_a_package(folder: Path) -> None:
    run_code(SAVING, folder)
    with serve(folder) as url:
        check = "print(abs(served - tracers).max() / abs(tracers).max())"
        error = run_code(f"{GRAPH}\nurl = {url!r}\n{ASKING}\n{check}", folder)
    assert float(error) < 1e-5


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_wheels_alone_install_offline_and_separate(folder: Path, tmp_path: Path) -> None:
    """The commands of the page: one machine with an index, the other without."""
    prepare, install = (block.splitlines() for block in SHELL[:2])
    assert prepare[0] == "make release"  # builds as below, and tries the wheel for minutes
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path / "dist"]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (tmp_path / "constraints.txt").write_bytes((ROOT / "constraints.txt").read_bytes())
    run_shell(f"python3 -m {prepare[1]}", tmp_path, skips=True)
    for name in ("mine", "sub-01_pet.nii.gz", "sub-01_pet.json"):
        (tmp_path / name).symlink_to(folder / name)
    offline = {
        "PIP_NO_INDEX": "1",
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "PIP_CONFIG_FILE": "/dev/null",
    }
    for command in install[:-1]:
        run_shell(command, tmp_path, **offline)
    done = run_shell(install[-1], tmp_path, code=3, **offline)
    assert "verdict: outside" in done
    assert len(list(tmp_path.glob("separated/sub-01/pet/*_trc-F??_pet.nii.gz"))) == 2
    refused = run_shell("dtsinn-env/bin/dtsinn search any.zarr", tmp_path, code=2, **offline)
    assert refused.endswith("try pip install 'dtsinn[platform]'\n")
    size = sum(
        path.lstat().st_size for path in (tmp_path / "dtsinn-env").rglob("*") if path.is_file()
    )
    assert size < 0.6e9, "the base grows"


def run_shell(
    command: str, folder: Path, *, code: int = 0, skips: bool = False, **environment: str
) -> str:
    """What a command says that is to exit with ``code``."""
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("PYTHON", "DTSINN", "PIP_NO", "VIRTUAL"))
    }
    if environment:
        kept = {key: value for key, value in kept.items() if not key.startswith("PIP_")}
    kept["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), kept["PATH"]])
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=kept | environment, capture_output=True, text=True
    )
    if skips and re.search(
        "No matching distribution|connection|Network is unreachable", done.stderr
    ):
        pytest.skip(f"no package index: {done.stderr.splitlines()[-1]}")
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr
