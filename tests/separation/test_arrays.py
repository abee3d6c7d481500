"""Scans in MATLAB files: separated as NIfTI is, and refused in words that know no plan."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io

import dtsinn
from dtsinn.core.errors import InputError
from tests.separation.conftest import turned
from tests.support.independent_scan import Head, load

Write = Callable[..., Path]
SLICE = 2


@pytest.fixture
def images(head: Head) -> np.ndarray:
    """[rows, columns, frames] of a slice, Bq/mL."""
    return np.ascontiguousarray(turned(head.mixture)[SLICE].transpose(1, 2, 0)) * 1000


@pytest.fixture
def save(write: Write, tmp_path: Path) -> Callable[[dict[str, Any]], Path]:
    """Saves arrays beside the sidecar that the head's scan has."""

    def make(arrays: dict[str, Any]) -> Path:
        sidecar = write(fields={"VoxelSize": [4.0, 4.0, 5.0]}).with_name("sub-07_pet.json")
        sidecar.rename(tmp_path / "slice.json")
        scipy.io.savemat(tmp_path / "slice.mat", arrays, do_compression=True)
        return tmp_path / "slice.mat"

    return make


@pytest.mark.parametrize("kind", ["float64", "int32"])
def test_a_slice_is_separated_as_the_same_of_a_nifti(
    model: Path,
    images: np.ndarray,
    save: Callable[..., Path],
    write: Write,
    tmp_path: Path,
    kind: str,
) -> None:
    whole = dtsinn.separate(write(), model, tmp_path / "whole")
    found = dtsinn.separate(save({"data": images.astype(kind)}), model, tmp_path / "out")
    assert found.verdict.inside, found.verdict.text
    for name in ("fmz", "fdg"):
        image = load(found.tracers[name])
        assert image.header.get_zooms()[:3] == (4.0, 4.0, 5.0)
        wanted = load(whole.tracers[name]).get_fdata()[:, :, SLICE]
        apart = np.abs(image.get_fdata()[:, :, 0] - wanted).max()
        assert apart < (1e-5 if kind == "float64" else 1e-3) * wanted.max()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: {"img": data}, "has no array of name data; got 1 of other names; try the ar"),
        (lambda data: {"data": data[..., None]}, "the array data; got 4 dimensions; wanted rows x"),
        (lambda data: {"data": data[..., 1:]}, "frames; got 17 in the array and 18 in the sidecar"),
        (lambda data: {"data": "text"}, "the array data holds no real numbers; got char"),
        (lambda data: {"data": np.where(data > 0, np.inf, data)}, "the array data holds infinity"),
        (lambda data: {"data": np.where(data > 0, data, np.nan)}, "the scan holds NaN; got "),
    ],
    ids=["other name", "four axes", "frames", "text", "infinity", "NaN"],
)
def test_what_is_refused(
    model: Path,
    images: np.ndarray,
    save: Callable[..., Path],
    tmp_path: Path,
    change: Callable[[np.ndarray], dict[str, Any]],
    words: str,
) -> None:
    scan = save(change(images))
    with pytest.raises(InputError) as caught:
        dtsinn.separate(scan, model, tmp_path / "out")
    assert words in str(caught.value)
    assert "plan" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_nan_outside_of_the_body_is_air_if_it_is_said(
    model: Path, images: np.ndarray, save: Callable[..., Path], tmp_path: Path
) -> None:
    images[0, 0] = np.nan
    scan = save({"data": images})
    found = dtsinn.separate(scan, model, tmp_path / "out", nan_is_air=True)
    assert np.isfinite(load(found.tracers["fmz"]).get_fdata()).all()


@pytest.mark.parametrize(
    ("cut", "words"), [(0.5, "is cut short or damaged"), (0.0, "is empty or no MATLAB file")]
)
def test_a_file_that_is_cut(
    model: Path,
    images: np.ndarray,
    save: Callable[..., Path],
    tmp_path: Path,
    cut: float,
    words: str,
) -> None:
    path = save({"data": images})
    path.write_bytes(path.read_bytes()[: int(cut * path.stat().st_size)])
    with pytest.raises(InputError, match=words):
        dtsinn.separate(path, model, tmp_path / "out")
