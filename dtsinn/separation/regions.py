"""Regions of a scan: the user's label image, those of a store, or the body whole."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dtsinn.core.errors import InputError
from dtsinn.importers.fitting import refuse_other_place
from dtsinn.importers.nifti.regions import OUTSIDE, read_labels, read_names
from dtsinn.importers.nifti.scan import open_image
from dtsinn.separation.scan import WHERE, Mixture

ROIS = "the regions"
BODY = "body"
"""Name of the region where there is no other."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Rois:
    """Regions in which curves are read.

    Attributes:
        labels_SYX: Labels; 0 is none.
        names: Of the labels.
        given: They are the user's or the store's, not the body.
    """

    labels_SYX: npt.NDArray[np.uint8]
    names: tuple[str, ...]
    given: bool

    def name(self, label: int) -> str:
        """What a label is called."""
        return self.names[label] if label < len(self.names) else f"region {label}"


def open_rois(mixture: Mixture, image: Path | None) -> Rois | None:
    """The regions that are given; None where the body has to do.

    Args:
        mixture: The scan.
        image: A label image on its grid; names stand in a ``.tsv`` beside it, as BIDS has them.

    Raises:
        InputError: The image is missing or no such image, or lies on another grid.
    """
    if image is None:
        if mixture.labels is None:
            return None
        return Rois(labels_SYX=mixture.labels, names=mixture.region_names, given=True)
    opened, grid = open_image(image, ROIS, frames=False)
    scan = mixture.scan
    seen = replace(
        scan, size=grid.size, voxel_size=grid.voxel_size, origin=grid.origin, axes=grid.axes
    )
    refuse_other_place(scan, seen, ROIS, WHERE)
    table = image.with_name(f"{image.name.removesuffix('.gz').removesuffix('.nii')}.tsv")
    names: tuple[str, ...] = (OUTSIDE, *(f"region {label}" for label in range(1, 255)))
    if table.is_file():
        names = read_names(table)
    labels_SYX = read_labels(opened, grid, names, ROIS)
    if not labels_SYX.any():
        raise InputError(f"{ROIS}: labels", got="0 everywhere", wanted="regions")
    return Rois(labels_SYX=labels_SYX, names=names, given=True)


def rois_of_body(body_SYX: npt.NDArray[Any]) -> Rois:
    """The body as the one region."""
    return Rois(labels_SYX=body_SYX.astype(np.uint8), names=(OUTSIDE, BODY), given=False)
