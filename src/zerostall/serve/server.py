"""A server process: listen, load, serve, drain."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

import uvicorn

from zerostall.errors import InvalidRequestError, ZerostallError
from zerostall.serve import app, logs
from zerostall.serve.connections import most_connections, protocol
from zerostall.serve.service import Service
from zerostall.serve.settings import Settings

if TYPE_CHECKING:
    from zerostall.llm import LLM

# Seconds after the grace time until uvicorn cuts off what has not ended: what was cancelled then
# ends at once, but for what waits for its client or reads a prompt.
CUT_S = 5


def serve(
    name: str,
    opening: AbstractContextManager[LLM],
    settings: Settings,
    announce: Callable[[str], None],
) -> None:
    """Serve a model until SIGINT or SIGTERM; then finish what runs, and return.

    The port is open before the model is loaded: until then most routes answer 503, and a signal
    ends the process.

    Args:
        name: the model's id in answers.
        opening: loads the model when it is entered, in another thread; closed in this one.
        settings: where to listen, and limits.
        announce: called with the address.

    Raises:
        InvalidRequestError: the address cannot be listened on.
        ZerostallError: the model could not be loaded.
    """
    service = Service(name, settings)
    with listen(settings) as listener:
        server = Server(service)
        failed = threading.Event()

        def stop() -> None:
            failed.set()
            server.should_exit = True

        loader = threading.Thread(
            target=service.load, args=(opening, stop), name="loading", daemon=True
        )
        logs.configure()
        with _signals_end(server):
            announce(_address(listener, settings))
            loader.start()
            server.run(sockets=[listener])
    if not service.loaded and not failed.is_set():
        # Told to stop while it loads, when there is nothing to finish. The thread is inside the
        # core, which nothing but the end of the process interrupts.
        sys.stdout.flush()
        os._exit(0)
    loader.join()
    if service.error is not None:
        raise service.error
    if not service.loaded:
        raise ZerostallError("the model could not be loaded; the log above says why")
    service.close()


class Server(uvicorn.Server):
    """uvicorn's, but what still runs after the grace time is told so before it is cut off."""

    def __init__(self, service: Service) -> None:
        super().__init__(configured(service))
        self._service = service

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let requests finish, cancel them after the grace time, and end."""
        grace_s = self._service.settings.grace_s
        if math.isinf(grace_s):
            await super().shutdown(sockets)
            return
        timer = asyncio.get_running_loop().call_later(grace_s, self._service.cancel)
        try:
            await super().shutdown(sockets)
        finally:
            timer.cancel()


def configured(service: Service) -> uvicorn.Config:
    """What uvicorn is told."""
    settings = service.settings
    grace_s = settings.grace_s
    return uvicorn.Config(
        app.build(service),
        http=protocol(most_connections(settings), settings.head_s),
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # they would let a client choose its address
        timeout_graceful_shutdown=None if math.isinf(grace_s) else math.ceil(grace_s) + CUT_S,
    )


def listen(settings: Settings) -> socket.socket:
    """A socket on the host and port of the settings.

    Raises:
        InvalidRequestError: the address cannot be had.
    """
    address = (settings.host, settings.port)
    try:
        family = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server(address, family=family, backlog=256)
    except OSError as error:
        raise InvalidRequestError(
            f"cannot listen on {settings.host} port {settings.port} ({error.strerror}): give "
            "another --host or --port"
        ) from error
    # Connections inherit it. asyncio sets it only where the listener names its protocol, which
    # create_server does not, and an answer's body then waits 40 ms for the client's delayed ACK.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _address(listener: socket.socket, settings: Settings) -> str:
    port = listener.getsockname()[1]
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{port}"


@contextmanager
def _signals_end(server: uvicorn.Server) -> Iterator[None]:
    """End the server also by signals that come before uvicorn looks for them.

    Those that stopped it it raises again when it has drained, and they change nothing then.
    """

    def stop(*_: object) -> None:
        server.should_exit = True

    ends = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(end, stop) for end in ends]
    try:
        yield
    finally:
        for end, handler in zip(ends, before, strict=True):
            signal.signal(end, handler)
