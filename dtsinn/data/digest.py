"""The content digest of a store: what it holds, whatever its chunks and codecs."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from dtsinn.core.errors import StoreError
from dtsinn.data.layout import COORDINATES, IMAGES, KINETICS, MISSING_LABEL


def content_digest(group: zarr.Group) -> str:
    """SHA-256 over every array's values and the descriptive attributes, as hex.

    The images are hashed sample by sample, many blocks at a time.

    Raises:
        StoreError: A chunk is missing. What zarr raises: a chunk is damaged.
    """
    import dask  # here: most who open a store never ask for its digest

    total = hashlib.sha256()
    for name, array in sorted(group.arrays()):
        total.update(name.encode())
        if name in IMAGES:
            block = (array.shards or array.chunks)[0]
            # The array goes into the function: dask would look into it anew for every task.
            hashed = dask.delayed(functools.partial(_hash_samples, array, name), pure=False)
            tasks = [hashed(start, block) for start in range(0, array.shape[0], block)]
            for hashes in dask.compute(*tasks, scheduler="threads"):
                total.update(hashes)
        elif name in COORDINATES or name in KINETICS:
            for values in _rows_in_turn(array):
                total.update(_bytes_of(values, name))
    attributes = {
        key: value
        for key, value in group.attrs.items()
        if key not in {"complete", "digest", "block", "generator_version"}
    }
    total.update(json.dumps(attributes, sort_keys=True).encode())
    return total.hexdigest()


def _hash_samples(array: zarr.Array, name: str, start: int, block: int) -> bytes:
    samples = array[start : start + block]
    return b"".join(
        hashlib.sha256(_require_values(sample, f"{name}, sample {start + row}").data).digest()
        for row, sample in enumerate(samples)
    )


def _require_values(values: npt.NDArray[Any], what: str) -> npt.NDArray[Any]:
    """The values, contiguous; a chunk that is missing or empty reads as the fill value."""
    if values.dtype == np.uint8:
        missing = bool((values == MISSING_LABEL).any())
    else:
        missing = not np.isfinite(values).all()
    if missing:
        raise StoreError(f"{what}: a missing chunk, NaN or infinity")
    return np.ascontiguousarray(values)


def _rows_in_turn(array: zarr.Array) -> Iterator[Any]:
    """The array chunk by chunk: the same bytes as of the whole, which may be large."""
    if array.dtype.kind not in "fiu":
        yield array[...]
        return
    for start in range(0, array.shape[0], array.chunks[0]):
        yield array[start : start + array.chunks[0]]


def _bytes_of(values: Any, name: str) -> bytes:
    values = np.asarray(values)
    if values.dtype.kind in "fiu":
        return bytes(_require_values(values, name).tobytes())
    return json.dumps([str(v) for v in values]).encode()
