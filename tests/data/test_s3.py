"""Stores on object storage: a real S3 server, and what happens without one."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
import xarray as xr
from typer.testing import CliRunner

from dtsinn.cli import app
from dtsinn.core.errors import RunError, StoreError
from dtsinn.data.check import check_store
from dtsinn.data.loader import Reading, batches
from dtsinn.data.plan import StorePlan
from dtsinn.data.store import open_store
from dtsinn.data.writer import StoreWriter
from dtsinn.simulation.request import StudyRequest
from dtsinn.simulation.study import simulate_study
from dtsinn.training.config import load_run_config
from dtsinn.training.loop import train
from dtsinn.training.state import TrainingState

if TYPE_CHECKING:
    from tests.support.s3 import S3

REQUEST = StudyRequest(subjects=12, slices=2, size=16, seed=1)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same study in a folder."""
    path = tmp_path_factory.mktemp("local") / "study.zarr"
    simulate_study(REQUEST, str(path), workers=1)
    return path


@pytest.fixture(scope="module")
def study(s3_session: S3, local: Path) -> str:
    """A study in the bucket, simulated there by the command line."""
    url = s3_session.url("study.zarr")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in s3_session.environment.items():
            patch.setenv(name, value)
        options = ["--subjects", "12", "--slices", "2", "--size", "16", "--seed", "1"]
        options += ["--population", "uniform"]
        result = CliRunner().invoke(app, ["simulate", url, *options, "--workers", "2", "--quiet"])
    assert (result.exit_code, result.stderr) == (0, "")
    return url


def test_a_study_is_simulated_described_and_checked_in_a_bucket(
    s3: S3, study: str, local: Path
) -> None:
    assert open_store(study).header.digest == open_store(str(local)).header.digest
    result = CliRunner().invoke(app, ["info", study])
    assert result.exit_code == 0
    assert "fmz at 0 min, fdg at 20 min" in result.stdout
    result = CliRunner().invoke(app, ["check", study, "--quiet"])
    assert (result.exit_code, result.stderr) == (0, "")
    keys = s3.files().find("bucket/study.zarr")
    names = {str(path.relative_to(local)) for path in local.rglob("*") if path.is_file()}
    assert {key.removeprefix("bucket/study.zarr/") for key in keys} == names


def test_xarray_opens_it(s3: S3, study: str) -> None:
    with xr.open_zarr(study) as data:
        assert data["mixture"].dims == ("sample", "frame", "y", "x")
        assert np.isfinite(data["mixture"].isel(sample=3).mean().compute())


def test_training_reads_from_a_bucket_what_it_reads_from_a_folder(
    s3: S3, study: str, local: Path
) -> None:
    states = []
    for path in (study, str(local)):
        settings = ["steps=4", "validate_every=4", "model.width=4", "model.blocks=1"]
        states.append(TrainingState(load_run_config("invertible", settings), 18))
        list(train(open_store(path), states[-1]))
    there, here = (state.network.state_dict() for state in states)
    assert all(torch.equal(there[name], here[name]) for name in here)


def test_loader_workers_read_from_a_bucket(s3: S3, study: str) -> None:
    store = open_store(study)
    stream = batches(store, Reading(), 2, workers=1)
    alone = batches(store, Reading(), 2)
    for _ in range(4):
        there, here = next(stream), next(alone)
        assert all(torch.equal(there[name], here[name]) for name in here)


class StopHereError(Exception):
    """Stands for Ctrl-C."""


def test_an_interrupted_simulation_in_a_bucket_is_refused_and_continued(
    s3: S3, local: Path
) -> None:
    url = s3.url("interrupted.zarr")

    def interrupt(what: str, done: int, total: int) -> None:
        if done >= 8:
            raise StopHereError

    with pytest.raises(StopHereError):
        simulate_study(REQUEST, url, workers=1, progress=interrupt)
    with pytest.raises(StoreError, match="not complete; try the command that wrote it, once more"):
        open_store(url)
    other = StudyRequest(subjects=12, slices=2, size=16, seed=2)
    with pytest.raises(
        StoreError, match=r"begun with other settings; got request\.seed: 1 before and 2"
    ):
        simulate_study(other, url, workers=1)
    resumed = simulate_study(REQUEST, url, workers=1)
    assert 0 < resumed.samples_written < resumed.samples
    assert resumed.digest == open_store(str(local)).header.digest
    with pytest.raises(StoreError, match=r"interrupted.zarr exists already; try another OUT"):
        simulate_study(REQUEST, url, workers=1)


def test_something_else_in_the_bucket_is_left_alone(
    s3: S3, tiny_plan: Callable[..., StorePlan]
) -> None:
    s3.files().pipe_file("bucket/mine.zarr/thesis.txt", b"years of work")
    with pytest.raises(StoreError, match=r"mine.zarr holds something else; try another OUT"):
        StoreWriter(s3.url("mine.zarr"), tiny_plan()).begin()
    assert s3.files().cat_file("bucket/mine.zarr/thesis.txt") == b"years of work"


def test_a_damaged_object_is_named_by_array_and_sample(
    s3: S3, tiny_plan: Callable[..., StorePlan], write_store: Callable[..., object]
) -> None:
    url = s3.url("damaged.zarr")
    write_store(url, tiny_plan())
    key = "bucket/damaged.zarr/mixture/c/1/0/0/0"
    content = bytearray(s3.files().cat_file(key))
    content[20] ^= 1
    s3.files().pipe_file(key, bytes(content))
    with pytest.raises(StoreError, match="mixture, sample 4 is damaged; got Stored and computed"):
        check_store(url)
    s3.files().rm_file(key)
    with pytest.raises(StoreError, match="mixture, sample 4 is damaged; got a missing chunk"):
        check_store(url)


def test_a_missing_store_or_bucket_is_told(s3: S3) -> None:
    with pytest.raises(StoreError, match=r"no store at s3://bucket/none.zarr; .*try dtsinn simula"):
        open_store(s3.url("none.zarr"))
    with pytest.raises(StoreError, match=r"no store at s3://nowhere/none.zarr"):
        open_store("s3://nowhere/none.zarr")
    with pytest.raises(RunError, match="cannot be written; got The specified bucket does not exi"):
        simulate_study(REQUEST, "s3://nowhere/new.zarr", workers=1)


COMMANDS = """
import json, sys
from typer.testing import CliRunner
from dtsinn.cli import app
for command in sys.argv[2:]:
    result = CliRunner().invoke(app, [command, sys.argv[1], "--quiet"])
    print(json.dumps([result.exit_code, result.stderr]))
"""


def answers(url: str, environment: dict[str, str], *commands: str) -> list[tuple[int, str]]:
    """What the commands say, in a process of their own: connections are kept."""
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS, url, *commands],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | environment,
    )
    assert done.stderr == ""
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


def test_wrong_keys_are_told(s3: S3, study: str) -> None:
    said = answers(study, s3.environment | {"AWS_SECRET_ACCESS_KEY": "wrong"}, "info", "simulate")
    assert [code for code, _ in said] == [2, 1]
    for _, line in said:
        assert line.count("\n") == 1
        assert "s3://bucket/study.zarr cannot be " in line


def test_an_endpoint_that_does_not_answer_is_told_soon() -> None:
    nobody = {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_ACCESS_KEY_ID": "any",
        "AWS_SECRET_ACCESS_KEY": "any",
    }
    said = answers("s3://bucket/study.zarr", nobody, "info", "simulate")
    assert [code for code, _ in said] == [2, 1]
    for _, line in said:
        assert line.count("\n") == 1
        assert "got Could not connect to the endpoint URL" in line


@pytest.mark.slow
def test_an_endpoint_that_never_answers_is_told_within_minutes() -> None:
    """The limit is generous: what is shown is that it ends at all."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        nobody = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{silent.getsockname()[1]}",
            "AWS_ACCESS_KEY_ID": "any",
            "AWS_SECRET_ACCESS_KEY": "any",
        }
        ((code, line),) = answers("s3://bucket/study.zarr", nobody, "info")
    assert code == 2
    assert "got Read timeout on endpoint URL" in line


def test_without_s3fs_the_package_to_install_is_named() -> None:
    code = (
        "import sys; sys.modules['s3fs'] = None\n"
        "from dtsinn.core.errors import StoreError\n"
        "from dtsinn.data.store import open_store\n"
        "try:\n    open_store('s3://bucket/study.zarr')\n"
        "except StoreError as error:\n    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert "s3://bucket/study.zarr cannot be opened; got " in done.stdout
    assert done.stdout.endswith("try pip install 'dtsinn[s3]'\n")


def test_a_scheme_that_nobody_knows_is_told() -> None:
    with pytest.raises(
        StoreError, match=r"foo://x/y.zarr cannot be opened; got Protocol not known"
    ):
        open_store("foo://x/y.zarr")
