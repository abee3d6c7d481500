"""The command line: the commands put together, and errors in one line with an exit code."""

from __future__ import annotations

import signal
import traceback
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

import dtsinn
from dtsinn import terminal
from dtsinn.commands import data, models, registry, report, search, show, train, upkeep
from dtsinn.core.errors import DtsinnError


class _Commands(TyperGroup):
    """Turns errors into one line and an exit code; ``--debug`` shows the traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (DtsinnError, OSError, MemoryError) as error:
            if ctx.meta.get("debug"):
                traceback.print_exc()
            terminal.complain(self._advise(_words(error), ctx))
            raise typer.Exit(getattr(error, "exit_code", 1)) from None
        except KeyboardInterrupt:
            terminal.complain("interrupted")
            raise typer.Exit(130) from None

    def _advise(self, words: str, ctx: Any) -> str:
        """An error's words, whose advised command finds the workspace of the one that failed."""
        told, found, advice = words.rpartition("; try dtsinn ")
        typed, comma, rest = advice.partition(", ")
        command = self.commands.get(typed.partition(" ")[0]) if found else None
        if command is None or "--workspace" in typed or "workspace" not in ctx.meta:
            return words
        takes_it = any(parameter.name == "workspace" for parameter in command.params)
        option = ctx.meta["workspace"].option if takes_it else ""
        return f"{told}{found}{typed}{option}{comma}{rest}"


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Find, prove, keep and use networks that separate two tracers in one dynamic PET scan.",
)
for part in (data, train, search, report, models, registry, show, upkeep):
    app.add_typer(part.app)


def _version(value: bool) -> None:
    if value:
        terminal.say(dtsinn.__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def _words(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return str(error) or type(error).__name__


def main() -> None:
    """Entry point of the ``dtsinn`` command; SIGTERM ends it as tidily as Ctrl-C."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    app()


if __name__ == "__main__":
    main()
