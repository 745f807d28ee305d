"""An LLM that says what it is told to, and its server inside this process."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from types import SimpleNamespace

import httpx

from zerostall.engine.completion import Chunk, Timings, Usage
from zerostall.serve import app
from zerostall.serve.service import Service
from zerostall.serve.settings import Settings


class ScriptedLLM:
    """Answers with `pieces`, one a token, each after `pause_s`; notes what it was asked."""

    context, vocab_size, concurrent = 100, 10, 8

    def __init__(self, *pieces: str, pause_s: float = 0.0, opening: str = "") -> None:
        self.pieces = pieces
        self.pause_s = pause_s
        self.opening = opening
        self.loaded = SimpleNamespace(tokenizer=None)
        self.asked: list[tuple[list[dict], list[dict] | None]] = []
        self.cancelled = False

    def meter(self):
        return SimpleNamespace(read=lambda: None)

    @contextlib.contextmanager
    def open_session(self):
        yield SimpleNamespace(cancel=lambda: setattr(self, "cancelled", True))

    def render_chat(self, messages, tools, variables=None):
        self.asked.append((messages, tools))
        self.variables = variables
        return self.opening

    def encode_chat(self, messages, tools, variables=None):
        return [1, 2, 3]

    def stream(self, prompt, params, *, session=None):
        self.params = params
        return self._stream(len(prompt))

    def _stream(self, prompt):
        for i, piece in enumerate(self.pieces):
            time.sleep(self.pause_s)
            if i + 1 < len(self.pieces):
                yield Chunk(piece, [i])
        count = len(self.pieces)
        timings = Timings(1.0, prompt, 2.0, count, 4.0)
        yield Chunk(piece, [i], "stop", None, Usage(prompt, count), timings, 0)


def talk(llm: ScriptedLLM | None, ask: Callable, **settings: object) -> object:
    """Run `await ask(client)` against a server of this LLM; None is one that still loads."""

    async def main():
        service = Service("scripted", Settings(**settings))
        if llm is not None:
            service.load(contextlib.nullcontext(llm), lambda: None)
        transport = httpx.ASGITransport(app.build(service), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            try:
                return await ask(client)
            finally:
                await service.stop()

    return asyncio.run(main())
