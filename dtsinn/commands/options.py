"""Options that several commands share."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand
from typer.models import CommandFunctionType as CommandFunction

from dtsinn.core.errors import InputError
from dtsinn.core.extras import cure_of_missing
from dtsinn.core.paths import home_path
from dtsinn.core.workspace import DEFAULT, VARIABLE, Workspace

MOST = 10_000
"""Cores, processes or trials at a time (uncited): more stand in no cluster of this field."""


MACHINES = "Machines"
"""Group of the options that say how fast a result comes, not what it is."""
_CHOICES = re.compile(r"\{([^}]+)\}")


class _Command(TyperCommand):
    """A command that looks up what its options choose from when its help is shown.

    An option's metavar names in braces what the names are asked of: a folder of configurations, or
    ``module:NAME``, a dictionary, a tuple or a function that gives one.
    """

    def format_help(self, ctx: Any, formatter: Any) -> None:
        for param in self.params:
            if param.metavar:
                param.metavar = _CHOICES.sub(_find_choices, param.metavar)
        super().format_help(ctx, formatter)


def _find_choices(named: re.Match[str]) -> str:
    from dtsinn.core.config import config_names  # pydantic, which not every command waits for

    module, _, name = named[1].partition(":")
    try:
        found = getattr(import_module(module), name) if name else config_names(module)
    except ModuleNotFoundError as error:
        if cure_of_missing(error):  # the command says so when it is run
            return "NAME"
        raise
    return "|".join(found() if callable(found) else found)


class Commands(typer.Typer):
    """Commands of one subject, all of them :class:`_Command`."""

    def command(
        self, name: str | None = None, **settings: Any
    ) -> Callable[[CommandFunction], CommandFunction]:
        """Add a function as a command, as :meth:`typer.Typer.command` does."""
        return super().command(name, cls=_Command, **settings)


def read_arguments(given: Sequence[str]) -> list[str]:
    """What was typed, with ``~`` for the home folder also where no shell knows that a path begins.

    Raises:
        InputError: An argument or the value of an option is empty: no name or path is.
    """
    read = []
    for argument in given:
        option, equals, value = argument.partition("=")
        if not (equals and option.startswith("--")):
            option, equals, value = "", "", argument
        if not value.strip():
            raise InputError(f"{option or 'an argument'} is empty", wanted="a value")
        read.append(f"{option}{equals}{home_path(value) if value.startswith('~') else value}")
    return read


def finite(value: float | None) -> float | None:
    """The value of an option, unless it is NaN or infinite.

    Raises:
        typer.BadParameter: It is.
    """
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"{value} is no finite number")
    return value


def _debug(ctx: typer.Context, value: bool) -> None:
    ctx.meta["debug"] = value
    if value:
        warnings.simplefilter("default")


def _note_workspace(ctx: typer.Context, value: Path) -> Path:
    ctx.meta["workspace"] = Workspace(value)  # for the commands that an error advises
    return value


def _tracked_workspace(ctx: typer.Context, value: Path) -> Path:
    """Refuse variables of MLflow that can never work, before anything is done."""
    from dtsinn.registry.tracking import environment

    environment.check()
    return _note_workspace(ctx, value)


Debug = Annotated[
    bool, typer.Option("--debug", callback=_debug, is_eager=True, help="Show tracebacks.")
]
RESUME_OR_BEGIN = "Begin --name, or go on with it; end well if it is done."
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Pictures = Annotated[
    Path | None, typer.Option("--pictures", metavar="DIR", help="Draw into this folder too.")
]
_NAMES: Any = {"envvar": VARIABLE, "help": "Folder of runs, searches and models."}
Root = Annotated[Path, typer.Option("--workspace", callback=_tracked_workspace, **_NAMES)]
Folder = Annotated[Path, typer.Option("--workspace", callback=_note_workspace, **_NAMES)]
"""As :data:`Root`, of commands that do without MLflow."""
StorePath = Annotated[str, typer.Argument(metavar="STORE", help="A zarr store: path or URL.")]
ROOT = DEFAULT
