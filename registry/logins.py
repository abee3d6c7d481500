"""How often passwords may be tried: counted by user and by address, forgotten after minutes.

Who guesses is held up; nobody else is. A client whose password was right a while ago goes on,
whatever somebody at another address tries in that user's name, or another user at this address.
"""

from __future__ import annotations

import ipaddress
import math
import time
from collections.abc import Callable

from cachetools import TTLCache

WINDOW_s = 300.0
"""How long a wrong password counts."""
TRIES = 20
"""Wrong passwords in that time by one user at one address (uncited: 240 an hour guess nothing)."""
TRIES_EACH = 100
"""By one user at all addresses together, and by all users at one address."""
KNOWN_s = 24 * 3600.0
"""How long a user is known at an address after a right password."""
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
        self._wrong: TTLCache[_Key, list[float]] = TTLCache(ENTRIES, WINDOW_s, clock)
        self._known: TTLCache[_Key, bool] = TTLCache(ENTRIES, KNOWN_s, clock)

    def wait(self, user: str, address: str) -> int:
        """Seconds until this user may try a password from this address; 0: now."""
        waits = [0.0]
        for key, limit in self._limits(user, network_of(address)).items():
            times = self._wrong.get(key, [])
            if len(times) >= limit:
                waits.append(times[0] + WINDOW_s - self._clock())
        return math.ceil(max(waits))

    def note(self, user: str, address: str, *, right: bool) -> None:
        """Remember the outcome of a try."""
        network = network_of(address)
        if right:
            self._known[user, network] = True
            self._wrong.pop((user, network), None)
            return
        for key in self._limits(user, network):
            if key not in self._wrong:
                self._wrong[key] = []
            self._wrong[key].append(self._clock())

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
