"""The workspace: one folder that holds what dtsinn keeps between commands."""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from dtsinn.core.errors import InputError
from dtsinn.core.paths import home_path

DEFAULT = Path("dtsinn-workspace")
"""Root of the workspace where none is given."""
VARIABLE = "DTSINN_WORKSPACE"
"""Environment variable that gives another one."""


def command(*words: str) -> str:
    """What a person is to type into a shell, of ``dtsinn`` and these words."""
    return shlex.join(["dtsinn", *words])


NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
"""What a run or a search can be called."""


def choose_name(given: str | None, kind: str) -> str:
    """A name for a run or a search, safe as a folder and as a key; by default from the time.

    Args:
        given: What it is to be called.
        kind: What it is: ``run`` or ``search``.

    Raises:
        InputError: It cannot be called so.
    """
    name = given or f"{kind}-{datetime.now():%Y%m%d-%H%M%S}"
    if not NAME.fullmatch(name):
        raise InputError(
            f"name of the {kind}",
            got=repr(name),
            wanted="up to 64 letters, digits, '-' and '_', a letter or digit first",
        )
    return name


@dataclass(frozen=True)
class Workspace:
    """Paths inside the workspace ``root``; nothing is made until something is written."""

    root: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", home_path(self.root))

    @property
    def option(self) -> str:
        """What a command that is to be typed needs at its end, to find this workspace."""
        if self.root == DEFAULT and not os.environ.get(VARIABLE):
            return ""
        return f" --workspace {shlex.quote(str(self.root))}"

    def command(self, *words: str) -> str:
        """What a person is to type to go on in this workspace."""
        return command(*words) + self.option

    @property
    def database(self) -> Path:
        """SQLite file of the embedded MLflow."""
        return self.root / "mlflow.db"

    @property
    def artifacts(self) -> Path:
        """Artifacts of the embedded MLflow."""
        return self.root / "artifacts"

    @property
    def artifacts_here(self) -> Path:
        """The same as MLflow gets it: absolute, and without links, which may change."""
        return self.root.resolve() / self.artifacts.name

    @property
    def runs(self) -> Path:
        """One folder per training: configuration, checkpoints, package."""
        return self.root / "runs"

    @property
    def events(self) -> Path:
        """One folder per evaluation: its event log, and the report while it waits for delivery."""
        return self.root / "events"

    @property
    def searches(self) -> Path:
        """One folder per search: event log, Optuna journal, Ray results, trials."""
        return self.root / "searches"

    @property
    def suites(self) -> Path:
        """Stores that evaluation suites simulated, by the digest of their request."""
        return self.root / "suites"

    @property
    def stores(self) -> Path:
        """Where the stores that were trained on lie, by their digest."""
        return self.root / "stores"

    @property
    def evaluations(self) -> Path:
        """Reports of evaluations."""
        return self.root / "evaluations"

    @property
    def packages(self) -> Path:
        """Packages fetched from the registry, by digest."""
        return self.root / "packages"

    @property
    def calibrations(self) -> Path:
        """What models do on their calibration subjects, by digest."""
        return self.root / "calibrations"

    @property
    def logs(self) -> Path:
        """One file per command that ran, of its owner alone."""
        return self.root / "logs"

    @property
    def is_begun(self) -> bool:
        """Whether anything was written here: a folder of the user's is no workspace yet."""
        parts = self.database, self.runs, self.searches, self.suites, self.stores, self.packages
        return any(part.exists() for part in (*parts, self.evaluations, self.events, self.logs))


def open_workspace(root: Workspace | str | Path | None) -> Workspace:
    """The workspace in a folder; without one the environment's, else :data:`DEFAULT`."""
    if isinstance(root, Workspace):
        return root
    return Workspace(Path(root or os.environ.get(VARIABLE) or DEFAULT))
