"""Edits of the images of a DICOM series, and what tests of its refusals share."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset

from dtsinn.core.errors import InputError

from .dicom_series import Edit, Identity, SeriesRecipe, fake_identity, stamp

WHERE = "subjects.2.first"
C11 = 1224.0
ALL = slice(None)


def tags(**values: Any) -> Edit:
    """An edit that sets tags in all images; None removes one."""

    def edit(image: Dataset, frame: int, z: int) -> Dataset:
        for tag, value in values.items():
            if value is None:
                delattr(image, tag)
            else:
                setattr(image, tag, value)
        return image

    return edit


def drug(**values: Any) -> Edit:
    """An edit of the radiopharmaceutical."""

    def edit(image: Dataset, frame: int, z: int) -> Dataset:
        tags(**values)(image.RadiopharmaceuticalInformationSequence[0], frame, z)
        return image

    return edit


def only(frame: int | None, z: int | None, edit: Edit) -> Edit:
    """An edit of one frame, one slice, or one image."""

    def edit_one(image: Dataset, at_frame: int, at_z: int) -> Dataset | None:
        here = frame in (None, at_frame) and z in (None, at_z)
        return edit(image, at_frame, at_z) if here else image

    return edit_one


def both(*edits: Edit) -> Edit:
    def edit_all(image: Dataset, frame: int, z: int) -> Dataset | None:
        for edit in edits:
            changed = edit(image, frame, z)
            if changed is None:
                return None
        return image

    return edit_all


def left_out(image: Dataset, frame: int, z: int) -> None:
    return None


def as_ct(image: Dataset, frame: int, z: int) -> Dataset:
    image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    image.Modality, image.RescaleSlope = "CT", None
    return image


def earlier_series_start(seconds: float, *, factors: bool) -> Edit:
    """A series cut out of a longer acquisition, corrected to the start of that (Siemens)."""

    def edit(image: Dataset, frame: int, z: int) -> Dataset:
        recipe = SeriesRecipe(half_life=C11)
        image.SeriesDate, image.SeriesTime = stamp(
            recipe.clock - seconds, fake_identity(recipe.seed).date
        )
        image.FrameReferenceTime = f"{float(image.FrameReferenceTime) + 1000 * seconds:.10g}"
        gain = 2.0 ** (seconds / C11)
        image.RescaleSlope = f"{float(image.RescaleSlope) * gain:.10g}"
        image.DecayFactor = f"{recipe.factor(frame) * gain:.8g}" if factors else None
        return image

    return edit


def file_of(folder: Path, frame: int, z: int, slices: int = 3) -> Path:
    """The file of one image."""
    for path in folder.rglob("*.dcm"):
        if pydicom.dcmread(path, stop_before_pixels=True).ImageIndex == frame * slices + z + 1:
            return path
    raise LookupError


def refusal(call: Callable[[], Any]) -> InputError:
    with pytest.raises(InputError) as caught:
        call()
    return caught.value


def assert_silent_on(identity: Identity, *texts: str) -> None:
    for text, piece in itertools.product(texts, identity.pieces()):
        assert piece.lower() not in text.lower(), f"{piece} came out: {text}"
