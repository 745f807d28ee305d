"""The answer to /v1/messages: blocks, whole or as events."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

from zerostall.engine.completion import FinishReason
from zerostall.serve.answers import Single, shown_progress
from zerostall.serve.anthropic.schema import MessagesRequest
from zerostall.serve.conversation import Prompt
from zerostall.serve.parts import Call, CallEnd, Part, Text
from zerostall.serve.run import Run
from zerostall.serve.service import Service

Event = dict[str, Any]


class Blocks:
    """The content as it grows; each step tells the events that a stream has for it."""

    def __init__(self) -> None:
        self.content: list[dict[str, Any]] = []
        self._open = False
        self._arguments = ""  # of the call that is open

    @property
    def called(self) -> bool:
        """Whether a tool is called."""
        return any(block["type"] == "tool_use" for block in self.content)

    def add(self, part: Part) -> list[Event]:
        """Take in a part."""
        if isinstance(part, Text):
            return self._grow(part)
        if isinstance(part, Call):
            return self._call(part)
        if isinstance(part, CallEnd):
            return self.close()
        self._arguments += part.text
        return [self._delta({"type": "input_json_delta", "partial_json": part.text})]

    def close(self) -> list[Event]:
        """End the block that is open."""
        if not self._open:
            return []
        self._open = False
        if self.content[-1]["type"] == "tool_use":
            self.content[-1]["input"] = _object(self._arguments)
        return [{"type": "content_block_stop", "index": len(self.content) - 1}]

    def _grow(self, part: Text) -> list[Event]:
        kind = "text" if part.kind == "content" else "thinking"
        events = []
        if not self._open or self.content[-1]["type"] != kind:
            block = {"type": kind, kind: ""} | ({"signature": ""} if kind == "thinking" else {})
            events = [*self.close(), *self._begin(block)]
        self.content[-1][kind] += part.text
        events.append(self._delta({"type": f"{kind}_delta", kind: part.text}))
        return events

    def _call(self, part: Call) -> list[Event]:
        block = {
            "type": "tool_use",
            "id": f"toolu_{uuid.uuid4().hex[:24]}",
            "name": part.name,
            "input": {},
        }
        events = [*self.close(), *self._begin(block)]
        self._arguments = ""
        return events

    def _begin(self, block: dict[str, Any]) -> list[Event]:
        self.content.append(block)
        self._open = True
        index = len(self.content) - 1
        return [{"type": "content_block_start", "index": index, "content_block": dict(block)}]

    def _delta(self, delta: Event) -> Event:
        return {"type": "content_block_delta", "index": len(self.content) - 1, "delta": delta}


class Answer:
    """The answer to one request, as a stream or whole."""

    def __init__(self, service: Service, body: MessagesRequest, prompt: Prompt) -> None:
        self._single = Single(
            service.llm,
            prompt,
            stops=body.stop_sequences or [],
            silence_s=service.settings.keep_alive_s,
        )
        self._most = body.max_tokens
        self._blocks = Blocks()
        self._read = len(prompt.tokens)
        self._tells_progress = body.tells_progress
        self._frame = {
            "id": f"msg_{uuid.uuid4().hex[:24]}",
            "type": "message",
            "role": "assistant",
            "model": service.name,
        }

    async def stream(self, run: Run) -> AsyncIterator[Event | None]:
        """The events of the stream; None is a sign of life."""
        begun = False
        async for piece in self._single.pieces(run):
            if piece is None:
                yield None
                continue
            if not begun:
                begun = True
                # Not before the prompt has its place in the cache: clients keep these numbers.
                yield self._start(piece.progress.cached if piece.progress else 0)
            if piece.progress is not None:
                if self._tells_progress:
                    yield {"type": "ping", "prompt_progress": shown_progress(piece.progress)}
                continue
            for part in piece.parts:
                for event in self._blocks.add(part):
                    yield event
            if piece.reason is not None:
                for event in self._blocks.close():
                    yield event
                end = self._end(piece.reason)
                yield {"type": "message_delta", "delta": end, **self._counts()}
        yield {"type": "message_stop"}

    def _start(self, cached: int) -> Event:
        begun: dict[str, Any] = {"content": [], "stop_reason": None, "stop_sequence": None}
        usage = self._usage(self._read, cached, 0)
        return {"type": "message_start", "message": {**self._frame, **begun, "usage": usage}}

    async def whole(self, run: Run) -> dict[str, Any]:
        """The answer in one piece."""
        end: dict[str, Any] = {}
        async for piece in self._single.pieces(run):
            if piece is None:
                continue
            for part in piece.parts:
                self._blocks.add(part)
            if piece.reason is not None:
                self._blocks.close()
                end = self._end(piece.reason)
        return {**self._frame, "content": self._blocks.content, **end, **self._counts()}

    def _end(self, reason: FinishReason) -> dict[str, Any]:
        """Why it ended, in Anthropic's words."""
        stop = None
        if reason == "length":
            full = self._single.totals.completion < self._most
            told = "model_context_window_exceeded" if full else "max_tokens"
        elif self._blocks.called:
            told = "tool_use"
        else:
            stop = self._single.stopped_by()
            told = "end_turn" if stop is None else "stop_sequence"
        return {"stop_reason": told, "stop_sequence": stop}

    def _counts(self) -> dict[str, Any]:
        totals = self._single.totals
        usage = self._usage(totals.prompt, totals.cached, totals.completion)
        return {"usage": usage, "timings": totals.timings()}

    @staticmethod
    def _usage(prompt: int, cached: int, written: int) -> dict[str, int]:
        """Each token of the prompt counts once: as input, or as read from the cache."""
        return {
            "input_tokens": prompt - cached,
            "cache_read_input_tokens": cached,
            "cache_creation_input_tokens": 0,
            "output_tokens": written,
        }


def _object(arguments: str) -> dict[str, Any]:
    """Arguments as an object, which the API asks for: what is none becomes its one member."""
    try:
        value = json.loads(arguments)
        # Numbers out of range and lone surrogates can be read but not be sent.
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        value = arguments
    return value if isinstance(value, dict) else {"value": value}
