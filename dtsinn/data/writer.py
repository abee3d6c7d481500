"""Writing a store: planned first, filled block by block, then sealed with a digest.

A local store grows as ``OUT.zarr.partial`` and gets its name when it is sealed; what an
interruption leaves behind is continued by the same plan. On object storage there is no renaming,
and ``complete: true``, written last, says the same.
"""

from __future__ import annotations

import json
import textwrap
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from dtsinn.core.bounds import is_outage
from dtsinn.core.causes import brief
from dtsinn.core.config import flatten
from dtsinn.core.errors import StoreError
from dtsinn.core.formats import STORE
from dtsinn.core.paths import is_url, local_or_url
from dtsinn.data.blocks import BlockWriter
from dtsinn.data.digest import content_digest
from dtsinn.data.layout import COORDINATES, IMAGES, create_images, create_per_subject, create_small
from dtsinn.data.plan import StorePlan, subjects_per_block
from dtsinn.data.storage import (
    cannot_write,
    open_for_writing,
    stored_keys,
    zarr_store,
)

FloatArray = npt.NDArray[np.floating[Any]]
MARK = {"format": STORE.name}
"""Attributes of a store whose layout is not whole yet."""


class StoreWriter:
    """A store under construction. :meth:`write` may be called from many processes at once."""

    def __init__(self, out: str, plan: StorePlan) -> None:
        self.out = out = local_or_url(out)
        self.plan = plan
        self.path = out if is_url(out) else f"{out}.partial"
        self.blocks = BlockWriter(out=out, path=self.path)

    def begin(self) -> list[int]:
        """Lay the store out, or continue what an interrupted writer of the same plan left.

        Returns:
            The blocks that are still to be written.

        Raises:
            StoreError: ``out`` exists already, or was begun with another plan.
            RunError: The storage fails: it is full, gone, or refuses.
        """
        refuse_existing(self.out)
        wanted = json.loads(json.dumps(self._attributes()))
        try:
            begun = _attributes_of(self.path)
            if begun is None and stored_keys(self.path):
                raise StoreError(
                    f"{self.path} holds something else", hint="another OUT, or remove it"
                )
            if begun is None or begun == MARK:
                self._lay_out(wanted)
                return list(range(self.plan.blocks))
            difference = _first_difference(begun, wanted)
            if difference:
                raise StoreError(
                    f"{self.path} was begun with other settings",
                    got=difference,
                    hint="the same command as before, or another OUT",
                )
            self._remove_torn_files()
            return self._pending_blocks()
        except Exception as error:  # storage backends raise many kinds
            raise cannot_write(self.out, error) from error

    def write(self, block: int, images: Mapping[str, npt.NDArray[Any]]) -> None:
        """Write one block, as :meth:`BlockWriter.write`; shapes as :attr:`StorePlan.images`."""
        self.blocks.write(block, images)

    def seal(self) -> str:
        """Write the digest and ``complete``, consolidate, and give the store its name.

        Returns:
            The content digest.

        Raises:
            StoreError: What was written cannot be read back, or ``out`` exists by now.
            RunError: The storage fails: it is full, gone, or refuses.
        """
        unwritten = self._pending_blocks()
        if unwritten:
            raise StoreError(
                f"{self.path} is not whole",
                got=f"{len(unwritten)} blocks unwritten, such as {unwritten[0]}",
                hint="to write them before it is sealed",
            )
        try:
            digest = content_digest(open_for_writing(self.path))
        except Exception as error:
            if is_outage(error):
                raise cannot_write(self.out, error) from error
            raise StoreError(
                f"{self.path} cannot be read back",
                got=brief(error),
                hint="to remove it, then the same command again",
            ) from error
        try:
            with warnings.catch_warnings():
                # Not in the zarr v3 specification yet, as zarr warns; xarray and zarr read it.
                warnings.simplefilter("ignore", zarr.errors.ZarrUserWarning)
                group = zarr.consolidate_metadata(
                    zarr_store(self.path, read_only=False), zarr_format=3
                )
            group.attrs.update({"digest": digest, "complete": True})  # the last write
            if self.path != self.out:
                refuse_existing(self.out)
                Path(self.path).rename(self.out)
        except Exception as error:  # storage backends raise many kinds
            raise cannot_write(self.out, error) from error
        return digest

    def _attributes(self) -> dict[str, Any]:
        plan = self.plan
        return {
            **STORE.mark,
            "tracers": list(plan.tracers),
            "protocol": plan.protocol.name,
            "voxel_size": list(plan.voxel_size),
            "voxel_size_units": "mm",
            "region_names": list(plan.region_names),
            "block": plan.block,
            "dtype": plan.dtype,
            **plan.attributes,
        }

    def _lay_out(self, attributes: dict[str, Any]) -> None:
        """Make the arrays; the attributes, written last, say that the layout is whole."""
        plan = self.plan
        subjects, per_block = len(set(plan.subject)), subjects_per_block(plan)
        group = zarr.open_group(
            zarr_store(self.path, read_only=False), mode="w", zarr_format=3, attributes=dict(MARK)
        )
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
        for name, rest in plan.per_subject.items():
            create_per_subject(group, name, (subjects, *rest), per_block)
        for name, shape in plan.images.items():
            dims = IMAGES[name].dims
            names = [
                n
                for n, spec in COORDINATES.items()
                if n not in dims and set(spec.dims) <= set(dims)
            ]
            create_images(group, name, shape, plan.block, plan.dtype, " ".join(names))
        group.attrs.update(attributes)

    def _pending_blocks(self) -> list[int]:
        keys = stored_keys(self.path)
        axes = {name: len(shape) for name, shape in self.plan.images.items()}
        axes |= {name: 1 + len(rest) for name, rest in self.plan.per_subject.items()}
        return [
            block
            for block in range(self.plan.blocks)
            if any(f"{name}/c/{block}{'/0' * (n - 1)}" not in keys for name, n in axes.items())
        ]

    def _remove_torn_files(self) -> None:
        """What a killed process was writing at the moment; they hold no data of the store."""
        if not is_url(self.path):
            for torn in Path(self.path).rglob("*.partial"):
                torn.unlink()


def refuse_existing(out: str) -> None:
    """Refuse a path that exists already.

    Raises:
        StoreError: It does.
        RunError: The storage cannot be reached.
    """
    out = local_or_url(out)
    if is_url(out):
        try:
            complete = (_attributes_of(out) or {}).get("complete") is True
        except Exception as error:  # storage backends raise many kinds
            raise cannot_write(out, error) from error
        if complete:
            raise StoreError(f"{out} exists already", hint="another OUT")
    elif Path(out).exists() or Path(out).is_symlink():
        raise StoreError(f"{out} exists already", hint="another OUT, or remove it")


def _centres(pixels: int, size_mm: float) -> FloatArray:
    return (np.arange(pixels) - (pixels - 1) / 2) * size_mm


def _attributes_of(path: str) -> dict[str, Any] | None:
    """Attributes of a group that was laid out, or None."""
    storage = zarr_store(path, read_only=True)
    try:
        group = zarr.open_group(storage, mode="r", use_consolidated=False, zarr_format=3)
    except (FileNotFoundError, KeyError, ValueError, zarr.errors.NodeNotFoundError):
        return None
    return dict(group.attrs) if group.attrs.get("format") else None


def _first_difference(begun: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """The first setting that differs; what sealing adds does not count."""
    before, now = flatten(begun), flatten(wanted)
    for key in sorted(set(before) | set(now)):
        if key in {"complete", "digest"}:
            continue
        if before.get(key) != now.get(key):
            was, is_now = (textwrap.shorten(repr(one.get(key)), 80) for one in (before, now))
            return f"{key}: {was} before and {is_now} now"
    return ""
