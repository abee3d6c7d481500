"""The command line: the commands put together, and errors in one line with an exit code."""

from __future__ import annotations

import re
import shlex
import signal
import traceback
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

import dtsinn
from dtsinn.commands import data, models, registry, report, search, show, train, upkeep
from dtsinn.commands.options import read_arguments
from dtsinn.core.causes import in_our_words
from dtsinn.core.errors import InputError
from dtsinn.workflows import console


class _Commands(TyperGroup):
    """Turns errors into one line and an exit code; ``--debug`` shows the traceback."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, read_arguments(args))
        except InputError as error:
            console.complain(str(error))
            raise typer.Exit(error.exit_code) from None

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (TyperException, typer.Exit, typer.Abort, BrokenPipeError):  # typer's to end with
            raise
        except Exception as error:
            if ctx.meta.get("debug"):
                traceback.print_exc()
            ours = in_our_words(error)
            console.complain(self._advise(str(ours), ctx))
            raise typer.Exit(ours.exit_code) from None
        except KeyboardInterrupt:
            console.complain("interrupted")
            raise typer.Exit(130) from None

    def _advise(self, words: str, ctx: Any) -> str:
        """An error's words, whose advised command finds the workspace of the one that failed."""
        told, found, advice = words.rpartition("; try ")
        if "workspace" not in ctx.meta:
            return words

        def complete(match: re.Match[str]) -> str:
            typed = shlex.split(match[0])[1:]
            inside: Any = self
            while typed and isinstance(inside, TyperGroup):
                inside = inside.commands.get(typed.pop(0))
            takes_it = any(one.name == "workspace" for one in getattr(inside, "params", ()))
            more = takes_it and "--workspace" not in typed
            return match[0] + (str(ctx.meta["workspace"].option) if more else "")

        return told + found + _COMMAND.sub(complete, advice)


_WORD = r"""(?:'[^']*'|"[^"]*"|[^\s'",\\]|,(?=\S))+"""
_COMMAND = re.compile(rf"\bdtsinn(?: {_WORD})+")
"""A command in an error's words: up to the end, or a comma before a space that is in no quotes."""

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
        console.say(dtsinn.__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Entry point of the ``dtsinn`` command; SIGTERM ends it as tidily as Ctrl-C."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    console.prepare()
    app()


if __name__ == "__main__":
    main()
