"""``manifest.json``: size and SHA-256 of every file of a package, and their verification."""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dtsinn.core.bounds import open_file, read_bytes, refuse_more
from dtsinn.core.config import STRICT, to_mapping
from dtsinn.core.errors import InputError, PackageError
from dtsinn.core.formats import MANIFEST
from dtsinn.deploy.facts import INFO_NAME, read_json, strictly

MANIFEST_NAME = "manifest.json"
WEIGHTS_NAME = "weights.safetensors"
CARD_NAME = "card.md"
MODEL_NAME = "model.onnx"
INVERSE_NAME = "inverse.onnx"
FLOOR_NAME = "floor.safetensors"
CALIBRATION_NAME = "calibration.json"

REQUIRED_NAMES = (WEIGHTS_NAME, INFO_NAME, CARD_NAME, MODEL_NAME)
KNOWN_NAMES = (*REQUIRED_NAMES, INVERSE_NAME, FLOOR_NAME, CALIBRATION_NAME)
"""All that a package may hold beside its manifest: none of them is a pickle."""


@dataclass(frozen=True, kw_only=True)
class ManifestFile:
    """One file of a package."""

    __pydantic_config__ = STRICT

    path: str
    """Its name in the package, one of :data:`KNOWN_NAMES`."""
    size: int
    """Bytes."""
    sha256: str
    """64 lower-case hexadecimal digits."""

    def __post_init__(self) -> None:
        # Only the known names pass, so '..', absolute paths and pickles fail here at once.
        if self.path not in KNOWN_NAMES:
            raise InputError(
                f"{self.path!r} is no file of a package", wanted=f"one of {', '.join(KNOWN_NAMES)}"
            )


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The content of ``manifest.json``."""

    __pydantic_config__ = STRICT

    format: str = MANIFEST.name
    format_version: int = MANIFEST.version
    files: tuple[ManifestFile, ...]
    """Every file but the manifest itself, by name."""

    def __post_init__(self) -> None:
        names = [file.path for file in self.files]
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"{name} is listed twice")
        for name in REQUIRED_NAMES:
            if name not in names:
                raise InputError(f"{name} is not listed")


def write_manifest(folder: Path) -> Manifest:
    """List the files of ``folder`` in its manifest, the last file to be written."""
    names = sorted(path.name for path in folder.iterdir())
    manifest = Manifest(files=tuple(_measure(folder, name) for name in names))
    text = json.dumps(to_mapping(manifest), sort_keys=True, indent=2) + "\n"
    (folder / MANIFEST_NAME).write_text(text, encoding="utf-8")
    return manifest


@dataclass(frozen=True, kw_only=True, repr=False)
class VerifiedFiles:
    """The files of a package as they were when they were verified."""

    manifest: Manifest
    contents: Mapping[str, bytes]
    """Content of every file by name, with the manifest: who uses these meets no later change."""


def verify_files(folder: Path) -> VerifiedFiles:
    """Read ``folder``, which must hold exactly what its manifest says.

    Raises:
        PackageError: No package, or a file is missing, extra, linked, or not as listed; the
            message names it.
    """
    if not folder.is_dir():
        raise PackageError(f"{folder} is no separator package", wanted="a folder")
    present = sorted(entry.name for entry in os.scandir(folder))
    if MANIFEST_NAME not in present:
        raise PackageError(
            f"{folder} is no separator package", got=f"a folder without {MANIFEST_NAME}"
        )
    for name in present:
        if not stat.S_ISREG((folder / name).lstat().st_mode):
            raise PackageError(f"{folder / name}", got="a link or folder", wanted="a plain file")
    path = folder / MANIFEST_NAME
    try:
        text = read_bytes(path)
    except OSError as error:
        raise PackageError(f"{path} cannot be read", got=error.strerror) from None
    content = MANIFEST.read(read_json(path, text), str(path), PackageError)
    manifest = strictly(Manifest, content, path)
    listed = {file.path for file in manifest.files}
    for name in present:
        if name not in {*listed, MANIFEST_NAME}:
            raise PackageError(f"{folder / name} is not in {MANIFEST_NAME}", hint="to remove it")
    contents = {file.path: _read_verified(folder, file) for file in manifest.files}
    return VerifiedFiles(manifest=manifest, contents=contents | {MANIFEST_NAME: text})


def _read_verified(folder: Path, listed: ManifestFile) -> bytes:
    path = folder / listed.path
    try:
        with open_file(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size == listed.size:
                refuse_more(str(path), size, size, PackageError)
                content = file.read(size)
    except FileNotFoundError:
        raise PackageError(f"{path} is missing", wanted=f"{listed.size} bytes") from None
    except OSError as error:
        raise PackageError(f"{path} cannot be read", got=error.strerror) from None
    if size != listed.size:
        raise PackageError(
            f"{path} was changed", got=f"{size} bytes", wanted=f"{listed.size} bytes"
        )
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != listed.sha256:
        raise PackageError(
            f"{path} was changed",
            got=f"SHA-256 {sha256[:12]}...",
            wanted=f"{listed.sha256[:12]}...",
        )
    return content


def _measure(folder: Path, name: str) -> ManifestFile:
    path = folder / name
    with path.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    return ManifestFile(path=name, size=path.stat().st_size, sha256=sha256)
