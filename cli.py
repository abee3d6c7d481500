"""The command line: the commands put together, and errors in one line with an exit code."""

from __future__ import annotations

import gc
import re
import shlex
import signal
import traceback
from typing import Annotated, Any, cast

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

import dtsinn
from dtsinn.commands import (
    data,
    doctor,
    models,
    registry,
    report,
    search,
    separate,
    show,
    train,
    upkeep,
)
from dtsinn.commands.command_log import CommandLog
from dtsinn.commands.options import read_arguments
from dtsinn.core.causes import in_our_words
from dtsinn.core.errors import DtsinnError, InputError
from dtsinn.core.extras import cure_of_missing
from dtsinn.core.workspace import command
from dtsinn.workflows import console


class _Commands(TyperGroup):
    """Turns errors into one line and an exit code; ``--debug`` and the log have the traceback."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            words = read_arguments(args)
            ctx.meta["words"] = list(words)
            return super().parse_args(ctx, words)
        except InputError as error:
            console.complain(str(error))
            raise typer.Exit(error.exit_code) from None
        except TyperException as error:
            raise _say_usage(error) from None

    def invoke(self, ctx: Any) -> Any:
        with CommandLog(self, ctx.meta["words"]) as log:
            return self._run(ctx, log)

    def _run(self, ctx: Any, log: CommandLog) -> Any:
        try:
            return super().invoke(ctx)
        except (typer.Exit, typer.Abort, BrokenPipeError):  # typer's to end with
            raise
        except TyperException as error:
            raise _say_usage(error) from None
        except Exception as error:
            if ctx.meta.get("debug"):
                traceback.print_exc()
            ours = _name_missing(error, ctx) or in_our_words(error)
            log.log_failure(error)
            console.complain(self._advise(_add_details(ours, log), ctx))
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


def _add_details(error: DtsinnError, log: CommandLog) -> str:
    """An error's words; where it came while running, they say where its traceback is."""
    if error.exit_code != 1 or log.path is None:
        return str(error)
    told, tried, advice = str(error).partition("; try ")
    return f"{told}; details in {log.path}{tried}{advice}"


def _name_missing(error: Exception, ctx: Any) -> InputError | None:
    """What a command needs that only an extra brings; None where that is not why it failed."""
    cure = cure_of_missing(error)
    if not cure:
        return None
    return InputError(f"{ctx.invoked_subcommand} needs {getattr(error, 'name', '')}", hint=cure)


def _say_usage(error: Any) -> Exception:
    """Say in one line what typer refuses in a box of many; what to raise in its stead."""
    if type(error).__name__ == "NoArgsIsHelpError":  # its message is the help
        return cast(Exception, error)
    console.complain(str(_explain_usage(error)))
    return typer.Exit(InputError.exit_code)


def _explain_usage(error: Any) -> InputError:
    """A usage error of typer in our words: what, got, wanted, try."""
    words: list[str] = []
    ctx = error.ctx
    while ctx is not None and ctx.parent is not None:
        words, ctx = [ctx.info_name, *words], ctx.parent
    manual, message = command(*words, "--help"), error.message.replace("\n", " ").rstrip(".")
    param, option = getattr(error, "param", None), getattr(error, "option_name", "")
    if param is not None:
        what = param.opts[0] if param.opts[0].startswith("-") else param.metavar or param.name
        if not message:
            return InputError(what, got="nothing", wanted=_uncapitalise(param.help), hint=manual)
        refused = error.__context__  # of pydantic, where it is the value's type or range
        got = repr(refused.errors()[0]["input"]) if hasattr(refused, "errors") else ""
        wanted = message.removeprefix("Input should be ").partition(", unable")[0]
        if not got:
            return InputError(f"{what}: {message}", hint=manual)
        return InputError(what, got=got, wanted=wanted, hint=manual)
    if option:
        nearest = getattr(error, "possibilities", None)
        if "requires an argument" in message:
            return InputError(option, got="nothing", wanted="a value", hint=manual)
        return InputError("no such option", got=option, hint=" or ".join(nearest or [manual]))
    if meant := re.fullmatch(r"No such command ('.+')\. Did you mean '(.+)'\?", message):
        return InputError("no such command", got=meant[1], hint=command(*words, meant[2], "--help"))
    if extra := re.fullmatch(r"Got unexpected extra arguments?(?:\(s\))? \((.+)\)", message):
        return InputError("too many arguments", got=extra[1], hint=manual)
    return InputError(_uncapitalise(message), hint=manual)


def _uncapitalise(sentence: str) -> str:
    return (sentence[:1].lower() + sentence[1:]).rstrip(".")


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
for part in (data, train, search, report, models, separate, registry, show, doctor, upkeep):
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
    # What imports make is kept: to look through it takes a fifth of their time. All objects are
    # still looked through often enough that arrays in cycles do not gather.
    gc.set_threshold(50_000, 2, 2)
    console.prepare()
    app()


if __name__ == "__main__":
    main()
