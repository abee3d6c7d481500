"""One search for each of several tracer pairs, and every model on subjects of every pair.

A network that was trained on one pair may or may not separate another one. The matrix of training
pair by test pair says so, with the specialists on its diagonal.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from dtsinn.core.errors import InputError
from dtsinn.core.progress import Progress, no_progress
from dtsinn.core.workspace import Workspace, choose_name
from dtsinn.data.store import Store, open_store
from dtsinn.evaluation.results import CellResult, Evaluation
from dtsinn.evaluation.suite import Combination, Suite, cells_of, request_digest
from dtsinn.simulation.request import StudyRequest
from dtsinn.simulation.single_tracer import request_of
from dtsinn.simulation.study import simulate_study
from dtsinn.workflows.pipeline import PromotedSearch, evaluate, search_and_promote

if TYPE_CHECKING:
    from dtsinn.search.plan import SearchOptions
    from dtsinn.search.run import SearchResult

Pair = tuple[str, str]
"""Names of two tracers, by order of injection."""
SUBJECTS = 12
"""Of each pair that every model is tested on: enough for an interval (uncited)."""


@dataclass(frozen=True, kw_only=True)
class PairSearches:
    """Searches of several pairs that have all ended, and what their models do on each pair."""

    pairs: tuple[Pair, ...]
    searches: tuple[PromotedSearch, ...]
    """One for each pair."""
    evaluation: Evaluation
    """Every model on every pair."""
    report: Path
    """Its folder."""

    @property
    def cells(self) -> list[CellResult]:
        """The cell of each pair: a column of the matrix, whose rows are the cell's models."""
        simulated = {c.tracers: c for c in self.evaluation.cells if c.source == "simulated"}
        return [simulated[pair] for pair in self.pairs]


def read_pairs(text: str) -> tuple[Pair, ...]:
    """Pairs as a person writes them: ``fmz+fdg,dtbz+fdg``.

    Raises:
        InputError: One of them is no pair, or stands twice.
    """
    pairs = [tuple(pair.strip().lower().split("+")) for pair in text.split(",")]
    if any(len(pair) != 2 or not all(pair) for pair in pairs) or len(set(pairs)) < len(pairs):
        wanted = "different ones, such as fmz+fdg,dtbz+fdg"
        raise InputError("--pairs", got=repr(text), wanted=wanted)
    return tuple((first, second) for first, second in pairs)


def names_of_pairs(begin: str, pairs: Iterable[Pair]) -> dict[Pair, str]:
    """What the search of each pair is called, where all their names begin alike.

    Raises:
        InputError: A name is too long, or none that a folder can have.
    """
    return {pair: choose_name("-".join((begin, *pair)), "search") for pair in pairs}


def search_pairs(
    name: str | None,
    store: str,
    pairs: Sequence[Pair],
    options: SearchOptions,
    workspace: Workspace,
    console: Console,
    *,
    resume: bool = False,
    warm_start: Sequence[str] = (),
    progress: Progress = no_progress,
) -> PairSearches | SearchResult:
    """Search for the best separator of each pair, and score every model on every pair.

    The search of a pair is called ``NAME-FIRST-SECOND`` and is one like others; budgets are of
    each. Its store is simulated as ``store`` was, but for the tracers.

    Args:
        name: What the names of the searches begin with; by default the time.
        store: Path or URL of a simulated store.
        pairs: Names of tracers, by order of injection.
        options: How to search, for each pair.
        workspace: Where everything is kept.
        console: Where progress is shown.
        resume: Go on with the searches of that name: those that have not begun begin.
        warm_start: Earlier searches, models or files of points to begin from.
        progress: Told of simulations, of the gate and of the evaluation.

    Returns:
        What was found; only the result of the search that registered nothing, where one did not.

    Raises:
        InputError: The store is not simulated, a tracer is not known, or a search cannot begin or
            be resumed so; nothing was started.
        RunError: No trial of a search gave a result.
    """
    from dtsinn.search.events.state import is_begun
    from dtsinn.search.plan import make_plan

    # All that can be refused is, before anything begins: searches take hours.
    template = open_store(store, need_truth=True)
    asked = request_of(template)
    requests = {pair: replace(asked, tracers=pair) for pair in pairs}
    begin = choose_name(name, "search")
    names = names_of_pairs(begin, pairs)
    suite = _suite(f"pairs-{begin}", asked, requests.values())
    cells_of(suite)
    begun = {pair for pair, of_pair in names.items() if is_begun(workspace.searches / of_pair)}
    if begun and not resume:
        one = names[next(pair for pair in pairs if pair in begun)]
        hint = "--resume to go on, or another --name"
        raise InputError(f"search {one} exists already", hint=hint)
    if resume and not begun:
        raise InputError(f"no search {names[pairs[0]]} to resume", hint="without --resume")
    found: list[PromotedSearch] = []
    for pair, request in requests.items():
        path, goes_on = _store_of(pair, request, template, workspace, progress), pair in begun
        plan = make_plan(names[pair], path, options, workspace, resume=goes_on)
        result = search_and_promote(
            plan, workspace, console, resume=goes_on, warm_start=warm_start, progress=progress
        )
        if not isinstance(result, PromotedSearch):
            return result
        found.append(result)
    evaluation, report = evaluate(
        [one.version.ref for one in found],
        suite=suite,
        out=workspace.evaluations / f"pairs-{begin}",
        workspace=workspace,
        progress=progress,
    )
    return PairSearches(
        pairs=tuple(pairs), searches=tuple(found), evaluation=evaluation, report=report
    )


def _store_of(
    pair: Pair, request: StudyRequest, template: Store, workspace: Workspace, progress: Progress
) -> str:
    """Path of a pair's store: the given one, or one that is simulated like it, once."""
    if template.header.tracers == pair:
        return template.header.path
    path = workspace.stores / f"{'-'.join(pair)}-{request_digest(request)}.zarr"
    if not path.exists():
        shares = dict(template.group.attrs)["split_shares"]
        simulate_study(request, str(path), progress=progress, splits=shares)
    return str(path)


def _suite(name: str, asked: StudyRequest, requests: Iterable[StudyRequest]) -> Suite:
    """What every model is tested on: a cell for each pair, of subjects that no training saw.

    They are scanned as the training subjects were, but for contiguous slices, which no suite has.
    """
    return Suite(
        name=name,
        description="Every model on every pair: specialists on the diagonal.",
        phantom=asked.phantom,
        subjects=SUBJECTS,
        slices=asked.slices,
        size=asked.size,
        noise=(asked.noise,),
        noise_model=asked.noise_model,
        population=asked.population,
        combinations=tuple(
            Combination(
                tracers=request.tracers,
                protocol=request.protocol,
                dose=request.dose,
                kinetics=request.kinetics,
                input_mismatch=request.input_mismatch,
                motion=request.motion,
            )
            for request in requests
        ),
    )
