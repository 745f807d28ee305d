"""/v1/responses."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from zerostall.serve import conversation
from zerostall.serve.client import client_of
from zerostall.serve.conversation import Prompt
from zerostall.serve.forms import after_thought
from zerostall.serve.job import Job
from zerostall.serve.responses.answer import Answer
from zerostall.serve.responses.schema import ResponsesRequest
from zerostall.serve.service import Service
from zerostall.serve.sse import EventStream, Wire, named_event, unless_gone

if TYPE_CHECKING:
    from zerostall.llm import LLM


def routes(service: Service) -> APIRouter:
    """The route."""
    router = APIRouter()

    @router.post("/v1/responses")
    async def responses(request: Request, body: ResponsesRequest) -> Response:
        """Answer an input, as a list of items."""
        llm = service.llm
        body.check()
        client = client_of(request.scope)
        service.admit(client)
        prompt = await asyncio.to_thread(_prompt, llm, body)
        job = await asyncio.to_thread(_job, llm, body, prompt)
        answer = Answer(service, body, prompt, job.params)
        run = service.start([job], client)
        if body.stream:
            wire = Wire(named_event, lambda error: named_event(answer.failure(error)), end=b"")
            return EventStream(run, answer.stream(run), service.settings.keep_alive_s, wire)
        return JSONResponse(await unless_gone(request, run, answer.whole(run)))

    return router


def _prompt(llm: LLM, body: ResponsesRequest) -> Prompt:
    messages, variables = body.messages(), body.variables()
    return conversation.read(llm, messages, body.offered, variables, "input", several=body.several)


def _job(llm: LLM, body: ResponsesRequest, prompt: Prompt) -> Job:
    """The answer, checked: nothing is computed for a request that fails."""
    form = body.form(prompt.calling)
    if prompt.thinking:
        form = after_thought(form)
    params = body.sampling(0, body.limit(llm.context), body.alternatives, form, prompt.shown)
    body.check_params(llm, params, form)
    return body.job(0, prompt.tokens, params, watched=prompt.may_be_cut)
