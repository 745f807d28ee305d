"""A client that sends much makes nobody else wait for all of it, whichever way it comes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from types import SimpleNamespace

import httpx
import pytest

from tests.serve.bodies import BODIES
from tests.serve.scripted import ScriptedLLM, inside
from tests.serve.test_connections import listening, url
from tests.tasks import HANG_S, eventually
from zerostall.serve import app
from zerostall.serve.client import client_of
from zerostall.serve.service import Service
from zerostall.serve.settings import Settings

MANY, ONE = {"Authorization": "Bearer many"}, {"Authorization": "Bearer one"}
KEYS = ("many", "one")


class Noted(ScriptedLLM):
    """Notes the prompts in the order of their turns; none ends before it, or all, may."""

    def __init__(self) -> None:
        super().__init__("a")
        self.prompts: list[int] = []
        self.may_end: set[int] = set()

    def encode_prompt(self, prompt):
        return prompt

    def stream(self, prompt, params, *, session=None, priority=0, progress=None):
        return self._noted(prompt, session)

    def _noted(self, prompt, session):
        self.prompts.append(prompt[0])
        assert eventually(lambda: prompt[0] in self.may_end or self.released.is_set())
        yield from self._stream(len(prompt), session, 0)


async def until_true(true):
    async def wait():
        while not true():
            await asyncio.sleep(0.001)

    await asyncio.wait_for(wait(), HANG_S)


async def until(service, running, waiting):
    gate = service.gate
    await until_true(lambda: (gate.running, gate.waiting) == (running, waiting))


def post(client, path="/v1/completions", headers=MANY, **fields):
    body = BODIES[path] | fields
    return asyncio.ensure_future(client.post(path, json=body, headers=headers))


def test_the_request_of_one_key_is_answered_before_what_another_has_sent():
    async def main():
        llm, ended = Noted(), []
        async with inside(llm, parallel=1, api_keys=KEYS) as (client, service):

            def ask(number, headers):
                # What a client says of its users makes it no more than one.
                asked = post(client, prompt=[number], user=f"user {number}", headers=headers)
                asked.add_done_callback(lambda _: ended.append(number))
                return asked

            asked = []
            for number in range(1, 7):
                asked.append(ask(number, MANY))
                await until(service, 1, number - 1)
            asked.append(ask(100, ONE))
            await until(service, 1, 6)
            llm.released.set()
            answers = await asyncio.gather(*asked)
        assert {answer.status_code for answer in answers} == {200}
        assert llm.prompts == [1, 2, 100, 3, 4, 5, 6]
        assert ended.index(100) < ended.index(4)

    asyncio.run(main())


def test_the_answers_of_one_request_take_turns_with_another_keys():
    async def main():
        llm = Noted()
        async with inside(llm, parallel=4, api_keys=KEYS) as (client, service):
            asked = [post(client, prompt=[100], headers=ONE)]
            await until(service, 1, 0)
            asked.append(post(client, prompt=[[n] for n in range(1, 9)]))
            await until(service, 4, 0)
            asked.append(post(client, prompt=[50]))
            await until(service, 4, 1)
            asked.append(post(client, prompt=[101], headers=ONE))
            await until(service, 4, 2)
            # Three places of the one key, and one of the other, which came later.
            llm.may_end.add(1)
            await until_true(lambda: len(llm.prompts) == 5)
            assert llm.prompts[-1] == 101
            llm.may_end.add(2)
            await until_true(lambda: len(llm.prompts) == 6)
            assert llm.prompts[-1] == 50
            llm.released.set()
            await asyncio.gather(*asked)
        assert sorted(llm.prompts) == [*range(1, 9), 50, 100, 101]

    asyncio.run(main())


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("stream", [False, True])
def test_what_gives_way_in_a_full_queue_is_a_429_and_nothing_is_left_of_it(path, stream):
    async def main():
        llm = Noted()
        async with inside(llm, parallel=1, queue=2, api_keys=KEYS) as (client, service):
            runs = post(client)
            await until(service, 1, 0)
            waits = post(client, path, stream=stream)
            await until(service, 1, 1)
            last = post(client, path, stream=stream)
            await until(service, 1, 2)
            one = post(client, path, ONE, stream=stream)
            refused = await asyncio.wait_for(last, HANG_S)
            assert (service.gate.running, service.gate.waiting, len(service.runs)) == (1, 2, 3)
            again = await asyncio.wait_for(post(client, path, stream=stream), HANG_S)
            llm.released.set()
            answers = await asyncio.gather(runs, waits, one)
        assert [answer.status_code for answer in answers] == [200] * 3
        for answer in (refused, again):
            assert answer.status_code == 429
            assert int(answer.headers["Retry-After"]) >= 1
            assert answer.headers["Content-Type"] == "application/json"
            assert answer.json()["error"]["type"] == "rate_limit_error"
        assert "2 of them yours" in refused.json()["error"]["message"]
        assert "yours" not in again.json()["error"]["message"]
        assert len(llm.prompts) == 3

    asyncio.run(main())


@pytest.mark.parametrize("path", [*BODIES, "/v1/embeddings"])
def test_a_full_queue_is_a_429_before_the_prompt_is_read(path, monkeypatch):
    async def main():
        llm = Noted()
        llm.architecture = SimpleNamespace(width=8)
        async with inside(llm, parallel=1, queue=1, api_keys=KEYS) as (client, service):
            asked = [post(client)]
            await until(service, 1, 0)
            asked.append(post(client))
            await until(service, 1, 1)
            with monkeypatch.context() as patched:
                # All that reads a prompt does so in a thread of its own.
                patched.setattr(asyncio, "to_thread", lambda *_: pytest.fail("it was read"))
                body = BODIES.get(path, {"input": "x"})
                answer = await client.post(path, json=body, headers=ONE)
            llm.released.set()
            await asyncio.gather(*asked)
        assert answer.status_code == 429
        assert int(answer.headers["Retry-After"]) >= 1
        assert answer.json()["error"]["type"] == "rate_limit_error"

    asyncio.run(main())


@pytest.mark.parametrize("path", BODIES)
def test_a_stream_that_has_its_status_gives_way_with_an_event(path):
    async def main():
        llm = Noted()
        limits = {"parallel": 1, "queue": 2, "api_keys": KEYS, "keep_alive_s": 0.01}
        async with inside(llm, **limits) as (client, service):
            runs = post(client)
            await until(service, 1, 0)
            waits = post(client)
            await until(service, 1, 1)
            last = post(client, path, stream=True)
            await until(service, 1, 2)
            await asyncio.to_thread(llm.kept_alive.wait, HANG_S)
            one = post(client, headers=ONE)
            refused = await asyncio.wait_for(last, HANG_S)
            llm.released.set()
            await asyncio.gather(runs, waits, one)
        assert refused.status_code == 200
        event = refused.text.strip().split("\n\n")[-1]
        error = json.loads(event.split("data: ")[1])
        assert "another client came" in error.get("error", error)["message"]

    asyncio.run(main())


@contextlib.asynccontextmanager
async def streaming(built, address):
    """What the server has sent of a stream, whose client goes away at the end."""
    body = json.dumps(BODIES["/v1/completions"] | {"stream": True}).encode()
    gone, sent = asyncio.Event(), []
    asked = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive():
        if asked:
            return asked.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message.get("status", message["type"]))

    headers = [(b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/v1/completions", "query_string": b""}
    answering = built(scope | {"headers": headers, "client": (address, 1)}, receive, send)
    task = asyncio.ensure_future(answering)
    yield sent
    gone.set()
    await asyncio.wait_for(task, HANG_S)


def test_a_stream_has_its_status_when_its_turn_comes_and_leaves_nothing_if_its_client_does():
    async def main():
        llm = Noted()
        built, service = scripted(llm, parallel=1, keep_alive_s=2 * HANG_S)
        async with client_at(built, "10.0.0.1") as client:
            runs = post(client, prompt=[7])
            await until(service, 1, 0)
            async with streaming(built, "10.0.0.2") as sent:
                await until(service, 1, 1)
                async with streaming(built, "10.0.0.3") as sent_gone:
                    await until(service, 1, 2)
                assert sent_gone[0] == 499
                assert (sent, service.gate.waiting, len(service.runs)) == ([], 1, 2)
                llm.may_end.add(7)
                await until_true(lambda: sent)
                assert sent == [200]
                llm.released.set()
            await runs
        await until_true(lambda: not service.runs)
        await service.stop()

    asyncio.run(main())


def scripted(llm, **settings):
    service = Service("scripted", Settings(**settings))
    service.load(contextlib.nullcontext(llm), lambda: None)
    return app.build(service), service


def client_at(built, address):
    transport = httpx.ASGITransport(built, client=(address, 1))
    return httpx.AsyncClient(transport=transport, base_url="http://test")


def test_without_keys_clients_are_told_by_their_addresses():
    async def main():
        llm = Noted()
        built, service = scripted(llm, parallel=1)
        async with client_at(built, "10.0.0.1") as many, client_at(built, "10.0.0.2") as one:
            asked = []
            for number in range(1, 5):
                # Whichever key it makes up.
                headers = {"Authorization": f"Bearer {number}"}
                asked.append(post(many, prompt=[number], headers=headers))
                await until(service, 1, number - 1)
            asked.append(post(one, prompt=[100], headers={}))
            await until(service, 1, 4)
            llm.released.set()
            await asyncio.gather(*asked)
        assert llm.prompts == [1, 2, 100, 3, 4]
        await service.stop()

    asyncio.run(main())


def test_a_key_is_told_by_its_number_and_an_address_without_its_port():
    assert client_of({"client": ("10.0.0.1", 4711), "zerostall.key": 1}) == "key 1"
    assert client_of({"client": ("10.0.0.1", 4711)}) == "address 10.0.0.1"
    assert client_of({"client": None}) == client_of({}) == "address unknown"


def test_no_header_makes_a_client_another():
    llm = Noted()

    def ask(address, number):
        body = BODIES["/v1/completions"] | {"prompt": [number]}
        httpx.post(url(address, "/v1/completions"), json=body, timeout=HANG_S)

    def queued(address, count):
        told = httpx.get(url(address, "/metrics"), timeout=HANG_S).text
        return "zerostall_running 1.0" in told and f"zerostall_queued {count}.0" in told

    with listening(llm, parallel=1, queue=2) as address:
        threads = []
        for number in range(1, 4):
            threads.append(threading.Thread(target=ask, args=(address, number)))
            threads[-1].start()
            assert eventually(lambda n=number: queued(address, n - 1))
        # A new client would be let in.
        body = BODIES["/v1/completions"]
        headers = dict.fromkeys(("X-Forwarded-For", "Forwarded", "X-Real-IP"), "10.0.0.9")
        full = httpx.post(url(address, "/v1/completions"), json=body, headers=headers)
        assert full.status_code == 429
        llm.released.set()
        for thread in threads:
            thread.join()
    assert llm.prompts == [1, 2, 3]


@pytest.mark.parametrize(
    ("host", "client"),
    {
        "192.0.2.7": "address 192.0.2.7",
        "::ffff:192.0.2.7": "address 192.0.2.7",
        "2001:db8:1:2:3:4:5:6": "address 2001:db8:1:2::/64",
        "2001:db8:1:2:ffff::": "address 2001:db8:1:2::/64",
        "fe80::1%eth0": "address fe80::/64",
        "a socket": "address a socket",
    }.items(),
)
def test_a_client_is_an_address_or_what_a_host_of_ipv6_has(host, client):
    assert client_of({"type": "http", "client": (host, 1234)}) == client


def test_a_stream_that_waits_too_long_for_its_turn_has_the_status_of_that():
    async def main():
        llm = Noted()
        async with inside(llm, parallel=1, queue=2, timeout_s=0.3) as (client, service):
            runs = post(client)
            await until(service, 1, 0)
            late = await asyncio.wait_for(post(client, "/v1/chat/completions", stream=True), HANG_S)
            llm.released.set()
            await runs
        assert late.status_code == 504
        assert late.json()["error"]["code"] == "timeout"

    asyncio.run(main())
