"""The content digest of a store: what it holds, whatever its chunks and codecs."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import dask
import numpy as np
import zarr

from dtsinn.data.layout import COORDINATES, IMAGES, KINETICS


def content_digest(group: zarr.Group) -> str:
    """SHA-256 over every array's values and the descriptive attributes, as hex.

    The images are hashed sample by sample, many blocks at a time.
    """
    total = hashlib.sha256()
    for name in sorted(group.array_keys()):
        total.update(name.encode())
        array = group[name]
        if name in IMAGES:
            block = array.shards[0]
            starts = range(0, array.shape[0], block)
            tasks = [dask.delayed(_hash_samples)(array, start, block) for start in starts]
            for hashes in dask.compute(*tasks, scheduler="threads"):
                total.update(hashes)
        elif name in COORDINATES or name in KINETICS:
            total.update(_bytes_of(array[...]))
    attributes = {
        key: value
        for key, value in group.attrs.items()
        if key not in {"complete", "digest", "block", "generator_version"}
    }
    total.update(json.dumps(attributes, sort_keys=True).encode())
    return total.hexdigest()


def _hash_samples(array: zarr.Array, start: int, block: int) -> bytes:
    samples = array[start : start + block]
    return b"".join(hashlib.sha256(np.ascontiguousarray(s).data).digest() for s in samples)


def _bytes_of(values: Any) -> bytes:
    values = np.asarray(values)
    if values.dtype.kind in "fiu":
        return bytes(values.tobytes())
    return json.dumps([str(v) for v in values]).encode()
