"""How often passwords may be tried: counted by user and by address, forgotten after minutes.

Who guesses is held up; nobody else is. A client whose password was right a while ago goes on,
whatever somebody at another address tries in that user's name, or another user at this address.
One wrong password is one guess, however often it comes: a job that was started before its user
changed the password repeats the old one for as long as it runs.
"""

from __future__ import annotations

import hmac
import ipaddress
import math
import secrets
import time
from collections.abc import Callable

from cachetools import TTLCache

WINDOW_s = 300.0
"""How long a wrong password counts."""
TRIES = 20
"""Different wrong passwords in that time by one user at one address (240 an hour guess nothing)."""
TRIES_EACH = 100
"""The same by one user at all addresses together, and by all users at one address."""
KNOWN_s = 24 * 3600.0
"""How long a user is known at an address after a right password."""
REFUTED_s = 30.0
"""How long a wrong password is taken for wrong at an address without being checked again."""
ENTRIES = 10_000
"""Users and addresses that are remembered; of more the oldest are forgotten."""

_Key = tuple[str, str]


class Logins:
    """Counts the wrong passwords of the last minutes.

    Args:
        clock: Monotonic time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._wrong: TTLCache[_Key, dict[bytes, float]] = TTLCache(ENTRIES, WINDOW_s, clock)
        self._known: TTLCache[_Key, bool] = TTLCache(ENTRIES, KNOWN_s, clock)
        self._refuted: TTLCache[tuple[str, bytes], bool] = TTLCache(ENTRIES, REFUTED_s, clock)
        self._secret = secrets.token_bytes(32)

    def is_refuted(self, user: str, address: str, password: str) -> bool:
        """Whether this password came from there just now, and was wrong."""
        return (network_of(address), self._digest(user, password)) in self._refuted

    def doubt(self) -> None:
        """Check every password again: somebody's was changed."""
        self._refuted.clear()

    def wait(self, user: str, address: str, password: str) -> int:
        """Seconds until this user may try a password from this address; 0: now."""
        waits, digest = [0.0], self._digest(user, password)
        for key, limit in self._limits(user, network_of(address)).items():
            wrong = self._wrong.get(key, {})
            if len(wrong) >= limit and digest not in wrong:
                waits.append(next(iter(wrong.values())) + WINDOW_s - self._clock())
        return math.ceil(max(waits))

    def note(self, user: str, address: str, password: str, *, right: bool) -> None:
        """Remember the outcome of a try."""
        network, digest = network_of(address), self._digest(user, password)
        if right:
            self._known[user, network] = True
            self._wrong.pop((user, network), None)
            return
        self._refuted[network, digest] = True
        for key in self._limits(user, network):
            if key not in self._wrong:
                self._wrong[key] = {}
            self._wrong[key].setdefault(digest, self._clock())

    def _digest(self, user: str, password: str) -> bytes:
        """Digest by which this process alone knows a password; a name has no colon."""
        return hmac.digest(self._secret, f"{user}:{password}".encode(), "sha256")

    def _limits(self, user: str, network: str) -> dict[_Key, int]:
        own = {(user, network): TRIES}
        if (user, network) in self._known:
            return own
        return own | {(user, ""): TRIES_EACH, ("", network): TRIES_EACH}


def network_of(address: str) -> str:
    """The address; of IPv6 the /64 network, all of whose addresses one machine may take."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return str(ipaddress.ip_network((found, 64), strict=False)) if found.version == 6 else address
