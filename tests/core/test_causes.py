"""Errors of libraries and of the machine, raised for real, in our words."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dtsinn.core.causes import LENGTH, brief, cure_of, in_our_words
from dtsinn.core.errors import DtsinnError, InputError, PackageError, StoreError, naming


def raised(act: Callable[[], object]) -> Exception:
    with pytest.raises(Exception) as caught:  # noqa: PT011 (any kind)
        act()
    return caught.value


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "file").write_text("x")
    (tmp_path / "circle").symlink_to("circle")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "got", "hint"),
    [
        ("none", "No such file", "a path that exists"),
        ("file/x", "Not a directory", "one part of it is a file"),
        ("circle", "Too many levels of symbolic links", "circle of links"),
        ("x" * 300, "File name too long", "a shorter name"),
        (".", "Is a directory", "it is a folder"),
    ],
)
def test_what_the_operating_system_refuses_names_the_file_and_a_cure(
    here: Path, name: str, got: str, hint: str
) -> None:
    error = in_our_words(raised((here / name).read_bytes))
    assert error.what == str(here / name)
    assert error.got.startswith(got)
    assert hint in error.hint
    assert error.exit_code == 1


def test_a_full_disk_says_how_to_find_room() -> None:
    def fill() -> None:
        with Path("/dev/full").open("wb", buffering=0) as full:
            full.write(b"x")

    error = in_our_words(raised(fill), "writing x.zarr")
    assert str(error).startswith("writing x.zarr; got No space left on device; try df -h")


@pytest.mark.parametrize("name", ["EDQUOT", "EACCES", "EROFS", "EMFILE", "EIO", "EADDRINUSE"])
def test_other_refusals_have_a_cure_too(name: str) -> None:
    number = getattr(errno, name)
    error = in_our_words(OSError(number, os.strerror(number), "a", None, "b"))
    assert error.what == "b", "where it was to go"
    assert error.hint


@pytest.mark.parametrize(
    ("act", "hint"),
    [
        ("locked", "no other process writes there"),
        ("readonly", "a workspace that you may write"),
        ("none", "a workspace that you may write"),
        ("foreign", "a backup of it"),
    ],
)
def test_what_sqlite_refuses_has_a_cure(tmp_path: Path, act: str, hint: str) -> None:
    path = tmp_path / "mlflow.db"
    first = sqlite3.connect(path)
    first.execute("create table t (x)")

    def do() -> None:
        if act == "locked":
            first.execute("begin exclusive")
        if act == "foreign":
            path.write_bytes(b"no database " * 99)
        uri = {"readonly": f"file:{path}?mode=ro", "none": f"file:{tmp_path}/no/x"}
        second = sqlite3.connect(uri.get(act, f"file:{path}"), uri=True, timeout=0)
        try:
            second.execute("insert into t values (1)")
        finally:
            second.close()

    error = in_our_words(raised(do))
    first.close()
    assert "a bug" not in str(error)
    assert hint in error.hint


def bad_nifti(path: Path) -> object:
    import nibabel

    return nibabel.load(path)


def bad_dicom(path: Path) -> object:
    import pydicom

    return pydicom.dcmread(path)


def bad_hdf5(path: Path) -> object:
    import h5py

    return h5py.File(path)


def bad_safetensors(path: Path) -> object:
    from safetensors.numpy import load_file

    return load_file(path)


def bad_onnx(path: Path) -> object:
    import onnxruntime

    return onnxruntime.InferenceSession(path.read_bytes())


def bad_zarr(path: Path) -> object:
    import zarr

    return zarr.open_group(path.parent / "no.zarr", mode="r")


def bad_json(path: Path) -> object:
    return json.loads(path.read_text())


def bad_shape(path: Path) -> object:
    return np.linalg.inv(np.zeros((2, 2)))


@pytest.mark.parametrize(
    "read",
    [bad_nifti, bad_dicom, bad_hdf5, bad_safetensors, bad_onnx, bad_zarr, bad_json, bad_shape],
)
def test_what_a_library_raises_is_no_bug_of_ours(here: Path, read: Callable[..., object]) -> None:
    (here / "x.nii").write_bytes(b"neither this nor that" * 40)
    error = in_our_words(raised(lambda: read(here / "x.nii")))
    assert "a bug" not in str(error)
    assert error.got
    assert "\n" not in str(error)
    assert len(error.got) <= LENGTH


def test_what_is_no_text_says_where_and_what_was_wanted() -> None:
    error = in_our_words(raised(lambda: b"ab\xff".decode("utf-8")), "plan.yaml cannot be read")
    assert str(error) == (
        "plan.yaml cannot be read; got byte 0xff at position 2; wanted text in UTF-8"
    )
    assert error.exit_code == 2


def test_too_many_levels_and_too_little_memory_are_said() -> None:
    deep = raised(lambda: json.loads("[" * 100_000))
    assert isinstance(in_our_words(deep), InputError)
    assert "too many levels" in str(in_our_words(deep))
    vast = raised(lambda: np.zeros(2**50))
    assert "smaller batch" in in_our_words(vast).hint


def test_a_bug_is_called_one_and_says_where() -> None:
    from dtsinn.core.protocol import load_protocol

    error = in_our_words(raised(lambda: load_protocol(3)))  # type: ignore[arg-type]
    assert error.what == "a bug of dtsinn"
    assert "Error: " in error.got
    assert ".py:" in error.got
    assert "--debug" in error.hint
    assert error.exit_code == 1


def test_where_the_caller_knows_what_is_to_blame_nothing_is_a_bug() -> None:
    error = in_our_words(ValueError("odd"), "x.json cannot be read", PackageError)
    assert isinstance(error, PackageError)
    assert str(error) == "x.json cannot be read; got odd"


def test_ours_stay_as_they_are_and_causes_are_looked_for() -> None:
    ours = StoreError("x")
    assert in_our_words(ours, "reading") is ours
    outer = RuntimeError("it failed")
    outer.__cause__ = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert "df -h" in cure_of(outer)


def test_messages_are_short_and_hold_no_passwords_and_no_queries() -> None:
    text = "(sqlite3.OperationalError) database is locked\n[SQL: INSERT INTO x]\n(Background on"
    assert brief(Exception(text)) == "(sqlite3.OperationalError) database is locked"
    assert "geheim" not in brief(Exception("at postgresql://me:geheim@host/db?password=geheim"))
    assert len(brief(Exception("x" * 999))) == LENGTH
    assert brief(KeyError()) == "KeyError"


@pytest.mark.parametrize("kind", [InputError, StoreError, PackageError])
def test_a_refusal_says_in_which_file_and_only_once(kind: type[DtsinnError]) -> None:
    for what, told in (("frames", "x.yaml: frames"), ("x.yaml: frames", "x.yaml: frames")):
        with pytest.raises(kind) as caught, naming("x.yaml"):
            raise kind(what, got=1, wanted=2, hint="3")
        assert str(caught.value) == f"{told}; got 1; wanted 2; try 3"
