"""The other routes: what is served, how it fares, and its tokenizer, as llama.cpp has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from fastapi import APIRouter
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST

from zerostall.errors import ZerostallError
from zerostall.sampling import SamplingParams
from zerostall.serve.calls.styles import Calling
from zerostall.serve.conversation import blamed
from zerostall.serve.faults import ApiError, to_api_error
from zerostall.serve.job import State
from zerostall.serve.messages import ending, to_template
from zerostall.serve.schema import DetokenizeRequest, TemplateRequest, TokenizeRequest
from zerostall.serve.service import Service

Route = TypeVar("Route", bound=Callable[..., Any])


def routes(service: Service) -> APIRouter:
    """The routes."""
    router = APIRouter()

    @_get(router, "/v1/health")
    @_get(router, "/health")
    async def health() -> dict[str, str]:
        """200 when the model is loaded, 503 before."""
        _ = service.llm
        return {"status": "ok"}

    @_get(router, "/version")
    async def version() -> dict[str, str]:
        """Of the package."""
        return {"version": service.settings.version}

    @_get(router, "/metrics")
    async def metrics() -> Response:
        """Counters, for Prometheus."""
        return Response(await service.metrics.collect(), media_type=CONTENT_TYPE_LATEST)

    @_get(router, "/v1/models")
    async def models() -> dict[str, Any]:
        """The one model there is."""
        return {"object": "list", "data": [_model(service)]}

    @_get(router, "/v1/models/{name:path}")
    async def model(name: str) -> dict[str, Any]:
        """One model by its id."""
        if name != service.name:
            raise ApiError(
                404,
                f"there is no model {name!r}; this server has {service.name!r}",
                param="model",
                code="model_not_found",
            )
        return _model(service)

    @_get(router, "/props")
    async def props() -> dict[str, Any]:
        """What the server was started with."""
        return _props(service)

    @_get(router, "/slots")
    async def slots() -> list[dict[str, Any]]:
        """The places for requests that run at once, and what runs in each."""
        context = service.llm.context
        states = {state.slot: state for run in service.runs for state in run.states}
        return [_slot(id, context, states.get(id)) for id in range(service.gate.parallel)]

    @router.post("/tokenize")
    def tokenize(body: TokenizeRequest) -> dict[str, Any]:
        """Token ids of a text."""
        llm = service.llm
        if body.prompt is not None and body.content is None:
            return _tokenized(service, body, body.prompt)
        if body.content is None or body.prompt is not None:
            raise ApiError(400, "content: give it, or prompt, one of them", param="content")
        special = body.parse_special is not False
        ids = llm.tokenize(body.content, bool(body.add_special), special)
        if not body.with_pieces:
            return {"tokens": ids}
        return {"tokens": [{"id": id, "piece": _piece(service, id)} for id in ids]}

    @router.post("/detokenize")
    def detokenize(body: DetokenizeRequest) -> dict[str, str]:
        """The text of token ids."""
        try:
            return {"content": service.llm.detokenize(body.tokens, skip_special=False)}
        except ZerostallError as error:
            raise to_api_error(error, "tokens") from error

    @router.post("/apply-template")
    def apply_template(body: TemplateRequest) -> dict[str, str]:
        """The prompt that a conversation becomes."""
        try:
            llm = service.llm
            calling = Calling.of(llm.loaded.tokenizer, body.tools)
            messages = to_template(body.messages, calling)
            end = ending(messages, body.add_generation_prompt, body.continue_final_message)
            prompt = llm.render_chat(messages, body.tools, body.chat_template_kwargs, end)
            prompt.encode()
        except UnicodeEncodeError as error:
            raise ApiError(
                400, "messages: a lone surrogate is no text", param="messages"
            ) from error
        except ZerostallError as error:
            raise blamed(error) from error
        return {"prompt": prompt}

    return router


def _get(router: APIRouter, path: str) -> Callable[[Route], Route]:
    """As router.get(), but HEAD is answered too, as monitors ask; uvicorn leaves the body out."""

    def add(route: Route) -> Route:
        router.head(path, include_in_schema=False)(route)
        router.get(path)(route)
        return route

    return add


def _slot(id: int, context: int, state: State | None) -> dict[str, Any]:
    """By the names of llama.cpp's server, as far as there is such a thing, and `request_id`."""
    slot: dict[str, Any] = {"id": id, "n_ctx": context, "is_processing": state is not None}
    if state is None:
        return slot
    left = -1 if state.most is None else state.most - state.decoded
    return slot | {
        "request_id": state.request_id,
        "n_prompt_tokens": state.prompt,
        "n_prompt_tokens_processed": state.computed,
        "n_prompt_tokens_cache": state.cached,
        "next_token": [{"n_decoded": state.decoded, "n_remain": left}],
    }


def _model(service: Service) -> dict[str, Any]:
    llm = service.llm
    return {
        "id": service.name,
        "object": "model",
        "created": service.created,
        "owned_by": "zerostall",
        "max_model_len": llm.context,
        "meta": {
            "n_vocab": llm.vocab_size,
            "n_ctx": llm.context,
            "n_ctx_train": llm.architecture.context_length,
        },
    }


def _props(service: Service) -> dict[str, Any]:
    llm = service.llm
    tokenizer = llm.loaded.tokenizer
    defaults = SamplingParams()
    names = ("temperature", "top_k", "top_p", "min_p", "typical_p", "repetition_penalty")
    return {
        "default_generation_settings": {
            "n_ctx": llm.context,
            "params": {name: getattr(defaults, name) for name in names},
        },
        "total_slots": service.gate.parallel,
        "model_alias": service.name,
        "model_path": str(llm.path),
        "chat_template": None if tokenizer is None else tokenizer.chat_template,
        "bos_token": "" if tokenizer is None else tokenizer.bos_token,
        "eos_token": "" if tokenizer is None else tokenizer.eos_token,
        "build_info": f"zerostall {service.settings.version}",
    }


def _tokenized(service: Service, body: TokenizeRequest, prompt: str) -> dict[str, Any]:
    """The answer to /tokenize as vLLM has it."""
    llm = service.llm
    begins, special = body.add_special_tokens is not False, body.parse_special is not False
    ids = llm.tokenize(prompt, begins, special)
    texts = [llm.tokenizer.token(id) for id in ids] if body.return_token_strs else None
    answer = {"count": len(ids), "max_model_len": llm.context, "tokens": ids}
    return answer | {"token_strs": texts}


def _piece(service: Service, token: int) -> str | list[int]:
    """A token's text, or its bytes if they are no text of their own."""
    data = service.llm.tokenizer.token_bytes(token, show_special=True)
    try:
        return data.decode()
    except UnicodeDecodeError:
        return list(data)
