"""The doctor, on machines and workspaces that are really as bad as it says."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dtsinn.cli import app
from dtsinn.core.version import LIBRARIES
from dtsinn.core.workspace import Workspace
from dtsinn.registry.tracking.embedded import make_database
from dtsinn.workflows.doctor import (
    CHECKS,
    LINKS,
    Finding,
    examine,
    read_cpu_limit,
    read_memory_limit,
)

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder without settings, which must stay as it is."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for name in ("DTSINN_WORKSPACE", "MLFLOW_TRACKING_URI", "RAY_ADDRESS", "RAY_TMPDIR"):
        monkeypatch.delenv(name, raising=False)


def doctor(*words: str, **environment: str) -> tuple[int, dict[str, Any]]:
    """What a process of its own says, as temporary folders are found once a process."""
    done = subprocess.run(
        [sys.executable, "-c", "from dtsinn.cli import main; main()", "doctor", "--json", *words],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
    )
    assert done.stderr == ""
    return done.returncode, json.loads(done.stdout)


def of(findings: list[dict[str, Any]], what: str) -> dict[str, Any]:
    (found,) = (one for one in findings if one["what"] == what)
    return found


def check(name: str, workspace: Path = Path("w")) -> Finding:
    (found,) = (one for one in examine(Workspace(workspace)) if one.what == name)
    return found


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port of this machine that nobody else takes, and at which nobody answers."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


def test_a_good_machine_has_no_problem_and_nothing_is_left(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["doctor"])
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[-1].startswith("0 problems, ")
    assert {line.split()[0] for line in lines[:-1]} <= {"ok", "note"}
    for what in ("dtsinn", "Python", *LIBRARIES, "packages", "CPUs", "GPUs", "memory", "TMPDIR",
                 "links", "workspace", "tracking", "Ray", "browser"):  # fmt: skip
        assert sum(line[9:].startswith(f"{what}: ") for line in lines) == 1, what
    assert list(Path.cwd().iterdir()) == []
    quiet = CliRunner().invoke(app, ["doctor", "--quiet"]).stdout
    assert "ok  " not in quiet


def test_json_says_the_same(tmp_path: Path) -> None:
    code, told = doctor()
    assert code == 0
    assert told["problems"] == 0
    assert told["notes"] == sum(one["state"] == "note" for one in told["findings"])
    assert {frozenset(one) for one in told["findings"]} == {
        frozenset({"what", "state", "found", "cure"})
    }
    assert all(bool(one["cure"]) == (one["state"] != "ok") for one in told["findings"])


def test_it_waits_for_no_torch_and_without_a_server_for_no_mlflow() -> None:
    code = (
        "import sys; from dtsinn.cli import app\n"
        "try: app(['doctor'])\n"
        "except SystemExit: print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stderr.split()) & {"torch", "mlflow", "optuna", "zarr", "ray.tune"}


def test_a_package_that_is_missing_or_too_old_is_a_problem(tmp_path: Path) -> None:
    info = tmp_path / "site" / "dtsinn-0.1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(
        "Metadata-Version: 2.4\nName: dtsinn\nVersion: 0.1.0\nRequires-Dist: never-made>=2\n"
        "Requires-Dist: numpy<1\nRequires-Dist: also-never-made>=1; extra == 's3'\n"
    )
    code, told = doctor(PYTHONPATH=f"{tmp_path / 'site'}{os.pathsep}{ROOT}")
    assert code == 1
    found = [one for one in told["findings"] if one["what"] == "packages"]
    assert [one["state"] for one in found] == ["problem", "problem"]
    assert found[0]["found"] == "never-made is missing; wanted >=2"
    assert found[0]["cure"] == "pip install 'never-made>=2'"
    assert found[1]["found"].endswith("; wanted <1")


def test_a_tmpdir_too_long_for_sockets_is_noted_and_a_ray_tmpdir_is_a_problem(
    tmp_path: Path,
) -> None:
    long = tmp_path / ("x" * 60)
    long.mkdir()
    code, told = doctor(TMPDIR=str(long))
    assert code == 0
    assert of(told["findings"], "TMPDIR")["state"] == "ok"
    ray = of(told["findings"], "Ray")
    assert ray["state"] == "note"
    assert f"too long for them, with {len(str(long))} bytes" in ray["found"]
    assert "a shorter TMPDIR" in ray["cure"]
    code, told = doctor(RAY_TMPDIR=str(long))
    assert code == 1
    ray = of(told["findings"], "Ray")
    assert (ray["state"], ray["cure"]) == ("problem", "RAY_TMPDIR=/tmp")
    assert "a folder that can be written, of at most 27 characters" in ray["found"]
    assert list(long.iterdir()) == []


def test_a_tmpdir_that_python_passes_over_is_noted(tmp_path: Path) -> None:
    code, told = doctor(TMPDIR=str(tmp_path / "gone"))
    found = of(told["findings"], "TMPDIR")
    assert (code, found["state"]) == (0, "note")
    assert found["found"].startswith(f"{tmp_path / 'gone'} cannot be written; ")


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Whoever may write nothing; root may write everywhere."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("inside", ["", "new/ws"])
def test_a_workspace_that_cannot_be_written_is_a_problem(inside: str) -> None:
    folder = Path(tempfile.mkdtemp())  # whose parents everybody may enter
    folder.chmod(0o555)
    try:
        with as_nobody(), pytest.raises(PermissionError) as refused:
            list(CHECKS["workspace"](Workspace(folder / inside)))
        assert refused.value.filename == str(folder)
        assert list(folder.iterdir()) == []
    finally:
        folder.rmdir()


def test_a_check_that_fails_is_a_problem_with_the_cure_of_its_error() -> None:
    Path("w").write_text("a file")
    found = check("workspace")
    assert (found.state, found.cure) == ("problem", "a path of folders: one part of it is a file")
    assert found.found == "w: Not a directory"
    assert CliRunner().invoke(app, ["doctor", "--workspace", "w"]).exit_code == 1


def test_a_database_is_known_older_or_of_an_unknown_mlflow() -> None:
    workspace = Workspace(Path("w"))
    make_database(workspace)
    before = {path.name for path in workspace.root.iterdir()}
    assert check("workspace").state == "ok"
    with contextlib.closing(sqlite3.connect(workspace.database)) as opened:
        for revision, age in (("451aebb31d03", "older"), ("cafecafecafe", "unknown")):
            opened.execute("UPDATE alembic_version SET version_num = ?", (revision,))
            opened.commit()
            found = check("workspace")
            assert found.state == "problem"
            assert f"tables {revision} of an {age} MLflow" in found.found
            assert "mlflow db upgrade" in found.cure
    workspace.database.write_text("no database" * 100)
    found = check("workspace")
    assert (found.state, found.cure) == ("problem", "a backup of it, or another --workspace")
    assert {path.name for path in workspace.root.iterdir()} == before


def test_a_tracking_server_that_does_not_answer_is_a_problem(
    monkeypatch: pytest.MonkeyPatch, closed_port: int
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@127.0.0.1:{closed_port}")
    result = CliRunner().invoke(app, ["doctor", "--quiet"])
    assert result.exit_code == 1
    assert f"the tracking server http://127.0.0.1:{closed_port} does not answer" in result.stdout
    assert "try MLFLOW_TRACKING_URI, or whether it runs" in result.stdout
    assert "secret" not in result.stdout


class _Answers(BaseHTTPRequestHandler):
    answer = b""

    def do_POST(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.answer)

    def log_message(self, *words: object) -> None:
        pass


@pytest.mark.parametrize(("answer", "state"), [(b"{}", "ok"), (b"<html>", "problem")])
def test_who_answers_must_be_mlflow(
    monkeypatch: pytest.MonkeyPatch, answer: bytes, state: str
) -> None:
    handler = type("Handler", (_Answers,), {"answer": answer})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        uri = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        try:
            (found,) = (one for one in examine(Workspace(Path("w"))) if "tracking" in one.what)
        finally:
            server.shutdown()
            thread.join()
    assert found.state == state
    assert found.found.startswith(f"{uri} answers")


@pytest.mark.parametrize(
    ("uri", "what", "told"),
    [
        ("databricks", "tracking", "wanted a URI that begins with"),
        ("sqlite:////nowhere/x.db", "tracking", "wanted a file that exists"),
        ("postgresql://me:secret@127.0.0.1:{port}/x", "tracking", "Connection refused"),
    ],
)
def test_a_tracking_uri_that_leads_nowhere_is_a_problem(
    monkeypatch: pytest.MonkeyPatch, closed_port: int, uri: str, what: str, told: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri.format(port=closed_port))
    found = check(what)
    assert found.state == "problem"
    assert told in found.found
    assert "secret" not in found.found


def test_a_cluster_that_does_not_answer_is_a_problem(
    monkeypatch: pytest.MonkeyPatch, closed_port: int
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{closed_port}")
    found = check("Ray")
    assert found.state == "problem"
    assert found.found.startswith(f"no Ray cluster at 127.0.0.1:{closed_port}")
    with socket.create_server(("127.0.0.1", 0)) as head:
        monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{head.getsockname()[1]}")
        assert check("Ray's cluster").state == "ok"
        assert check("Ray").state == "ok"


def test_links_that_a_checkout_wrote_as_text_are_a_problem(tmp_path: Path) -> None:
    """As git makes them where there are none; the command line itself is one of them."""
    package = Path(shutil.copytree(ROOT / "dtsinn", tmp_path / "copy" / "dtsinn", symlinks=True))
    for name in LINKS:
        leads_to = (package / name).readlink()
        (package / name).unlink()
        (package / name).write_text(str(leads_to))
    done = subprocess.run(
        [sys.executable, "-m", "dtsinn.commands.doctor"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(package.parent)},
    )
    assert done.returncode == 1, done.stderr
    (line,) = (line for line in done.stdout.splitlines() if " links: " in line)
    assert line.startswith(f"problem  links: search, registry, configs, cli.py in {package}: no")
    assert line.endswith("try git config core.symlinks true, then git checkout -- dtsinn; "
                         "on Windows the wheel")  # fmt: skip


def test_limits_of_control_groups_are_found(tmp_path: Path) -> None:
    """In version 2 those around a process limit it too; version 1 has a tree per controller."""
    own = tmp_path / "cgroup"
    own.write_text("0::/user/job\n")
    new, old = tmp_path / "2", tmp_path / "1"
    (new / "user" / "job").mkdir(parents=True)
    assert read_cpu_limit(new, own) is None
    assert read_memory_limit(new, own) is None
    (new / "user" / "cpu.max").write_text("150000 100000\n")
    (new / "user" / "job" / "cpu.max").write_text("max 100000\n")
    (new / "user" / "job" / "memory.max").write_text("4000\n")
    (new / "user" / "memory.max").write_text("max\n")
    assert read_cpu_limit(new, own) == 1.5
    assert read_memory_limit(new, own) == 4000
    own.write_text("5:cpu,cpuacct:/job\n4:memory:/job\n")
    for controller, name, content in (
        ("cpu", "cpu.cfs_quota_us", "50000"),
        ("cpu", "cpu.cfs_period_us", "100000"),
        ("memory", "memory.limit_in_bytes", "3000"),
    ):
        (old / controller / "job").mkdir(parents=True, exist_ok=True)
        (old / controller / "job" / name).write_text(content)
    assert read_cpu_limit(old, own) == 0.5
    assert read_memory_limit(old, own) == 3000
    (old / "cpu" / "job" / "cpu.cfs_quota_us").write_text("-1")
    assert read_cpu_limit(old, own) is None
    assert read_cpu_limit(old, tmp_path / "none") is None
