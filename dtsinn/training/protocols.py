"""Which stores one training can use together."""

from __future__ import annotations

from collections.abc import Sequence

from dtsinn.core.errors import InputError
from dtsinn.data.store import Store


def as_stores(stores: Store | Sequence[Store]) -> tuple[Store, ...]:
    """One store or several, as several."""
    return (stores,) if isinstance(stores, Store) else tuple(stores)


def digests_of(stores: Sequence[Store]) -> str:
    """Digests of the stores, as a run's progress has them."""
    return ",".join(store.header.digest for store in stores)


def check_stores_fit(stores: Sequence[Store]) -> None:
    """Refuse stores that one training cannot use.

    Raises:
        InputError: One has no sample in ``train`` or in ``val``, or other tracers or another
            number of frames than the first.
        StoreError: No frame starts after an injection.
    """
    first = stores[0].header
    for store in stores:
        header = store.header
        for split in ("train", "val"):
            if not store.subject_count(split):
                raise InputError(
                    f"{header.path} has no {split} subject", hint="a store of more subjects"
                )
        for tracer in range(len(header.tracers)):
            header.protocol.first_frame(tracer)
        if header.tracers != first.tracers:
            raise InputError(
                f"{header.path} has other tracers than {first.path}",
                got=" + ".join(header.tracers),
                wanted=" + ".join(first.tracers),
            )
        if header.protocol.frames != first.protocol.frames:
            raise InputError(
                f"{header.path} has {header.protocol.frames} frames",
                wanted=f"{first.protocol.frames}, as in {first.path}",
            )
