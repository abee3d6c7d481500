"""Writing one block into a store that was laid out, from whatever process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from dtsinn.core.errors import StoreError
from dtsinn.data.layout import FLOAT16_LIMIT, IMAGES, KINETICS, is_per_subject
from dtsinn.data.storage import cannot_write, open_for_writing


@dataclass(frozen=True, kw_only=True)
class BlockWriter:
    """Writes blocks into a store that was laid out: small, so that it travels to any process."""

    out: str
    """What the store will be called, for messages."""
    path: str
    """Where it grows."""

    def write(self, block: int, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Write one block: images, and per subject arrays where the store has them.

        Args:
            block: Its number.
            arrays: By name, as on disk but for the first axis, which holds the block's samples,
                or its subjects.

        Raises:
            StoreError: An array lacks or has another shape, holds NaN or infinity, or a value
                that does not fit the stored type.
            RunError: The storage fails: it is full, gone, or refuses.
        """
        try:
            group = open_for_writing(self.path)
            by_block = (*IMAGES, *filter(is_per_subject, KINETICS))
            targets = {name: group[name] for name in by_block if name in group}
        except Exception as error:  # storage backends raise many kinds
            raise cannot_write(self.out, error) from error
        for name, target in targets.items():
            where = _rows(target, block)
            wanted = (where.stop - where.start, *target.shape[1:])
            values = self._check(f"{name}, block {block}", arrays.get(name), wanted, target.dtype)
            try:
                with zarr.config.set({"array.write_empty_chunks": True}):
                    target[where] = values
            except Exception as error:
                raise cannot_write(self.out, error) from error

    def _check(
        self, what: str, values: npt.NDArray[Any] | None, wanted: tuple[int, ...], dtype: Any
    ) -> npt.NDArray[Any]:
        if values is None or values.shape != wanted:
            got = "nothing" if values is None else values.shape
            raise StoreError(f"{self.out}: {what}", got=got, wanted=wanted)
        if not np.isfinite(values).all():
            raise StoreError(f"{self.out}: {what} holds NaN or infinity")
        if dtype == np.float16:
            largest = float(max(values.max(), -values.min()))
            if largest > FLOAT16_LIMIT:
                raise StoreError(
                    f"{self.out}: {what} does not fit float16",
                    got=f"{largest:g} kBq/mL",
                    wanted=f"at most {FLOAT16_LIMIT:g} kBq/mL",
                    hint="a float32 store",
                )
        return values.astype(dtype, copy=False)


def _rows(array: zarr.Array, block: int) -> slice:
    """The part of the first axis that a block holds."""
    rows = (array.shards or array.chunks)[0]
    return slice(block * rows, min((block + 1) * rows, array.shape[0]))
