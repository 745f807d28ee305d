"""The answer to /v1/responses, whole or as events."""

from __future__ import annotations

import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

from zerostall.engine.completion import FinishReason
from zerostall.sampling import SamplingParams
from zerostall.serve.answers import Single, shown_progress
from zerostall.serve.conversation import Prompt
from zerostall.serve.faults import ApiError
from zerostall.serve.logprobs import text_logprobs
from zerostall.serve.responses.output import Event, Items
from zerostall.serve.responses.schema import ResponsesRequest
from zerostall.serve.run import Run
from zerostall.serve.service import Service


class Answer:
    """The answer to one request, as a stream or whole."""

    def __init__(
        self, service: Service, body: ResponsesRequest, prompt: Prompt, params: SamplingParams
    ) -> None:
        self._llm = service.llm
        self._single = Single(
            service.llm, prompt, stops=[], silence_s=service.settings.keep_alive_s
        )
        self._items = Items()
        self._number = 0
        self._tells_progress = body.tells_progress
        form = body.text.format if body.text else None
        self._frame = {
            "id": f"resp_{uuid.uuid4().hex}",
            "object": "response",
            "created_at": int(time.time()),
            "model": service.name,
            "error": None,
            "instructions": body.instructions,
            "max_output_tokens": body.max_output_tokens,
            "metadata": body.metadata or {},
            "parallel_tool_calls": body.several,
            "previous_response_id": None,
            "reasoning": {"effort": body.reasoning.effort if body.reasoning else None},
            "store": False,
            "temperature": params.temperature,
            "text": {"format": form or {"type": "text"}},
            "tool_choice": body.tool_choice or "auto",
            "tools": body.tools or [],
            "top_logprobs": body.top_logprobs or 0,
            "top_p": params.top_p,
            "truncation": "disabled",
        }

    async def stream(self, run: Run) -> AsyncIterator[Event | None]:
        """The events of the stream; None is a sign of life."""
        for kind in ("response.created", "response.in_progress"):
            yield self._event({"type": kind, "response": self._response("in_progress")})
        async for piece in self._single.pieces(run):
            if piece is None:
                yield None
                continue
            if piece.progress is not None:
                if not self._tells_progress:
                    continue
                response = self._response("in_progress")
                event = {"type": "response.in_progress", "response": response}
                yield self._event(event | {"prompt_progress": shown_progress(piece.progress)})
                continue
            for part, logprobs in piece.told():
                self._items.note(text_logprobs(self._llm, logprobs))
                for event in self._items.add(part):
                    yield self._event(event)
            if piece.reason is not None:
                status = _status(piece.reason)
                for event in self._items.close(status):
                    yield self._event(event)
                response = self._response(status)
                yield self._event({"type": f"response.{status}", "response": response})

    def failure(self, error: ApiError) -> Event:
        """The last event of a stream that failed."""
        told = error.body()["error"]
        code = error.code or told["type"]
        return self._event(
            {"type": "error", "code": code, "message": str(error), "param": error.param}
        )

    async def whole(self, run: Run) -> dict[str, Any]:
        """The answer in one piece."""
        status = "in_progress"
        async for piece in self._single.pieces(run):
            if piece is None:
                continue
            for part, logprobs in piece.told():
                self._items.note(text_logprobs(self._llm, logprobs))
                self._items.add(part)
            if piece.reason is not None:
                status = _status(piece.reason)
                self._items.close(status)
        return self._response(status)

    def _event(self, event: Event) -> Event:
        numbered = {**event, "sequence_number": self._number}
        self._number += 1
        return numbered

    def _response(self, status: str) -> dict[str, Any]:
        cut = {"reason": "max_output_tokens"} if status == "incomplete" else None
        ended = status != "in_progress"
        return {
            **self._frame,
            "status": status,
            "incomplete_details": cut,
            "output": [dict(item) for item in self._items.items],
            "usage": self._usage() if ended else None,
            **({"timings": self._single.totals.timings()} if ended else {}),
        }

    def _usage(self) -> dict[str, Any]:
        totals = self._single.totals
        return {
            "input_tokens": totals.prompt,
            "input_tokens_details": {"cached_tokens": totals.cached, "cache_write_tokens": 0},
            "output_tokens": totals.completion,
            "output_tokens_details": {"reasoning_tokens": self._single.reasoned},
            "total_tokens": totals.prompt + totals.completion,
        }


def _status(reason: FinishReason) -> str:
    return "incomplete" if reason == "length" else "completed"
