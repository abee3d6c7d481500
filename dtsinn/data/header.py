"""The header of a store: read from its attributes and coordinates, each of them checked."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dtsinn.core.bounds import refuse_more
from dtsinn.core.causes import brief
from dtsinn.core.errors import StoreError
from dtsinn.core.formats import STORE
from dtsinn.core.protocol import Protocol, protocol_of_frames
from dtsinn.data.layout import COORDINATES, DTYPES, IMAGES, KINETICS

if TYPE_CHECKING:
    import zarr

StrArray = npt.NDArray[np.object_]
AGAIN = "to make the store again"
USUAL = "usual"
"""Conditions of a simulation in which nothing was changed."""
TEXT_KINDS = "OTU"
"""Kinds of numpy types in which zarr hands out strings."""


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
    dtype: str
    """How mixture and tracers are stored, float32 or float16; readers hand out float32."""
    region_names: tuple[str, ...]
    """Label -> name, "outside" first; empty when unknown."""
    has_truth: bool
    origin: str
    """How the samples came about: simulated, semi-real, measured or imported."""
    noise: str
    """Its model where that is not the image's, and its level: ``mid``, ``osem mid``,
    ``measured``; empty when unknown."""
    labels: str
    """What ``tracers`` holds: ``truth``, or scans of each tracer alone; empty when unknown."""
    phantom: str
    population: str
    """How the subjects differ: its name; ``uniform`` for simulated stores that were made before
    there were others, empty for scans."""
    conditions: str = ""
    """How a simulated scan differs from the usual (:func:`conditions_text`); empty for others."""
    seed: int | None
    digest: str
    generator_version: str


def read_attributes(path: str, attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Refuse what is no finished store; the attributes as this version would write them.

    Raises:
        StoreError: It is of another or a newer format, or not complete.
    """
    current = STORE.read(attributes, path, StoreError)
    if attributes.get("complete") is not True:
        raise StoreError(f"{path} is not complete", hint="the command that wrote it, once more")
    return current


def read_header(
    path: str, members: Mapping[str, Any], attributes: Mapping[str, Any]
) -> StoreHeader:
    """The header of a finished store.

    Args:
        path: Of the store, for messages.
        members: Its arrays by name, and whatever else lies there.
        attributes: Of the group.

    Raises:
        StoreError: An array or attribute is missing, damaged, or does not fit the others.
    """
    sizes = _check_arrays(path, members)
    values = {name: coordinate(path, name, members[name]) for name in COORDINATES}
    first, second = values["tracer"]
    half_life = values["half_life"]
    if (half_life <= 0).any():
        raise StoreError(
            f"{path}: half_life", got=half_life.min(), wanted="seconds above 0", hint=AGAIN
        )
    of = _Attributes(path, attributes)
    protocol = protocol_of_frames(
        of.text("protocol"),
        values["frame_start"].tolist(),
        values["frame_duration"].tolist(),
        values["injection_time"].tolist(),
    )
    noise = of.get("noise", {}, lambda v: isinstance(v, Mapping), "a mapping")
    voxel = of.get("voxel_size", None, _is_voxel_size, "two lengths above 0, mm")
    return StoreHeader(
        path=path,
        tracers=(first, second),
        protocol=protocol,
        half_life=(float(half_life[0]), float(half_life[1])),
        size=(sizes["y"], sizes["x"]),
        voxel_size=(float(voxel[0]), float(voxel[1])),
        samples=sizes["sample"],
        dtype=str(members["mixture"].dtype),
        region_names=tuple(of.get("region_names", [], _is_names, "a list of names")),
        has_truth="tracers" in members,
        origin=of.text("origin", ""),
        noise=_noise_in_words(noise),
        labels=of.text("labels", ""),
        phantom=of.text("phantom", ""),
        population=of.text("population", "uniform" if of.text("origin", "") == "simulated" else ""),
        conditions=_conditions(of),
        seed=of.get("seed", None, lambda v: v is None or type(v) is int, "a whole number"),
        digest=of.text("digest"),
        generator_version=of.text("generator_version", ""),
    )


def coordinate(path: str, name: str, array: zarr.Array) -> npt.NDArray[Any]:
    """The values of a small array; text as an object array of ``str``.

    Raises:
        StoreError: It is damaged. A missing chunk reads as empty text or NaN.
    """
    try:
        values = np.asarray(array[...])
    except Exception as error:  # zarr and its codecs raise many kinds
        raise StoreError(f"{path}: {name} is damaged", got=brief(error), hint=AGAIN) from error
    if values.dtype.kind in TEXT_KINDS:
        values = np.array([str(value) for value in values], dtype=object)
        damaged = any(not value for value in values)
    else:
        damaged = not np.isfinite(values).all()
    if damaged:
        raise StoreError(
            f"{path}: {name} is damaged", got="a missing chunk, NaN or no value", hint=AGAIN
        )
    return values


class _Attributes:
    """Attributes, each looked at before it is used: a store may come from anywhere."""

    def __init__(self, path: str, values: Mapping[str, Any]) -> None:
        self.path = path
        self.values = values

    def get(self, key: str, absent: Any, is_right: Callable[[Any], bool], wanted: str) -> Any:
        value = self.values.get(key, absent)
        if not is_right(value):
            raise StoreError(
                f"{self.path}: attribute {key}", got=repr(value)[:80], wanted=wanted, hint=AGAIN
            )
        return value

    def text(self, key: str, absent: str | None = None) -> str:
        return str(self.get(key, absent, lambda v: isinstance(v, str), "text"))


def _is_voxel_size(value: Any) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) == 2
        and all(type(v) in {int, float} and 0 < v < np.inf for v in value)
    )


def _is_names(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(v, str) for v in value)


def _check_arrays(path: str, members: Mapping[str, Any]) -> dict[str, int]:
    """Names, types and dimensions of all arrays; the length of each dimension.

    Raises:
        StoreError: An array is missing, has another type or other dimensions, or two disagree.
    """
    import zarr

    sizes: dict[str, int] = {"tracer": 2}
    first_with = {"tracer": "a pair"}
    for name, spec in (IMAGES | COORDINATES | KINETICS).items():
        array = members.get(name)
        if array is None and (name == "mixture" or name in COORDINATES):
            raise StoreError(f"{path}: array {name} is missing", hint=AGAIN)
        if array is None:
            continue
        if not isinstance(array, zarr.Array):
            raise StoreError(f"{path}: {name}", got="a group", wanted="an array", hint=AGAIN)
        dims = array.metadata.dimension_names or ()
        if tuple(dims) != spec.dims:
            raise StoreError(
                f"{path}: dimensions of {name}",
                got=", ".join(map(str, dims)) or "none",
                wanted=", ".join(spec.dims),
                hint=AGAIN,
            )
        _check_type(path, name, spec.dtype, array.dtype)
        _check_memory(path, name, array)
        for dim, length in zip(dims, array.shape, strict=True):
            if sizes.setdefault(dim, length) != length:
                raise StoreError(
                    f"{path}: {name} has another shape than {first_with[dim]}",
                    got=f"{length} along {dim}",
                    wanted=sizes[dim],
                    hint=AGAIN,
                )
            first_with.setdefault(dim, name)
    empty = [dim for dim, length in sizes.items() if length == 0]
    if empty:
        raise StoreError(f"{path}: nothing along {empty[0]}", wanted="at least one", hint=AGAIN)
    return sizes


def _check_type(path: str, name: str, wanted: Any, got: np.dtype[Any]) -> None:
    if name in IMAGES and wanted == "float32":
        right, words = str(got) in DTYPES, " or ".join(DTYPES)
    elif wanted is str:
        right, words = got.kind in TEXT_KINDS, "text"
    else:
        right, words = got == np.dtype(wanted), wanted
    if not right:
        raise StoreError(f"{path}: type of {name}", got=got, wanted=words, hint=AGAIN)


def _check_memory(path: str, name: str, array: zarr.Array) -> None:
    """Refuse what needs too much memory at once: a shard of images, or all of a small array."""
    from dtsinn.data.codecs import foreign_codec

    foreign = foreign_codec(array.metadata.codecs)
    if foreign:
        raise StoreError(
            f"{path}: codec of {name}", got=foreign, wanted="blosc, gzip or zstd", hint=AGAIN
        )
    numbers = math.prod(array.shards or array.chunks)
    if name not in IMAGES:
        numbers = max(numbers, array.size)
    refuse_more(f"{path}: {name}", numbers * array.dtype.itemsize, error=StoreError)


def conditions_text(request: Mapping[str, Any]) -> str:
    """How a simulation differs from the usual one, in words: ``dose x 2, motion 1 mm``.

    Args:
        request: Its request as plain data; what is not named is as usual.

    Returns:
        The words, or :data:`USUAL`.
    """
    kinetics, dose = request.get("kinetics", "typical"), request.get("dose", 1.0)
    mismatch, motion = request.get("input_mismatch", 0.0), request.get("motion", 0.0)
    words = [
        f"{kinetics} kinetics" * (kinetics != "typical"),
        f"dose x {dose:g}" * (dose != 1),
        f"inputs off by {100 * mismatch:g} %" * (mismatch != 0),
        f"motion {motion:g} mm" * (motion != 0),
    ]
    return ", ".join(filter(None, words)) or USUAL


def _conditions(of: _Attributes) -> str:
    if of.text("origin", "") != "simulated":
        return ""
    request = of.get("request", {}, lambda v: isinstance(v, Mapping), "a mapping")
    try:
        return conditions_text(request)
    except (TypeError, ValueError):  # of another version, or damaged
        return ""


def _noise_in_words(noise: Mapping[str, Any]) -> str:
    model, level = str(noise.get("model", "")), str(noise.get("level", ""))
    return " ".join(part for part in ("" if model == "image" else model, level) if part)
