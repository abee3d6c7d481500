"""Regions of imported subjects: label images on the grid of the scan, and a table of names.

The table is a BIDS ``dseg.tsv``: columns ``index`` and ``name``, any others are passed over. The
labels of the images are kept as they are.
"""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from nibabel.orientations import apply_orientation

from dtsinn.core.bounds import read_text
from dtsinn.core.errors import InputError
from dtsinn.core.paths import home_path
from dtsinn.data.layout import MISSING_LABEL
from dtsinn.importers.files import Stamp, fingerprint, read_stamps, refuse_passing
from dtsinn.importers.fitting import refuse_other_place
from dtsinn.importers.grid import Grid
from dtsinn.importers.nifti.scan import open_image
from dtsinn.importers.scan import Scan
from dtsinn.importers.source import Source

OUTSIDE = "outside"
"""Name of label 0."""
BIDS_SUFFIX = "_dseg"
"""Ending of a label image's stem, where its scan ends in ``_pet`` or in nothing."""


class LabelledStudy(Source):
    """A study with the regions of its subjects; see :class:`dtsinn.importers.source.Source`."""

    def __init__(
        self,
        study: Source,
        scans: Sequence[Scan],
        images: Sequence[Path],
        table: Path,
    ) -> None:
        """Check that the labels fit their scans.

        Args:
            study: The study without regions.
            scans: One of each subject, whose grid the labels have.
            images: The label image of each subject.
            table: Names of the labels.

        Raises:
            InputError: A file is missing or wrong, or an image has another grid than its scan.
        """
        names = read_names(table)
        places = [f"{subject.where}.regions" for subject in study.subjects]
        self._opened = [
            open_image(path, where, frames=False)
            for path, where in zip(images, places, strict=True)
        ]
        for (_, grid), scan, where in zip(self._opened, scans, places, strict=True):
            seen = dataclasses.replace(
                scan,
                size=grid.size,
                voxel_size=grid.voxel_size,
                origin=grid.origin,
                axes=grid.axes,
            )
            refuse_other_place(scan, seen, where, "its scan")
        self._study, self._places = study, places
        self.subjects = study.subjects
        self.shape = dataclasses.replace(study.shape, region_names=names)
        stamps: list[Stamp] = [*read_stamps(images, "regions"), *read_stamps([table], "regions")]
        self.fingerprint = fingerprint(study.fingerprint, stamps)

    def read(self, subject: int) -> dict[str, npt.NDArray[Any]]:
        """The images of one subject, and ``regions`` [S, Y, X].

        Raises:
            InputError: A label has no name.
        """
        image, grid = self._opened[subject]
        labels = read_labels(image, grid, self.shape.region_names, self._places[subject])
        return self._study.read(subject) | {"regions": labels}


def label_image(planned: str | None, image: str, folder: Path) -> Path:
    """Path of a subject's label image: what the plan says, or the file beside its scan.

    Args:
        planned: What stands in the plan, if anything does.
        image: The scan's image in the plan.
        folder: What paths are relative to.
    """
    if planned is not None:
        return folder / home_path(planned)
    scan = folder / home_path(image)
    stem = scan.name.removesuffix(".gz").removesuffix(".nii").removesuffix("_pet")
    beside = scan.with_name(f"{stem}{BIDS_SUFFIX}.nii.gz")
    return beside if beside.exists() else scan.with_name(f"{stem}{BIDS_SUFFIX}.nii")


def read_names(table: Path) -> tuple[str, ...]:
    """Label -> name of a ``dseg.tsv``; 0 is :data:`OUTSIDE`, labels without a row are ``label N``.

    Raises:
        InputError: It is missing, no such table, or names a label twice or beyond what a store
            holds.
    """
    where = "the table of regions"
    try:
        rows = list(csv.DictReader(read_text(table, "utf-8-sig").splitlines(), delimiter="\t"))
    except (OSError, ValueError, csv.Error) as error:
        got = getattr(error, "strerror", None) or "no text in UTF-8"
        raise InputError(f"{where} cannot be read", got=f"{table}: {got}") from None
    if not rows or not {"index", "name"} <= set(rows[0]):
        raise InputError(
            f"{where} has no columns index and name",
            got=f"{len(rows)} rows",
            wanted="a BIDS dseg.tsv, its columns parted by tabs",
        )
    found = {0: OUTSIDE}
    for number, row in enumerate(rows, 1):
        index, name = str(row["index"] or "").strip(), str(row["name"] or "").strip()
        there = f"{where}, row {number}"
        if not (index.isascii() and index.isdigit() and name and name.isprintable()):
            raise InputError(there, wanted="a whole number as index, and a name")
        _refuse_large(int(index), there)
        if int(index) in found and int(index):
            raise InputError(f"{there}: label {int(index)} stands twice", wanted="one name for it")
        if name in found.values() and int(index):
            raise InputError(
                f"{there}: its name stands twice", wanted="a name for each label, left and right"
            )
        if int(index):
            found[int(index)] = name
    return tuple(found.get(label, f"label {label}") for label in range(max(found) + 1))


def read_labels(image: Any, grid: Grid, names: Sequence[str], where: str) -> npt.NDArray[np.uint8]:
    """[S, Y, X] labels in the store's orientation."""
    try:
        stored = np.asarray(image.dataobj)
    except Exception as error:  # readers raise many kinds, and their text holds the path
        refuse_passing(where, error)
        raise InputError(
            f"{where} is damaged", got=type(error).__name__, wanted="all of its voxels"
        ) from None
    values = stored.reshape(stored.shape[:3])
    if not np.isfinite(values).all() or (values != np.round(values)).any() or values.min() < 0:
        raise InputError(f"{where}: labels", got="other numbers", wanted="whole ones from 0 on")
    largest = int(values.max())
    _refuse_large(largest, where)
    present = np.unique(values).astype(int).tolist()
    unnamed = [n for n in present if n >= len(names) or names[n] == f"label {n}"]
    if unnamed:
        raise InputError(
            f"{where}: label {unnamed[0]} has no name",
            got=f"{len(unnamed)} such labels",
            wanted="a row for each in the table of regions",
        )
    ras_XYS = apply_orientation(values, grid.orientation)  # type: ignore[no-untyped-call]
    return np.ascontiguousarray(ras_XYS.transpose(2, 1, 0)[:, ::-1], dtype=np.uint8)


def _refuse_large(label: int, where: str) -> None:
    if label >= MISSING_LABEL:
        raise InputError(
            f"{where}: label {label}",
            wanted=f"labels from 0 to {MISSING_LABEL - 1}",
            hint="numbering the regions anew, in image and table",
        )
