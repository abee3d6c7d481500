"""Verification: whatever is not as listed is refused, and the message names the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dtsinn.core.errors import PackageError
from dtsinn.deploy.manifest import KNOWN_NAMES, MANIFEST_NAME, verify_files
from dtsinn.deploy.package import verify_package
from dtsinn.deploy.separator import Separator

EVERY_NAME = (*KNOWN_NAMES, MANIFEST_NAME)


def refusal(folder: Path) -> str:
    with pytest.raises(PackageError) as caught:
        Separator.load(folder)
    message = str(caught.value)
    assert "\n" not in message
    return message


def flaw(folder: Path) -> str:
    try:
        verify_files(folder)
    except PackageError as error:
        return str(error)
    return ""


def edit(folder: Path, **changes: Any) -> None:
    """Change the manifest's entry of the card."""
    manifest = json.loads((folder / MANIFEST_NAME).read_text("utf-8"))
    entry = next(file for file in manifest["files"] if file["path"] == "card.md")
    entry.update(changes)
    (folder / MANIFEST_NAME).write_text(json.dumps(manifest), "utf-8")


def test_a_package_lists_all_its_files(package: Path) -> None:
    assert {path.name for path in package.iterdir()} == set(EVERY_NAME)
    assert [file.path for file in verify_package(package).files] == sorted(KNOWN_NAMES)


@pytest.mark.parametrize("name", EVERY_NAME)
def test_a_flipped_byte_is_refused(copied: Path, name: str) -> None:
    path = copied / name
    whole = path.read_bytes()

    @settings(deadline=None)
    @given(position=st.integers(0, len(whole) - 1), bit=st.integers(0, 7))
    def flip(position: int, bit: int) -> None:
        damaged = bytearray(whole)
        damaged[position] ^= 1 << bit
        path.write_bytes(damaged)
        if name == MANIFEST_NAME:  # the flip may also fall on what it says of another file
            message = flaw(copied)
            if message:
                assert any(known in message for known in EVERY_NAME)
            else:
                assert json.loads(damaged) == json.loads(whole)  # white space for white space
        else:
            assert str(path) in refusal(copied)

    flip()


@pytest.mark.parametrize("name", EVERY_NAME)
def test_a_cut_file_is_refused(copied: Path, name: str) -> None:
    path = copied / name
    path.write_bytes(path.read_bytes()[:-5])
    assert name in refusal(copied)


@pytest.mark.parametrize("name", EVERY_NAME)
def test_a_missing_file_is_refused(copied: Path, name: str) -> None:
    (copied / name).unlink()
    assert name in refusal(copied)


@pytest.mark.parametrize("name", ["notes.txt", "weights.pkl", ".hidden"])
def test_an_extra_file_is_refused(copied: Path, name: str) -> None:
    (copied / name).write_text("more")
    assert name in refusal(copied)


def test_an_extra_folder_is_refused(copied: Path) -> None:
    (copied / "more").mkdir()
    assert "more" in refusal(copied)


@pytest.mark.parametrize("name", EVERY_NAME)
def test_a_link_is_refused_even_to_the_same_bytes(copied: Path, tmp_path: Path, name: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    (copied / name).rename(elsewhere)
    (copied / name).symlink_to(elsewhere)
    message = refusal(copied)
    assert name in message
    assert "link" in message


def test_a_link_to_nothing_is_refused(copied: Path) -> None:
    (copied / "dangling").symlink_to(copied / "nowhere")
    assert "dangling" in refusal(copied)


@pytest.mark.parametrize(
    "path",
    ["../card.md", "/etc/passwd", "sub/card.md", "./card.md", "card.md/..", "weights.pkl", ""],
)
def test_a_path_that_is_no_file_of_a_package_is_refused(copied: Path, path: str) -> None:
    (copied.parent / "card.md").write_bytes((copied / "card.md").read_bytes())
    edit(copied, path=path)
    message = refusal(copied)
    assert repr(path) in message
    assert MANIFEST_NAME in message


def test_a_file_listed_twice_is_refused(copied: Path) -> None:
    edit(copied, path="model.onnx")
    assert "model.onnx is listed twice" in refusal(copied)


@pytest.mark.parametrize(
    "change", [{"size": "12"}, {"size": -1}, {"sha256": "0" * 64}, {"mode": 7}, {"sha256": None}]
)
def test_a_wrong_entry_is_refused(copied: Path, change: dict[str, Any]) -> None:
    edit(copied, **change)
    refusal(copied)


def test_what_is_no_package_is_refused(tmp_path: Path) -> None:
    assert "no separator package" in refusal(tmp_path)
    assert "no separator package" in refusal(tmp_path / "nothing")
    (tmp_path / "file").write_text("")
    assert "no separator package" in refusal(tmp_path / "file")


def test_a_package_may_be_reached_through_a_link(package: Path, tmp_path: Path) -> None:
    (tmp_path / "latest").symlink_to(package)
    assert verify_package(tmp_path / "latest") == verify_package(package)
