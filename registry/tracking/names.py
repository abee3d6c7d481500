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


def check_key(key: str) -> str:
    """Return a run's key if it may stand in a path, a URL and a filter.

    Raises:
        InputError: It holds ``..``, quotes, spaces, ``%``, ``#`` or control characters.
    """
    fits = _KEY.fullmatch(key) and ".." not in key
    return _require(fits, "a run's key", key, "letters, digits and . _ / @ + = : -")


def check_name(name: str) -> str:
    """Return a registered model's name if it is one.

    Raises:
        InputError: It holds anything but letters, digits, single dots, ``_`` and ``-``.
    """
    fits = _NAME.fullmatch(name) and ".." not in name
    return _require(fits, "a model's name", name, "letters, digits and . _ -")


def check_alias(alias: str) -> str:
    """Return an alias of a version if it is one.

    Raises:
        InputError: It is malformed, or one that MLflow reserves (``latest``, ``v1``).
    """
    fits = _ALIAS.fullmatch(alias) and not _RESERVED_ALIAS.fullmatch(alias)
    return _require(fits, "an alias", alias, "a word such as champion or previous")


def check_folder(folder: str) -> str:
    """Return an artifact folder inside a run if it is relative, with ``/``, or empty.

    Raises:
        InputError: It is absolute or leaves the run's root.
    """
    fits = not folder or (_KEY.fullmatch(folder) and ".." not in folder and ":" not in folder)
    return _require(fits, "an artifact folder", folder, "a relative path")


def _require(fits: object, what: str, text: str, wanted: str) -> str:
    if not fits:
        raise InputError(what, got=repr(text), wanted=wanted)
    return text


def model_name(tracers: tuple[str, str], protocol: str) -> str:
    """Name the model of a tracer pair and protocol: dtsinn-fmz-fdg-p1.

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
    return check_name("-".join(["dtsinn", *parts]))


def round_shown(value: float) -> float:
    """Round a number as people read it."""
    return float(f"{value:.{DIGITS}g}")


def hide_secrets(key: str, value: object) -> str:
    """Write a setting as a YAML file would, without passwords."""
    if _SECRET.search(key):
        return "(hidden)"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return str(round_shown(value))
    return without_passwords(str(value))


def hide_folders(text: str) -> str:
    """Cut this machine's folders from a text: of absolute paths the last part is left.

    Folders carry names of users, and may carry those of patients.
    """
    if text.startswith("/") and not _ENDS_A_PATH.search(text):
        return PurePosixPath(text).name
    return _FOLDERS.sub("", text)


ABSENT, EXISTS = "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS"
"""MLflow's codes of errors for what is not there, and for what is there already."""


@contextmanager
def suppress_mlflow(*codes: str) -> Iterator[None]:
    """Leave the block quietly where MLflow raises an error with one of these codes."""
    try:
        yield
    except MlflowException as error:
        if error.error_code not in codes:
            raise


@contextmanager
def mlflow_errors_as(doing: str) -> Iterator[None]:
    """Turn what MLflow raises while ``doing`` something into an error of one line.

    Raises:
        RunError: MLflow or its storage failed.
    """
    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError, ImportError) as error:
        what = f"MLflow failed while {doing}"
        raise RunError(what, got=brief(error), hint=cure_of(error)) from error
