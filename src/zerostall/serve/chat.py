"""/v1/chat/completions: conversations in the model's own format."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from zerostall.engine.completion import TokenLogprob
from zerostall.serve import conversation
from zerostall.serve.answers import Piece, Reader, Totals, shown_progress
from zerostall.serve.client import client_of
from zerostall.serve.conversation import Prompt, switches
from zerostall.serve.forms import after_thought
from zerostall.serve.job import Job
from zerostall.serve.logprobs import chat_logprobs
from zerostall.serve.messages import ending
from zerostall.serve.parts import Call, CallEnd, Part, Text
from zerostall.serve.run import Run
from zerostall.serve.schema import ChatRequest
from zerostall.serve.service import Service
from zerostall.serve.sse import EventStream, unless_gone

if TYPE_CHECKING:
    from zerostall.llm import LLM

Delta = tuple[dict[str, Any], list[TokenLogprob]]


def routes(service: Service) -> APIRouter:
    """The route."""
    router = APIRouter()

    @router.post("/v1/chat/completions")
    async def chat(request: Request, body: ChatRequest) -> Response:
        """Answer a conversation."""
        llm = service.llm
        body.check()
        client = client_of(request.scope)
        service.admit(client)
        prompt = await asyncio.to_thread(_prompt, llm, body)
        jobs = await asyncio.to_thread(_jobs, llm, body, prompt)
        answer = ChatAnswer(service, body, prompt)
        run = service.start(jobs, client)
        if body.stream:
            return EventStream(run, answer.stream(run), service.settings.keep_alive_s)
        return JSONResponse(await unless_gone(request, run, answer.whole(run)))

    return router


def _prompt(llm: LLM, body: ChatRequest) -> Prompt:
    variables = switches(body.reasoning_effort, body.chat_template_kwargs)
    end = ending(body.messages, body.add_generation_prompt, body.continue_final_message)
    return conversation.read(
        llm, body.messages, body.offered, variables, ending=end, several=body.several
    )


def _jobs(llm: LLM, body: ChatRequest, prompt: Prompt) -> list[Job]:
    """Each answer, checked: nothing is computed for a request that fails."""
    limit = body.limit(llm.context)
    logprobs = (body.top_logprobs or 0) if body.logprobs else None
    form = body.form(prompt.calling)
    if prompt.thinking:
        form = after_thought(form)
    answers = [
        body.sampling(choice, limit, logprobs, form, prompt.shown) for choice in range(body.choices)
    ]
    body.check_params(llm, answers[0], form)  # they differ in their seeds only
    return [
        body.job(choice, prompt.tokens, params, watched=prompt.may_be_cut)
        for choice, params in enumerate(answers)
    ]


class Choice:
    """One answer as it grows."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.texts: dict[str, str] = {}
        self.calls: list[dict[str, Any]] = []
        self.logprobs: list[TokenLogprob] = []
        self.reason: str | None = None

    def take(self, piece: Piece) -> list[Delta]:
        """Take in a piece; what a stream tells of it."""
        deltas = []
        for part, logprobs in piece.told():
            self.logprobs += logprobs
            delta = self.delta(part)
            if delta is not None:
                deltas.append((delta, logprobs))
        if piece.reason is not None:
            called = self.calls and piece.reason == "stop"
            self.reason = "tool_calls" if called else piece.reason
        return deltas

    def delta(self, part: Part) -> dict[str, Any] | None:
        """Take in a part; what a stream tells of it, if anything."""
        if isinstance(part, Text):
            self.texts[part.kind] = self.texts.get(part.kind, "") + part.text
            return {part.kind: part.text}
        if isinstance(part, Call):
            call = _call(part.name)
            told = {**call, "function": dict(call["function"])}  # what a stream sends stays
            self.calls.append(call)
            return {"tool_calls": [{"index": len(self.calls) - 1, **told}]}
        if isinstance(part, CallEnd):
            return None
        self.calls[-1]["function"]["arguments"] += part.text
        function = {"arguments": part.text}
        return {"tool_calls": [{"index": len(self.calls) - 1, "function": function}]}

    def message(self) -> dict[str, Any]:
        """The whole of it."""
        content = self.texts.get("content")
        record: dict[str, Any] = {
            "role": "assistant",
            "content": content if content or self.calls else "",
        }
        if "reasoning_content" in self.texts:
            record["reasoning_content"] = self.texts["reasoning_content"]
        if self.calls:
            record["tool_calls"] = self.calls
        return record


def _call(name: str) -> dict[str, Any]:
    return {
        "id": f"call_{uuid.uuid4().hex[:24]}",
        "type": "function",
        "function": {"name": name, "arguments": ""},
    }


class ChatAnswer:
    """The answer to one request, as a stream or whole."""

    def __init__(self, service: Service, body: ChatRequest, prompt: Prompt) -> None:
        self._llm = service.llm
        self._silence_s = service.settings.keep_alive_s
        self._body = body
        self._totals = Totals()
        self._choices = [
            Choice(Reader(service.llm, prompt, self._totals)) for _ in range(body.choices)
        ]
        self._frame = {
            "id": f"chatcmpl-{uuid.uuid4().hex}",
            "created": int(time.time()),
            "model": service.name,
        }

    async def stream(self, run: Run) -> AsyncIterator[dict[str, Any] | None]:
        """The chunks of the stream; None is a sign of life."""
        options = self._body.stream_options
        wants_usage = options is not None and options.include_usage
        frame = {**self._frame, "object": "chat.completion.chunk"}
        extra = {"usage": None} if wants_usage else {}
        begun: set[int] = set()
        async for told in self._pieces(run):
            if told is None:
                yield None
                continue
            index, piece = told
            if piece.progress is not None and not self._body.tells_progress:
                continue
            deltas: list[Delta] = []
            if index not in begun:
                deltas.append(({"role": "assistant", "content": ""}, []))
                begun.add(index)
            if piece.progress is not None:
                delta = self._delta(index, deltas[0][0] if deltas else {}, [])
                progress = {"prompt_progress": shown_progress(piece.progress)}
                yield {**frame, "choices": [delta], **progress, **extra}
                continue
            deltas += self._choices[index].take(piece)
            for delta, logprobs in deltas:
                yield {**frame, "choices": [self._delta(index, delta, logprobs)], **extra}
            reason = self._choices[index].reason
            if reason is not None:
                last = {**frame, "choices": [self._delta(index, {}, [], reason)], **extra}
                if self._ended:
                    last["timings"] = self._totals.timings()
                yield last
        if wants_usage:
            yield {**frame, "choices": [], "usage": self._usage()}

    async def whole(self, run: Run) -> dict[str, Any]:
        """The answer in one piece."""
        async for told in self._pieces(run):
            if told is not None:
                index, piece = told
                self._choices[index].take(piece)
        return {
            **self._frame,
            "object": "chat.completion",
            "choices": [
                {
                    "index": index,
                    "message": choice.message(),
                    "logprobs": self._logprobs(choice.logprobs),
                    "finish_reason": choice.reason,
                }
                for index, choice in enumerate(self._choices)
            ],
            "usage": self._usage(),
            "timings": self._totals.timings(),
        }

    async def _pieces(self, run: Run) -> AsyncIterator[tuple[int, Piece] | None]:
        """What came of which answer, until all have ended; None is a sign of life."""
        async for item in run.items(self._silence_s):
            if item is None:
                yield None
                continue
            choice = self._choices[item.index]
            if choice.reader.cut:
                continue  # others are still under way
            yield item.index, choice.reader.read(item)
            if self._ended and any(each.reader.cut for each in self._choices):
                return  # whoever waits for the answer cancels the run

    @property
    def _ended(self) -> bool:
        return all(choice.reason is not None for choice in self._choices)

    def _usage(self) -> dict[str, Any]:
        details = {"reasoning_tokens": sum(each.reader.reasoned for each in self._choices)}
        return {**self._totals.usage(), "completion_tokens_details": details}

    def _delta(
        self,
        index: int,
        delta: dict[str, Any],
        logprobs: list[TokenLogprob],
        reason: str | None = None,
    ) -> dict[str, Any]:
        shown = self._logprobs(logprobs) if logprobs else None
        return {"index": index, "delta": delta, "logprobs": shown, "finish_reason": reason}

    def _logprobs(self, entries: list[TokenLogprob]) -> dict[str, Any] | None:
        return chat_logprobs(self._llm, entries) if self._body.logprobs else None
