"""Where the stores that a workspace has used lie: known to the workspace, and to nobody else.

MLflow gets a store's digest and name, never the folders that lead to it: they may hold the name
of a user or a patient, and others read them. A small file per store, in the workspace, leads back.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from dtsinn.core.atomic import replace_file
from dtsinn.core.bounds import read_json
from dtsinn.core.errors import DtsinnError, InputError
from dtsinn.core.formats import KNOWN_STORE
from dtsinn.core.paths import is_url
from dtsinn.core.workspace import Workspace
from dtsinn.data.store import Store, open_store


def remember_store(workspace: Workspace, store: Store) -> None:
    """Write down where a store lies."""
    note_store(workspace, store.header.digest, store.header.path)


def note_store(workspace: Workspace, digest: str, path: str) -> None:
    """:func:`remember_store` by its digest; a path from the workspace too: both may move."""
    if not digest.isalnum():  # anybody may have edited the tag that held it
        return
    known = KNOWN_STORE.mark | {"path": path}
    if not is_url(path):
        real = Path(path).resolve()
        known |= {"path": str(real), "relative": os.path.relpath(real, workspace.root.resolve())}
    file = _file(workspace, digest)
    file.parent.mkdir(parents=True, exist_ok=True)
    replace_file(file, json.dumps(known))


def find_store(workspace: Workspace, digest: str, named: str = "") -> Store | None:
    """The store of this digest, opened, if it is still where it was, or moved with the workspace.

    Args:
        workspace: That used it.
        digest: Of its content; anybody may have edited the tag that holds it.
        named: What a record calls it: a path, as dtsinn 0.1.0 wrote it, or a name.
    """
    for place in _places(workspace, digest, named):
        try:
            store = open_store(place)
        except (DtsinnError, OSError, ValueError):  # not there, or something else by now
            continue
        if store.header.digest == digest:
            return store
    return None


def _places(workspace: Workspace, digest: str, named: str) -> list[str]:
    found = []
    if digest.isalnum():
        try:
            file = _file(workspace, digest)
            known = KNOWN_STORE.read(read_json(file), str(file))
            if "relative" in known:
                moved_along = os.path.normpath(workspace.root.resolve() / known["relative"])
                found.append(_as_typed(moved_along))
            found.append(_as_typed(str(known["path"])))
        except (InputError, OSError, ValueError, KeyError, TypeError, AttributeError):
            pass  # never written down, or edited since
    if named:
        beside = [] if is_url(named) else [workspace.root, workspace.root.resolve().parent]
        found += [named, *(str(folder / Path(named).name) for folder in beside)]
    return found


def _as_typed(path: str) -> str:
    """A path as a person here would type it: below this folder without what leads to it."""
    inner = "" if is_url(path) else os.path.relpath(path)
    return path if inner.startswith("..") or not inner else inner


def _file(workspace: Workspace, digest: str) -> Path:
    return workspace.stores / f"{digest}.json"
