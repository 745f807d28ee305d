"""What the server keeps of a request: nothing once it has ended, wherever that was."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time

import httpx
import pytest

from tests.serve.process import LONG, serving
from tests.serve.scripted import ScriptedLLM, inside
from tests.tasks import HANG_S
from zerostall.serve.run import Run

BODY = {"messages": [{"role": "user", "content": "x"}]}
WAITING = 20


async def until(true):
    end = time.monotonic() + HANG_S
    while not true():
        assert time.monotonic() < end
        await asyncio.sleep(0.005)


def post(client, **fields):
    return asyncio.ensure_future(client.post("/v1/chat/completions", json=BODY | fields))


@pytest.mark.parametrize("stream", [False, True])
def test_no_run_is_kept_of_a_request_whose_time_was_over_while_it_waited(stream):
    async def main():
        llm = ScriptedLLM("a", silent_until="released")
        async with inside(llm, parallel=1, timeout_s=0.2) as (client, service):
            answers = await asyncio.gather(
                *(post(client, stream=stream) for _ in range(1 + WAITING))
            )
            assert all("longer than 0.2 s" in answer.text for answer in answers)
            # The thread of the one that ran does not look up before it is released.
            assert (len(service.runs), service.gate.running, service.gate.waiting) == (1, 1, 0)
            llm.released.set()
            await until(lambda: not service.runs)
            assert (service.gate.running, service.gate.waiting) == (0, 0)

    asyncio.run(main())


def test_no_run_is_kept_of_a_client_that_went_away_while_it_waited():
    async def main():
        llm = ScriptedLLM("a", silent_until="released")
        async with inside(llm, parallel=1) as (client, service):
            runs = post(client)
            await until(lambda: service.gate.running == 1)
            waiting = [post(client) for _ in range(WAITING)]
            await until(lambda: service.gate.waiting == WAITING)
            assert len(service.runs) == 1 + WAITING
            for each in waiting:
                each.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)
            assert (len(service.runs), service.gate.waiting) == (1, 0)
            llm.released.set()
            assert (await runs).status_code == 200
            assert len(service.runs) == 0

    asyncio.run(main())


def test_what_waits_when_the_server_stops_is_told_so():
    async def main():
        llm = ScriptedLLM("a", silent_until="cancelled")
        async with inside(llm, parallel=1) as (client, service):
            asked = [post(client) for _ in range(3)]
            await until(lambda: service.gate.waiting == 2)
            await service.stop()
            first, *others = await asyncio.gather(*asked)
            assert len(service.runs) == 0
        assert first.status_code == 200  # it was told to stop and has said all
        assert [answer.status_code for answer in others] == [503, 503]
        assert "before its turn" in others[0].json()["error"]["message"]

    asyncio.run(main())


class Stuck(ScriptedLLM):
    """Says one piece, and another once it is cancelled."""

    def _stream(self, prompt, session, priority):
        chunks = super()._stream(prompt, session, priority)
        yield next(chunks)
        while not (session.cancelled.is_set() or self.released.is_set()):
            time.sleep(0.001)
        yield from chunks


@pytest.mark.parametrize("turns", range(5))
def test_a_client_that_goes_away_just_as_a_token_comes_is_heeded(turns, monkeypatch):
    """The token comes so many turns of the event loop after the news."""
    take = Run._take

    async def main():
        llm, left = Stuck("a", "b"), asyncio.Event()
        messages = [{"type": "http.request", "body": json.dumps(BODY).encode()}]

        async def receive():
            if not messages:
                await left.wait()
                return {"type": "http.disconnect"}
            return messages.pop()

        async def send(message):
            assert message.get("status", 499) == 499

        def late(run, item, turns=turns):
            left.set()
            if turns:
                asyncio.get_running_loop().call_soon(late, run, item, turns - 1)
            else:
                take(run, item)

        monkeypatch.setattr(Run, "_take", late)
        async with inside(llm) as (client, service):
            app = client._transport.app
            scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions"}
            scope |= {"headers": [(b"content-type", b"application/json")], "query_string": b""}
            asked = asyncio.ensure_future(app(scope, receive, send))
            done, _ = await asyncio.wait([asked], timeout=HANG_S)
            assert done and asked.exception() is None
            assert llm.sessions[0].cancelled.is_set()
            await until(lambda: not service.runs)

    asyncio.run(main())


@contextlib.contextmanager
def sent(url, body):
    """A connection on which a request was sent and nothing is read."""
    target, content = httpx.URL(url), json.dumps(body).encode()
    head = f"POST {target.path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    head += f"Content-Length: {len(content)}\r\n\r\n"
    with socket.create_connection((target.host, target.port), timeout=HANG_S) as connection:
        connection.sendall(head.encode() + content)
        yield


def test_connections_cut_in_the_queue_leave_nothing_behind(tmp_path):
    with serving(tmp_path / "log.jsonl", "--parallel", "1", "--queue", str(WAITING)) as server:
        url = f"{server.url}/v1/completions"
        with httpx.stream("POST", url, json=LONG | {"stream": True}):
            server.wait_until("zerostall_running", 1)
            with contextlib.ExitStack() as waiting:
                for _ in range(WAITING):
                    # What waits may have no status yet.
                    waiting.enter_context(sent(url, LONG | {"stream": True}))
                server.wait_until("zerostall_runs", 1 + WAITING)
            server.wait_until("zerostall_runs", 1)
        server.wait_until("zerostall_runs", 0)
