"""Pseudonyms: what subjects are called in a store, and the user's private file that knows more.

The identity map is the only file that holds what the user calls the subjects. It is readable by
its owner alone from the moment it exists, and every change to it is one renaming.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import stat
import tempfile
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from dtsinn.core.errors import InputError

FORMAT = "dtsinn-identity-map"
FORMAT_VERSION = 1
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

    def pseudonym(self, identity: str) -> str:
        """``s-`` and the first digits of HMAC-SHA256(salt, identity) (RFC 2104)."""
        digest = hmac.new(self.salt, identity.encode(), hashlib.sha256).hexdigest()
        return f"s-{digest[:DIGITS]}"


def same_person(identity: str) -> str:
    """An identity as it is compared: without outer blanks, its accents composed (NFC)."""
    return unicodedata.normalize("NFC", identity.strip())


def pseudonyms(identities: Sequence[str], identity_map: Path) -> list[str]:
    """Pseudonyms of subjects; the map is made, or extended by those it does not know.

    Whoever stands in a map already keeps the pseudonym. Two imports at once may share a map.

    Args:
        identities: What the user calls the subjects.
        identity_map: The user's private file, in JSON: format, salt, and identity by pseudonym.

    Raises:
        InputError: The map can be read or written by others than its owner, is damaged or cannot
            be written, or two subjects come to the same pseudonym.
    """
    try:
        identity_map.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{identity_map}.lock", mode=PRIVATE):
            return _extend(identities, identity_map)
    except OSError as error:
        raise InputError(
            f"the identity map {identity_map} cannot be read or written", got=error.strerror
        ) from None


def _extend(identities: Sequence[str], path: Path) -> list[str]:
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
    if subjects != known.subjects:
        _write(path, _IdentityMap(salt=known.salt, subjects=subjects))
    return names


def _read(path: Path) -> _IdentityMap | None:
    """The map, or None where there is none yet."""
    if not path.exists() and not path.is_symlink():
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
        content = json.loads(path.read_bytes())
        if (content["format"], content["format_version"]) != (FORMAT, FORMAT_VERSION):
            raise ValueError
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


def _write(path: Path, content: _IdentityMap) -> None:
    """Replace the map in one step; ``mkstemp`` makes its file with mode 600."""
    plain = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "salt": content.salt.hex(),
        "subjects": dict(content.subjects),
    }
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(plain, file, indent=1, ensure_ascii=False)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
