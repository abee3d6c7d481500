"""uvicorn's protocol for connections on which a request does not come to an end of its headers."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

HEADERS_s = 20.0
"""How long the headers of a request may come in (nginx gives 60 s)."""


class PatientProtocol(H11Protocol):
    """Closes a connection that asks nothing: uvicorn itself waits for ever.

    ``h11`` bounds the headers' size, to 16 KiB here; uvicorn's other protocols do not.
    """

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._wait()

    def on_response_complete(self) -> None:
        """Begin to wait for the next request."""
        super().on_response_complete()
        self._wait()

    def _wait(self) -> None:
        if self._deadline:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(HEADERS_s, self._give_up)

    def _give_up(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()
