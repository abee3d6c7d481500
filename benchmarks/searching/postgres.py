"""``postgres``: many searches report at once to the server of a team.

The server is ``dtsinn server`` on a real PostgreSQL; what is counted is what that holds.
"""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.report import Result, Say, facts_table, load_average
from dtsinn.registry.server.access import ADMIN
from dtsinn.registry.server.server import TeamServer, start_team_server
from tests.support.postgres import postgres_server
from tests.support.writers import Load, flood

PASSWORD = "of-the-benchmark"  # noqa: S105 (of a server that lives as long as it)


def run(
    folder: Path,
    *,
    writers: Annotated[int, typer.Option(help="Searches.")] = Load.writers,
    processes: Annotated[int, typer.Option(help="That they are spread over.")] = Load.processes,
    reports: Annotated[int, typer.Option(help="Reports of each.")] = Load.reports,
    say: Say,
) -> Result:
    """Let many searches report at once to the server of a team, and count what arrives."""
    load = Load(writers=writers, processes=processes, reports=reports)
    with postgres_server(folder) as postgres:
        database = postgres.database()
        order = TeamServer(
            backend=database, artifacts=f"{folder}/artifacts", port=0, admin_password=PASSWORD
        )
        say("starting the server")
        with start_team_server(order, say, folder / "log") as served:
            os.environ["MLFLOW_TRACKING_URI"] = served.url
            os.environ["MLFLOW_TRACKING_USERNAME"] = ADMIN
            os.environ["MLFLOW_TRACKING_PASSWORD"] = PASSWORD
            say(f"{load.writers} writers in {load.processes} processes")
            outcome = flood(load, folder / "logs", database)
    told = load.writers * load.reports
    facts = {
        "writers": f"{load.writers}",
        "runs that are there and have ended": f"{outcome.runs}",
        "reports": f"{told}",
        "rows of metrics": f"{outcome.rows}",
        "lost": f"{outcome.lost}",
        "doubled": f"{outcome.doubled}",
        "seconds": f"{outcome.seconds:.0f}",
        "rows per s": f"{outcome.rows / outcome.seconds:.0f}",
    }
    notes = [
        f"{load.writers} writers in {load.processes} processes, each with an event log and an "
        f"outbox of its own: begin, {load.reports} reports of {load.metrics} metrics, end.",
        "They tell dtsinn server, with basic auth, on PostgreSQL 18; all on one machine.",
        "Lost and doubled: rows of the database against those of the event logs, by run, metric, "
        "step, value and time.",
        f"The machine was shared; five-minute load average at the end: {load_average()}.",
    ]
    return Result(
        name="postgres",
        title=f"{load.writers} searches that report at once",
        notes=notes,
        tables=[facts_table(facts)],
        data={"load": asdict(load), "outcome": asdict(outcome)},
    )
