"""Small files that are replaced whole, or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dtsinn.core.atomic import replace_file


def test_a_file_is_replaced_with_the_mode_that_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "file"
    replace_file(path, "a text: \u00e4")
    assert path.read_bytes() == b"a text: \xc3\xa4"
    mask = os.umask(0)
    os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask
    replace_file(path, b"bytes", 0o600)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"bytes", 0o600)
    assert [*tmp_path.iterdir()] == [path]


def test_a_pipe_is_replaced_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "file")
    replace_file(tmp_path / "file", "a")
    assert (tmp_path / "file").read_text() == "a"


def test_of_what_cannot_be_put_in_place_nothing_stays(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        replace_file(tmp_path / "folder", "a")
    with pytest.raises(UnicodeEncodeError):
        replace_file(tmp_path / "file", "\udcff")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
