"""Regular files of a bounded size, and sizes as people write them."""

from __future__ import annotations

import io
import os
import socket
import zlib
from pathlib import Path

import pytest

from dtsinn.core.bounds import (
    OPTION,
    UnfitFileError,
    allowing,
    in_words,
    inflated_size,
    most_memory,
    open_file,
    read_bytes,
    read_json,
    refuse_more,
    size_of,
)
from dtsinn.core.config import read_yaml
from dtsinn.core.errors import InputError


def test_only_regular_files_are_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket is short
    os.mkfifo("pipe")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        for name, kind in (("pipe", "a pipe"), (".", "a folder"), ("/dev/zero", "a device")):
            with pytest.raises(UnfitFileError, match=f"^{kind}, no regular file$"):
                open_file(Path(name))
        with pytest.raises(OSError, match="socket"):
            open_file(Path("socket"))
    Path("file").write_bytes(b"whole")
    Path("link").symlink_to("file")
    assert read_bytes(Path("link")) == b"whole"
    with pytest.raises(FileNotFoundError):
        open_file(Path("nothing"))


def test_a_plan_that_is_a_pipe_or_a_device_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "plan.yaml")
    with pytest.raises(InputError, match="got a pipe, no regular file"):
        read_yaml(tmp_path / "plan.yaml")
    with pytest.raises(InputError, match="got a device, no regular file"):
        read_yaml(Path("/dev/zero"))


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(100))
    assert len(read_bytes(path, 100)) == 100
    with pytest.raises(UnfitFileError, match="more than 99 bytes"):
        read_bytes(path, 99)
    os.truncate(path, 2**40)  # a hole takes no disk
    with pytest.raises(UnfitFileError, match="more than 17 MB"):
        read_json(path)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("8GB", 8 * 10**9),
        ("500 mb", 5 * 10**8),
        ("1.5GiB", 1.5 * 2**30),
        ("100 bytes", 100),
        ("512B", 512),
        ("1000000", 10**6),
        ("2k", 2000),
    ],
)
def test_sizes_are_read_as_people_write_them(text: str, size: float) -> None:
    assert size_of(text) == size


@pytest.mark.parametrize(
    "text", ["", "much", "-1GB", "0", "0GB", "1e9", "8 GB of it", "nan", "9" * 99, "8", "999999"]
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="wanted a size such as 8GB or 500MB"):
        size_of(text)


def test_sizes_are_written_in_words() -> None:
    assert [in_words(n) for n in (12, 1500, 2 * 10**9, 3 * 10**13)] == [
        *("12 bytes", "1.5 kB", "2.0 GB", "30 TB")
    ]
    assert size_of(in_words(1_500_000)) == 1_500_000


def test_the_bound_grows_with_the_file_and_is_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(OPTION, raising=False)
    assert most_memory(0) == most_memory(10**6) == 10**9
    assert most_memory(5 * 10**7) == 64 * 5 * 10**7
    assert most_memory(10**15) < 10**15
    with pytest.raises(
        InputError, match=r"got 2.0 GB from a file of 3.0 MB; wanted at most 1.0 GB"
    ):
        refuse_more("it", 2 * 10**9, 3 * 10**6)
    with allowing("3GB"):
        refuse_more("it", 2 * 10**9, 3 * 10**6)
    with allowing(None):
        assert OPTION not in os.environ
    assert OPTION not in os.environ
    with pytest.raises(InputError, match="most memory; got 'all'"), allowing("all"):
        pass


def test_counting_ends_above_the_bound() -> None:
    packed = zlib.compress(bytes(10**7))
    assert inflated_size(io.BytesIO(packed), 10**8, zlib.MAX_WBITS) == 10**7
    assert 10**6 < inflated_size(io.BytesIO(packed), 10**6, zlib.MAX_WBITS) < 10**7
    with pytest.raises(zlib.error):
        inflated_size(io.BytesIO(packed[:-9]), 10**8, zlib.MAX_WBITS)
