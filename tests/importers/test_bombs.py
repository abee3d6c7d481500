"""Files that promise more than they hold are refused before memory is taken, in one line."""

from __future__ import annotations

import os
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, RLELossless

from dtsinn.core.errors import InputError
from dtsinn.importers.dicom.scan import open_dicom
from dtsinn.importers.mat.file import mat_shape, read_mat
from dtsinn.importers.nifti.scan import open_nifti
from dtsinn.importers.plan import SinglePlan
from dtsinn.importers.scans import IMPORTERS

from .dicom_series import SeriesRecipe, series_array, write_series
from .mat_study import write_v73

MEMORY = 100 * 2**20
"""More than any of these refusals may take: what they promise is at least 1 GB."""
ZEROS = 8 * 2**20
FIELDS = {
    "FrameTimesStart": [0.0, 60.0],
    "FrameDuration": [60.0, 60.0],
    "ImageDecayCorrected": False,
    "Units": "kBq/mL",
    "InjectionStart": 0.0,
}


def zeros_without_end(repeats: int, wbits: int, head: bytes = b"") -> bytes:
    """A compressed stream of ``head`` and ``repeats`` times 8 MiB of zeros, made in no time.

    After a full flush a part refers to nothing before it, so that its bytes may stand again.
    """
    packer = zlib.compressobj(9, zlib.DEFLATED, wbits)
    begin = packer.compress(head) + packer.flush(zlib.Z_FULL_FLUSH)
    block = packer.compress(bytes(ZEROS)) + packer.flush(zlib.Z_FULL_FLUSH)
    return begin + block * repeats + packer.flush()


def refused(call: Callable[[], Any]) -> str:
    """The line with which a call is refused, within :data:`MEMORY`."""
    tracemalloc.start()
    try:
        with pytest.raises(InputError) as caught:
            call()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    line = str(caught.value)
    assert "\n" not in line
    assert peak < MEMORY
    return line


def mat5_file(path: Path, shape: tuple[int, int, int], repeats: int) -> None:
    """A compressed array of doubles, whose stream holds ``repeats`` times 8 MiB."""
    flags = struct.pack("<IIII", 6, 8, 6, 0)
    dims = struct.pack("<II3iI", 5, 12, *shape, 0)
    name = struct.pack("<II8s", 1, 4, b"data")
    size = 8 * int(np.prod(shape))
    inside = flags + dims + name + struct.pack("<II", 9, size)
    element = struct.pack("<II", 14, min(len(inside) + size, 2**32 - 1)) + inside
    packed = zeros_without_end(repeats, zlib.MAX_WBITS, element)
    header = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"
    path.write_bytes(header + struct.pack("<II", 15, len(packed)) + packed)


def test_a_small_mat_of_gigabytes_is_refused_when_it_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    mat5_file(path, (20_000, 20_000, 1), 390)
    line = refused(lambda: mat_shape(path, "data", "here"))
    assert "here needs more memory than is allowed; got 3.2 GB from a file of 3.2 MB" in line
    assert "wanted at most 1.0 GB; try DTSINN_MAX_MEMORY=6.4GB before the command" in line


def test_a_mat_that_holds_more_than_its_array_is_never_inflated(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    mat5_file(path, (4, 4, 2), 390)
    assert mat_shape(path, "data", "here") == (4, 4, 2)
    assert "here is cut short or damaged" in refused(lambda: read_mat(path, "data", "here"))


def test_a_bound_can_be_raised_and_lowered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.mat"
    mat5_file(path, (20_000, 20_000, 1), 390)
    monkeypatch.setenv("DTSINN_MAX_MEMORY", "4GB")
    assert mat_shape(path, "data", "here") == (20_000, 20_000, 1)
    write_v73(path, np.ones((4, 4, 2)))
    monkeypatch.setenv("DTSINN_MAX_MEMORY", "100B")
    assert "got 256 bytes from a file of" in refused(lambda: read_mat(path, "data", "here"))
    monkeypatch.setenv("DTSINN_MAX_MEMORY", "much")
    assert "got 'much'; wanted a size" in refused(lambda: read_mat(path, "data", "here"))


def _external(file: h5py.File, other: Path) -> None:
    file.create_dataset("data", shape=(2, 4, 4), dtype="u1", external=[(str(other), 0, 32)])


def _external_link(file: h5py.File, other: Path) -> None:
    file["data"] = h5py.ExternalLink(str(other), "/data")


def _soft_link(file: h5py.File, other: Path) -> None:
    file["far"] = h5py.ExternalLink(str(other), "/data")
    file["data"] = h5py.SoftLink("/far")


def _virtual(file: h5py.File, other: Path) -> None:
    layout = h5py.VirtualLayout(shape=(2, 4, 4), dtype="f8")
    layout[:] = h5py.VirtualSource(str(other), "data", shape=(2, 4, 4))
    file.create_virtual_dataset("data", layout)


def _reference(file: h5py.File, other: Path) -> None:
    file["own"] = np.ones((2, 4, 4))
    regions = file.create_dataset("data", (2, 4, 4), dtype=h5py.regionref_dtype)
    regions[0, 0, 0] = file["own"].regionref[0]


def _never_written(file: h5py.File, other: Path) -> None:
    file.create_dataset("data", (2, 4, 4), dtype="f8", chunks=(2, 4, 4), fillvalue=7.0)


def _chunk_without_end(file: h5py.File, other: Path) -> None:
    data = file.create_dataset("data", (2, 4, 4), dtype="f8", chunks=(2, 4, 4), compression="gzip")
    data.id.write_direct_chunk((0, 0, 0), zeros_without_end(390, zlib.MAX_WBITS))


def _two_filters(file: h5py.File, other: Path) -> None:
    created = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    created.set_chunk((2, 4, 4))
    created.set_deflate(9)
    created.set_deflate(9)
    space = h5py.h5s.create_simple((2, 4, 4))
    h5py.h5d.create(file.id, b"data", h5py.h5t.IEEE_F64LE, space, created)
    file["data"][...] = 1.0


def _huge_chunk(file: h5py.File, other: Path) -> None:
    data = file.create_dataset(
        "data", (2, 4, 4), maxshape=(None, 4, 4), dtype="f8", chunks=(10_000_000, 4, 4)
    )
    assert data.chunks is not None
    data.id.write_direct_chunk((0, 0, 0), bytes(64))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_external, "lies outside the file; got external storage"),
        (_external_link, "lies outside the file; got a link"),
        (_soft_link, "lies outside the file; got a link"),
        (_virtual, "lies outside the file; got a virtual dataset"),
        (_reference, "holds no real numbers"),
        (_never_written, "is cut short or damaged"),
        (_chunk_without_end, "is cut short or damaged"),
        (_two_filters, "is cut short or damaged"),
        (_huge_chunk, "is cut short or damaged"),
    ],
)
def test_a_mat_of_version_73_is_read_from_itself_and_within_bounds(
    tmp_path: Path, make: Callable[[h5py.File, Path], None], message: str
) -> None:
    path, other = tmp_path / "a.mat", tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["data"] = np.full((2, 4, 4), 42.0)
    with h5py.File(path, "w", userblock_size=512) as file:
        make(file, other)
    assert message in refused(lambda: read_mat(path, "data", "here"))


def nifti(
    folder: Path,
    *,
    shape: tuple[int, ...] = (4, 4, 4, 2),
    start: float = 352,
    behind: bytes = bytes(4),
    slope: tuple[float, float] = (1.0, 0.0),
    suffix: str = ".nii",
) -> Callable[[], Any]:
    """Opening a NIfTI file of floats with an edited header; ``behind`` follows its 348 bytes."""
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.float32)
    header.set_sform(np.diag([2.0, 3.0, 4.0, 1.0]), 1)
    header["dim"] = [4, *shape, 1, 1, 1]
    header["magic"], header["vox_offset"] = b"n+1", start
    header["scl_slope"], header["scl_inter"] = slope
    content = header.binaryblock + behind
    if suffix == ".nii":
        content += bytes(4 * 4 * 4 * 2 * 4)
    else:
        content = zeros_without_end(200, zlib.MAX_WBITS | 16, content)
    (folder / f"scan{suffix}").write_bytes(content)
    (folder / "scan.json").write_text(str(FIELDS).replace("'", '"').replace("False", "false"))
    return lambda: open_nifti(SinglePlan(image=f"scan{suffix}"), folder, "here", None)


EXTENSION = struct.pack("<4bii", 1, 0, 0, 0, 2**31 - 16, 6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": (1000, 1000, 1000, 2), "suffix": ".nii.gz"}, "here.image is damaged"),
        ({"shape": (500, 500, 400, 2), "suffix": ".nii.gz"}, "got 1.6 GB from a file of 1.6 MB"),
        ({"shape": (-4, 4, 4, 2)}, "here.image"),
        ({"shape": (4, 4, 4, -2)}, "here.image"),
        ({"start": 3e9}, "vox_offset; got 3e+09; wanted at most 4.2 MB"),
        ({"start": 3e9, "suffix": ".nii.gz"}, "vox_offset"),
        ({"start": float("nan")}, "vox_offset"),
        ({"start": -1.0, "behind": EXTENSION}, "vox_offset"),
        ({"start": 1e6, "behind": EXTENSION}, "an extension of its header; got 2147483632 bytes"),
        ({"start": 1e6, "behind": EXTENSION, "suffix": ".nii.gz"}, "an extension of its header"),
        ({"start": 0.0, "behind": EXTENSION}, "here.image cannot be read as NIfTI"),
        ({"slope": (float("nan"), 0.0)}, "scl_slope and scl_inter; got nan and 0"),
        ({"slope": (float("inf"), 0.0)}, "scl_slope"),
        ({"slope": (1.0, float("nan"))}, "scl_inter"),
    ],
)
def test_a_nifti_header_that_promises_too_much_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    assert message in refused(nifti(tmp_path, **changes))


def test_a_nifti_extension_that_is_one_is_passed_over(tmp_path: Path) -> None:
    behind = struct.pack("<4bii", 1, 0, 0, 0, 32, 6) + b"comment".ljust(24)
    scan = nifti(tmp_path, start=384.0, behind=behind)()
    assert scan.read_slices(slice(0, 4)).shape == (4, 2, 4, 4)


def bomb_of(path: Path) -> None:
    """Let a DICOM file be deflated, and inflate to gigabytes."""
    image = pydicom.dcmread(path)
    image.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    image.save_as(path)
    whole = path.read_bytes()
    meta = whole[: 144 + pydicom.dcmread(path).file_meta.FileMetaInformationGroupLength]
    path.write_bytes(meta + zeros_without_end(390, -zlib.MAX_WBITS))


def too_large(path: Path) -> None:
    image = pydicom.dcmread(path)
    image.file_meta.TransferSyntaxUID = RLELossless
    image.Rows = image.Columns = 40_000
    image.PixelData = pydicom.encaps.encapsulate([bytes(64)])
    image["PixelData"].VR = "OB"
    image.save_as(path)


def deep(path: Path) -> None:
    """Sequences in sequences, of no said length and never closed."""
    whole = path.read_bytes()
    meta = whole[: 144 + pydicom.dcmread(path).file_meta.FileMetaInformationGroupLength]
    item = struct.pack("<HH2sHI", 0x54, 0x16, b"SQ", 0, 2**32 - 1)
    path.write_bytes(meta + (item + struct.pack("<HHI", 0xFFFE, 0xE000, 2**32 - 1)) * 100_000)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (bomb_of, "needs more memory than is allowed"),
        (too_large, "here"),
        (deep, "here"),
    ],
)
def test_a_dicom_file_that_promises_too_much_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Path], None], message: str
) -> None:
    monkeypatch.setenv("DTSINN_MAX_MEMORY", "300MB")  # counting to 1 GB takes a second
    write_series(tmp_path, series_array(), SeriesRecipe())
    for path in sorted(tmp_path.rglob("*.dcm"))[: None if spoil is too_large else 1]:
        spoil(path)
    assert message in refused(lambda: open_dicom(tmp_path, "here").read_slices(slice(0, 9)))


def test_a_dicom_file_that_swells_after_it_was_opened_is_refused(tmp_path: Path) -> None:
    write_series(tmp_path, series_array(), SeriesRecipe())
    scan = open_dicom(tmp_path, "here")
    for path in tmp_path.rglob("*.dcm"):
        image = pydicom.dcmread(path)
        image.NumberOfFrames = 100_000
        image.save_as(path)
    assert "pixels; got 100000 x" in refused(lambda: scan.read_slices(slice(0, 1)))


def test_pipes_and_devices_are_no_files_of_an_import(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    write_series(tmp_path / "series", series_array(), SeriesRecipe())
    (tmp_path / "series" / "link").symlink_to(pipe)
    assert "got a pipe, no regular file" in refused(lambda: open_dicom(tmp_path / "series", "here"))
    assert "a pipe" in refused(lambda: mat_shape(pipe, "data", "here"))
    assert "a device" in refused(lambda: IMPORTERS["nifti"].open(Path("/dev/zero")))
    assert "a pipe" in refused(lambda: IMPORTERS["dicom"].open(pipe))
    call = nifti(tmp_path)
    (tmp_path / "scan.json").unlink()
    os.mkfifo(tmp_path / "scan.json")
    assert "here.sidecar cannot be read; got a pipe" in refused(call)
    (tmp_path / "scan.nii").unlink()
    os.mkfifo(tmp_path / "scan.nii")
    assert "here.image: no such file" in refused(call)


@pytest.mark.parametrize(
    "content",
    [b"[" * 100_000, b"{" * 17_000_000, b"1" * 10_000],
    ids=["deep", "long", "digits"],
)
def test_a_sidecar_that_is_endless_is_refused(tmp_path: Path, content: bytes) -> None:
    call = nifti(tmp_path)
    (tmp_path / "scan.json").write_bytes(content)
    assert "here.sidecar" in refused(call)
