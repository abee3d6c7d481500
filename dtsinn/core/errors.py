"""Errors: one root, few children, and messages that say what, got, wanted and try."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class DtsinnError(Exception):
    """Anything that dtsinn refuses or fails at, worded for the person at the terminal.

    Args:
        what: What is wrong, and where (path, key, array, sample).
        got: What was found.
        wanted: What would have been right.
        hint: What to do or type next.

    The command line prints the message as one line and exits with ``exit_code``.
    """

    exit_code = 1

    def __init__(self, what: str, *, got: object = "", wanted: object = "", hint: str = "") -> None:
        self.what = what
        self.got = str(got)
        self.wanted = str(wanted)
        self.hint = hint
        parts = [what]
        if self.got:
            parts.append(f"got {self.got}")
        if self.wanted:
            parts.append(f"wanted {self.wanted}")
        if hint:
            parts.append(f"try {hint}")
        super().__init__("; ".join(part.replace("\n", " ") for part in parts))


class InputError(DtsinnError):
    """Bad usage, configuration or input: nothing was started (exit code 2)."""

    exit_code = 2


class StoreError(InputError):
    """A store that is missing, incomplete, damaged or does not fit what is asked of it."""


class PackageError(InputError):
    """A separator package that is missing, damaged or does not fit what is asked of it."""


class RunError(DtsinnError):
    """Something failed while it ran (exit code 1)."""


class DivergedError(RunError):
    """A training that left the numbers that make sense: NaN, or an inverse that is lost."""


@contextmanager
def naming(where: object, kind: type[InputError] | None = None) -> Iterator[None]:
    """Say of a refusal where its cause lies, such as in which file, unless it says so itself.

    Args:
        where: The place.
        kind: What is raised in its stead; by default the same kind.
    """
    try:
        yield
    except InputError as error:
        what = error.what if str(where) in error.what else f"{where}: {error.what}"
        kind = kind or type(error)
        raise kind(what, got=error.got, wanted=error.wanted, hint=error.hint) from None
