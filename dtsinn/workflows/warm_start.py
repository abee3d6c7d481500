"""Warm starts: what earlier searches, registered models and a user's own points bring a search."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dtsinn.core.config import flatten, from_mapping, read_yaml, to_mapping
from dtsinn.core.errors import DtsinnError, InputError
from dtsinn.core.workspace import NAME, Workspace
from dtsinn.core.yaml_text import parse_yaml
from dtsinn.data.store import Store
from dtsinn.deploy.package import read_info
from dtsinn.eventlog.log import LOG_FILE
from dtsinn.registry.references import resolve
from dtsinn.registry.tracking.tracker import connect_existing
from dtsinn.registry.tracking.trials import RecordedSearch, RecordedTrial, find_recorded_search
from dtsinn.registry.versions import get_version
from dtsinn.search.events.state import read_state
from dtsinn.search.plan import SearchPlan, read_plan
from dtsinn.training.config import RunConfig, apply_changes

BEST = 3
"""Best trials that are tried first where values cannot be compared (uncited)."""

Points = list[Mapping[str, Any]]


def read_warm_start(
    refs: Sequence[str], plan: SearchPlan, store: Store, workspace: Workspace
) -> tuple[Points, Points]:
    """Read what a search begins with.

    Of a search on the same store and for the same objectives, every trial of a configuration that
    this space holds too, whole, teaches the sampler its result. Of all others the best suggestions
    that this space holds are tried first. Of a model the settings are tried, and so are the points
    of a file.

    Args:
        refs: Names of searches, REFs of models, or YAML files with ``points``.
        plan: Of the search that begins.
        store: That it searches on.
        workspace: Where searches and models are looked up.

    Returns:
        Points to try, and results to know (``warm`` events).

    Raises:
        InputError: Nothing has that name, or what it brings does not belong to the space.
    """
    if len(set(refs)) < len(refs):
        raise InputError("--warm-start names something twice", got=", ".join(refs))
    points: Points = []
    results: Points = []
    for ref in refs:
        if ref.endswith((".yaml", ".yml")):
            points += _read_points(Path(ref), plan)
        else:
            earlier = _find_search(ref, workspace)
            if earlier is None:
                points.append(_point_of_model(ref, plan, workspace))
                continue
            tried, known = _points_of_search(ref, earlier, plan, store)
            points += tried
            results += known
    return points, results


def _read_points(path: Path, plan: SearchPlan) -> Points:
    content = read_yaml(path).get("points")
    if not isinstance(content, list) or not all(isinstance(point, dict) for point in content):
        raise InputError(f"{path} holds no points", wanted="points: [{model.blocks: 2, ...}, ...]")
    for point in content:
        plan.space.check_point(point, str(path))
    return list(content)


def _find_search(name: str, workspace: Workspace) -> RecordedSearch | None:
    """An earlier search: as its event log tells it, else as MLflow does; None if there is none."""
    folder = workspace.searches / name
    if NAME.fullmatch(name) is None:
        return None
    if not (folder / LOG_FILE).is_file():
        try:
            return find_recorded_search(connect_existing(workspace), name)
        except DtsinnError:  # no workspace, or no server: then it is no search's name
            return None
    history = read_state(folder)
    if not history.run:
        return None
    plan = read_plan(folder, history)
    return RecordedSearch(
        store_digest=history.run["tags"].get("store.digest", ""),
        objectives=",".join(map(str, plan.objectives)),
        trials=[
            RecordedTrial(
                name=trial.name,
                settings=plan.space.settings(trial.suggestion),
                metrics=trial.metrics,
                step=trial.step,
                finished=trial.state == "finished",
            )
            for trial in history.trials.values()
            if trial.state in {"finished", "pruned"} and trial.points and not trial.infeasible
        ],
    )


def _points_of_search(
    name: str, earlier: RecordedSearch, plan: SearchPlan, store: Store
) -> tuple[Points, Points]:
    """Points to try and results to know of an earlier search."""
    fitting = [
        (trial, point)
        for trial in earlier.trials
        if plan.space.contains(point := _point_in_space(trial.settings, plan))
    ]
    if not fitting:
        raise InputError(f"--warm-start {name}", got="no trial that this space holds")
    first = plan.objectives[0]
    comparable = earlier.store_digest == store.header.digest and earlier.objectives == ",".join(
        map(str, plan.objectives)
    )
    known: Points = []
    others: list[tuple[float, Mapping[str, Any]]] = []
    for trial, point in fitting:
        values = [one.value(trial.metrics) for one in plan.objectives]
        if not all(map(math.isfinite, values if comparable else values[:1])):
            continue
        if comparable and _is_same(trial, point, plan):
            known.append(
                {
                    "event": "warm",
                    "from": f"{name}/{trial.name}",
                    "suggestion": point,
                    "step": trial.step,
                    "values": values,
                    "finished": trial.finished,
                }
            )
        else:
            others.append((-values[0] if first.maximise else values[0], point))
    tried = [one["suggestion"] for one in known]
    best: Points = []
    for _, other in sorted(others, key=lambda one: one[0]):
        if other not in tried and other not in best:
            best.append(other)
    return best[:BEST], known


def _is_same(trial: RecordedTrial, point: Mapping[str, Any], plan: SearchPlan) -> bool:
    """Whether a trial had the very configuration that its point gives in this space.

    A setting that there was not when the trial ran had its default.
    """
    try:
        ran = from_mapping(RunConfig, apply_changes({}, trial.settings), trial.name)
    except InputError:  # it had a setting that there is no more
        return False
    return ran == plan.space.config(point)


def _point_of_model(ref: str, plan: SearchPlan, workspace: Workspace) -> Mapping[str, Any]:
    """The settings of a model that this space searches; those outside its ranges are left out."""
    try:
        model = resolve(ref, workspace)
    except DtsinnError as error:
        raise InputError(
            f"--warm-start {ref} is neither a search nor a model", got=error.what
        ) from None
    settings = flatten({"model": to_mapping(read_info(model.path).model)})
    if model.version is not None:
        tracker = connect_existing(workspace)
        run = tracker.find_run(get_version(tracker, model.name, model.version).run_id)
        if run is not None:
            settings |= {key: parse_yaml(text, key) for key, text in run.data.params.items()}
    point = _point_in_space(settings, plan)
    if not point:
        raise InputError(f"--warm-start {ref}", got="no setting that this space searches")
    return point


def _point_in_space(settings: Mapping[str, Any], plan: SearchPlan) -> dict[str, Any]:
    """The settings that the space searches, where they lie in its ranges."""
    point: dict[str, Any] = {}
    for parameter in plan.space.parameters:
        key = parameter.key
        if parameter.holds(point) and key in settings and parameter.has(settings[key]):
            point[key] = settings[key]
    return point
