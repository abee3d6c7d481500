"""``separator.json``: what a separator separates, how it was made and how well it did."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from dtsinn.core.config import STRICT, from_mapping, to_mapping
from dtsinn.core.errors import PackageError
from dtsinn.core.formats import SEPARATOR
from dtsinn.deploy.facts import INFO_NAME, Lineage, SeparatorFacts, read_json, strictly
from dtsinn.networks.build import ModelConfig


@dataclass(frozen=True, kw_only=True)
class SeparatorInfo(SeparatorFacts):
    """The content of ``separator.json``."""

    __pydantic_config__ = STRICT

    model: ModelConfig
    """What the network is made of."""


def info_text(info: SeparatorInfo) -> str:
    """``info`` as the text of ``separator.json``; equal infos give equal bytes."""
    plain = to_mapping(info)
    return json.dumps(plain, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def read_info(folder: Path, text: bytes | None = None) -> SeparatorInfo:
    """Read ``separator.json`` of the package ``folder``, strictly.

    Args:
        folder: The package.
        text: The file's content, where it was read and verified already.

    Raises:
        PackageError: It is missing, no JSON, of a newer format, or holds anything unknown.
    """
    path = folder / INFO_NAME
    content = SEPARATOR.read(read_json(path, text), str(path), PackageError)
    return strictly(SeparatorInfo, content, path)


def portable(info: SeparatorInfo) -> SeparatorInfo:
    """``info`` whose lineage names no folder of this machine.

    Every string in it that is an absolute local path is cut to its last part: such paths tell
    strangers who worked where, and mean nothing on another machine.
    """
    plain = _without_folders(to_mapping(info.lineage))
    return dataclasses.replace(info, lineage=from_mapping(Lineage, plain, "lineage"))


def _without_folders(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_folders(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_without_folders(part) for part in value]
    if not isinstance(value, str):
        return value
    local = value.removeprefix("file://")
    if PurePosixPath(local).is_absolute():
        return PurePosixPath(local).name
    if PureWindowsPath(local).is_absolute():
        return PureWindowsPath(local).name
    return value
