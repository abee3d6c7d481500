"""The page of a workspace: on this machine only, for this machine only, and it ends whole."""

import json
import re
import signal
import socket
import urllib.error
import urllib.request

import pytest

from dtsinn.core.errors import InputError
from dtsinn.core.workspace import Workspace
from dtsinn.registry.server.ui import start_ui, ui
from dtsinn.registry.tracking.view import announce_page, describe_page, find_page


def status(url, host=None):
    request = urllib.request.Request(url, headers={"Host": host} if host else {})
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


@pytest.fixture
def page(workspace, forks):
    """``ui`` in a process of its own, as the command line runs it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    code = (
        "import sys; from functools import partial; from pathlib import Path\n"
        "from dtsinn.core.workspace import Workspace\n"
        "from dtsinn.registry.server.ui import ui\n"
        "ui(Workspace(Path(sys.argv[1])), int(sys.argv[2]), announce=partial(print, flush=True))\n"
    )
    with forks.python(code, workspace.root, port) as job:
        yield job, port


def test_serves_this_machine_only_until_sigterm(begin, tracker, workspace, page, tmp_path):
    job, port = page
    begin("search/a")
    (tmp_path / "card.md").write_text("hello")
    tracker.artifact("search/a", tmp_path / "card.md")
    run = tracker.run_id("search/a")
    told = job.stdout.readline().decode()
    url = f"http://127.0.0.1:{port}"
    assert told.startswith(f"{url}/#/experiments/1/runs?workflowType=machine_")

    assert tracker.run_url("search/a").startswith(f"{url}/#/experiments/1/runs/{run}?workflowType=")
    asked = status(f"{url}/ajax-api/3.0/mlflow/ui-telemetry")
    assert json.loads(asked[1])["disable_ui_telemetry"] is True

    assert status(f"{url}/")[0] == 200
    answer = status(f"{url}/api/2.0/mlflow/runs/get?run_id={run}")
    assert answer[0] == 200
    assert b"search/a" in answer[1]
    assert status(f"{url}/get-artifact?run_uuid={run}&path=card.md") == (200, b"hello")
    script = re.search(r"static-files/static/js/main\.\w+\.js", status(f"{url}/")[1].decode())
    with urllib.request.urlopen(f"{url}/{script.group()}", timeout=20) as answer:
        assert len(answer.read()) > 1e6
        assert answer.headers["Cache-Control"] == "max-age=2419200"
        assert answer.headers["Content-Type"].startswith("text/javascript")
    for path in ("static-files/none.js", "static-files/%2e%2e/app.py"):
        assert status(f"{url}/{path}")[0] == 404
    assert status(f"{url}/{script.group()}", "evil.example")[0] == 403
    for host in ("evil.example", "192.168.0.7:5000", f"evil.example:{port}", "127.0.0.1.evil"):
        assert status(f"{url}/", host)[0] == 403
    assert status(f"{url}/", f"localhost:{port}")[0] == 200
    # It would run commands as this user for every account of the machine.
    assert status(f"{url}/ajax-api/3.0/mlflow/assistant/config")[0] == 404
    with pytest.raises(InputError, match=f"port {port} cannot be used"):
        start_ui(workspace, port)

    job.send_signal(signal.SIGTERM)
    out, err = job.communicate(timeout=30)
    assert (job.returncode, out, err) == (0, "", "")
    with pytest.raises(OSError, match="refused"):
        status(f"{url}/health")
    assert tracker.run_url("search/a").startswith(f"/#/experiments/1/runs/{run}?workflowType=mach")


def test_a_page_that_was_killed_is_shown_no_longer(workspace):
    with announce_page(workspace, "http://127.0.0.1:1234"):
        assert find_page(workspace) == "http://127.0.0.1:1234"
        with announce_page(
            workspace, "http://127.0.0.1:5678"
        ):  # shown twice: the first one is told
            assert find_page(workspace) == "http://127.0.0.1:1234"
    assert find_page(workspace) == ""
    (workspace.root / "ui").write_text("http://127.0.0.1:1234")
    assert find_page(workspace) == ""


def test_where_runs_are_shown(workspace, monkeypatch):
    assert describe_page(workspace) == workspace.command("ui")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://me:pw@mlflow.lab/sub/")
    assert describe_page(workspace) == (
        "https://mlflow.lab/sub/#/experiments?workflowType=machine_learning"
    )
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////elsewhere/all.db")
    assert describe_page(workspace) == "MLflow at sqlite:////elsewhere/all.db"


def test_refusals_are_one_line(tmp_path, workspace, monkeypatch):
    nowhere = Workspace(tmp_path / "none")
    with pytest.raises(InputError, match=r"^no workspace at .*; try dtsinn search STORE$"):
        ui(nowhere, 0, announce=print)
    assert not nowhere.root.exists()
    with pytest.raises(InputError, match="port 70000 cannot be used"):
        ui(workspace, 70000, announce=print)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:pw@tracking.example:5000")
    with pytest.raises(InputError, match=r"has its own page; try http://tracking\.example:5000"):
        ui(workspace, 0, announce=print)
