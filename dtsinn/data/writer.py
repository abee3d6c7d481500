"""Writing a store: planned first, filled block by block, then sealed with a digest.

A local store grows as ``OUT.zarr.partial`` and gets its name when it is sealed; what an
interruption leaves behind is continued by the same plan. On object storage there is no renaming,
and ``complete: true``, written last, says the same.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from dtsinn.core.errors import InputError, StoreError
from dtsinn.core.protocol import Protocol
from dtsinn.data.digest import content_digest
from dtsinn.data.layout import (
    COORDINATES,
    FORMAT,
    FORMAT_VERSION,
    IMAGES,
    SPLITS,
    create_images,
    create_small,
    is_url,
    zarr_store,
)

FloatArray = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, kw_only=True)
class StorePlan:
    """All of a store but its images."""

    tracers: tuple[str, str]
    protocol: Protocol
    half_life: tuple[float, float]
    """s"""
    size: tuple[int, int]
    """Rows Y and columns X of a slice."""
    voxel_size: tuple[float, float]
    """Along y and x, mm."""
    subject: tuple[str, ...]
    """[N] subject id of each sample; the samples of a subject stand together."""
    slice_position: tuple[float, ...]
    """[N] mm"""
    split: tuple[str, ...]
    """[N] one of :data:`SPLITS`, the same for all samples of a subject."""
    region_names: tuple[str, ...] = ()
    """Label -> name, "outside" first; empty without ``regions``."""
    has_truth: bool = True
    block: int
    """Samples per shard."""
    small: Mapping[str, Any] = field(default_factory=dict)
    """Arrays of :data:`dtsinn.data.layout.KINETICS`, by name."""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """How the samples came about: phantom, noise, seed, generator version, ..."""

    @property
    def samples(self) -> int:
        """Number of samples N."""
        return len(self.subject)

    @property
    def blocks(self) -> int:
        """Number of shards."""
        return -(-self.samples // self.block)

    @property
    def images(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the images by name."""
        frames = self.protocol.frames
        shapes: dict[str, tuple[int, ...]] = {"mixture": (self.samples, frames, *self.size)}
        if self.has_truth:
            shapes["tracers"] = (self.samples, 2, frames, *self.size)
        if self.region_names:
            shapes["regions"] = (self.samples, *self.size)
        return shapes

    def block_samples(self, block: int) -> slice:
        """The samples of shard ``block``."""
        return slice(block * self.block, min((block + 1) * self.block, self.samples))


class StoreWriter:
    """A store under construction. :meth:`write` may be called from many processes at once."""

    def __init__(self, out: str, plan: StorePlan) -> None:
        self.out = out
        self.plan = plan
        self.path = out if is_url(out) else f"{out}.partial"

    def begin(self) -> list[int]:
        """Lay the store out, or continue what an interrupted writer of the same plan left.

        Returns:
            The blocks that are still to be written.

        Raises:
            StoreError: ``out`` exists already, or was begun with another plan.
        """
        refuse_existing(self.out)
        wanted = json.loads(json.dumps(self._attributes()))
        begun = _attributes_of(self.path)
        difference = _first_difference(begun, wanted) if begun is not None else ""
        if difference:
            raise StoreError(
                f"{self.path} was begun with other settings",
                got=difference,
                hint="the same command as before, or another OUT",
            )
        if begun is None:
            self._lay_out(wanted)
        return [block for block in range(self.plan.blocks) if not self._is_written(block)]

    def write(self, block: int, images: Mapping[str, npt.NDArray[Any]]) -> None:
        """Write the images of one block; shapes as :attr:`StorePlan.images`, block first.

        Raises:
            StoreError: An image has another shape, or holds NaN or infinity.
        """
        where = self.plan.block_samples(block)
        group = self._group()
        for name, shape in self.plan.images.items():
            image = images[name]
            wanted = (where.stop - where.start, *shape[1:])
            if image.shape != wanted:
                raise StoreError(
                    f"{self.out}: {name}, block {block}", got=image.shape, wanted=wanted
                )
            if not np.isfinite(image).all():
                raise StoreError(f"{self.out}: {name}, block {block} holds NaN or infinity")
            with zarr.config.set({"array.write_empty_chunks": True}):
                group[name][where] = image.astype(IMAGES[name].dtype, copy=False)

    def seal(self) -> str:
        """Write the digest and ``complete``, consolidate, and give the store its name.

        Returns:
            The content digest.
        """
        group = self._group()
        digest = content_digest(group)
        group.attrs.update({"digest": digest, "complete": True})
        with warnings.catch_warnings():
            # Not in the zarr v3 specification yet, as zarr warns; xarray and zarr read it.
            warnings.simplefilter("ignore", zarr.errors.ZarrUserWarning)
            zarr.consolidate_metadata(zarr_store(self.path, read_only=False), zarr_format=3)
        if self.path != self.out:
            refuse_existing(self.out)
            Path(self.path).rename(self.out)
        return digest

    def _group(self) -> zarr.Group:
        return zarr.open_group(
            zarr_store(self.path, read_only=False), mode="r+", use_consolidated=False
        )

    def _attributes(self) -> dict[str, Any]:
        plan = self.plan
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "tracers": list(plan.tracers),
            "protocol": plan.protocol.name,
            "voxel_size": list(plan.voxel_size),
            "voxel_size_units": "mm",
            "region_names": list(plan.region_names),
            "block": plan.block,
            **plan.attributes,
        }

    def _lay_out(self, attributes: dict[str, Any]) -> None:
        """Make the arrays; the attributes, written last, say that the layout is whole."""
        plan = self.plan
        if not is_url(self.path):
            shutil.rmtree(self.path, ignore_errors=True)
        group = zarr.open_group(zarr_store(self.path, read_only=False), mode="w", zarr_format=3)
        coordinates = {
            "tracer": plan.tracers,
            "frame_start": plan.protocol.frame_start,
            "frame_duration": plan.protocol.frame_duration,
            "injection_time": plan.protocol.injection_time,
            "half_life": plan.half_life,
            "subject": plan.subject,
            "slice": plan.slice_position,
            "split": plan.split,
            "y": _centres(plan.size[0], plan.voxel_size[0]),
            "x": _centres(plan.size[1], plan.voxel_size[1]),
        }
        for name, values in (coordinates | dict(plan.small)).items():
            create_small(group, name, values)
        for name, shape in plan.images.items():
            dims = IMAGES[name].dims
            names = [
                n
                for n, spec in COORDINATES.items()
                if n not in dims and set(spec.dims) <= set(dims)
            ]
            create_images(group, name, shape, plan.block, " ".join(names))
        group.attrs.update(attributes)

    def _is_written(self, block: int) -> bool:
        store = zarr_store(self.path, read_only=True)
        keys = [f"{name}/c/{block}{'/0' * (len(s) - 1)}" for name, s in self.plan.images.items()]
        return all(zarr.core.sync.sync(store.exists(key)) for key in keys)


def refuse_existing(out: str) -> None:
    """Refuse a path that exists already.

    Raises:
        StoreError: It does.
    """
    if is_url(out):
        if _is_complete(out):
            raise StoreError(f"{out} exists already", hint="another OUT")
    elif Path(out).exists() or Path(out).is_symlink():
        raise StoreError(f"{out} exists already", hint="another OUT, or remove it")


def assign_splits(subjects: int, shares: Mapping[str, float]) -> list[str]:
    """The split of each subject, by its number: whichever lacks most of its share so far.

    A subject's split does not depend on how many follow, so that the same subject never trains
    in one study and tests in a longer one.

    Raises:
        InputError: An unknown split, or shares that do not sum to 1.
    """
    unknown = set(shares) - set(SPLITS)
    if unknown or abs(sum(shares.values()) - 1) > 1e-6 or min(shares.values()) < 0:
        raise InputError(
            "split shares", got=dict(shares), wanted=f"shares of {', '.join(SPLITS)} that sum to 1"
        )
    counts = dict.fromkeys(SPLITS, 0)
    splits = []
    for subject in range(subjects):
        lacking = {s: shares.get(s, 0.0) * (subject + 1) - counts[s] for s in SPLITS}
        split = max(SPLITS, key=lambda s: round(lacking[s], 9))
        counts[split] += 1
        splits.append(split)
    return splits


def _centres(pixels: int, size_mm: float) -> FloatArray:
    return (np.arange(pixels) - (pixels - 1) / 2) * size_mm


def _attributes_of(path: str) -> dict[str, Any] | None:
    """Attributes of a group that was laid out, or None."""
    try:
        group = zarr.open_group(zarr_store(path, read_only=True), mode="r", use_consolidated=False)
    except (FileNotFoundError, KeyError, ValueError, zarr.errors.NodeNotFoundError):
        return None
    return dict(group.attrs) if group.attrs.get("format") else None


def _is_complete(path: str) -> bool:
    return (_attributes_of(path) or {}).get("complete") is True


def _first_difference(begun: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """The first setting that differs; what sealing adds does not count."""
    for key in sorted(set(begun) | set(wanted)):
        if key in {"complete", "digest"}:
            continue
        if begun.get(key) != wanted.get(key):
            return f"{key}: {begun.get(key)!r} before and {wanted.get(key)!r} now"
    return ""
