"""Files of runs and models, wherever an MLflow keeps them: at hand in a folder, with digests."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

from dtsinn.core.causes import brief
from dtsinn.core.errors import InputError, RunError
from dtsinn.core.yaml_text import parse_yaml, read_yaml_text
from dtsinn.registry.copying.ids import Ids
from dtsinn.registry.copying.place import Place
from dtsinn.registry.tracking.names import mlflow_errors_as
from dtsinn.registry.tracking.relocation import local_path

MLMODEL = "MLmodel"
"""The file of a logged model that names run, model and location."""
HERE = "<location>"
"""Stands for a model's location in what is compared."""


@contextmanager
def open_files(place: Place, location: str) -> Iterator[Path]:
    """A folder with the files of a location: its own where it is on this machine, else a copy."""
    local = local_path(location)
    if local is not None:
        yield local
        return
    with TemporaryDirectory(prefix="dtsinn-") as folder:
        with mlflow_errors_as(f"fetching {location}"):
            store = get_artifact_repository(location, tracking_uri=place.uri)
            if store.list_artifacts():
                store.download_artifacts("", dst_path=folder)  # type: ignore[no-untyped-call]
        yield Path(folder)


def digests(folder: Path) -> dict[str, str]:
    """Path inside the folder -> sha256, of all files.

    Raises:
        RunError: A link leads out of the folder, and would carry a foreign file along.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() and not path.resolve().is_relative_to(folder.resolve()):
            raise RunError("an artifact is a link that leaves its folder", got=path)
        if path.is_file():
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            found[path.relative_to(folder).as_posix()] = digest
    return found


def digest_model(folder: Path, location: str, ids: Ids) -> dict[str, str]:
    """:func:`digests` of a logged model: that of its MLmodel is of what it says, not of the ids."""
    found = digests(folder)
    if MLMODEL in found:
        said = _reword(_read_yaml(folder / MLMODEL), location, HERE, ids.neutralise)
        text = json.dumps(said, sort_keys=True, default=str)
        found[MLMODEL] = hashlib.sha256(text.encode()).hexdigest()
    return found


def move_mlmodel(folder: Path, source: tuple[str, Ids], there: tuple[str, Ids]) -> None:
    """Let the MLmodel in a folder name the ids and the location of another place.

    Args:
        folder: Of a logged model.
        source: Location and ids that it names.
        there: Those that it is to name.
    """
    path = folder / MLMODEL
    if path.is_file():
        neutral = _reword(_read_yaml(path), source[0], HERE, source[1].neutralise)
        said = _reword(neutral, HERE, there[0], there[1].localise)
        path.write_text(yaml.safe_dump(said, default_flow_style=False), encoding="utf-8")


def _reword(content: Any, was: str, now: str, reword: Any) -> Any:
    """Plain data with a location replaced and every other text reworded."""
    if isinstance(content, dict):
        return {key: _reword(value, was, now, reword) for key, value in content.items()}
    if isinstance(content, list):
        return [_reword(value, was, now, reword) for value in content]
    if not isinstance(content, str):
        return content
    return now.join(reword(part) for part in content.split(was))


def _read_yaml(path: Path) -> Any:
    try:
        text = read_yaml_text(path)
        parse_yaml(text, str(path))  # whoever wrote it: no tags, and of a bounded size
        return yaml.safe_load(text)  # MLflow's numbers are those of YAML 1.1
    except (InputError, yaml.YAMLError, ValueError) as error:  # such as 30 February
        raise RunError(f"{path} cannot be read", got=brief(error)) from None
