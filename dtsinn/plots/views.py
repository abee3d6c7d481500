"""What the pictures of a subject share: which slice and pixels they show, and how they are named.

Shape letters: N sample (slice), K tracer (2), T frame, Y X pixel, P body pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Any, Literal

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dtsinn.core.display import minutes_text, subject_text
from dtsinn.core.isotopes import decay_correction
from dtsinn.core.protocol import Protocol
from dtsinn.core.tracer import NOT_READ, load_tracer, tracer_names
from dtsinn.data.body import body_mask
from dtsinn.data.store import Samples, StoreHeader
from dtsinn.plots.style import INK, SERIES, body_window, injection_line, show_image, text_width

Floats = NDArray[np.floating[Any]]

LEFT = 0.95
"""Room for the names of rows and axes at the left edge, inches; long names take more."""
DECAYED = 100.0
"""Decay correction beyond which a frame is not shown: next to nothing but noise is left."""
NO_IMAGE = "#d5dbe1"
"""Colour of pixels that are not shown."""


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
        """Whose images they are: ``Subject 17``."""
        return who(self.samples)

    @property
    def where(self) -> str:
        """Which slice is shown."""
        level = round(float(self.samples.slice_N[self.sample]))
        where = f"slice {self.sample + 1} of {len(self.samples.slice_N)} at {level} mm"
        return f"{where}, patient's left at the left" if self.left_at_left else where

    @property
    def left_at_left(self) -> bool:
        """Whether the patient's left is known to be at the left of the image.

        It is of phantoms and of scans that said how they lie; rows and columns of an imported
        matrix may run anywhere.
        """
        return bool(self.header.phantom) or self.header.origin in ("measured", "semi-real")

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


def who(samples: Samples) -> str:
    """Whose images they are, as a title: ``Subject 17``."""
    name = subject_text(str(samples.subject_N[0]))
    return name[0].upper() + name[1:]


def left_of(names: Sequence[str], size: float = 11.0) -> float:
    """Room at the left edge for such names in bold, at least :data:`LEFT`, inches."""
    return max(LEFT, *(text_width(name, size, "bold") + 0.3 for name in names))


def decay_factors(header: StoreHeader, tracer: int) -> NDArray[np.float64]:
    """[T] factors that correct a tracer's images for decay since its injection.

    1 before the injection; NaN beyond :data:`DECAYED`.
    """
    protocol, injected = header.protocol, header.protocol.injection_time[tracer]
    start_T, duration_T = np.array(protocol.frame_start), np.array(protocol.frame_duration)
    with np.errstate(over="ignore"):
        factor_T = decay_correction(start_T, duration_T, header.half_life[tracer], injected)
    factor_T[start_T + duration_T <= injected] = 1.0
    factor_T[~(factor_T <= DECAYED)] = np.nan
    return factor_T


def readout_regions(
    regions_NYX: NDArray[np.uint8],
    names: tuple[str, ...],
    tracers: Sequence[str],
    most: int,
) -> dict[int, str]:
    """Label and name of at most ``most`` regions: those that the tracers are given for.

    They come in turn, the most telling of each tracer first; then the largest others but CSF.

    Args:
        regions_NYX: Labels of one subject.
        names: Of the labels.
        tracers: Names; of one that is not shipped no region is known.
        most: How many at most.
    """
    present = largest_regions(regions_NYX, names, len(names) + 256)
    known = tracer_names()
    wanted = [
        [region for region in load_tracer(name).readout_regions if region in present.values()]
        for name in tracers
        if name in known
    ]
    first = [region for region in chain(*zip_longest(*wanted)) if region is not None]
    others = [name for name in present.values() if name not in NOT_READ]
    kept = list(dict.fromkeys([*first, *others]))[:most] or list(present.values())[:most]
    return {label: name for name in kept for label in present if present[label] == name}


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


def show_frame(axes: Axes, image_YX: Floats, colours: str, norm: Normalize, aspect: float) -> None:
    """A frame's image; one that has decayed is a grey field that says so."""
    show_image(axes, image_YX, colours, norm, aspect)
    if np.isnan(image_YX).any():
        axes.images[0].set_cmap(colormaps[colours].with_extremes(bad=NO_IMAGE))
        axes.text(
            0.5, 0.5, "decayed", transform=axes.transAxes, ha="center", va="center", fontsize=7,
            color=INK,
        )  # fmt: skip


def frame_axis(axes: Axes, header: StoreHeader) -> None:
    """The time axis of a plot, with a marked line at each injection above what is drawn."""
    protocol = header.protocol
    sides, rows = _label_places(axes, header)
    for tracer, time in enumerate(protocol.injection_time):
        label, row = header.tracers[tracer].upper(), tracer if rows == 2 else 0
        injection_line(axes, time / 60, label, colour=SERIES[tracer], row=row, side=sides[tracer])
    axes.set_xlim(0, protocol.end / 60)


def label_room(axes: Axes, header: StoreHeader) -> float:
    """Part of the height of a plot that the labels of its injections take."""
    height = float(axes.bbox.height / axes.figure.dpi)
    return (10 * _label_places(axes, header)[1] + 4) / 72 / height


def _label_places(axes: Axes, header: StoreHeader) -> tuple[list[Literal["left", "right"]], int]:
    """On which side of its line each injection's label stands, and how many rows both need."""
    width = float(axes.bbox.width / axes.figure.dpi)
    sides: list[Literal["left", "right"]] = []
    spans = []
    for name, time in zip(header.tracers, header.protocol.injection_time, strict=True):
        at, wide = width * time / header.protocol.end, text_width(name.upper(), 8.0) + 0.15
        sides.append("left" if at + wide > width and at > width / 2 else "right")
        spans.append((at - wide, at) if sides[-1] == "left" else (at, at + wide))
    return sides, 2 if spans[1][0] < spans[0][1] else 1


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
