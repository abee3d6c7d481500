"""Commands that show: MLflow for one person and for a team, and the demo of the whole road."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dtsinn.commands.options import ROOT, Commands, Debug, Quiet, Root
from dtsinn.core.workspace import Workspace
from dtsinn.workflows import console

app = Commands()

STORAGE, NETWORK, USERS = "Storage", "Network", "Users"
"""Groups of options of ``server``, as its help shows them."""


@app.command(epilog="Example: dtsinn ui --port 5000")
def ui(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 5000,
    browser: Annotated[bool, typer.Option("--browser", help="Open a browser too.")] = False,
    workspace: Root = ROOT,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Show this workspace in the MLflow UI on 127.0.0.1, until Ctrl-C."""
    from dtsinn.registry.server.ui import ui as show

    show(
        Workspace(workspace),
        port,
        announce=lambda url: console.say(f"{url}   (Ctrl-C ends it)", quiet=quiet),
        open_browser=browser,
    )


@app.command(epilog="Example: dtsinn server --artifacts s3://pet/runs --allowed-host pet.lab:5000")
def server(
    artifacts: Annotated[
        str,
        typer.Option(
            rich_help_panel=STORAGE,
            metavar="URL",
            envvar="DTSINN_ARTIFACTS",
            help="s3://BUCKET/PREFIX or a folder.",
        ),
    ] = "",
    backend: Annotated[
        str,
        typer.Option(
            rich_help_panel=STORAGE,
            metavar="URL",
            envvar="DTSINN_BACKEND",
            help="postgresql://USER:PASSWORD@HOST/DATABASE; everybody on the machine can read "
            "a command line, so prefer the variable.",
        ),
    ] = "",
    host: Annotated[
        str,
        typer.Option(metavar="ADDRESS", help="Address to listen on.", rich_help_panel=NETWORK),
    ] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(min=0, max=65535, help="0 takes a free one.", rich_help_panel=NETWORK),
    ] = 5000,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(
            rich_help_panel=NETWORK,
            metavar="NAME[:PORT]",
            help="A name that clients call it by, besides the address; may be repeated.",
        ),
    ] = None,
    behind_proxy: Annotated[
        str,
        typer.Option(
            rich_help_panel=NETWORK,
            metavar="ADDRESS",
            help="Address of the proxy before it, whose X-Forwarded-For is believed.",
        ),
    ] = "",
    admin_password_file: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel=USERS,
            metavar="FILE",
            help="Password of the user admin, for the first start; or DTSINN_ADMIN_PASSWORD.",
        ),
    ] = None,
    no_auth: Annotated[
        bool,
        typer.Option(
            "--no-auth", help="Ask for no passwords; on 127.0.0.1 only.", rich_help_panel=USERS
        ),
    ] = False,
    upgrade: Annotated[
        bool,
        typer.Option(
            "--upgrade",
            rich_help_panel=STORAGE,
            help="Bring the tables of an older MLflow up to date first.",
        ),
    ] = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Serve MLflow to a team, from PostgreSQL and a bucket, until Ctrl-C or SIGTERM."""
    from dtsinn.registry.server.access import read_password
    from dtsinn.registry.server.server import TeamServer, serve
    from dtsinn.registry.tracking.view import HOME

    order = TeamServer(
        backend=backend,
        artifacts=artifacts,
        host=host,
        port=port,
        allowed_hosts=tuple(allowed_host or ()),
        proxy=behind_proxy,
        admin_password="" if no_auth else read_password(admin_password_file),
        auth=not no_auth,
        upgrade=upgrade,
    )
    serve(
        order,
        announce=lambda url: console.say(
            f"{url}   (page: {url}{HOME}; Ctrl-C ends it)", quiet=quiet
        ),
        note=console.note,
    )


@app.command(epilog="Example: dtsinn demo")
def demo(
    workspace: Root = ROOT,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Walk the whole road on a small store: minutes on two cores."""
    from dtsinn.workflows.demo import walk

    walk(Workspace(workspace), quiet=quiet)
