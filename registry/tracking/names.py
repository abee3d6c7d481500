"""Text on its way into MLflow and out of it: names are checked, messages cut and kept secret."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath

from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from dtsinn.core.causes import brief, cure_of, without_passwords
from dtsinn.core.errors import InputError, RunError

_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/@+=:-]{0,199}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_ALIAS = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,49}")
_WORD = re.compile(r"[a-z0-9]+([._][a-z0-9]+)*")
_SECRET = re.compile(r"(password|passwd|secret|credential|api_?key|access_?key|token)$", re.I)
_RESERVED_ALIAS = re.compile(r"latest|v\d+", re.I)

_ENDS_A_PATH = re.compile(r"[\n:;,]")
_FOLDERS = re.compile(r"(?<![\w.:/~-])(?:file://)?/(?:[^\s/'\"]+/)+(?=[^\s/])")
DIGITS = 6
"""Significant digits of settings that are shown; the whole numbers are in package and event log."""


def checked_key(key: str) -> str:
    """A run's key that may stand in a path, a URL and a filter.

    Raises:
        InputError: It holds ``..``, quotes, spaces, ``%``, ``#`` or control characters.
    """
    if not _KEY.fullmatch(key) or ".." in key:
        raise InputError("a run's key", got=repr(key), wanted="letters, digits and . _ / @ + = : -")
    return key


def checked_name(name: str) -> str:
    """A registered model's name.

    Raises:
        InputError: It holds anything but letters, digits, single dots, ``_`` and ``-``.
    """
    if not _NAME.fullmatch(name) or ".." in name:
        raise InputError("a model's name", got=repr(name), wanted="letters, digits and . _ -")
    return name


def checked_alias(alias: str) -> str:
    """An alias of a version.

    Raises:
        InputError: It is malformed, or one that MLflow reserves (``latest``, ``v1``).
    """
    if not _ALIAS.fullmatch(alias) or _RESERVED_ALIAS.fullmatch(alias):
        raise InputError("an alias", got=repr(alias), wanted="a word such as champion or previous")
    return alias


def checked_folder(folder: str) -> str:
    """An artifact folder inside a run: relative, with ``/``, or empty.

    Raises:
        InputError: It is absolute or leaves the run's root.
    """
    if folder and (not _KEY.fullmatch(folder) or ".." in folder or ":" in folder):
        raise InputError("an artifact folder", got=repr(folder), wanted="a relative path")
    return folder


def model_name(tracers: tuple[str, str], protocol: str) -> str:
    """Name under which separators of a tracer pair and protocol compete: dtsinn-fmz-fdg-p1.

    Args:
        tracers: Names of the two tracers in the order of their injection.
        protocol: Name of the protocol.

    Raises:
        InputError: A part that no name can carry.
    """
    parts = [part.lower() for part in (*tracers, protocol)]
    for part in parts:
        if not all(_WORD.fullmatch(piece) for piece in part.split("-")):
            raise InputError(
                "a model's name cannot be made",
                got=repr(part),
                wanted="letters, digits and single . _ - between them",
                hint="--as NAME",
            )
    return checked_name("-".join(["dtsinn", *parts]))


def rounded(value: float) -> float:
    """A number as people read it."""
    return float(f"{value:.{DIGITS}g}")


def without_secrets(key: str, value: object) -> str:
    """A setting as text, in the words of a YAML file, without passwords."""
    if _SECRET.search(key):
        return "(hidden)"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return str(rounded(value))
    return without_passwords(str(value))


def without_folders(text: str) -> str:
    """A text that names none of this machine's folders: of absolute paths the last part is left.

    Folders carry names of users, and may carry those of patients.
    """
    if text.startswith("/") and not _ENDS_A_PATH.search(text):
        return PurePosixPath(text).name
    return _FOLDERS.sub("", text)


@contextmanager
def told_as(doing: str) -> Iterator[None]:
    """Turn what MLflow raises while ``doing`` something into one line.

    Raises:
        RunError: MLflow or its storage failed.
    """
    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError, ImportError) as error:
        what = f"MLflow failed while {doing}"
        raise RunError(what, got=brief(error), hint=cure_of(error)) from error
