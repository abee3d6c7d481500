"""``separator.json``: what a separator separates, how it was made and how well it did."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, Literal, TypeVar

from dtsinn.core.bounds import parse_json, read_bytes
from dtsinn.core.causes import in_our_words
from dtsinn.core.config import STRICT, from_mapping, to_mapping
from dtsinn.core.errors import InputError, PackageError, naming
from dtsinn.core.formats import SEPARATOR
from dtsinn.core.protocol import protocol_of_frames
from dtsinn.networks.build import ModelConfig

T = TypeVar("T")

INFO_NAME = "separator.json"


@dataclass(frozen=True, kw_only=True)
class TrainingData:
    """What one store of a training held, as far as evaluations compare their cells with it."""

    __pydantic_config__ = STRICT

    tracers: tuple[str, str]
    protocol: str
    """Its name; names can be reused, so that the times decide."""
    frame_edges: tuple[float, ...]
    """[T + 1] s from the start of the scan."""
    injection_time: tuple[float, float]
    """s from the start of the scan."""
    phantom: str
    """Anatomy; empty where the store does not say."""
    noise: str
    """Its model where that is not the image's, and its level; empty where not known."""
    population: str = ""
    """How its subjects differ; empty where not known, as in older packages."""
    conditions: str = ""
    """Dose, kinetics and motion in words, where they are not usual; empty where not known."""


@dataclass(frozen=True, kw_only=True)
class Lineage:
    """How a separator came to be. Words of the machine that trained it, minus its paths."""

    __pydantic_config__ = STRICT

    run: str
    """Key of the run that trained it."""
    config: dict[str, Any]
    """The full configuration of that run."""
    store_path: str
    """Store that it was trained on; in a package only the last part of a local absolute path."""
    store_digest: str
    """Content digest of that store."""
    code_version: str
    """See :func:`dtsinn.core.version.code_version`."""
    seed: int
    """Seed of the run."""
    search: str = ""
    """Name of the search that the run belongs to, if any."""
    trial: str = ""
    """Key of the trial in that search."""
    steps: int = 0
    """Optimiser steps behind the weights."""
    further_stores: str = ""
    """Content digests of more stores that it was trained on, with commas."""
    init: str = ""
    """Digest of the separator whose weights the run started from, if any."""
    init_tracers: str = ""
    """That separator's pair, with a comma."""
    trained_on: tuple[TrainingData, ...] = ()
    """One entry for each store of the run, none for those of ``init``; empty in older packages."""


@dataclass(frozen=True, kw_only=True)
class SeparatorInfo:
    """The content of ``separator.json``."""

    __pydantic_config__ = STRICT

    format: str = SEPARATOR.name
    format_version: int = SEPARATOR.version
    model: ModelConfig
    """What the network is made of."""
    tracers: tuple[str, str]
    """Names, in the order of injection and of the network's outputs."""
    protocol: str
    """Name of the protocol it was trained for."""
    frame_start: tuple[float, ...]
    """[T] s from the start of the scan."""
    frame_duration: tuple[float, ...]
    """[T] s; also the weights of the normalisation."""
    injection_time: tuple[float, float]
    """s from the start of the scan."""
    half_life: tuple[float, float]
    """s"""
    normalisation: Literal["sample-scale"] = "sample-scale"
    """See :func:`dtsinn.networks.normalisation.sample_scale`."""
    metrics: dict[str, float] = field(default_factory=dict)
    """What was measured, by name; finite numbers."""
    lineage: Lineage

    def __post_init__(self) -> None:
        protocol_of_frames(
            self.protocol, self.frame_start, self.frame_duration, self.injection_time
        )
        for tracer, seconds in zip(self.tracers, self.half_life, strict=True):
            if not (math.isfinite(seconds) and seconds > 0):
                raise InputError(f"half-life of {tracer}", got=seconds, wanted="seconds above 0")
        for name, value in self.metrics.items():
            if not math.isfinite(value):
                raise InputError(f"metric {name!r}", got=value, wanted="a finite number")

    @property
    def frames(self) -> int:
        """Number of frames T."""
        return len(self.frame_start)


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


def read_json(path: Path, text: bytes | None = None) -> Mapping[str, Any]:
    """The mapping that the JSON file ``path`` holds, whose content may be at hand as ``text``.

    Raises:
        PackageError: It is missing, no JSON, or no mapping.
    """
    try:
        content = parse_json(read_bytes(path) if text is None else text)
    except (OSError, ValueError) as error:
        raise in_our_words(error, f"{path} cannot be read as JSON", PackageError) from None
    if not isinstance(content, dict):
        raise PackageError(f"{path}", got=type(content).__name__, wanted="a JSON object")
    return content


def strictly(cls: type[T], content: Mapping[str, Any], path: Path) -> T:
    """``content`` of the package's file ``path`` as a ``cls``.

    Raises:
        PackageError: What :func:`from_mapping` refuses.
    """
    with naming(path, PackageError):
        return from_mapping(cls, content, str(path))


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
