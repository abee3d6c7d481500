"""Folders are deleted whole, also where a kill stopped it before."""

from __future__ import annotations

from pathlib import Path

from dtsinn.core.safe_delete import bytes_of, delete_safely, interrupted_deletions


def test_disposing_is_whole_and_can_be_repeated(tmp_path: Path) -> None:
    folder = tmp_path / "some"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "file").write_text("x")
    folder.rename(tmp_path / ".some.disposed")
    assert interrupted_deletions(tmp_path) == [folder]
    assert bytes_of(folder) == 1
    folder.mkdir()
    delete_safely(folder)
    delete_safely(folder)
    assert list(tmp_path.iterdir()) == []
