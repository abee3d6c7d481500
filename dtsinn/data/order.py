"""The order in which an epoch's samples are read: random, fixed by a seed, dealt out in blocks.

The blocks of all epochs form one endless sequence: epoch 0 in random order, then epoch 1, and so
on. It is dealt out like cards to the parts, the loader workers of all ranks. So every sample of an
epoch belongs to exactly one part, whatever the number of blocks; no part is ever without work; and
an epoch has no edge at which one rank waits for another: each goes straight on to its blocks of
the next epoch, and takes as many batches as it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from dtsinn.core.seeds import generator

IndexArray = npt.NDArray[np.intp]


def blocks_of_epoch(
    chosen: IndexArray, block: int, *, seed: int, epoch: int, part: int = 0, parts: int = 1
) -> IndexArray:
    """The blocks that a part reads in an epoch, in the order of reading.

    Args:
        chosen: The samples, ascending positions in the store.
        block: Samples per block of the store.
        seed: Of the order.
        epoch: Its number, from 0 on.
        part: This part, from 0 on.
        parts: Number of parts that share each epoch.
    """
    blocks = generator(seed, "order", epoch).permutation(np.unique(chosen // block))
    first = (part - epoch * len(blocks)) % parts
    return blocks[first::parts]


def windows_of_epoch(
    chosen: IndexArray,
    block: int,
    *,
    seed: int,
    epoch: int,
    window: int,
    part: int = 0,
    parts: int = 1,
) -> Iterator[IndexArray]:
    """The samples of an epoch that a part yields, ``window`` shuffled blocks at a time.

    Arguments as of :func:`blocks_of_epoch`.
    """
    own = blocks_of_epoch(chosen, block, seed=seed, epoch=epoch, part=part, parts=parts)
    rng = generator(seed, "window", epoch, part)
    for first in range(0, len(own), window):
        yield rng.permutation(samples_of_blocks(chosen, block, own[first : first + window]))


def samples_of_blocks(chosen: IndexArray, block: int, blocks: IndexArray) -> IndexArray:
    """Those of ``chosen`` that lie in ``blocks``, ascending."""
    blocks = np.sort(blocks)
    begin = np.searchsorted(chosen, blocks * block)
    end = np.searchsorted(chosen, (blocks + 1) * block)
    return np.concatenate([chosen[b:e] for b, e in zip(begin, end, strict=True)])
