"""Opens a session: everything that a driver works with, put together."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from dtsinn.core.clock import now_ms
from dtsinn.core.errors import InputError
from dtsinn.core.tracker import RunStart
from dtsinn.data.store import Store
from dtsinn.eventlog.outbox import Outbox
from dtsinn.search.engine.driver import STOP, Driver, Tools
from dtsinn.search.engine.packing import GpuShare
from dtsinn.search.engine.table import TrialTable
from dtsinn.search.events.state import SearchState, replay
from dtsinn.search.plan import SearchPlan
from dtsinn.search.sampling.feasibility import FeasibilityCheck
from dtsinn.search.sampling.halving import SCHEDULERS
from dtsinn.search.sampling.samplers import make_sampler
from dtsinn.search.sampling.study import STUDY, SearchStudy
from dtsinn.search.space.space import describe
from dtsinn.training.run import experiment_of, lineage_tags


def open_session(
    plan: SearchPlan,
    folder: Path,
    store: Store,
    outbox: Outbox,
    console: Console,
    *,
    events: Sequence[Mapping[str, Any]],
    points: Sequence[Mapping[str, Any]],
    warm: Sequence[Mapping[str, Any]],
    concurrent: int,
    share: GpuShare | None,
) -> Driver:
    """Open a session; returns its driver, which knows what those before it knew.

    Args:
        plan: Of the search.
        folder: Of the search; the caller drives it alone.
        store: That it trains on.
        outbox: Over the search's event log.
        console: Where trials are shown.
        events: All that the event log holds.
        points: To try first, beside those of the space.
        warm: Results of earlier searches; a search that is resumed has them already.
        concurrent: Trials at a time.
        share: Of a GPU, where trials are packed.

    Raises:
        InputError: The search was begun on another store.
    """
    events = list(events)
    search = replay(plan.name, events, outbox.event_log.path)
    _check_same_store(search, store)
    (folder / STOP).unlink(missing_ok=True)
    if not search.sessions:
        known = [event["suggestion"] for event in warm]
        first = [{"event": "warm"} | dict(event) for event in warm]
        for source, point in _first_points(plan, points, known):
            first.append({"event": "point", "source": source, "suggestion": dict(point)})
        for event in first:
            event = {"time_ms": now_ms()} | event
            outbox.record(event)
            events.append(event)
            search.apply(event)
    driver = Driver(
        Tools(
            plan=plan,
            folder=folder,
            events=events,
            study=_study(plan, search, folder),
            halving=SCHEDULERS[plan.scheduler].halving(
                plan.steps, int(plan.space.base["validate_every"])
            ),
            feasibility=FeasibilityCheck(
                space=plan.space,
                frames=store.header.protocol.frames,
                size=store.header.size,
                most_bytes=share.most_bytes if share else None,
            ),
            outbox=outbox,
            table=TrialTable(console, plan),
            run=_search_run(plan, store),
            lineage=lineage_tags(store),
            concurrent=concurrent,
            gpus=share.of if share else (lambda _: plan.gpus_per_trial * plan.workers_per_trial),
        )
    )
    driver.begin()
    return driver


def _study(plan: SearchPlan, search: SearchState, folder: Path) -> SearchStudy:
    # Another seed for each session and warm start: the same one would suggest the same again. But
    # a grid's seed is the order of its points, which stays.
    known = 0 if plan.sampler == "grid" else len(search.sessions) + len(search.warm)
    sampler = make_sampler(
        plan.sampler, plan.space.parameters, trials=plan.trials, seed=plan.seed + known
    )
    return SearchStudy(search, plan.space, plan.objectives, sampler, folder / STUDY)


def _first_points(
    plan: SearchPlan, warm: Sequence[Mapping[str, Any]], known: Sequence[Mapping[str, Any]]
) -> list[tuple[str, Mapping[str, Any]]]:
    """What is tried before the sampler is asked, without what earlier searches have tried."""
    if plan.sampler == "grid":
        return []  # its points are all that there is
    base = plan.space.start()
    return (
        [("point", point) for point in plan.space.points]
        + [("warm start", point) for point in warm]
        + ([("base", base)] if base and base not in known else [])
    )


def _check_same_store(search: SearchState, store: Store) -> None:
    was = search.run.get("tags", {}).get("store.digest", store.header.digest)
    if was != store.header.digest:
        raise InputError(
            f"search {search.name} was begun on another store",
            got=f"digest {store.header.digest[:12]}",
            wanted=was[:12],
        )


def _search_run(plan: SearchPlan, store: Store) -> RunStart:
    moved = "\n".join(f"* {key}: {text}" for key, text in describe(plan.space))
    return RunStart(
        key=plan.name,
        name=plan.name,
        kind="search",
        experiment=experiment_of(store),
        time_ms=now_ms(),
        parameters=plan.settings() | {"space": plan.space.name},
        tags=lineage_tags(store)
        | {"seed": str(plan.seed), "space": json.dumps(dict(describe(plan.space)))},
        description=f"Search over space {plan.space.name}:\n\n{moved}",
    )
