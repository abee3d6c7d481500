"""Pseudonyms and the identity map: private from the first moment, kept, and refused when open."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import stat
import threading
from pathlib import Path

import pytest

from dtsinn.core.errors import InputError
from dtsinn.importers import pseudonym
from dtsinn.importers.pseudonym import enrol

PEOPLE = ["Jane Roe", "Ægidius Müller", "17"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "study" / "identities.json"


def test_a_pseudonym_is_a_keyed_hash_and_the_map_tells_whose(path: Path) -> None:
    names = enrol(PEOPLE, path).names
    content = json.loads(path.read_text())
    salt = bytes.fromhex(content["salt"])
    assert len(salt) == 32
    for person, name in zip(PEOPLE, names, strict=True):
        wanted = hmac.new(salt, person.encode(), hashlib.sha256).hexdigest()[:10]
        assert name == f"s-{wanted}"
        assert content["subjects"][name] == person


def test_a_person_keeps_the_pseudonym_and_newcomers_are_added(path: Path) -> None:
    jane, _, _ = enrol(PEOPLE, path).names
    before = path.read_bytes()
    assert enrol(["Jane Roe"], path).names == [jane]
    assert path.read_bytes() == before
    newcomer, again = enrol(["John Roe", " Jane Roe "], path).names
    assert again == jane
    assert set(json.loads(path.read_text())["subjects"].values()) == {*PEOPLE, "John Roe"}
    assert newcomer not in {jane, again}


def test_the_same_letters_are_the_same_person_however_composed(path: Path) -> None:
    assert len(set(enrol(["Müller", "Müller", "Müller\n"], path).names)) == 1


def test_another_map_gives_other_pseudonyms(tmp_path: Path) -> None:
    assert enrol(PEOPLE, tmp_path / "a.json").names != enrol(PEOPLE, tmp_path / "b.json").names


def test_the_map_is_private_from_its_first_moment(path: Path, monkeypatch) -> None:
    """Whatever the umask, no file below the folder is ever open to others, not even for a while."""
    modes: list[tuple[str, int]] = []

    def look() -> None:
        modes.extend(
            (entry.name, stat.S_IMODE(entry.stat().st_mode)) for entry in path.parent.iterdir()
        )

    for name in ("fsync", "replace", "fdopen", "unlink"):
        original = getattr(os, name)

        def watched(*args, _original=original, **kwargs):
            look()
            result = _original(*args, **kwargs)
            look()
            return result

        monkeypatch.setattr(os, name, watched)
    before = os.umask(0)
    try:
        enrol(PEOPLE, path)
        enrol(["another"], path)
    finally:
        os.umask(before)
    look()
    assert len(modes) > 8
    assert {mode for _, mode in modes} == {0o600}


def test_an_interrupted_change_leaves_the_old_map(path: Path, monkeypatch) -> None:
    enrol(PEOPLE, path)
    before = path.read_bytes()

    def interrupt(handle: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        enrol(["another"], path)
    assert path.read_bytes() == before
    assert {entry.name for entry in path.parent.iterdir()} <= {path.name, f"{path.name}.lock"}


def test_two_imports_at_once_share_one_map(path: Path) -> None:
    found: dict[str, str] = {}

    def run(number: int) -> None:
        person = f"person {number}"
        found[person] = enrol([person], path).names[0]

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept = json.loads(path.read_text())["subjects"]
    assert {person: name for name, person in kept.items()} == found
    assert len(found) == 8


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644, 0o660])
def test_a_map_that_others_may_open_is_refused(path: Path, mode: int) -> None:
    enrol(PEOPLE, path)
    path.chmod(mode)
    with pytest.raises(
        InputError, match=f"open to others than its owner; got mode {mode:o}; wanted 600; try chmod"
    ):
        enrol(PEOPLE, path)


def damage(content: dict, what: str) -> str:
    if what == "salt":
        content["salt"] = "00" * 32
    elif what == "short":
        content["salt"] = content["salt"][:8]
        content["subjects"] = {}
    elif what == "person":
        content["subjects"] = dict.fromkeys(content["subjects"], "Jane Poe")
    elif what == "list":
        content["subjects"] = list(content["subjects"])
    return json.dumps(content)[: -5 if what == "cut" else None]


@pytest.mark.parametrize("what", ["salt", "short", "person", "list", "cut"])
def test_a_damaged_map_is_refused_and_left_alone(path: Path, what: str) -> None:
    enrol(PEOPLE, path)
    path.write_text(damage(json.loads(path.read_text()), what))
    before = path.read_bytes()
    with pytest.raises(InputError, match="is damaged; wanted the file as") as caught:
        enrol(PEOPLE, path)
    assert path.read_bytes() == before
    assert "Jane" not in str(caught.value)


def test_a_map_of_a_newer_dtsinn_is_refused_and_left_alone(path: Path) -> None:
    enrol(PEOPLE, path)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format_version": 2}))
    before = path.read_bytes()
    with pytest.raises(InputError, match="was written by a newer dtsinn; got format_version 2"):
        enrol(PEOPLE, path)
    assert path.read_bytes() == before


def test_two_people_never_share_a_pseudonym(path: Path, monkeypatch) -> None:
    monkeypatch.setattr(pseudonym, "DIGITS", 1)
    with pytest.raises(InputError, match=r"two subjects of .* come to the same pseudonym, s-"):
        enrol([f"person {number}" for number in range(17)], path)


def test_a_map_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"the identity map .* cannot be read or written"):
        enrol(PEOPLE, tmp_path / "file" / "map.json")
    (tmp_path / "circle.json").symlink_to(tmp_path / "circle.json")
    with pytest.raises(InputError, match=r"cannot be read or written; got a circle of links"):
        enrol(PEOPLE, tmp_path / "circle.json")


def test_a_map_that_is_a_link_stays_one(tmp_path: Path) -> None:
    link, kept = tmp_path / "link.json", tmp_path / "safe" / "kept.json"
    link.symlink_to(kept)
    names = enrol(PEOPLE, link).names
    assert enrol(PEOPLE, link).names == names
    assert link.is_symlink()
    assert not kept.is_symlink()
    assert kept.stat().st_mode & 0o777 == 0o600


def test_what_was_written_can_be_taken_back(path: Path) -> None:
    enrol(PEOPLE, path).withdraw()
    assert not list(path.parent.iterdir())
    enrol(PEOPLE, path)
    before = path.read_bytes()
    more = enrol(["another"], path)
    assert path.read_bytes() != before
    more.withdraw()
    assert path.read_bytes() == before


def test_what_another_import_uses_is_not_taken_back(path: Path) -> None:
    first = enrol(PEOPLE, path)
    second = enrol(PEOPLE, path)
    assert second.names == first.names
    first.withdraw()
    assert set(json.loads(path.read_text())["subjects"]) == set(second.names)


def test_a_refused_enrolment_leaves_no_lock(path: Path, monkeypatch) -> None:
    monkeypatch.setattr(pseudonym, "DIGITS", 1)
    with pytest.raises(InputError, match="come to the same pseudonym"):
        enrol([f"person {number}" for number in range(17)], path)
    assert not list(path.parent.iterdir())
