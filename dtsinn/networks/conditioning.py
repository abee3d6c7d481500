"""Conditioning: how a network is told of the protocol, so that one can serve several.

Shape letters: K tracer (2), T frame, F feature, C channel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

HIDDEN = 32
"""Units between a protocol's features and the channels they steer (uncited)."""
FEATURES = 8
"""Features of a frame, see :func:`protocol_features`."""


def protocol_features(
    frame_start: Sequence[float],
    frame_duration: Sequence[float],
    injection_time: Sequence[float],
    half_life: Sequence[float],
) -> Tensor:
    """What a network is told of each frame, as numbers of order one.

    Args:
        frame_start: [T] s.
        frame_duration: [T] s.
        injection_time: [K] s.
        half_life: [K] s.

    Returns:
        [T, F] float32: log of the mid-time and of the duration in minutes; for each tracer the
        hours since its injection, what decay has left of it since then, and whether it is
        injected by mid-frame.
    """
    rows = []
    for start, duration in zip(frame_start, frame_duration, strict=True):
        middle = start + duration / 2
        row = [math.log1p(middle / 60), math.log(duration / 60)]
        for injected, half in zip(injection_time, half_life, strict=True):
            since = middle - injected
            present = float(since > 0)
            row += [since / 3600, present * 0.5 ** (max(since, 0.0) / half), present]
        rows.append(row)
    return torch.tensor(rows)


class ProtocolEmbedding(nn.Module):
    """Protocol features -> gain and shift of ``width`` channels; zero at the start of a training.

    Every frame's features pass the same small network, and the frames are averaged with weights
    that it learns, so its size does not depend on the number of frames.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width
        self.inner = nn.Linear(FEATURES, HIDDEN)
        self.weight = nn.Linear(FEATURES, HIDDEN)
        self.outer = nn.Linear(HIDDEN, 2 * width)

    def draw_start(self, generator: torch.Generator) -> None:
        """Fill the weights: what is told first changes nothing, as the last layer is zero."""
        for linear in (self.inner, self.weight):
            nn.init.xavier_normal_(linear.weight, generator=generator)
            nn.init.zeros_(linear.bias)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def forward(self, protocol_TF: Tensor) -> Tensor:
        """[T, F] -> [2, width]."""
        hidden_TH = torch.tanh(self.inner(protocol_TF))
        attention_TH = torch.softmax(self.weight(protocol_TF), dim=0)
        film: Tensor = self.outer((hidden_TH * attention_TH).sum(dim=0))
        return film.reshape(2, self.width)
