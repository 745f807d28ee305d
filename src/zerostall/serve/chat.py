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
from zerostall.serve.answers import Totals, chat_logprobs, shown_logprobs, shown_progress
from zerostall.serve.client import client_of
from zerostall.serve.conversation import Prompt, room, switches
from zerostall.serve.forms import after_thought
from zerostall.serve.job import Item, Job
from zerostall.serve.messages import ending
from zerostall.serve.output import OutputParser
from zerostall.serve.parts import Call, CallEnd, Part, Text
from zerostall.serve.run import Run
from zerostall.serve.schema import ChatRequest, check_params
from zerostall.serve.service import Service
from zerostall.serve.sse import EventStream, unless_gone

if TYPE_CHECKING:
    from zerostall.llm import LLM


def routes(service: Service) -> APIRouter:
    """The route."""
    router = APIRouter()

    @router.post("/v1/chat/completions")
    async def chat(request: Request, body: ChatRequest) -> Response:
        """Answer a conversation."""
        llm = service.llm
        body.check()
        prompt = await asyncio.to_thread(_prompt, llm, body)
        jobs = await asyncio.to_thread(_jobs, llm, body, prompt)
        answer = ChatAnswer(service, body, prompt)
        run = service.start(jobs, client_of(request.scope))
        if body.stream:
            return EventStream(run, answer.stream(run), service.settings.keep_alive_s)
        return JSONResponse(await unless_gone(request, run, answer.whole(run)))

    return router


def _prompt(llm: LLM, body: ChatRequest) -> Prompt:
    variables = switches(body.reasoning_effort, body.chat_template_kwargs)
    end = ending(body.messages, body.add_generation_prompt, body.continue_final_message)
    return conversation.read(llm, body.messages, body.offered, variables, ending=end)


def _jobs(llm: LLM, body: ChatRequest, prompt: Prompt) -> list[Job]:
    """Each answer, checked: nothing is computed for a request that fails."""
    limit = room(llm, body.max_completion_tokens, body.max_tokens, body.n_predict)
    logprobs = (body.top_logprobs or 0) if body.logprobs else None
    form = body.form(prompt.calling)
    if prompt.thinking:
        form = after_thought(form)
    jobs = []
    for choice in range(body.choices):
        params = body.sampling(choice, limit, logprobs, form, prompt.shown)
        check_params(llm, prompt.tokens, params, form)
        jobs.append(body.job(choice, prompt.tokens, params))
    return jobs


class Choice:
    """One answer as it grows."""

    def __init__(self, parser: OutputParser) -> None:
        self.parser = parser
        self.texts: dict[str, str] = {}
        self.calls: list[dict[str, Any]] = []
        self.logprobs: list[TokenLogprob] = []
        self.reason: str | None = None

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
        self._reasoned = 0  # tokens of the reasoning, its tags included
        self._choices = [Choice(prompt.parser) for _ in range(body.choices)]
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
        async for item in run.items(self._silence_s):
            if item is None:
                yield None
                continue
            index, choice = item.index, self._choices[item.index]
            deltas = [] if index in begun else [{"role": "assistant", "content": ""}]
            begun.add(index)
            if item.progress is not None:
                delta = self._delta(index, deltas[0] if deltas else {}, [])
                told = {"prompt_progress": shown_progress(item.progress)}
                yield {**frame, "choices": [delta], **told, **extra}
                continue
            parts, logprobs, reason = self._parts(item)
            grown = [choice.delta(part) for part in parts]
            deltas += [delta for delta in grown if delta is not None]
            if logprobs and len(deltas) == 0:
                deltas.append({})
            for i, delta in enumerate(deltas):
                # The token's logprobs go with the last that it completed.
                shown = logprobs if i == len(deltas) - 1 else []
                yield {**frame, "choices": [self._delta(index, delta, shown)], **extra}
            if reason is not None:
                choice.reason = "tool_calls" if choice.calls and reason == "stop" else reason
                last = {**frame, "choices": [self._delta(index, {}, [], choice.reason)], **extra}
                if all(each.reason is not None for each in self._choices):
                    last["timings"] = self._totals.timings()
                yield last
        if wants_usage:
            yield {**frame, "choices": [], "usage": self._usage()}

    async def whole(self, run: Run) -> dict[str, Any]:
        """The answer in one piece."""
        async for item in run.items(self._silence_s):
            if item is None:
                continue
            choice = self._choices[item.index]
            parts, logprobs, reason = self._parts(item)
            for part in parts:
                choice.delta(part)
            choice.logprobs += logprobs
            if reason is not None:
                choice.reason = "tool_calls" if choice.calls and reason == "stop" else reason
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

    def _parts(self, item: Item) -> tuple[list[Part], list[TokenLogprob], str | None]:
        """New parts, logprobs and finish reason of what came."""
        assert item.chunk is not None
        chunk = item.chunk
        self._totals.add(0, chunk)
        parser = self._choices[item.index].parser
        before = parser.thinking
        parts = parser.push(chunk.text)
        if before or parser.thinking:
            self._reasoned += len(chunk.token_ids)
        if chunk.finish_reason is not None:
            parts += parser.finish()
        return parts, shown_logprobs(self._llm, chunk), chunk.finish_reason

    def _usage(self) -> dict[str, Any]:
        details = {"reasoning_tokens": self._reasoned}
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
