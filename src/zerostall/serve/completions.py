"""/v1/completions: text or token ids go on."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from zerostall.errors import ZerostallError
from zerostall.serve.answers import Totals, shown_progress
from zerostall.serve.client import client_of
from zerostall.serve.faults import to_api_error
from zerostall.serve.job import Item, Job
from zerostall.serve.logprobs import TextLogprobs, joined, shown_logprobs
from zerostall.serve.run import Run
from zerostall.serve.schema import COMPLETION_TOKENS, CompletionRequest
from zerostall.serve.service import Service
from zerostall.serve.sse import EventStream, unless_gone

if TYPE_CHECKING:
    from zerostall.llm import LLM

Piece = tuple[str, dict[str, Any] | None, str | None]  # text, logprobs, finish reason


def routes(service: Service) -> APIRouter:
    """The route."""
    router = APIRouter()

    @router.post("/v1/completions")
    async def completions(request: Request, body: CompletionRequest) -> Response:
        """Complete prompts."""
        llm = service.llm
        body.check()
        client = client_of(request.scope)
        service.admit(client)
        jobs = await asyncio.to_thread(_jobs, llm, body)
        answer = Answer(service, body, jobs)
        run = service.start(jobs, client)
        if body.stream:
            return EventStream(run, answer.stream(run), service.settings.keep_alive_s)
        return JSONResponse(await unless_gone(request, run, answer.whole(run)))

    return router


def _jobs(llm: LLM, body: CompletionRequest) -> list[Job]:
    """Every answer to every prompt, checked: nothing is computed for a request that fails."""
    tokens = body.limit(llm.context, COMPLETION_TOKENS)
    # The best are chosen by their logprobs.
    chosen = body.candidates > body.choices
    logprobs = 0 if body.logprobs is None and chosen else body.logprobs
    form = body.form()
    answers = [body.sampling(each, tokens, logprobs, form) for each in range(body.candidates)]
    body.check_params(llm, answers[0], form)  # they differ in their seeds only
    score = bool(body.echo) and body.logprobs is not None
    jobs: list[Job] = []
    for prompt in body.prompts():
        try:
            ids = llm.encode_prompt(prompt)
        except ZerostallError as error:
            raise to_api_error(error, "prompt") from error
        for params in answers:
            jobs.append(body.job(len(jobs), ids, params, score_prompt=score))
    return jobs


@dataclass
class Choice:
    """One answer as it grows."""

    logprobs: TextLogprobs
    texts: list[str] = field(default_factory=list)
    records: list[dict[str, Any]] = field(default_factory=list)
    reason: str | None = None
    echoed: bool = False
    likely: list[float] = field(default_factory=list)  # logprobs of all its tokens

    @property
    def mean(self) -> float:
        """Of its logprobs."""
        return sum(self.likely) / len(self.likely) if self.likely else 0.0


class Answer:
    """The answer to one request, as a stream or whole."""

    def __init__(self, service: Service, body: CompletionRequest, jobs: Sequence[Job]) -> None:
        self._llm = service.llm
        self._silence_s = service.settings.keep_alive_s
        self._body = body
        self._jobs = jobs
        self._totals = Totals()
        self._choices = [Choice(TextLogprobs(service.llm)) for _ in jobs]
        self._frame = {
            "id": f"cmpl-{uuid.uuid4().hex}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": service.name,
        }

    async def stream(self, run: Run) -> AsyncIterator[dict[str, Any] | None]:
        """The chunks of the stream; None is a sign of life."""
        wants_usage = self._body.stream_options is not None and (
            self._body.stream_options.include_usage
        )
        extra: dict[str, Any] = {"usage": None} if wants_usage else {}
        async for item in run.items(self._silence_s):
            if item is None:
                yield None
                continue
            if item.progress is not None:
                choice = {"index": item.index, "text": "", "logprobs": None, "finish_reason": None}
                told = {"prompt_progress": shown_progress(item.progress)}
                yield {**self._frame, "choices": [choice], **told, **extra}
                continue
            for text, logprobs, reason in self._pieces(item):
                if not text and logprobs is None and reason is None:
                    continue
                choice = {
                    "index": item.index,
                    "text": text,
                    "logprobs": logprobs,
                    "finish_reason": reason,
                }
                chunk = {**self._frame, "choices": [choice], **extra}
                self._choices[item.index].reason = reason
                if all(each.reason is not None for each in self._choices):
                    chunk["timings"] = self._totals.timings()
                yield chunk
        if wants_usage:
            yield {**self._frame, "choices": [], "usage": self._totals.usage()}

    async def whole(self, run: Run) -> dict[str, Any]:
        """The answer in one piece."""
        async for item in run.items(self._silence_s):
            if item is None:
                continue
            choice = self._choices[item.index]
            for text, logprobs, reason in self._pieces(item):
                choice.texts.append(text)
                choice.reason = reason
                if logprobs is not None:
                    choice.records.append(logprobs)
        return {
            **self._frame,
            "choices": [
                {
                    "index": index,
                    "text": "".join(choice.texts),
                    "logprobs": None if self._body.logprobs is None else joined(choice.records),
                    "finish_reason": choice.reason,
                }
                for index, choice in enumerate(self._best())
            ],
            "usage": self._totals.usage(),
            "timings": self._totals.timings(),
        }

    def _best(self) -> list[Choice]:
        """Of the answers to each prompt the likeliest n, by the mean of their tokens."""
        made, wanted = self._body.candidates, self._body.choices
        best = []
        for first in range(0, len(self._choices), made):
            of_prompt = self._choices[first : first + made]
            if made > wanted:
                of_prompt = sorted(of_prompt, key=lambda choice: -choice.mean)
            best += of_prompt[:wanted]
        return best

    def _pieces(self, item: Item) -> list[Piece]:
        """Text, logprobs and finish reason of what came."""
        job, choice = self._jobs[item.index], self._choices[item.index]
        if item.scores is not None:
            choice.echoed = True
            text = self._prompt(job)
            return [(text, choice.logprobs.of_prompt(text, job.prompt, item.scores), None)]
        assert item.chunk is not None
        chunk = item.chunk
        self._totals.add(item.index // self._body.candidates, chunk, scored=job.score_prompt)
        record = None
        choice.likely += [entry.logprob for entry in chunk.logprobs or []]
        if self._body.logprobs is not None:
            record = choice.logprobs.of(shown_logprobs(self._llm, chunk))
        pieces: list[Piece] = [(chunk.text, record, chunk.finish_reason)]
        if self._body.echo and not choice.echoed:
            choice.echoed = True
            return [(self._prompt(job), None, None), *pieces]
        return pieces

    def _prompt(self, job: Job) -> str:
        """What `echo` puts before the answer."""
        prompt = self._body.prompts()[job.index // self._body.candidates]
        return prompt if isinstance(prompt, str) else self._llm.detokenize(prompt)
