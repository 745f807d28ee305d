"""Bodies of requests: how long they may take, and how much of them there may be at once."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.serve.scripted import ScriptedLLM
from tests.serve.test_connections import connected, listening
from zerostall.serve import limits
from zerostall.serve.limits import BodyLimit

MOST = 100  # bytes of a body; so there may be 200 at once, and 100 of a client


def test_half_a_body_is_a_408_when_its_time_is_over():
    head = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n"
    with listening(ScriptedLLM("a"), body_s=0.3) as address, connected(address) as client:
        client.sendall(head + b'{"prompt": ')
        answer = b"".join(iter(lambda: client.recv(65536), b""))  # until it is closed
    head, body = answer.split(b"\r\n\r\n", 1)
    assert head.startswith(b"HTTP/1.1 408")
    assert b"connection: close" in head.lower()
    error = json.loads(body)["error"]
    assert error["type"] == "invalid_request_error"
    assert error["message"] == "the body did not arrive within 0.3 s"


class Bodies:
    """Requests whose bodies come as a test sends them, to an application that waits."""

    def __init__(self, monkeypatch, most_s=60.0):
        monkeypatch.setattr(limits, "BUFFERED_BYTES", 0)
        self.limit = BodyLimit(self._app, MOST, most_s)
        self.end = asyncio.Event()
        self.fails = False
        self.read = []

    async def _app(self, scope, receive, send):
        self.read.append((await receive()).get("body"))
        await self.end.wait()
        if self.fails:
            raise ValueError("a fault of the application")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{}"})

    @property
    def held(self):
        return self.limit._buffered.total

    async def begin(self, client, *pieces, whole=False):
        """A request of which this has come; its task, which gives the status and body."""
        request = Request(self.limit, client)
        for piece in pieces:
            await request.put(piece, more=not (whole and piece is pieces[-1]))
        return request


class Request:
    def __init__(self, limit, client):
        self._messages = asyncio.Queue()
        self.sent = []
        scope = {"type": "http", "client": (client, 1), "headers": [], "path": "/"}
        self.task = asyncio.ensure_future(limit(scope, self._messages.get, self._send))

    async def _send(self, message):
        self.sent.append(message)

    async def put(self, piece, more=True):
        await self._put({"type": "http.request", "body": piece, "more_body": more})

    async def leave(self):
        await self._put({"type": "http.disconnect"})

    async def _put(self, message):
        self._messages.put_nowait(message)
        for _ in range(10):  # until it was taken in
            await asyncio.sleep(0)

    @property
    def status(self):
        return self.sent[0]["status"]


def test_bodies_that_are_more_than_there_is_room_for_are_a_503(monkeypatch):
    async def main():
        bodies = Bodies(monkeypatch)
        held = [await bodies.begin("a", b"x" * 90, whole=True)]
        held.append(await bodies.begin("b", b"x" * 60, b"x" * 30))
        assert bodies.held == 180
        refused = await bodies.begin("c", b"x" * 20, b"x")
        await refused.task
        assert refused.status == 503
        headers = dict(refused.sent[0]["headers"])
        assert (headers[b"retry-after"], headers[b"connection"]) == (b"1", b"close")
        error = json.loads(refused.sent[1]["body"])["error"]
        assert error["type"] == "unavailable_error"
        assert "take 200 bytes, 20 of them yours" in error["message"]
        assert bodies.held == 180  # what was refused gives back what it had
        empty = await bodies.begin("a", b"", whole=True)
        assert bodies.read == [b"x" * 90, b""]  # a request without a body always has room
        bodies.end.set()
        await held[1].put(b"", more=False)
        await asyncio.gather(empty.task, *(each.task for each in held))
        assert [each.status for each in (empty, *held)] == [200] * 3
        assert bodies.held == 0

    asyncio.run(main())


def test_a_client_has_at_most_half_of_the_room(monkeypatch):
    async def main():
        bodies = Bodies(monkeypatch)
        held = [await bodies.begin("a", b"x" * 50, whole=True) for _ in range(2)]
        refused = await bodies.begin("a", b"x")
        await refused.task
        assert refused.status == 503
        other = await bodies.begin("b", b"x" * 100, whole=True)  # the largest there may be
        assert bodies.held == 200
        bodies.end.set()
        await asyncio.gather(other.task, *(each.task for each in held))
        assert other.status == 200

    asyncio.run(main())


@pytest.mark.parametrize("how", ["gone", "too large", "too late", "fault", "cancelled"])
def test_what_a_body_took_is_given_back_however_its_request_ends(monkeypatch, how):
    async def main():
        bodies = Bodies(monkeypatch, 0.2 if how == "too late" else 60.0)
        bodies.fails = how == "fault"
        request = await bodies.begin("a", b"x" * 70)
        assert bodies.held == 70
        bodies.end.set()
        if how == "gone":
            await request.leave()
        elif how == "too large":
            await request.put(b"x" * 31)
        elif how == "fault":
            await request.put(b"", more=False)
        elif how == "cancelled":
            request.task.cancel()
        ended = (await asyncio.gather(request.task, return_exceptions=True))[0]
        expected = {"fault": ValueError, "cancelled": asyncio.CancelledError}
        assert isinstance(ended, expected.get(how, type(None)))
        if how in ("too large", "too late"):
            assert request.status == {"too large": 413, "too late": 408}[how]
        assert bodies.held == 0

    asyncio.run(main())
