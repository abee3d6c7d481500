"""Reading a store: its header, its samples, and refusals that name array and sample.

Shape letters: N sample, K tracer (2), T frame, Y X pixel.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from dtsinn.core.errors import DtsinnError, StoreError
from dtsinn.core.protocol import Protocol, protocol_of_frames
from dtsinn.data.layout import (
    COORDINATES,
    FORMAT,
    FORMAT_VERSION,
    IMAGES,
    MISSING_LABEL,
    SPLITS,
    is_url,
    zarr_store,
)

Float32Array = npt.NDArray[np.float32]
StrArray = npt.NDArray[np.object_]


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Some samples of a store, in memory."""

    index_N: npt.NDArray[np.intp]
    """Position in the store."""
    subject_N: StrArray
    slice_N: npt.NDArray[np.float64]
    """Axial position, mm."""
    mixture_NTYX: Float32Array
    """kBq/mL"""
    tracers_NKTYX: Float32Array | None
    """The truth, kBq/mL."""
    regions_NYX: npt.NDArray[np.uint8] | None
    """Labels; 0 is outside the body."""


@dataclass(frozen=True, kw_only=True)
class StoreHeader:
    """What a store is, without its images."""

    path: str
    tracers: tuple[str, str]
    protocol: Protocol
    half_life: tuple[float, float]
    """s"""
    size: tuple[int, int]
    """Rows Y and columns X."""
    voxel_size: tuple[float, float]
    """Along y and x, mm."""
    samples: int
    region_names: tuple[str, ...]
    """Label -> name, "outside" first; empty when unknown."""
    has_truth: bool
    noise: str
    """Noise level, for example ``mid``; empty when unknown."""
    phantom: str
    seed: int | None
    digest: str
    generator_version: str


class Store:
    """An open store; made by :func:`open_store`."""

    def __init__(self, group: zarr.Group, header: StoreHeader) -> None:
        self.group = group
        self.header = header
        self.subject_N: StrArray = _strings(group["subject"][...])
        self.slice_N: npt.NDArray[np.float64] = np.asarray(group["slice"][...])
        self.split_N: StrArray = _strings(group["split"][...])

    @property
    def images(self) -> list[str]:
        """Names of the images that the store has."""
        return [name for name in IMAGES if name in self.group]

    @property
    def block(self) -> int:
        """Samples per shard."""
        return int(self.group["mixture"].shards[0])

    def subject_count(self, split: str) -> int:
        """Number of subjects in ``split``."""
        return len(set(self.subject_N[self.split_N == split]))

    def split_counts(self) -> dict[str, int]:
        """Number of subjects by split."""
        return {split: self.subject_count(split) for split in SPLITS}

    def subjects(self, split: str) -> Iterator[Samples]:
        """The subjects of ``split``, one after the other, each with all its slices."""
        chosen = np.flatnonzero(self.split_N == split)
        for subject in dict.fromkeys(self.subject_N[chosen]):
            yield self.read(chosen[self.subject_N[chosen] == subject])

    def read(self, index_N: Sequence[int] | npt.NDArray[np.intp]) -> Samples:
        """The samples at ``index_N`` (runs of neighbours are read at once).

        Raises:
            StoreError: A chunk is missing, damaged or holds NaN; names array and sample.
        """
        index = np.asarray(index_N, dtype=np.intp)
        arrays = {name: self._read_array(name, index) for name in self.images}
        return self.samples_of(index, arrays)

    def samples_of(
        self, index: npt.NDArray[np.intp], arrays: dict[str, npt.NDArray[Any]]
    ) -> Samples:
        """Samples from images read elsewhere, verified.

        Raises:
            StoreError: A chunk was missing or holds NaN; names array and sample.
        """
        for name, values in arrays.items():
            self._verify(name, index, values)
        return Samples(
            index_N=index,
            subject_N=self.subject_N[index],
            slice_N=self.slice_N[index],
            mixture_NTYX=arrays["mixture"],
            tracers_NKTYX=arrays.get("tracers"),
            regions_NYX=arrays.get("regions"),
        )

    def blame(self, index: npt.NDArray[np.intp], error: Exception) -> StoreError:
        """The sample and array of ``index`` that cannot be read, as an error."""
        for sample in index:
            for name in self.images:
                try:
                    values = self.group[name][int(sample) : int(sample) + 1]
                    self._verify(name, np.array([sample]), values)
                except StoreError as located:
                    return located
                except Exception as cause:
                    return self._broken(name, int(sample), str(cause))
        return StoreError(f"{self.header.path}: cannot be read", got=str(error))

    def _read_array(self, name: str, index: npt.NDArray[np.intp]) -> npt.NDArray[Any]:
        array = self.group[name]
        runs = np.split(index, np.flatnonzero(np.diff(index) != 1) + 1)
        try:
            parts = [array[int(run[0]) : int(run[-1]) + 1] for run in runs if len(run)]
        except Exception as error:  # zarr and its codecs raise many kinds
            raise self.blame(index, error) from error
        return np.concatenate(parts) if len(parts) != 1 else np.asarray(parts[0])

    def _verify(self, name: str, index: npt.NDArray[np.intp], values: npt.NDArray[Any]) -> None:
        if name == "regions":
            bad = (values == MISSING_LABEL).any(axis=(1, 2))
        else:
            # A sum is finite only if every addend is: one pass, no array of flags.
            sums = values.reshape(len(values), -1).sum(axis=1)
            bad = ~np.isfinite(sums)
        if bad.any():
            sample = int(index[np.argmax(bad)])
            raise self._broken(name, sample, "a missing chunk, NaN or infinity")

    def _broken(self, name: str, sample: int, got: str) -> StoreError:
        return StoreError(
            f"{self.header.path}: {name}, sample {sample} is damaged",
            got=" ".join(got.split())[:200],
            hint="dtsinn check, then make the store again",
        )


def open_store(path: str, *, need_truth: bool = False) -> Store:
    """Open a finished store for reading.

    Args:
        path: A local path or an fsspec URL.
        need_truth: Refuse a store without ``tracers``.

    Raises:
        StoreError: It is missing, incomplete, of a newer format, damaged or without truth.
    """
    path = str(path)
    group = _open_group(path)
    attributes = dict(group.attrs)
    _check_attributes(path, attributes)
    missing = [name for name in ("mixture", *COORDINATES) if name not in group]
    if missing:
        raise StoreError(f"{path}: array {missing[0]} is missing")
    _check_coordinates(path, group)
    try:
        header = _header(path, group, attributes)
        store = Store(group, header)
    except DtsinnError as error:
        raise StoreError(f"{path}: {error}") from error
    except Exception as error:
        raise StoreError(f"{path}: its coordinates cannot be read", got=str(error)) from error
    if need_truth and not header.has_truth:
        raise StoreError(
            f"{path} has no array tracers", wanted="the truth", hint="a simulated store"
        )
    return store


def _open_group(path: str) -> zarr.Group:
    if not is_url(path) and not Path(path).exists():
        partial = Path(f"{path}.partial")
        hint = "the same simulate again, to finish it" if partial.exists() else "dtsinn simulate"
        raise StoreError(f"no store at {path}", hint=hint)
    try:
        return zarr.open_group(zarr_store(path, read_only=True), mode="r")
    except Exception as error:  # storage backends raise many kinds
        raise StoreError(
            f"{path} is no zarr group",
            got=type(error).__name__,
            wanted="a store as dtsinn simulate writes it",
        ) from error


def _check_attributes(path: str, attributes: dict[str, Any]) -> None:
    if attributes.get("format") != FORMAT:
        raise StoreError(
            f"{path} is no dtsinn store", got=repr(attributes.get("format")), wanted=repr(FORMAT)
        )
    version = attributes.get("format_version")
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise StoreError(
            f"{path} has another format version",
            got=version,
            wanted=f"{FORMAT_VERSION} or older",
            hint="a newer dtsinn",
        )
    if attributes.get("complete") is not True:
        raise StoreError(f"{path} is not complete", hint="the command that wrote it, once more")


def _check_coordinates(path: str, group: zarr.Group) -> None:
    """A missing chunk reads as empty strings or NaN, a damaged one raises."""
    for name, spec in COORDINATES.items():
        try:
            values = group[name][...]
        except Exception as error:  # zarr and its codecs raise many kinds
            raise StoreError(f"{path}: {name} is damaged", got=str(error)[:200]) from error
        empty = [not str(v) for v in values] if spec.dtype is str else ~np.isfinite(values)
        if np.any(empty):
            raise StoreError(f"{path}: {name} is damaged", got="a missing chunk or no value")


def _header(path: str, group: zarr.Group, attributes: dict[str, Any]) -> StoreHeader:
    first, second = _strings(group["tracer"][...])
    shape = group["mixture"].shape
    protocol = protocol_of_frames(
        str(attributes["protocol"]),
        group["frame_start"][...].tolist(),
        group["frame_duration"][...].tolist(),
        group["injection_time"][...].tolist(),
    )
    if shape[1] != protocol.frames or group["subject"].shape[0] != shape[0]:
        raise StoreError(
            "mixture has another shape than the coordinates",
            got=shape,
            wanted=f"({len(group['subject'])}, {protocol.frames}, Y, X)",
        )
    half_life = group["half_life"][...]
    noise = attributes.get("noise") or {}
    return StoreHeader(
        path=path,
        tracers=(str(first), str(second)),
        protocol=protocol,
        half_life=(float(half_life[0]), float(half_life[1])),
        size=(int(shape[2]), int(shape[3])),
        voxel_size=(float(attributes["voxel_size"][0]), float(attributes["voxel_size"][1])),
        samples=int(shape[0]),
        region_names=tuple(attributes.get("region_names", ())),
        has_truth="tracers" in group,
        noise=str(noise.get("level", "")),
        phantom=str(attributes.get("phantom", "")),
        seed=attributes.get("seed"),
        digest=str(attributes["digest"]),
        generator_version=str(attributes.get("generator_version", "")),
    )


def _strings(values: Any) -> StrArray:
    return np.array([str(v) for v in values], dtype=object)
