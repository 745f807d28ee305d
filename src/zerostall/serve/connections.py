"""What a client may take before its request is there: connections, and time to send it.

uvicorn's own `limit_concurrency` would refuse also those who are connected as soon as others hold
the rest, and it knows no limit for the time until a request's head has come.
"""

from __future__ import annotations

import asyncio
import logging
import resource

from uvicorn.protocols.http.h11_impl import H11Protocol

from zerostall.serve.settings import Settings

RESERVED = 128  # file descriptors for the model, the threads that read it, logs
FEWEST = 16

log = logging.getLogger(__name__)


def most_connections(settings: Settings) -> int:
    """As many as the settings ask for, as far as the process may have open files."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return settings.connections
    return max(FEWEST, min(settings.connections, soft - RESERVED))


def protocol(most: int, head_s: float) -> type[asyncio.Protocol]:
    """uvicorn's connections with limits.

    Args:
        most: connections; one more is closed at once.
        head_s: seconds from the connection, or the first byte after an answer, in which the head
            of a request must have come. The body has a limit of its own.
    """

    class Limited(H11Protocol):
        _deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > most:
                log.warning("closed a connection: there are %d already", most)
                transport.close()
            else:
                self._watch()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._watch()

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            self._relax()

        def _watch(self) -> None:
            """Let the time run while a head is awaited; more bytes of it give no more time."""
            if self.cycle is not None and not self.cycle.response_complete:
                self._relax()
            elif self._deadline is None:
                self._deadline = self.loop.call_later(head_s, self._expire)

        def _relax(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

        def _expire(self) -> None:
            log.warning("closed a connection: no request came within %g s", head_s)
            self.transport.close()

    return Limited
