"""Connections on which nothing comes, or half a request, do not use up the server."""

from __future__ import annotations

import contextlib
import json
import resource
import select
import socket
import threading

import httpx
import pytest
import uvicorn

from tests.serve.scripted import ScriptedLLM
from tests.tasks import HANG_S, eventually
from zerostall.serve.connections import most_connections
from zerostall.serve.server import configured, listen
from zerostall.serve.service import Service
from zerostall.serve.settings import Settings

CHAT = {"messages": [{"role": "user", "content": "x"}]}
WHOLE = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"


@contextlib.contextmanager
def listening(llm, **settings):
    """The address of a server of a scripted LLM, in a thread of this process."""
    service = Service("scripted", Settings(port=0, **settings))
    service.load(contextlib.nullcontext(llm), lambda: None)
    with listen(service.settings) as listener:
        server = uvicorn.Server(configured(service))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        address = listener.getsockname()
        thread.start()
        try:
            yield address
        finally:
            server.should_exit = True
            thread.join()


@contextlib.contextmanager
def connected(address):
    with socket.create_connection(address, timeout=HANG_S) as client:
        yield client


def url(address, path):
    return f"http://{address[0]}:{address[1]}{path}"


@contextlib.contextmanager
def answering(address, request, begun):
    """A connection whose request was taken; on a slow machine it may be cut before it is sent."""
    while True:
        with connected(address) as client:
            client.sendall(request)
            if begun(client):
                yield client
                return


def test_a_connection_without_a_whole_head_is_closed_but_an_answer_may_take_its_time():
    llm = ScriptedLLM("said", silent_until="released")
    body = json.dumps(CHAT).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"

    def begun(client):
        # Before it is released nothing can come but the news that it was cut.
        assert eventually(lambda: llm.sessions or select.select([client], [], [], 0)[0])
        return bool(llm.sessions)

    with (
        listening(llm, head_s=0.3) as address,
        answering(address, head.encode() + body, begun) as waiting,
    ):
        with contextlib.ExitStack() as halves:
            for half in (b"", WHOLE[:10], WHOLE[:-2]):
                client = halves.enter_context(connected(address))
                client.sendall(half)
                assert client.recv(1) == b""
        # As long has passed for the other one, three times.
        llm.released.set()
        answer = b""
        while piece := waiting.recv(65536):
            answer += piece
        assert answer.startswith(b"HTTP/1.1 200")
        assert b"said" in answer


def test_half_a_head_after_an_answer_ends_the_connection_too():
    def begun(client):
        return client.recv(65536).startswith(b"HTTP/1.1 200")

    with (
        listening(ScriptedLLM("a"), head_s=0.3) as address,
        answering(address, WHOLE, begun) as client,
        contextlib.suppress(BrokenPipeError, ConnectionResetError),
    ):
        client.sendall(WHOLE[:10])
        while client.recv(65536):  # what was left of the answer
            pass


def test_one_connection_more_than_there_may_be_is_closed_at_once():
    with (
        listening(ScriptedLLM("a"), connections=16, head_s=HANG_S) as address,
        contextlib.ExitStack() as all_,
    ):
        held = [all_.enter_context(connected(address)) for _ in range(16)]
        # In the order of their coming: once the last of the 16 is answered, all are there.
        held[-1].sendall(WHOLE)
        assert held[-1].recv(65536).startswith(b"HTTP/1.1 200")
        with connected(address) as refused:
            assert refused.recv(1) == b""
        held[0].sendall(WHOLE)  # those that are there are served
        assert held[0].recv(65536).startswith(b"HTTP/1.1 200")
        held[1].close()

        def served():
            with contextlib.suppress(httpx.TransportError):
                return httpx.get(url(address, "/health"), timeout=HANG_S).status_code == 200

        assert eventually(served)


@pytest.mark.parametrize(
    ("files", "most"), [(1024, 896), (200, 72), (20, 16), (65536, 1000), (-1, 1000)]
)
def test_there_are_no_more_connections_than_open_files_allow(monkeypatch, files, most):
    monkeypatch.setattr(resource, "getrlimit", lambda _: (files, files))
    assert most_connections(Settings()) == most
