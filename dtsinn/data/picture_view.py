"""What the pictures of a subject share: which slice and pixels they show, and how they are named.

Shape letters: N sample (slice), K tracer (2), T frame, Y X pixel, P body pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dtsinn.core.figures import INK, SERIES, body_window, injection_line, minutes_text
from dtsinn.core.protocol import Protocol
from dtsinn.data.body import body_mask
from dtsinn.data.store import Samples, StoreHeader

Floats = NDArray[np.floating[Any]]

CLOSE = 0.15
"""Part of the scan between two injections below which their labels would overlap."""
LEFT = 0.95
"""Room for the names of rows and axes at the left edge, inches."""


@dataclass(frozen=True, kw_only=True)
class View:
    """A subject, and which part of it is shown; made by :func:`view_of`."""

    samples: Samples
    header: StoreHeader
    body_NYX: NDArray[np.bool_]
    sample: int
    """The slice with the most body pixels."""
    window: tuple[slice, slice]
    """Rows and columns of its body."""

    @property
    def pixel_aspect(self) -> float:
        """Height of a pixel over its width."""
        return self.header.voxel_size[0] / self.header.voxel_size[1]

    @property
    def body(self) -> NDArray[np.bool_]:
        """[Y, X] body pixels of the window."""
        body_YX: NDArray[np.bool_] = self.body_NYX[self.sample][self.window]
        return body_YX

    @property
    def aspect(self) -> float:
        """Height of the window over its width, in mm."""
        rows, columns = self.body.shape
        return float(rows / columns * self.pixel_aspect)

    @property
    def who(self) -> str:
        """Whose images they are."""
        return f"Subject {self.samples.subject_N[0]}"

    @property
    def where(self) -> str:
        """Which slice is shown."""
        level = round(float(self.samples.slice_N[self.sample]))
        return f"slice {self.sample + 1} of {len(self.samples.slice_N)} at {level} mm"

    def images(self, image_NTYX: Floats, frames: list[int]) -> Floats:
        """[T, Y, X] the window in some frames."""
        image_TYX: Floats = image_NTYX[self.sample][frames][:, *self.window]
        return image_TYX


def view_of(samples: Samples, header: StoreHeader) -> View:
    """The view of one subject.

    Args:
        samples: All of the subject.
        header: Of its store.
    """
    body_NYX = body_mask(samples, header.protocol)
    if not body_NYX.any():  # neither labels nor activity: show all
        body_NYX = np.ones_like(body_NYX)
    sample = int(body_NYX.sum(axis=(1, 2)).argmax())
    return View(
        samples=samples,
        header=header,
        body_NYX=body_NYX,
        sample=sample,
        window=body_window(body_NYX[sample]),
    )


def setting(header: StoreHeader) -> str:
    """Tracers, protocol, phantom and noise of a store, as far as it tells, in one line."""
    pair = " + ".join(tracer.upper() for tracer in header.tracers)
    parts = [pair, f"protocol {header.protocol.name}", header.phantom]
    return "   ·   ".join(
        [*filter(None, parts), *([f"{header.noise} noise"] if header.noise else [])]
    )


def largest_regions(
    regions_NYX: NDArray[np.uint8], names: tuple[str, ...], most: int
) -> dict[int, str]:
    """Label and name of the ``most`` largest regions, largest first.

    A label without a name is called after its number.
    """
    sizes = np.bincount(regions_NYX.ravel())
    sizes[0] = 0
    order = [int(label) for label in np.argsort(-sizes, kind="stable") if sizes[label] > 0]
    return {i: names[i] if i < len(names) else f"region {i}" for i in order[:most]}


def pixel_curves(image_NTYX: Floats, part_NYX: NDArray[np.bool_]) -> Floats:
    """[P, T] the curves of all pixels of a part."""
    return image_NTYX.transpose(0, 2, 3, 1)[part_NYX]


def frame_title(axes: Axes, protocol: Protocol, frame: int) -> None:
    """The times of a frame above its image."""
    span = minutes_text(protocol.frame_start[frame], protocol.frame_duration[frame])
    axes.set_title(f"{span} min", fontsize=7.5, color=INK, pad=3)


def frame_axis(axes: Axes, header: StoreHeader) -> None:
    """The time axis of a plot, with a marked line at each injection."""
    protocol = header.protocol
    first, second = protocol.injection_time
    close = second - first < CLOSE * protocol.end
    for tracer, time in enumerate(protocol.injection_time):
        label, row = header.tracers[tracer].upper(), tracer if close else 0
        injection_line(axes, time / 60, label, colour=SERIES[tracer], row=row)
    axes.set_xlim(0, protocol.end / 60)


def axes_at(
    figure: Figure,
    box: tuple[float, float, float, float],
    *,
    sharex: Axes | None = None,
    sharey: Axes | None = None,
) -> Axes:
    """Axes at a place in inches: left edge, upper edge from the top, width, height."""
    width, height = figure.get_size_inches()
    left, top, across, down = box
    place = (left / width, 1 - (top + down) / height, across / width, down / height)
    return figure.add_axes(place, sharex=sharex, sharey=sharey)
