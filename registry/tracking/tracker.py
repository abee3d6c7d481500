"""Runs in MLflow: the :class:`~dtsinn.core.tracker.Tracker` that dtsinn records with.

Only ``MlflowClient`` is used: MLflow's fluent state (``start_run``) is global, sets statuses by
itself and is not safe between threads. A run is found by its tag ``dtsinn.key``, so that events
that are sent again after a crash meet the same run.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Run, ViewType
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from dtsinn.core.errors import InputError, RunError
from dtsinn.core.tracker import OWN_PLACE, Point, RunStart, RunStatus
from dtsinn.core.workspace import Workspace
from dtsinn.registry.tracking import tags as tagged
from dtsinn.registry.tracking.embedded import (
    hold_workspace_lock,
    is_server,
    make_database,
    require_workspace,
    sqlite_file,
    tracking_uri,
)
from dtsinn.registry.tracking.names import (
    ABSENT,
    EXISTS,
    check_folder,
    check_key,
    hide_secrets,
    mlflow_errors_as,
    suppress_mlflow,
)
from dtsinn.registry.tracking.postgres import DRIVER, hold_database, parse_backend
from dtsinn.registry.tracking.relocation import repair_locations
from dtsinn.registry.tracking.remote import ask
from dtsinn.registry.tracking.rows import (
    BEGUN,
    ENDED,
    KEY,
    STATUS,
    dataset_rows,
    experiment_tags,
    fit_tags,
    metric_rows,
    parameter_rows,
    run_tags,
    tag_rows,
)
from dtsinn.registry.tracking.view import EXPERIMENT_TAGS, find_page, run_page

ENTRIES_PER_BATCH = 100
METRICS_PER_BATCH = 1000
"""MLflow's limits."""

_STATUS_IN_MLFLOW: dict[RunStatus, str] = {
    "finished": "FINISHED",
    "pruned": "FINISHED",  # an answer for the sampler, not a fault; the tag tells it apart
    "failed": "FAILED",
    "killed": "KILLED",
}


def connect(workspace: Workspace) -> MlflowTracker:
    """Open the tracker of a workspace, made when missing; ``MLFLOW_TRACKING_URI`` wins when set.

    Raises:
        InputError: The workspace's path cannot stand in a URI.
        RunError: The database cannot be made, or the server does not answer this user.
    """
    uri = tracking_uri(workspace)
    embedded = sqlite_file(uri) == workspace.database.resolve()
    if embedded:
        make_database(workspace)
    served = is_server(uri)
    alone: AbstractContextManager[Any] = nullcontext()
    if served:
        ask(uri)
    elif uri.startswith(f"{DRIVER}:"):
        alone = hold_database(parse_backend(uri))
    with alone, mlflow_errors_as(f"opening {hide_secrets('uri', uri)}"):
        client = MlflowClient(tracking_uri=uri, registry_uri=uri)
        if not served:
            client.search_experiments(max_results=1)  # an outdated schema says so now
            repair_locations(uri, workspace)
    return MlflowTracker(
        client,
        uri,
        # A server knows where artifacts go; MLflow's default is ./mlruns of the caller.
        artifacts=None if served else workspace.artifacts_here,
        workspace=workspace if embedded else None,
    )


def connect_existing(workspace: Workspace) -> MlflowTracker:
    """Do as :func:`connect` for commands that only read: nothing is made.

    Raises:
        InputError: There is no workspace yet.
    """
    require_workspace(workspace)
    return connect(workspace)


def connect_once(workspace: Workspace) -> Callable[[], MlflowTracker]:
    """Give a :func:`connect` that connects at most once, for many that ask one after the other.

    What it fails with, all of them get: a server that does not answer is not asked again.
    """

    @functools.cache
    def attempt() -> MlflowTracker | Exception:
        try:
            return connect(workspace)
        except Exception as error:  # whatever a tracking server fails with
            return error

    def connect_or_fail() -> MlflowTracker:
        found = attempt()
        if isinstance(found, Exception):
            raise found
        return found

    return connect_or_fail


class MlflowTracker:
    """Records runs in MLflow; see :class:`dtsinn.core.tracker.Tracker` for the contract.

    A run that somebody deleted in MLflow stays so: reports of it are dropped, as they would hold
    up all that comes after. Only one that begins later with its key is a new run.

    Args:
        client: MLflow's client for runs and models.
        uri: Where it records.
        artifacts: Folder for the artifacts of new experiments; None leaves it to the server.
        workspace: The workspace whose embedded database it is, for locks between processes.
    """

    def __init__(
        self,
        client: MlflowClient,
        uri: str,
        *,
        artifacts: Path | None = None,
        workspace: Workspace | None = None,
    ) -> None:
        self.client = client
        self.uri = uri
        self._artifacts = artifacts
        self.workspace = workspace
        self._run_ids: dict[str, str] = {}

    # ------------------------------------------------------------- the Tracker contract

    @property
    def place(self) -> str:
        """The tracking URI, without what is secret in it; of a workspace's own no path."""
        return OWN_PLACE if self.workspace else hide_secrets("uri", self.uri)

    def begin(self, run: RunStart) -> None:
        """Record that a run began; a known key is continued, and reopened when it had ended.

        Raises:
            InputError: A key or parent that cannot be a name.
            RunError: The parent is unknown, or MLflow failed.
        """
        check_key(run.key)
        # Find-or-create is two steps: in a shared workspace one process at a time.
        with mlflow_errors_as(f"beginning {run.key}"), self.lock("begin"):
            found = self._get(run.key)
            if found is None:
                known = self._create(run)
            elif not _is_deleted(found):
                known = self._continue(found, run)
            elif run.time_ms > tagged.moment(found.data.tags, BEGUN):
                known = self._create(run)
            else:  # sent again
                return
            self._add_parameters(known, run.parameters)
            stores = dataset_rows(run)
            if stores:
                self.client.log_inputs(known.info.run_id, stores)

    def report(self, key: str, points: Sequence[Point]) -> None:
        """Record metrics of a run, all points at once; one that is not finite becomes a tag.

        The same report sent twice is stored once, because MLflow compares key, step, value and
        timestamp.
        """
        run = self._require(key)
        if _is_deleted(run):
            return
        rows, tags = metric_rows(points)
        with mlflow_errors_as(f"reporting {key}"):
            self._log(run.info.run_id, metrics=rows, tags=tags)

    def artifact(self, key: str, path: Path, folder: str = "") -> None:
        """Attach a file, or the content of a directory, to a run under ``folder``.

        Raises:
            InputError: The path is missing, a link in it leaves it, or the folder does.
        """
        run = self._require(key)
        target = check_folder(folder) or None
        _refuse_links_out(path)
        if _is_deleted(run):
            return
        with mlflow_errors_as(f"attaching {path.name} to {key}"):
            # MLflow's client remembers where a run's files went, also when its workspace moved.
            files = get_artifact_repository(run.info.artifact_uri, tracking_uri=self.uri)
            if path.is_dir():
                files.log_artifacts(str(path), target)  # type: ignore[no-untyped-call]
            else:
                files.log_artifact(str(path), target)  # type: ignore[no-untyped-call]

    def end(
        self,
        key: str,
        status: RunStatus,
        time_ms: int,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Record how a run ended; an end older than what is known (sent again) is passed over."""
        run = self._require(key)
        known = run.data.tags
        late = time_ms < max(tagged.moment(known, BEGUN), tagged.moment(known, ENDED))
        if late or _is_deleted(run):
            return
        with mlflow_errors_as(f"ending {key}"):
            final = {**(tags or {}), STATUS: status, ENDED: str(time_ms)}
            self._set_tags(run.info.run_id, final)
            self.client.set_terminated(run.info.run_id, _STATUS_IN_MLFLOW[status], time_ms)

    def tag(self, key: str, tags: Mapping[str, str]) -> None:
        """Record more tags of a run; one that is gone from MLflow is passed over."""
        with mlflow_errors_as(f"tagging {key}"):
            run = self._get(check_key(key))
            if run is not None and not _is_deleted(run):
                self._set_tags(run.info.run_id, tags)

    # ------------------------------------------------------------- questions

    def run_id(self, key: str) -> str:
        """MLflow's id of the run with this key.

        Raises:
            RunError: No such run was begun, or it was deleted.
        """
        run = self._require(key)
        if _is_deleted(run):
            raise RunError("the run with this key was deleted", got=key, hint="restoring it")
        return str(run.info.run_id)

    def find_run(self, id_or_key: str) -> Run | None:
        """The run with this MLflow id or key, or None."""
        with mlflow_errors_as(f"looking for run {id_or_key}"):
            run_id = self._find(check_key(id_or_key)) or id_or_key
            run = None
            with suppress_mlflow(ABSENT, "INVALID_PARAMETER_VALUE"):
                run = self.client.get_run(run_id)
        return None if run is None or _is_deleted(run) else run

    def running(self, parent_key: str) -> list[str]:
        """Keys of the children of a run that MLflow takes for running, for reconciliation."""
        parent = self.run_id(parent_key)
        runs = self.search(
            f"tags.`mlflow.parentRunId` = '{parent}' and attributes.status = 'RUNNING'"
        )
        return sorted(run.data.tags[KEY] for run in runs if KEY in run.data.tags)

    def search(self, query: str, view: int = ViewType.ACTIVE_ONLY) -> list[Run]:
        """All runs of all experiments that an MLflow filter selects, oldest first.

        Args:
            query: The filter.
            view: Whether deleted runs count, one of MLflow's ``ViewType``.
        """
        with mlflow_errors_as("searching runs"):
            experiments = self.all_pages(self.client.search_experiments, view_type=ViewType.ALL)
            return self.all_pages(
                self.client.search_runs,
                experiment_ids=[e.experiment_id for e in experiments],
                filter_string=query,
                run_view_type=view,
                order_by=["attributes.start_time ASC"],
            )

    def run_url(self, key: str) -> str:
        """Page of a run: on the tracking server, or where ``dtsinn ui`` shows it now.

        While it shows it nowhere, the path of the page alone.
        """
        with mlflow_errors_as(f"looking for {key}"):
            run = self.client.get_run(self.run_id(key)).info
        base = self.place.rstrip("/") if is_server(self.uri) else ""
        if self.workspace:
            base = find_page(self.workspace)
        return base + run_page(run.experiment_id, run.run_id)

    def lock(self, name: str) -> AbstractContextManager[None]:
        """Hold a lock between processes that share an embedded workspace; a server has none."""
        return hold_workspace_lock(self.workspace, name) if self.workspace else nullcontext()

    # ------------------------------------------------------------- inside

    @staticmethod
    def all_pages(search: Any, **question: Any) -> list[Any]:
        """All pages of one of MLflow's searches."""
        found: list[Any] = []
        token = None
        while True:
            page = search(page_token=token, **question)
            found += page
            token = page.token
            if not token:
                return found

    def _find(self, key: str) -> str | None:
        if key not in self._run_ids:
            runs = self.search(f"tags.`{KEY}` = '{key}'", ViewType.ALL)
            if not runs:
                return None
            kept = [run for run in runs if not _is_deleted(run)]
            self._run_ids[key] = (kept or runs[-1:])[0].info.run_id
        return self._run_ids[key]

    def _get(self, key: str) -> Run | None:
        """Get the run with this key, also a deleted one."""
        run_id = self._find(key)
        return None if run_id is None else self.client.get_run(run_id)

    def _require(self, key: str) -> Run:
        """Get a run that must have been begun; see :meth:`_get`."""
        with mlflow_errors_as(f"looking for {key}"):
            run = self._get(check_key(key))
        if run is None:
            raise RunError("no run was begun with this key", got=key)
        return run

    def _experiment(self, run: RunStart) -> str:
        """Id of a run's experiment, made on demand; several processes may ask at once."""
        name = run.experiment
        found = self.client.get_experiment_by_name(name)
        if found is None:
            location = self._artifacts.as_uri() if self._artifacts else None
            with suppress_mlflow(EXISTS):
                self.client.create_experiment(
                    name, artifact_location=location, tags=EXPERIMENT_TAGS | experiment_tags(run)
                )
            found = self.client.get_experiment_by_name(name)
        if found is None:
            raise RunError(f"experiment {name!r} can be neither made nor found")
        if found.lifecycle_stage == "deleted":
            self.client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)

    def _create(self, run: RunStart) -> Run:
        tags = {**run_tags(run), BEGUN: str(run.time_ms)}
        if run.parent is not None:
            tags["mlflow.parentRunId"] = self._require(run.parent).info.run_id
        experiment = self._experiment(run)
        created = self.client.create_run(experiment, run.time_ms, fit_tags(tags), run.name)
        self._run_ids[run.key] = created.info.run_id
        return created

    def _continue(self, found: Run, run: RunStart) -> Run:
        """Add what is missing; reopen a run that had ended before this begin."""
        run_id, known = found.info.run_id, found.data.tags
        missing = {name: value for name, value in run_tags(run).items() if name not in known}
        if run.time_ms > tagged.moment(known, BEGUN):
            missing[BEGUN] = str(run.time_ms)
        self._set_tags(run_id, missing)
        if STATUS in known and run.time_ms > tagged.moment(known, ENDED):
            self.client.delete_tag(run_id, STATUS)
            self.client.update_run(run_id, "RUNNING")
        return found

    def _add_parameters(self, known: Run, parameters: Mapping[str, object]) -> None:
        """Parameters are immutable in MLflow: only those that are not there yet."""
        missing = {name: parameters[name] for name in parameters if name not in known.data.params}
        self._log(known.info.run_id, params=parameter_rows(missing))

    def _set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        self._log(run_id, tags=tag_rows(tags))

    def _log(self, run_id: str, **rows: Sequence[Any]) -> None:
        """Log ``metrics``, ``params`` or ``tags`` in batches that MLflow takes."""
        log: Any = self.client.log_batch
        for kind, entries in rows.items():
            size = METRICS_PER_BATCH if kind == "metrics" else ENTRIES_PER_BATCH
            for first in range(0, len(entries), size):
                log(run_id, **{kind: entries[first : first + size]})


def _is_deleted(run: Run) -> bool:
    return bool(run.info.lifecycle_stage == "deleted")


def _refuse_links_out(path: Path) -> None:
    """A link that leaves what is attached would carry a foreign file along."""
    if not path.exists():
        raise InputError("an artifact is missing", got=path)
    root = path.resolve()
    for inner in sorted(path.rglob("*")) if path.is_dir() else ():
        if inner.is_symlink() and not inner.resolve().is_relative_to(root):
            raise InputError("an artifact holds a link that leaves it", got=inner)
        if not (inner.is_file() or inner.is_dir()):
            raise InputError("an artifact holds a pipe, a device or a broken link", got=inner)
