"""Folders that appear whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from dtsinn.core.atomic import fresh_folder
from dtsinn.core.errors import PackageError


def test_it_appears_when_all_went_well(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "target"
    with fresh_folder(target) as partial:
        (partial / "a").write_text("1")
        assert not target.exists()
    assert [path.name for path in target.parent.iterdir()] == ["target"]
    assert (target / "a").read_text() == "1"


def test_nothing_stays_when_the_body_fails(tmp_path: Path) -> None:
    def fail() -> None:
        with fresh_folder(tmp_path / "target") as partial:
            (partial / "a").write_text("1")
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        fail()
    assert not list(tmp_path.iterdir())


def test_what_exists_is_refused_even_a_dangling_link(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(PackageError, match="link exists already"), fresh_folder(tmp_path / "link"):
        pytest.fail("the body must not run")
    assert (tmp_path / "link").is_symlink()


def test_of_two_writers_the_second_is_refused(tmp_path: Path) -> None:
    target = tmp_path / "target"

    def write_twice() -> None:
        with fresh_folder(target) as second:
            with fresh_folder(target) as first:
                assert first != second
                (first / "a").write_text("first")
            (second / "a").write_text("second")

    with pytest.raises(PackageError, match="target cannot be put in place"):
        write_twice()
    assert (target / "a").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["target"]


def test_a_place_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    target = tmp_path / "file" / "target"
    with pytest.raises(PackageError, match="target cannot be made"), fresh_folder(target):
        pytest.fail("the body must not run")
