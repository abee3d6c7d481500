"""What errors of libraries and of the operating system say in our words, and what to try.

A border (MLflow, Ray, a file) adds what was being done and asks here for the rest. What is in
none of these tables and of none of these libraries is a bug of ours, and is called one.
"""

from __future__ import annotations

import errno
import os
import re
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path

from dtsinn.core.errors import DtsinnError, InputError, RunError
from dtsinn.core.extras import cure_of_missing

LENGTH = 300
"""Characters of a library's message that are passed on: some carry a whole response."""

_CURE_OF_NUMBER: Mapping[int, str] = {
    errno.ENOSPC: "df -h, then dtsinn registry prune, or another folder",
    errno.EDQUOT: "quota -s, then dtsinn registry prune, or another folder",
    errno.EACCES: "a folder and files that you may use (ls -l shows whose they are)",
    errno.EPERM: "a folder and files that you may use (ls -l shows whose they are)",
    errno.EROFS: "a folder that can be written",
    errno.ENAMETOOLONG: "a shorter name",
    errno.ELOOP: "a path without the circle of links",
    errno.ENOTDIR: "a path of folders: one part of it is a file",
    errno.EISDIR: "the path of a file: it is a folder",
    errno.EEXIST: "another path: that one is taken",
    errno.ENOENT: "a path that exists",
    errno.EMFILE: "ulimit -n 8192",
    errno.ENFILE: "fewer programs at a time: the machine's table of open files is full",
    errno.EAGAIN: "fewer workers or trials at a time (ulimit -u shows how many processes)",
    errno.ENOMEM: "fewer workers or trials at a time, or a smaller batch",
    errno.EIO: "another disk: this one, or the network before it, fails",
    errno.ESTALE: "the command again: the network's file system was mounted anew",
    errno.EADDRINUSE: "another port, or 0 for a free one",
    errno.ECONNREFUSED: "whether the server runs, and its address",
    errno.EHOSTUNREACH: "whether the server runs, and its address",
    errno.ENETUNREACH: "whether the server runs, and its address",
}

_CURE_OF_TEXT: tuple[tuple[str, str], ...] = (
    # Ray
    (r"timed out during startup|failed to start|GCS.*(timed? ?out|deadline|unavailable)",
     "it again when this machine is less busy"),
    (r"^ray\.\S*AuthenticationError|UNAUTHENTICATED|InvalidAuthToken",
     "RAY_AUTH_MODE=token, and the head's ~/.ray/auth_token on this machine (mode 600)"),
    (r"[Vv]ersion mismatch", "the same Python and the same dtsinn on all machines"),
    (r"Could not find any running Ray instance", "--cluster HOST:PORT, or none for this machine"),
    # SQLite and other databases
    (r"database is locked", "it again when no other process writes there"),
    (r"readonly database|unable to open database file", "a workspace that you may write"),
    (r"disk is full|No space left|[Qq]uota exceeded", _CURE_OF_NUMBER[errno.ENOSPC]),
    (r"disk I/O error", _CURE_OF_NUMBER[errno.EIO]),
    (r"not a database|disk image is malformed", "a backup of it, or another --workspace"),
    (r"out-of-date database schema|Can't locate revision",
     "the dtsinn and MLflow that made it, or `mlflow db upgrade` after a backup"),
    # Servers
    (r"certificate verify failed|CERTIFICATE_VERIFY_FAILED", "REQUESTS_CA_BUNDLE=FILE"),
    (r"[Nn]ame or service not known|name resolution|Failed to resolve|nodename nor servname",
     "the server's name as this machine knows it"),
    (r"[Cc]onnection refused|timed? ?out", "whether the server runs, and its address"),
    (r"(error code|status) 50[234]", "it again; the server, or a proxy before it, is overloaded"),
    # This machine
    (r"No module named", "pip install of the package that holds it"),
    (r"can't allocate memory|CUDA out of memory|bad_alloc",
     _CURE_OF_NUMBER[errno.ENOMEM]),
)  # fmt: skip
"""Searched for in the names of an error's classes and its text, in this order."""

_LIBRARIES = {
    "alembic", "aiohttp", "boto3", "botocore", "dask", "filelock", "flask", "fsspec", "grpc",
    "h5py", "hdf5", "json", "matplotlib", "mlflow", "nibabel", "nilearn", "numcodecs", "numpy",
    "onnx", "onnxruntime", "onnxscript", "optuna", "PIL", "psutil", "psycopg", "pydantic",
    "pydantic_core", "pydicom", "ray", "requests", "s3fs", "safetensors", "safetensors_rust",
    "scipy", "sklearn", "socket", "sqlalchemy", "sqlite3", "ssl", "subprocess", "torch",
    "torchmetrics", "urllib", "urllib3", "xarray", "yaml", "zarr", "zipfile", "zlib",
}  # fmt: skip
"""Whose own kinds of errors say that something failed, not that our code is wrong."""

_USER_IN_URL = re.compile(r"(?<=://)(?:[^/@:\s]+:(?!\d+/)[^\s'\"]*|[^/?#\s]*)@")
_PASSWORD_IN_QUERY = re.compile(r"(?<=[?&])(\w*password|passwd|secret|token)=[^&#\s]*", re.I)
_NOISE = re.compile(r"\[SQL: .*|\(Background on this error.*")


def in_our_words(
    error: BaseException, doing: str = "", kind: type[DtsinnError] | None = None
) -> DtsinnError:
    """An error of ours for whatever was raised.

    Args:
        error: As it was raised; one of ours is returned as it is.
        doing: What was being done, or what could not be; else the file that the error names.
        kind: Of our errors, where the caller knows what is to blame; without it, what is neither
            the machine's nor a library's is called a bug.
    """
    if isinstance(error, DtsinnError):
        return error
    if isinstance(error, RecursionError):
        what = doing or "the input"
        return (kind or InputError)(what, got="too many levels inside each other")
    if isinstance(error, UnicodeDecodeError):
        return (kind or InputError)(
            doing or "a text cannot be read",
            got=f"byte {error.object[error.start]:#04x} at position {error.start}",
            wanted=f"text in {error.encoding.upper()}",
        )
    machine = isinstance(error, OSError | ImportError | MemoryError)
    if machine or _is_of_a_library(error) or kind is not None:
        plain = isinstance(error, OSError) and error.strerror and not doing
        return (kind or RunError)(
            doing or _place_of(error),
            got=str(error.strerror) if plain else brief(error),  # type: ignore[attr-defined]
            hint=cure_of(error),
        )
    return (kind or RunError)(
        f"a bug of dtsinn{f', while {doing}' * bool(doing)}",
        got=f"{type(error).__name__}: {brief(error)}{_line_of(error)}",
        hint="the command again with --debug, and report what it prints",
    )


def cure_of(error: BaseException) -> str:
    """What to try after an error, or after what caused it; nothing where that is not known."""
    for one in _causes(error):
        if isinstance(one, OSError) and one.errno in _CURE_OF_NUMBER:
            return _CURE_OF_NUMBER[one.errno or 0]
        if extra := cure_of_missing(one):
            return extra
        text = f"{' '.join(_names_of(one))} {one}"
        for pattern, cure in _CURE_OF_TEXT:
            if re.search(pattern, text):
                return cure
    return _CURE_OF_NUMBER[errno.ENOMEM] if isinstance(error, MemoryError) else ""


def brief(error: BaseException) -> str:
    """What an error says, on one line, not too long and without passwords."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:  # without its number
        text = ": ".join(filter(None, [str(error.strerror), _file_of(error)]))
    text = without_passwords(_NOISE.sub("", " ".join(text.split()))).strip(" .")
    text = text or type(error).__name__
    return text if len(text) <= LENGTH else text[: LENGTH - 3] + "..."


def without_passwords(text: str) -> str:
    """A text without the users and passwords of the URLs in it."""
    return _PASSWORD_IN_QUERY.sub(r"\1=(hidden)", _USER_IN_URL.sub("", text))


def _file_of(error: OSError) -> str:
    """The file that an error of the operating system names; where it is to go, if there are two."""
    names = (error.filename2, error.filename)
    return next((os.fsdecode(name) for name in names if isinstance(name, str | bytes)), "")


def _place_of(error: BaseException) -> str:
    """What failed, where nobody says what was being done."""
    if isinstance(error, MemoryError):
        return "memory is not enough"
    if isinstance(error, ImportError):
        return f"{error.name or 'a package'} is not installed here, or damaged"
    if isinstance(error, OSError) and error.errno:
        return _file_of(error) or "the operating system refuses"
    return f"{type(error).__module__.partition('.')[0]} fails"


def _is_of_a_library(error: BaseException) -> bool:
    return any(name.partition(".")[0].lstrip("_") in _LIBRARIES for name in _names_of(error))


def _names_of(error: BaseException) -> list[str]:
    """An error's classes with their modules, its own first."""
    return [f"{cls.__module__}.{cls.__qualname__}" for cls in type(error).__mro__]


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, and what it was raised from or while handling."""
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__ or seen.__context__


def _line_of(error: BaseException) -> str:
    """Where in our code it was raised, for whoever mends it."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "dtsinn" in Path(frame.filename).parts]
    return f" at {Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else ""
