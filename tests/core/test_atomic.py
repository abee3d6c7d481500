"""Small files that are replaced whole, or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dtsinn.core.atomic import replace_file, replace_folder


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


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    for content in ("first", "second"):
        with replace_folder(tmp_path / "above" / "0") as partial:
            (partial / content).write_text(content)
    assert [path.name for path in (tmp_path / "above").rglob("*")] == ["0", "second"]


def test_a_folder_stays_when_its_replacement_fails(tmp_path: Path) -> None:
    with replace_folder(tmp_path / "folder") as partial:
        (partial / "whole").write_text("a")

    def fail() -> None:
        with replace_folder(tmp_path / "folder") as torn:
            (torn / "torn").write_text("b")
            raise OSError("no space left on the disk")

    with pytest.raises(OSError, match="disk"):
        fail()
    assert [path.name for path in tmp_path.rglob("*")] == ["folder", "whole"]


def test_a_folder_that_a_kill_left_without_its_name_gets_it_back(tmp_path: Path) -> None:
    folder = tmp_path / "a[b]"
    with replace_folder(folder) as partial:
        (partial / "whole").write_text("a")
    child = os.fork()
    if child == 0:  # dies between the two renamings
        rename = Path.rename

        def die_at_the_second(self: Path, target: Path) -> Path:
            if target == folder:
                os._exit(0)
            return rename(self, target)

        Path.rename = die_at_the_second  # type: ignore[method-assign,assignment]
        with replace_folder(folder) as partial:
            (partial / "new").write_text("b")
        os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert not folder.exists()

    def fail() -> None:
        with replace_folder(folder):
            raise OSError("no space left on the disk")

    with pytest.raises(OSError, match="disk"):
        fail()
    assert [path.name for path in folder.iterdir()] == ["whole"]


def test_of_two_that_replace_a_folder_at_once_the_last_stays_whole(tmp_path: Path) -> None:
    with replace_folder(tmp_path / "folder") as last:
        (last / "last").write_text("a")
        with replace_folder(tmp_path / "folder") as first:
            (first / "first").write_text("b")
    assert [path.name for path in tmp_path.rglob("*")] == ["folder", "last"]
