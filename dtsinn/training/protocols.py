"""What a network that listens is told of a store's protocol, and which stores go together."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from dtsinn.core.errors import InputError
from dtsinn.data.store import Store, StoreHeader
from dtsinn.evaluation.metrics import first_frame
from dtsinn.networks.conditioning import protocol_features


def as_stores(stores: Store | Sequence[Store]) -> tuple[Store, ...]:
    """One store or several, as several."""
    return (stores,) if isinstance(stores, Store) else tuple(stores)


def features_of(header: StoreHeader) -> Tensor:
    """The features [T, F] of a store's protocol and half-lives."""
    protocol = header.protocol
    return protocol_features(
        protocol.frame_start, protocol.frame_duration, protocol.injection_time, header.half_life
    )


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
            first_frame(header.protocol, tracer)
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
