"""An LLM that says what it is told to, and its server inside this process."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import defaultdict
from collections.abc import Callable
from types import SimpleNamespace

import httpx

from tests.tasks import HANG_S
from zerostall.engine.completion import Chunk, Timings, Usage
from zerostall.serve import app
from zerostall.serve.service import Service
from zerostall.serve.settings import Settings


class ScriptedLLM:
    """Answers with `pieces`, one a token; notes what it was asked.

    `silent_until`: no token comes before the request was "cancelled", the stream was "kept alive"
    by a comment or a ping, or the test has "released" it.
    """

    context, vocab_size = 100, 10

    def __init__(
        self, *pieces: str, silent_until: str = "", opening: str = "", template: str = ""
    ) -> None:
        self.pieces = pieces
        self.silent_until = silent_until
        self.opening = opening
        self.loaded = SimpleNamespace(tokenizer=_tokenizer(template) if template else None)
        self.asked: list[tuple[list[dict], list[dict] | None]] = []
        self.kept_alive = threading.Event()
        self.released = threading.Event()
        self.sessions: list[SimpleNamespace] = []
        self.priorities: list[int] = []  # of those that began, in their order

    def meter(self):
        return SimpleNamespace(read=lambda: None, cache=lambda: defaultdict(int))

    @contextlib.contextmanager
    def open_session(self):
        cancelled = threading.Event()
        session = SimpleNamespace(cancelled=cancelled, cancel=cancelled.set)
        self.sessions.append(session)
        yield session

    def render_chat(self, messages, tools, variables=None, ending="answer"):
        self.asked.append((messages, tools))
        self.ending = ending
        self.variables = variables
        return self.opening

    def encode_chat(self, messages, tools, variables=None, ending="answer"):
        return [1, 2, 3]

    def stream(self, prompt, params, *, session=None, priority=0, progress=None):
        self.params = params
        return self._stream(len(prompt), session, priority)

    def _stream(self, prompt, session, priority):
        self.priorities.append(priority)
        if self.silent_until:
            awaited = {
                "kept alive": self.kept_alive,
                "cancelled": session.cancelled,
                "released": self.released,
            }
            assert awaited[self.silent_until].wait(HANG_S)
        for i, piece in enumerate(self.pieces):
            if i + 1 < len(self.pieces):
                yield Chunk(piece, [i])
        count = len(self.pieces)
        timings = Timings(1.0, prompt, 2.0, count, 4.0)
        yield Chunk(piece, [i], "stop", None, Usage(prompt, count), timings, 0)


def _tokenizer(template: str) -> SimpleNamespace:
    """What is asked of one beside encoding: there are no control tokens."""
    return SimpleNamespace(
        template_for=lambda _: template, id_of=lambda _: None, eog_ids=frozenset()
    )


@contextlib.asynccontextmanager
async def inside(llm: ScriptedLLM | None, **settings: object):
    """A client of this LLM's server, and its service; None is an LLM that still loads."""
    service = Service("scripted", Settings(**settings))
    if llm is not None:
        service.load(contextlib.nullcontext(llm), lambda: None)
    built = app.build(service)

    async def watched(scope, receive, send):
        async def watch(message):
            body = message.get("body", b"")
            if llm is not None and (b": keep-alive" in body or b"event: ping" in body):
                llm.kept_alive.set()
            await send(message)

        await built(scope, receive, watch)

    transport = httpx.ASGITransport(watched, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        try:
            yield client, service
        finally:
            if llm is not None:
                llm.released.set()
            await service.stop()


def talk(llm: ScriptedLLM | None, ask: Callable, **settings: object) -> object:
    """Run `await ask(client)` against a server of this LLM."""

    async def main():
        async with inside(llm, **settings) as (client, _):
            return await ask(client)

    return asyncio.run(main())
