"""Memory that is lent and used again once nobody looks at it.

Blocks of some megabytes that come and go are taken from the system and given back by the
allocator, page by page: up to a quarter of the time of reading them. Lent memory is not.
"""

from __future__ import annotations

import weakref
from collections import defaultdict

import numpy as np
import numpy.typing as npt

Float32Array = npt.NDArray[np.float32]


class Buffers:
    """Arrays to be filled; as many exist as were in use at once."""

    def __init__(self) -> None:
        self._idle: defaultdict[tuple[int, ...], list[Float32Array]] = defaultdict(list)

    def lend(self, shape: tuple[int, ...]) -> Float32Array:
        """An array with arbitrary content; it comes back when its last view is gone."""
        idle = self._idle[shape]
        memory = idle.pop() if idle else np.empty(shape, np.float32)
        lent = memory[...]
        weakref.finalize(lent, idle.append, memory).atexit = False
        return lent
