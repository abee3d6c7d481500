"""MATLAB 5 and 7 against scipy's reader, and against bytes that are not what they were."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from dtsinn.core.errors import InputError
from dtsinn.core.seeds import generator
from dtsinn.importers.mat.file import mat_shape, read_mat
from dtsinn.importers.mat.mat5 import mat5_arrays, read_mat5

TYPES = ["f8", "f4", *(f"{sign}{size}" for sign in "iu" for size in (1, 2, 4, 8))]


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("stored", TYPES)
def test_numbers_are_those_that_scipy_reads(tmp_path: Path, stored: str, compressed: bool) -> None:
    rng = generator(0, stored)
    arrays = {
        "data": (rng.random((5, 4, 3)) * 100).astype(stored),
        "d": (rng.random((2, 9)) * 100).astype(stored),
        "a_name_of_more_than_four_letters": (rng.random((1, 1, 1, 2)) * 100).astype(stored),
    }
    path = tmp_path / "x.mat"
    savemat(path, arrays, do_compression=compressed)
    expected = loadmat(path)
    found = mat5_arrays(path)
    assert [array.name for array in found] == list(arrays)
    for array in found:
        read = read_mat5(path, array)
        assert array.shape == expected[array.name].shape
        assert np.array_equal(read, expected[array.name])
        assert np.dtype(array.kind) == expected[array.name].dtype


def test_whole_doubles_may_be_stored_in_bytes_and_in_either_order(tmp_path: Path) -> None:
    # As MATLAB writes doubles that are whole numbers; scipy itself never writes so.
    for order, mark in (("<", b"IM"), (">", b"MI")):
        version = struct.pack(f"{order}H", 0x0100)
        numbers = np.arange(12, dtype="u1").tobytes()
        content = struct.pack(f"{order}IIII", 6, 8, 6, 0)  # flags: class double
        content += struct.pack(f"{order}IIiiii", 5, 12, 2, 3, 2, 0)  # dimensions, filled to 8
        content += struct.pack(f"{order}II", 4 << 16 | 1, 0)[:4] + b"data"
        content += struct.pack(f"{order}II", 2, 12) + numbers + b"\0" * 4
        head = b"MATLAB 5.0 MAT-file".ljust(124) + version + mark
        path = tmp_path / "x.mat"
        path.write_bytes(head + struct.pack(f"{order}II", 14, len(content)) + content)
        assert mat_shape(path, "data", "here") == (2, 3, 2)
        expected = np.arange(12.0).reshape((2, 3, 2), order="F")
        assert np.array_equal(read_mat(path, "data", "here"), expected)
        assert np.array_equal(loadmat(path)["data"], expected)


@pytest.mark.parametrize("compressed", [False, True])
def test_any_other_byte_is_refused_or_changes_numbers_alone(
    tmp_path: Path, compressed: bool
) -> None:
    path = tmp_path / "x.mat"
    numbers = generator(0, "flip").random((3, 2, 2))
    savemat(path, {"data": numbers}, do_compression=compressed)
    whole = path.read_bytes()
    rng = generator(0, "other bytes")
    refused = 0
    for place in range(len(whole)):
        content = bytearray(whole)
        content[place] ^= int(rng.integers(1, 256))
        path.write_bytes(bytes(content))
        try:
            read = read_mat(path, "data", "here")
        except InputError:
            refused += 1
            continue
        assert read.shape == (3, 2, 2)
        if compressed:  # has a checksum
            assert np.array_equal(read, numbers)
    assert refused > 30, "most bytes of the heads matter"


@pytest.mark.parametrize("compressed", [False, True])
def test_a_file_that_ends_anywhere_else_is_refused(tmp_path: Path, compressed: bool) -> None:
    path = tmp_path / "x.mat"
    savemat(path, {"data": generator(0, "cut").random((3, 2, 2))}, do_compression=compressed)
    whole = path.read_bytes()
    for keep in range(len(whole)):
        path.write_bytes(whole[:keep])
        with pytest.raises(InputError, match=r"^here"):
            mat_shape(path, "data", "here")
