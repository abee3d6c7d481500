"""The demo: the whole road on a small store, step by step, with what to type next."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

from dtsinn.core.display import duration
from dtsinn.core.errors import RunError
from dtsinn.core.workspace import Workspace, command
from dtsinn.data.store import open_store
from dtsinn.registry.tracking.view import describe_page
from dtsinn.search.plan import SearchPlan, resume_command
from dtsinn.search.space.reader import load_space
from dtsinn.simulation.request import StudyRequest
from dtsinn.simulation.study import simulate_study
from dtsinn.workflows import console
from dtsinn.workflows.pipeline import PromotedSearch, evaluate, export_model, search_and_promote

REQUEST = StudyRequest(subjects=60, slices=8, size=64, noise="mid", seed=0, population="varied")
TRIALS = 8
TIME_BUDGET_S = 210
"""Two idle cores need about 150 s for the trials; a busy or slow machine stops here."""


def walk(workspace: Workspace, *, quiet: bool) -> None:
    """Simulate, search, promote, evaluate and export, all inside ``workspace``.

    A store that an earlier demo finished or began is used again; each demo is a new search,
    whose best has to beat the champion of the one before, and that of the first one the linear
    map. The best network is evaluated, and the champion exported, whichever that is.
    """
    begun = time.monotonic()
    number = next(n for n in itertools.count(1) if not _taken(workspace, n))
    name = _name(number)
    store = str(workspace.root / "demo.zarr")
    export = workspace.root / f"{name}-export"

    _head(1, "simulate", command("simulate", store), quiet)
    if not Path(store).exists():
        with console.progress(quiet) as progress:
            simulate_study(REQUEST, store, progress=progress)
    header = open_store(store).header
    console.say(
        f"{header.samples} slices of {REQUEST.subjects} subjects: "
        f"{' then '.join(header.tracers)}, protocol {header.protocol.name}, noise {header.noise}"
    )

    budget = ["--trials", str(TRIALS), "--time-budget", f"{TIME_BUDGET_S}s"]
    own = ["--space", "quick", *budget, "--name", name, "--seed", str(number - 1)]
    _head(2, "search and promote", workspace.command("search", store, *own), quiet)
    plan = SearchPlan(
        name=name,
        store=store,
        space=load_space("quick"),
        trials=TRIALS,
        time_budget_s=TIME_BUDGET_S,
        seed=number - 1,
    )
    found = search_and_promote(plan, workspace, console.live(quiet))
    if not isinstance(found, PromotedSearch):
        again = resume_command(store, name, workspace)
        raise RunError("the demo's search did not come to its end", got=found.over, hint=again)
    tried = sum(found.search.states.values())
    console.say(f"best of {tried} trials: {found.search.best_psnr:.2f} dB on the val subjects")
    for line in found.gate.lines():
        console.say(f"  {line}")

    ref, gate = found.version.ref, found.gate
    champion = ref if gate.passed else gate.against
    _head(3, "evaluate", workspace.command("evaluate", "--model", ref), quiet)
    with console.progress(quiet) as progress:
        evaluation, report = evaluate(
            ref, store, suite="quick", workspace=workspace, progress=progress
        )
    console.say_evaluation(evaluation)

    _head(
        4,
        "export",
        workspace.command("export", champion, "--out", str(export), "--no-calibration"),
        quiet,
    )
    _, proof, calibration = export_model(champion, export, workspace, calibrated=False)
    console.say(f"ONNX Runtime against torch: relative error {proof.model_error:.1e}")
    if proof.round_trip_error is not None:
        console.say(f"inverse of forward through ONNX: relative error {proof.round_trip_error:.1e}")
    console.say(f"calibration, for limits and intervals of separate: {calibration}")

    models = [["the champion", f"{champion}, in {workspace.command('models')}"]]
    if not gate.passed:
        console.say(f"\nThe gate refuses {ref}, so {champion} stays champion: evaluate and export")
        console.say("take it where no model is named. A longer search may beat it.")
        models.append(["the best network", f"{ref}, refused by the gate"])
    took = duration(time.monotonic() - begun)
    console.say(f"\nDone in {took}. Everything lies in {workspace.root}:")
    console.say_table(
        ["what", "where"],
        [
            ["the data", store],
            *models,
            ["the report", str(report / "report.html")],
            ["the champion's package with its ONNX graphs", str(export)],
            ["every run, with curves and pictures", describe_page(workspace)],
        ],
    )
    console.say("\nNext, type:")
    for line in further_commands(workspace, store, ref, f"long-{name}"):
        console.say(f"  {line}")


def further_commands(workspace: Workspace, store: str, ref: str, name: str) -> list[str]:
    """What to type after the demo.

    Args:
        workspace: Of the demo.
        store: That it simulated.
        ref: Of the model that it made.
        name: Of a longer search.
    """
    budget = ["--trials", "50", "--time-budget", "2h"]
    return [
        workspace.command("ui"),
        workspace.command("models", "show", ref),
        workspace.command("train", store, "--set", "steps=8000"),
        workspace.command("search", store, *budget, "--name", name),
    ]


def _name(number: int) -> str:
    return "demo" if number == 1 else f"demo-{number}"


def _taken(workspace: Workspace, number: int) -> bool:
    name = _name(number)
    return (workspace.searches / name).exists() or (workspace.root / f"{name}-export").exists()


def _head(step: int, title: str, typed: str, quiet: bool) -> None:
    console.say(f"\n{step}. {title}   ({typed})", quiet=quiet)
