"""The workspace: one folder that holds what dtsinn keeps between commands."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from dtsinn.core.paths import home_path

DEFAULT = Path("dtsinn-workspace")
"""Root of the workspace where none is given."""
VARIABLE = "DTSINN_WORKSPACE"
"""Environment variable that gives another one."""


def command(*words: str) -> str:
    """What a person is to type into a shell, of ``dtsinn`` and these words."""
    return shlex.join(["dtsinn", *words])


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
    def searches(self) -> Path:
        """One folder per search: ledger, Optuna journal, Ray results, trials."""
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
