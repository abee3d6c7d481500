"""Pseudonyms: what subjects are called in a store, and the user's private file that knows more.

The identity map is the only file that holds what the user calls the subjects. It is readable by
its owner alone from the moment it exists, and every change to it is one renaming.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import secrets
import stat
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from dtsinn.core.atomic import replace_file
from dtsinn.core.bounds import read_bytes, read_json
from dtsinn.core.errors import InputError
from dtsinn.core.formats import IDENTITY_MAP

SALT_BYTES = 32
"""As many as SHA-256 has: a longer salt adds nothing."""
DIGITS = 10
"""Hex digits of a pseudonym: 40 bits, so that two of a thousand subjects share one once in two
million maps; that is then refused."""
PRIVATE = 0o600
OTHERS = 0o077
"""Permission bits of everybody but the owner."""


@dataclass(frozen=True, kw_only=True)
class _IdentityMap:
    """Content of the file."""

    salt: bytes
    subjects: Mapping[str, str]
    """Pseudonym -> identity."""

    def hash_with_salt(self, text: str) -> str:
        """HMAC-SHA256(salt, text) (RFC 2104), in hex."""
        return hmac.new(self.salt, text.encode(), hashlib.sha256).hexdigest()

    def pseudonym(self, identity: str) -> str:
        """``s-`` and the first digits of the keyed hash."""
        return f"s-{self.hash_with_salt(identity)[:DIGITS]}"


@dataclass(frozen=True, kw_only=True, repr=False)
class Enrolment:
    """Subjects that stand in a map; made by :func:`enrol`.

    Attributes:
        names: Their pseudonyms, in the order in which they were handed over.
    """

    names: list[str]
    _path: Path
    _map: _IdentityMap
    _before: bytes | None
    _mark: tuple[int, int]

    def hash_with_salt(self, text: str) -> str:
        """A hash of ``text`` by the map's salt: without the map it tells nothing."""
        return self._map.hash_with_salt(text)

    def withdraw(self) -> None:
        """Take back what the enrolment wrote, unless another import has used the map since.

        Errors of the storage are passed over: the caller has a refusal to tell.
        """
        with contextlib.suppress(OSError), _lock(self._path):
            if _mark(self._path) != self._mark:
                return
            if self._before is None:
                self._path.unlink()
                _lock_path(self._path).unlink()
            else:
                replace_file(self._path, self._before, PRIVATE)


def same_person(identity: str) -> str:
    """An identity as it is compared: without outer blanks, its accents composed (NFC)."""
    return unicodedata.normalize("NFC", identity.strip())


def enrol(identities: Sequence[str], identity_map: Path) -> Enrolment:
    """Give subjects pseudonyms; the map is made, or extended by those it does not know.

    Whoever stands in a map already keeps the pseudonym. Two imports at once may share a map.
    Where it is a link, the file that it leads to is changed.

    Args:
        identities: What the user calls the subjects.
        identity_map: The user's private file, in JSON: format, salt, and identity by pseudonym.

    Raises:
        InputError: The map can be read or written by others than its owner, is damaged or cannot
            be written, or two subjects come to the same pseudonym.
    """
    try:
        path = identity_map.resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
        with _lock(path):
            try:
                return _extend(identities, path)
            finally:
                if not path.exists():
                    _lock_path(path).unlink()
    except (OSError, RuntimeError) as error:  # pathlib's word for a circle of links
        got = getattr(error, "strerror", None) or "a circle of links"
        raise InputError(
            f"the identity map {identity_map} cannot be read or written", got=got
        ) from None


def _extend(identities: Sequence[str], path: Path) -> Enrolment:
    before = read_bytes(path) if path.exists() else None
    known = _read(path)
    if known is None:
        known = _IdentityMap(salt=secrets.token_bytes(SALT_BYTES), subjects={})
    subjects = dict(known.subjects)
    names = []
    for identity in map(same_person, identities):
        name = known.pseudonym(identity)
        if subjects.setdefault(name, identity) != identity:
            raise InputError(
                f"two subjects of {path} come to the same pseudonym, {name}", hint="another map"
            )
        names.append(name)
    extended = _IdentityMap(salt=known.salt, subjects=subjects)
    # Also where nothing is new: so that another import does not take back what this one uses.
    replace_file(path, _encode(extended), PRIVATE)
    return Enrolment(names=names, _path=path, _map=extended, _before=before, _mark=_mark(path))


def _read(path: Path) -> _IdentityMap | None:
    """The map, or None where there is none yet."""
    if not path.exists():
        return None
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & OTHERS:
        raise InputError(
            f"the identity map {path} is open to others than its owner",
            got=f"mode {mode:03o}",
            wanted=f"{PRIVATE:03o}",
            hint=f"chmod 600 {path}",
        )
    try:
        content = read_json(path)
        if content["format"] != IDENTITY_MAP.name:
            raise ValueError
        content = IDENTITY_MAP.read(content, f"the identity map {path}")
        read = _IdentityMap(salt=bytes.fromhex(content["salt"]), subjects=content["subjects"])
        # Every line can be proved, so that a damaged map never hands out another pseudonym.
        proved = all(read.pseudonym(identity) == name for name, identity in read.subjects.items())
        if len(read.salt) != SALT_BYTES or not proved:
            raise ValueError
    except (ValueError, TypeError, KeyError, AttributeError):
        # Their text may repeat the content, which names people.
        raise InputError(
            f"the identity map {path} is damaged",
            wanted="the file as dtsinn import wrote it",
            hint="a copy of it, or another map: subjects then get other pseudonyms",
        ) from None
    return read


def _encode(content: _IdentityMap) -> bytes:
    plain = {
        **IDENTITY_MAP.mark,
        "salt": content.salt.hex(),
        "subjects": dict(content.subjects),
    }
    return json.dumps(plain, indent=1, ensure_ascii=False).encode()


def _lock_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.lock")


def _lock(path: Path) -> FileLock:
    return FileLock(_lock_path(path), mode=PRIVATE)


def _mark(path: Path) -> tuple[int, int]:
    """What tells one writing of the map from the next."""
    found = path.stat()
    return found.st_ino, found.st_mtime_ns
