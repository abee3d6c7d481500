"""Reading a store: its header, its samples, and refusals that name array and sample.

Shape letters: N sample, K tracer (2), T frame, Y X pixel.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dtsinn.core.bounds import is_outage
from dtsinn.core.causes import brief, cure_of
from dtsinn.core.errors import DtsinnError, RunError, StoreError
from dtsinn.core.paths import is_url, local_or_url
from dtsinn.core.workspace import command
from dtsinn.data.header import AGAIN, StrArray, coordinate, read_attributes, read_header
from dtsinn.data.header import StoreHeader as StoreHeader
from dtsinn.data.layout import IMAGES, MISSING_LABEL, SPLITS

if TYPE_CHECKING:
    import zarr

Float32Array = npt.NDArray[np.float32]


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


class Store:
    """An open store; made by :func:`open_store`."""

    def __init__(self, group: zarr.Group, members: Mapping[str, Any], header: StoreHeader) -> None:
        self.group = group
        self.header = header
        # Kept: zarr looks metadata up anew, and over an event loop, whenever a group is asked.
        self.arrays: Mapping[str, zarr.Array] = members
        """All arrays of the store, by name."""
        self.subject_N: StrArray = self.values("subject")
        self.slice_N: npt.NDArray[np.float64] = self.values("slice")
        self.split_N: StrArray = self.values("split")
        self.images = [name for name in IMAGES if name in members]
        """Names of the images that the store has."""
        mixture = members["mixture"]
        self.block = int((mixture.shards or mixture.chunks)[0])
        """Samples per shard."""

    def values(self, name: str) -> npt.NDArray[Any]:
        """All of a small array: a coordinate, an input function, kinetics.

        Raises:
            StoreError: It is damaged.
        """
        return coordinate(self.header.path, name, self.arrays[name])

    def subject_count(self, split: str) -> int:
        """Number of subjects in ``split``."""
        return len(set(self.subject_N[self.split_N == split]))

    def split_counts(self) -> dict[str, int]:
        """Number of subjects by split; of ``calibrate``, which most stores lack, only if any."""
        counts = {split: self.subject_count(split) for split in SPLITS}
        return {split: n for split, n in counts.items() if n or split != "calibrate"}

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
        arrays = {
            name: self.check_values(name, index, self._read_array(name, index))
            for name in self.images
        }
        return Samples(
            index_N=index,
            subject_N=self.subject_N[index],
            slice_N=self.slice_N[index],
            mixture_NTYX=arrays["mixture"],
            tracers_NKTYX=arrays.get("tracers"),
            regions_NYX=arrays.get("regions"),
        )

    def read_regions(self, index_N: npt.NDArray[np.intp]) -> npt.NDArray[np.uint8]:
        """Labels [N, Y, X] of the samples at ``index_N`` alone.

        Raises:
            StoreError: A chunk is missing or damaged; names the sample.
        """
        labels = self.check_values("regions", index_N, self._read_array("regions", index_N))
        return labels.astype(np.uint8, copy=False)

    def check_values(
        self, name: str, index: npt.NDArray[np.intp], values: npt.NDArray[Any]
    ) -> npt.NDArray[Any]:
        """Images ``name`` of the samples ``index``, floats as float32.

        Raises:
            StoreError: A chunk was missing or holds NaN; names array and sample.
        """
        if name == "regions":
            bad = (values == MISSING_LABEL).reshape(len(values), -1).any(axis=1)
        else:
            values = values.astype(np.float32, copy=False)
            # A sum is finite only if every addend is: one pass, no array of flags.
            bad = ~np.isfinite(np.einsum("ij->i", values.reshape(len(values), -1)))
        if bad.any():
            sample = int(index[np.argmax(bad)])
            raise self._damage_error(name, sample, "a missing chunk, NaN or infinity")
        return values

    def blame(self, index: npt.NDArray[np.intp], error: Exception) -> DtsinnError:
        """The sample and array of ``index`` that cannot be read, as an error."""
        for sample in index:
            for name in self.images:
                try:
                    values = self.arrays[name][int(sample) : int(sample) + 1]
                    self.check_values(name, np.array([sample]), values)
                except StoreError as located:
                    return located
                except Exception as trouble:
                    if is_outage(trouble):
                        return self._outage_error(trouble)
                    return self._damage_error(name, int(sample), brief(trouble))
        return self._outage_error(error)

    def _read_array(self, name: str, index: npt.NDArray[np.intp]) -> npt.NDArray[Any]:
        array = self.arrays[name]
        runs = np.split(index, np.flatnonzero(np.diff(index) != 1) + 1)
        try:
            parts = [array[int(run[0]) : int(run[-1]) + 1] for run in runs if len(run)]
        except Exception as error:  # zarr and its codecs raise many kinds
            raise self.blame(index, error) from error
        return np.concatenate(parts) if len(parts) != 1 else np.asarray(parts[0])

    def _damage_error(self, name: str, sample: int, got: str) -> StoreError:
        return StoreError(
            f"{self.header.path}: {name}, sample {sample} is damaged",
            got=got,
            hint=f"{command('check', self.header.path)}, then make the store again",
        )

    def _outage_error(self, error: Exception) -> RunError:
        return RunError(f"{self.header.path} cannot be read", got=brief(error), hint=cure_of(error))


def open_store(path: str, *, need_truth: bool = False) -> Store:
    """Open a finished store for reading.

    Args:
        path: A local path or an fsspec URL.
        need_truth: Refuse a store without ``tracers``.

    Raises:
        StoreError: It is missing, incomplete, of a newer format, damaged or without truth.
    """
    path = local_or_url(str(path))
    group = _open_group(path)
    try:
        attributes = read_attributes(path, dict(group.attrs))
        # One look at all: zarr's answer to a name that is not there holds its caller's variables.
        members = dict(group.members())
        store = Store(group, members, read_header(path, members, attributes))
    except StoreError:
        raise
    except DtsinnError as error:
        raise StoreError(f"{path}: {error}", hint=AGAIN) from error
    except Exception as error:  # whatever hostile metadata make zarr trip over
        raise StoreError(
            f"{path}: its metadata cannot be read", got=brief(error), hint=AGAIN
        ) from error
    if need_truth and not store.header.has_truth:
        raise StoreError(
            f"{path} has no array tracers", wanted="the truth", hint="a simulated store"
        )
    return store


def _open_group(path: str) -> zarr.Group:
    if not is_url(path) and not Path(path).exists():
        partial = Path(f"{path}.partial")
        again = "the same command again, to finish it"
        hint = again if partial.exists() else command("simulate", path)
        raise StoreError(f"no store at {path}", hint=hint)
    import zarr  # here, as in :mod:`.header` and :mod:`.layout`: what only names stores needs none

    from dtsinn.data.storage import zarr_store

    storage = zarr_store(path, read_only=True)
    try:
        return zarr.open_group(storage, mode="r", zarr_format=3)
    except FileNotFoundError as error:
        if is_url(path):
            raise StoreError(
                f"no store at {path}", got="no zarr.json there", hint=command("simulate", path)
            ) from error
        raise _no_group(path, error) from error
    except Exception as error:  # storage backends raise many kinds
        if is_outage(error):
            what = f"{path} cannot be read"
            raise StoreError(what, got=brief(error), hint=cure_of(error)) from error
        raise _no_group(path, error) from error


def _no_group(path: str, error: Exception) -> StoreError:
    return StoreError(
        f"{path} is no zarr group",
        got=brief(error),
        wanted="a store as dtsinn simulate writes it",
        hint="another path, or to make the store again",
    )
