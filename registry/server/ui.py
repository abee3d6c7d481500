"""The MLflow page of a workspace, on this machine only.

The address is 127.0.0.1, other ``Host`` headers are refused (a page in the user's browser could
otherwise reach it through DNS rebinding), MLflow's assistant, gateway and job API are off, and
nothing is sent anywhere.
"""

from __future__ import annotations

import os
import webbrowser
from collections.abc import Callable

from dtsinn.core.errors import InputError
from dtsinn.core.workspace import Workspace
from dtsinn.registry.server import serving
from dtsinn.registry.tracking.embedded import embedded_uri, is_server, require_workspace
from dtsinn.registry.tracking.names import hide_secrets
from dtsinn.registry.tracking.tracker import connect
from dtsinn.registry.tracking.view import HOME, announce_page, front_page

HOST = "127.0.0.1"
PORT = 5000
"""Port of the page by default."""


def ui(
    workspace: Workspace,
    port: int = PORT,
    *,
    announce: Callable[[str], None],
    open_browser: bool = False,
) -> None:
    """Show the workspace until Ctrl-C or SIGTERM.

    Args:
        workspace: What is shown; it must exist.
        port: 0 takes a free one.
        announce: Called with the address of the latest runs once the page answers.
        open_browser: Open the page in the user's browser.

    Raises:
        InputError: No workspace, a port in use, or the runs are on a server already.
        RunError: MLflow did not start, or ended by itself.
    """
    with serving.end_on_signal():
        page = start_ui(workspace, port)
        try:
            front = page.url + front_page(connect(workspace).client)
            with announce_page(workspace, page.url):
                announce(front)
                if open_browser:
                    webbrowser.open(front)
                page.run()
        finally:
            page.stop()


def start_ui(workspace: Workspace, port: int = 0) -> serving.ServerProcess:
    """Start the page in processes of its own and wait until it answers.

    Raises:
        InputError: No workspace, a port in use, or the runs are on a server already.
        RunError: MLflow did not start.
    """
    elsewhere = os.environ.get("MLFLOW_TRACKING_URI", "")
    if is_server(elsewhere):
        url = hide_secrets("uri", elsewhere).rstrip("/") + HOME
        raise InputError("MLFLOW_TRACKING_URI names a server that has its own page", hint=url)
    if elsewhere:
        raise InputError(
            "MLFLOW_TRACKING_URI is set, and this page shows the workspace's own runs",
            hint="unset MLFLOW_TRACKING_URI",
        )
    require_workspace(workspace)
    connect(workspace)  # an outdated database says so in one line
    port = serving.find_port(HOST, port)
    options = {
        "--backend-store-uri": embedded_uri(workspace),
        "--default-artifact-root": workspace.artifacts_here.as_uri(),
        "--allowed-hosts": f"localhost:{port},{HOST}:{port}",
        "--app-name": serving.OPEN,
    }
    words = [word for pair in options.items() for word in pair]
    log = workspace.root / "ui.log"
    return serving.start("the page", HOST, port, [*words, "--no-serve-artifacts"], {}, log)
