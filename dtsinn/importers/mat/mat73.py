"""MATLAB files of version 7.3, which are HDF5: one array, from the bytes of the file alone.

HDF5 can read a dataset out of any other file: through a link, as external storage, or as a virtual
dataset. MATLAB writes none of these, and one that comes from a stranger would put this machine's
files into the store, so they are refused before anything of them is opened. A chunk may inflate to
any size, whatever its dataset says, so a large one is counted before HDF5 inflates it.
"""

from __future__ import annotations

import io
import math
import zlib
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from dtsinn.core.bounds import inflated_size, most_memory
from dtsinn.importers.files import MOST_PACKED

_DEFLATE = h5py.h5z.FILTER_DEFLATE
_FILTERS = (_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32)
"""What a chunk may have gone through, each once: MATLAB uses the first one alone."""
_CHECKSUM = 4
_CLASS_LENGTH = 64
"""Bytes of a MATLAB_class, which names one of some twenty classes."""


class Elsewhere(Exception):  # noqa: N818 (it is no fault of reading)
    """The numbers lie in another file; its text says how, without a name."""


def find_mat73(file: h5py.File, key: str) -> tuple[str, tuple[int, ...]]:
    """MATLAB's class and the shape, in MATLAB's order, of the array ``key``.

    Raises:
        KeyError: There is none; its argument is how many others there are.
        Elsewhere: Its numbers are not in the file.
        Exception: What h5py raises on damaged files.
    """
    item = _open(file, key)
    kind = _class_of(item)
    if not isinstance(item, h5py.Dataset):
        return kind or "struct", ()
    if item.attrs.get("MATLAB_empty", 0):
        return "double", (0,)
    if item.dtype.names:  # MATLAB keeps a complex number as its two parts
        return "complex", ()
    numbers = {"f": "double", "i": "int64", "u": "uint64"}
    stored = numbers.get(item.dtype.kind)
    if stored is None:
        return item.dtype.name, item.shape[::-1]
    return kind or stored, item.shape[::-1]


def read_mat73(file: h5py.File, key: str) -> npt.NDArray[Any]:
    """The numbers of an array that :func:`find_mat73` found, in MATLAB's order.

    Raises:
        Elsewhere: They are not in the file.
        ValueError: A chunk holds more than it may, or the file none of them.
        Exception: What h5py raises on damaged files.
    """
    dataset = _open(file, key)
    if dataset.size and not dataset.id.get_storage_size():
        raise ValueError("nothing was ever written")
    if dataset.chunks is not None:
        _check_chunks(dataset)
    return np.asarray(dataset[()]).T


def _open(file: h5py.File, key: str) -> Any:
    """The object ``key`` of the file itself."""
    if "/" in key or file.get(key, getlink=True, default=None) is None:
        raise KeyError(sum(name[0] != "#" for name in file))
    if not isinstance(file.get(key, getlink=True), h5py.HardLink):
        raise Elsewhere("a link")
    item = file[key]
    if isinstance(item, h5py.Dataset):
        created = item.id.get_create_plist()
        if created.get_layout() == h5py.h5d.VIRTUAL:  # before its shape: that opens the sources
            raise Elsewhere("a virtual dataset")
        if created.get_external_count():
            raise Elsewhere("external storage")
    return item


def _class_of(item: Any) -> str:
    if "MATLAB_class" not in item.attrs:
        return ""
    attribute = item.attrs.get_id("MATLAB_class")
    if attribute.shape != () or attribute.get_storage_size() > _CLASS_LENGTH:
        raise ValueError("no class of MATLAB")
    kind = item.attrs["MATLAB_class"]
    return kind.decode() if isinstance(kind, bytes) else str(kind)


def _check_chunks(dataset: h5py.Dataset) -> None:
    """Refuse chunks that inflate to more than they are: HDF5 makes whatever their bytes ask for."""
    created = dataset.id.get_create_plist()
    filters = [created.get_filter(number)[0] for number in range(created.get_nfilters())]
    if len(set(filters)) < len(filters) or not set(filters) <= set(_FILTERS):
        raise ValueError("a filter that MATLAB does not use")
    most = math.prod(dataset.chunks) * dataset.dtype.itemsize + _CHECKSUM
    allowed = most_memory(0)
    if most > allowed:
        raise ValueError("a chunk that is too large")
    if _DEFLATE not in filters:
        return
    for number in range(dataset.id.get_num_chunks()):
        chunk = dataset.id.get_chunk_info(number)
        if chunk.size * MOST_PACKED <= allowed:  # deflate cannot make more of it
            continue
        _, content = dataset.id.read_direct_chunk(chunk.chunk_offset)
        if filters[-1] == h5py.h5z.FILTER_FLETCHER32:
            content = content[:-_CHECKSUM]
        try:
            size = inflated_size(io.BytesIO(content), most, zlib.MAX_WBITS)
        except zlib.error:
            continue  # stored as it is, or damaged: HDF5 tells
        if size > most:
            raise ValueError("a chunk that holds more than it may")
