"""The end of a server: what its grace time is, and what is told to those whom it cuts off."""

from __future__ import annotations

import contextlib
import json
import math
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest

from tests.serve.scripted import ScriptedLLM
from tests.tasks import HANG_S, eventually
from zerostall.serve import server as serving
from zerostall.serve.service import Service
from zerostall.serve.settings import Settings

BODY = {"messages": [{"role": "user", "content": "x"}]}
HALF = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{"


class Slow(ScriptedLLM):
    """Reads a prompt until it is released."""

    def __init__(self, *pieces):
        super().__init__(*pieces)
        self.reading = threading.Event()

    def encode_chat(self, *args, **options):
        self.reading.set()
        assert self.released.wait(HANG_S)
        return super().encode_chat(*args, **options)

    def render_chat(self, *args, **options):
        self.reading.set()
        assert self.released.wait(HANG_S)
        return super().render_chat(*args, **options)


@contextlib.contextmanager
def listening(llm, **settings):
    """A server of a scripted LLM in a thread of this process, its service and its address."""
    service = Service("scripted", Settings(port=0, **settings))
    service.load(contextlib.nullcontext(llm), lambda: None)
    with serving.listen(service.settings) as listener:
        server = serving.Server(service)
        address = listener.getsockname()
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield server, service, address
        finally:
            llm.released.set()
            server.should_exit = True
            thread.join()


def post(address):
    url = f"http://{address[0]}:{address[1]}/v1/chat/completions"
    return httpx.post(url, json=BODY, timeout=HANG_S)


def refused(answer):
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert answer.json()["error"]["message"] == "the server stops; try again later"


@pytest.mark.parametrize(
    ("grace_s", "cut_s"), [(0, 0), (1.4, 2), (30, 30), (1e6, 10**6), (math.inf, None)]
)
def test_uvicorn_cuts_off_a_little_after_the_grace_time(grace_s, cut_s):
    config = serving.configured(Service("x", Settings(grace_s=grace_s)))
    expected = None if cut_s is None else cut_s + serving.CUT_S
    assert config.timeout_graceful_shutdown == expected


@pytest.mark.parametrize("grace_s", [0, 0.6])
def test_the_grace_time_may_be_nothing_or_a_fraction(grace_s):
    llm = ScriptedLLM("a", silent_until="cancelled")
    with (
        listening(llm, grace_s=grace_s, parallel=1) as (server, service, address),
        ThreadPoolExecutor() as pool,
    ):
        asked = [pool.submit(post, address) for _ in range(2)]
        assert eventually(lambda: service.gate.waiting == 1)
        begin = time.monotonic()
        server.should_exit = True
        answers = [each.result() for each in asked]
        assert time.monotonic() - begin >= grace_s
    # The one that ran has said all by the time that it is cancelled.
    assert sorted(answer.status_code for answer in answers) == [200, 503]


@contextmanager
def stopped_while_it_reads():
    """A server that has been told to stop while it reads a prompt, and the answer to that."""
    with (
        listening(Slow("a"), grace_s=0) as (server, service, address),
        ThreadPoolExecutor() as pool,
    ):
        asked = pool.submit(post, address)
        assert eventually(service.llm.reading.is_set)
        server.should_exit = True
        yield service, asked


def test_a_prompt_that_is_read_when_the_grace_time_ends_begins_no_run():
    with stopped_while_it_reads() as (service, asked):
        assert eventually(lambda: service.stopping)
        service.llm.released.set()
        refused(asked.result())
        assert service.llm.sessions == []


def test_a_prompt_that_is_still_read_when_uvicorn_cuts_off_is_told_so(monkeypatch, caplog):
    monkeypatch.setattr(serving, "CUT_S", 1)
    with stopped_while_it_reads() as (_, asked):
        refused(asked.result())
    assert not any(record.exc_info for record in caplog.records)


def test_half_a_body_when_uvicorn_cuts_off_is_answered_too(monkeypatch, caplog):
    monkeypatch.setattr(serving, "CUT_S", 1)
    with (
        listening(ScriptedLLM("a"), grace_s=0) as (server, _, address),
        socket.create_connection(address, timeout=HANG_S) as client,
    ):
        client.sendall(HALF)
        assert eventually(lambda: server.server_state.tasks)
        server.should_exit = True
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    head, body = answer.split(b"\r\n\r\n", 1)
    assert head.startswith(b"HTTP/1.1 503")
    assert b"retry-after: 1" in head.lower()
    assert json.loads(body)["error"]["type"] == "unavailable_error"
    assert not any(record.exc_info for record in caplog.records)
