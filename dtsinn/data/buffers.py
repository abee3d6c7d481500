"""Memory that is lent and used again once nobody looks at it.

Blocks of some megabytes that come and go are taken from the system and given back by the
allocator, page by page: up to a quarter of the time of reading them. Lent memory is not.
"""

from __future__ import annotations

import weakref
from collections import defaultdict

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


class Buffers:
    """Tensors to be filled; as many exist as were in use at once."""

    def __init__(self) -> None:
        self._idle: defaultdict[tuple[int, ...], list[npt.NDArray[np.float32]]] = defaultdict(list)

    def lend(self, shape: tuple[int, ...]) -> Tensor:
        """A float32 tensor with arbitrary content; it comes back when its last view is gone."""
        idle = self._idle[shape]
        memory = idle.pop() if idle else np.empty(shape, np.float32)
        # An array of its own, which torch keeps as long as any tensor looks at it.
        lent = memory[...]
        weakref.finalize(lent, idle.append, memory).atexit = False
        return torch.from_numpy(lent)
