"""The picture: how far the incumbent is from the best of the table, over the steps spent."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from benchmarks.efficiency.simulate import Trace

mpl.use("Agg")
SMALLEST = 0.003
"""Regret in dB at which the axis ends: zero has no place on a logarithmic one."""


def regret_chart(
    panels: Mapping[str, tuple[Mapping[str, Sequence[Trace]], float, float]],
    *,
    training: int,
    trainings: int,
) -> bytes:
    """A panel per table: median regret of each method with its quartiles; as PNG.

    Args:
        panels: Title -> searches by method, the table's best test PSNR and the target, dB.
        training: Steps of a whole training.
        trainings: Where the axis of steps ends, in whole trainings.
    """
    figure = Figure(figsize=(5.5 * len(panels), 4.2), layout="constrained")
    for axes, (title, (methods, best, target)) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
    ):
        grid = np.linspace(1, trainings, 4 * trainings)
        for number, (name, traces) in enumerate(methods.items()):
            regret = np.array(
                [[best - trace.at(int(x * training)) for x in grid] for trace in traces]
            )
            low, middle, high = np.quantile(np.clip(regret, SMALLEST, None), (0.25, 0.5, 0.75), 0)
            color = f"C{number}"
            axes.plot(grid, middle, color=color, label=name, linewidth=1.6)
            axes.fill_between(grid, low, high, color=color, alpha=0.1, linewidth=0)
        axes.axhline(best - target, color="0.4", linestyle=":", label="random's final best")
        axes.set(
            title=title,
            xlabel="steps of all trials, in whole trainings",
            ylabel="test PSNR below the table's best, dB",
            yscale="log",
            xlim=(1, trainings),
            ylim=(SMALLEST, 5),
        )
        axes.grid(alpha=0.3)
    figure.axes[0].legend(fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
