"""Layout of the store: which arrays it has, their dimensions, units and chunks.

A store is a zarr v3 group that ``xarray.open_zarr`` opens. Chunk = one sample, compressed with
blosc-lz4 and closed with a CRC-32C; shard = a block of samples. Floats are filled with NaN and
labels with 255, and all-zero chunks are written, so that a missing chunk cannot pass for data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import zarr

SPLITS = ("train", "val", "gate", "test", "calibrate")
"""``val`` steers training and search, ``gate`` promotions, ``test`` no decision; ``calibrate`` has
the limits and intervals of separations, and nothing else."""
MISSING_LABEL = 255
"""Fill value of ``regions``: a label that no region has."""


@dataclass(frozen=True, kw_only=True)
class ArraySpec:
    """One array of the store."""

    dims: tuple[str, ...]
    dtype: Any
    units: str
    meaning: str


IMAGES = {
    "mixture": ArraySpec(
        dims=("sample", "frame", "y", "x"),
        dtype="float32",
        units="kBq/mL",
        meaning="measured activity concentration, frame-averaged, not decay-corrected",
    ),
    "tracers": ArraySpec(
        dims=("sample", "tracer", "frame", "y", "x"),
        dtype="float32",
        units="kBq/mL",
        meaning="true activity concentration of each tracer, frame-averaged, not decay-corrected",
    ),
    "regions": ArraySpec(
        dims=("sample", "y", "x"),
        dtype="uint8",
        units="1",
        meaning="region labels; 0 is outside the body",
    ),
}
"""The chunked and sharded arrays; ``tracers`` and ``regions`` may be absent."""

COORDINATES = {
    "tracer": ArraySpec(dims=("tracer",), dtype=str, units="", meaning="tracer names"),
    "frame_start": ArraySpec(dims=("frame",), dtype="float64", units="s", meaning="frame start"),
    "frame_duration": ArraySpec(
        dims=("frame",), dtype="float64", units="s", meaning="frame duration"
    ),
    "injection_time": ArraySpec(
        dims=("tracer",), dtype="float64", units="s", meaning="time of injection"
    ),
    "half_life": ArraySpec(dims=("tracer",), dtype="float64", units="s", meaning="half-life"),
    "subject": ArraySpec(dims=("sample",), dtype=str, units="", meaning="subject id"),
    "slice": ArraySpec(
        dims=("sample",), dtype="float64", units="mm", meaning="axial position of the slice"
    ),
    "split": ArraySpec(dims=("sample",), dtype=str, units="", meaning="train, val, gate or test"),
    "y": ArraySpec(dims=("y",), dtype="float64", units="mm", meaning="pixel centre"),
    "x": ArraySpec(dims=("x",), dtype="float64", units="mm", meaning="pixel centre"),
}
"""Small arrays that every store has."""

KINETICS = {
    "input_time": ArraySpec(
        dims=("input_sample",), dtype="float64", units="s", meaning="time since scan start"
    ),
    "plasma": ArraySpec(
        dims=("subject", "tracer", "input_sample"),
        dtype="float64",
        units="kBq/mL",
        meaning="parent tracer in arterial plasma, not decay-corrected",
    ),
    "blood": ArraySpec(
        dims=("subject", "tracer", "input_sample"),
        dtype="float64",
        units="kBq/mL",
        meaning="whole blood, not decay-corrected",
    ),
    "kinetics": ArraySpec(
        dims=("subject", "tracer", "region", "parameter"),
        dtype="float64",
        units="K1 mL/cm3/min; k2, k3, k4 1/min; vB 1",
        meaning="rate constants of each subject",
    ),
    "group": ArraySpec(
        dims=("sample",), dtype=str, units="", meaning="group of the subject in its population"
    ),
    "region": ArraySpec(dims=("region",), dtype=str, units="", meaning="region of the kinetics"),
    "parameter": ArraySpec(dims=("parameter",), dtype=str, units="", meaning="rate constant"),
}
"""Arrays that a simulated store has; a real one may lack them.

``group`` came after the first stores, which hold one group and lack it. Those whose first dimension
is ``subject`` have a chunk per block and are written with its images.
"""
DTYPES = ("float32", "float16")
"""In which ``mixture`` and ``tracers`` may be stored; readers hand out float32."""
FLOAT16_LIMIT = float(np.finfo(np.float16).max)
"""Largest value that float16 holds, 65504 (IEEE 754), here in kBq/mL."""


def create_images(
    group: zarr.Group, name: str, shape: tuple[int, ...], block: int, dtype: str, coordinates: str
) -> None:
    """Create one of :data:`IMAGES` with shards of ``block`` samples; ``dtype`` is for floats."""
    from zarr.codecs import BloscCodec, Crc32cCodec

    spec = IMAGES[name]
    group.create_array(
        name,
        shape=shape,
        dtype=spec.dtype if name == "regions" else dtype,
        chunks=(1, *shape[1:]),
        shards=(block, *shape[1:]),
        compressors=[BloscCodec(cname="lz4", shuffle="shuffle"), Crc32cCodec()],
        fill_value=MISSING_LABEL if name == "regions" else np.nan,
        dimension_names=spec.dims,
        attributes={"units": spec.units, "long_name": spec.meaning, "coordinates": coordinates},
    )


def create_small(group: zarr.Group, name: str, values: Any) -> None:
    """Write one of :data:`COORDINATES` or :data:`KINETICS` as a single checked chunk."""
    spec = (COORDINATES | KINETICS)[name]
    values = np.asarray(values, dtype=object if spec.dtype is str else spec.dtype)
    _create(group, name, values.shape, values.shape)[...] = values


def create_per_subject(group: zarr.Group, name: str, shape: tuple[int, ...], subjects: int) -> None:
    """Create one of :data:`KINETICS` with chunks of ``subjects``, to be written block by block."""
    _create(group, name, shape, (subjects, *shape[1:]))


def is_per_subject(name: str) -> bool:
    """Whether this is one of :data:`KINETICS` with a row for each subject."""
    return name in KINETICS and KINETICS[name].dims[0] == "subject"


def _create(
    group: zarr.Group, name: str, shape: tuple[int, ...], chunks: tuple[int, ...]
) -> zarr.Array:
    from zarr.codecs import Crc32cCodec

    spec = (COORDINATES | KINETICS)[name]
    return group.create_array(
        name,
        shape=shape,
        dtype=spec.dtype,
        chunks=chunks,
        fill_value="" if spec.dtype is str else np.nan,
        compressors=[Crc32cCodec()],
        dimension_names=spec.dims,
        attributes={"long_name": spec.meaning} | ({"units": spec.units} if spec.units else {}),
    )
