"""/v1/messages, /v1/messages/count_tokens."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from zerostall.serve import conversation
from zerostall.serve.anthropic.answer import Answer
from zerostall.serve.anthropic.edge import error_event
from zerostall.serve.anthropic.schema import Conversation, MessagesRequest
from zerostall.serve.client import client_of
from zerostall.serve.conversation import Prompt
from zerostall.serve.forms import after_thought
from zerostall.serve.job import Job
from zerostall.serve.messages import ending
from zerostall.serve.service import Service
from zerostall.serve.sse import EventStream, Wire, named_event, unless_gone

if TYPE_CHECKING:
    from zerostall.llm import LLM

WIRE = Wire(
    event=named_event,
    error=lambda error: named_event(error_event(error)),
    end=b"",
    alive=named_event({"type": "ping"}),
)


def routes(service: Service) -> APIRouter:
    """The routes."""
    router = APIRouter()

    @router.post("/v1/messages")
    async def messages(request: Request, body: MessagesRequest) -> Response:
        """Answer a conversation, in Anthropic's form."""
        llm = service.llm
        body.check()
        client = client_of(request.scope)
        service.admit(client)
        prompt = await asyncio.to_thread(_prompt, llm, body)
        job = await asyncio.to_thread(_job, llm, body, prompt)
        answer = Answer(service, body, prompt)
        run = service.start([job], client)
        if body.stream:
            return EventStream(run, answer.stream(run), service.settings.keep_alive_s, WIRE)
        return JSONResponse(await unless_gone(request, run, answer.whole(run)))

    @router.post("/v1/messages/count_tokens")
    async def count_tokens(body: Conversation) -> dict[str, int]:
        """How many tokens the prompt of a conversation has."""
        return {"input_tokens": await asyncio.to_thread(_count, service.llm, body)}

    return router


def _prompt(llm: LLM, body: Conversation) -> Prompt:
    turns = body.turns()
    end = ending(turns)
    return conversation.read(
        llm, turns, body.offered, body.variables(), ending=end, several=body.several
    )


def _count(llm: LLM, body: Conversation) -> int:
    turns = body.turns()
    return conversation.count(llm, turns, body.offered, body.variables(), ending(turns))


def _job(llm: LLM, body: MessagesRequest, prompt: Prompt) -> Job:
    """The answer, checked: nothing is computed for a request that fails."""
    form = body.form(prompt.calling)
    if prompt.thinking:
        form = after_thought(form)
    params = body.sampling(0, body.max_tokens, None, form, prompt.shown)
    body.check_params(llm, params, form)
    # A stream begins with how much of the prompt was in the cache.
    watched = bool(body.stream) or prompt.may_be_cut
    return body.job(0, prompt.tokens, params, watched=watched)
