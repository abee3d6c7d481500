"""A server opens no files but those below its own artifact root, whoever names others.

Locations come from the database: of experiments and runs, the ``source`` of a version, the tag of
a trace. Members can write some of them, and others may have been written before this was checked.
So it is not the requests that are looked at, but the one place where MLflow opens a location.
"""

from __future__ import annotations

import posixpath
import re
from typing import Any
from urllib.parse import unquote

import mlflow.server.server_info_api
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED
from mlflow.server import handlers
from mlflow.store.artifact import artifact_repository_registry

CONTROL = re.compile(r"[\0-\x1f\x7f-\x9f]")
"""Characters that no path has, and that the parts of MLflow read differently."""
DIRECT = "multipart_uploads_enabled", "multipart_downloads_enabled"
"""What a server says of itself where clients are to go to its bucket: here they go through it."""


def is_below(location: str, root: str) -> bool:
    """Whether a location is an artifact root or lies in it, however it is spelled.

    Args:
        location: URI or folder; one with ``..`` or control characters, quoted or not, lies nowhere.
        root: URI or folder, without ``/`` at its end; one with ``?``, ``#`` or a backslash, at
            which a URI may end, has nothing below it.
    """
    plain = _unquote(location)
    inner = location.removeprefix(root.rstrip("/"))
    inside = inner != location and inner[:1] in ("", "/") and not set("\\?#") & set(root)
    return inside and ".." not in re.split(r"[/\\]", plain) and not CONTROL.search(plain)


def normalise(path: str) -> str:
    """Give the path of a file one spelling, however it is quoted."""
    return posixpath.normpath(_unquote(path))


def _unquote(text: str) -> str:
    while (read := unquote(text)) != text:
        text = read
    return text


def confine(root: str) -> None:
    """Let this process's MLflow open nothing outside ``root``.

    Args:
        root: Where the server keeps artifacts, as MLflow knows it.
    """
    info: Any = mlflow.server.server_info_api
    describe = info.build_server_info_payload
    registry: Any = artifact_repository_registry._artifact_repository_registry
    opened: Any = registry.get_artifact_repository
    resolved: Any = handlers._get_proxied_run_artifact_destination_path

    def open_inside(artifact_uri: str, *more: Any, **named: Any) -> Any:
        _require(artifact_uri, root)
        return opened(artifact_uri, *more, **named)

    def resolve_inside(proxied_artifact_root: str, relative_path: str | None = None) -> Any:
        _require(proxied_artifact_root, "mlflow-artifacts:")
        path = resolved(proxied_artifact_root, relative_path)
        _require(f"{root}/{path}", root)
        return path

    def describe_without() -> dict[str, Any]:
        return {**describe(), **dict.fromkeys(DIRECT, False)}

    registry.get_artifact_repository = open_inside
    info.build_server_info_payload = describe_without
    handlers._get_proxied_run_artifact_destination_path = resolve_inside


def _require(location: str, root: str) -> None:
    if not is_below(location, root):
        message = "the files lie outside the place where this server keeps its own"
        raise MlflowException(message, error_code=PERMISSION_DENIED)
