"""/v1/embeddings: vectors of texts."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field, StrictInt, StrictStr

from zerostall.engine.embedding import Vector, normalized
from zerostall.errors import ZerostallError
from zerostall.serve.client import client_of
from zerostall.serve.faults import ApiError, to_api_error
from zerostall.serve.gate import Gate
from zerostall.serve.job import Job, Seat
from zerostall.serve.metrics import Metrics
from zerostall.serve.run import Run
from zerostall.serve.service import Service
from zerostall.serve.sse import unless_gone

if TYPE_CHECKING:
    from zerostall.llm import LLM

log = logging.getLogger(__name__)

MAX_INPUTS = 2048  # as at OpenAI


class EmbeddingsRequest(BaseModel):
    """The body of /v1/embeddings; other fields are ignored."""

    input: StrictStr | list[StrictInt] | list[StrictStr | list[StrictInt]]
    model: str | None = None
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[StrictInt, Field(ge=1)] | None = None

    def check(self, width: int) -> None:
        """Refuse what cannot be done; `width` is that of the model's vectors.

        Raises:
            ApiError: 400 with the field's name.
        """
        if len(self.input) == 0:
            raise ApiError(400, "input is empty; give at least one text", param="input")
        several = not isinstance(self.input, str) and not isinstance(self.input[0], int)
        if several and len(self.input) > MAX_INPUTS:
            told = f"input has {len(self.input)} texts; give at most {MAX_INPUTS}"
            raise ApiError(400, told, param="input")
        if self.dimensions is not None and self.dimensions > width:
            told = f"dimensions is {self.dimensions}; this model's vectors have {width}"
            raise ApiError(400, told, param="dimensions")


def routes(service: Service) -> APIRouter:
    """The route."""
    router = APIRouter()

    @router.post("/v1/embeddings")
    async def embeddings(request: Request, body: EmbeddingsRequest) -> Response:
        """Turn texts into vectors."""
        llm = service.llm
        body.check(llm.architecture.width)
        client = client_of(request.scope)
        service.admit(client)
        try:
            prompts = await asyncio.to_thread(llm.encode_texts, body.input)
        except ZerostallError as error:
            raise to_api_error(error, "input") from error
        running = service.running(client)
        run = service.track(EmbeddingRun(llm, prompts, service.settings.pooling, *running))
        await unless_gone(request, run, run.whole(service.settings.keep_alive_s))
        # Thousands of vectors as text take seconds, for which other requests need not wait.
        content = await asyncio.to_thread(_answer, service.name, body, prompts, run.vectors)
        return Response(content, media_type="application/json")

    return router


class EmbeddingRun(Run):
    """The embeddings of one request, in the steps that all requests share.

    Raises:
        InvalidRequestError: the model ranks texts.
        ApiError: 429, the queue is full.
    """

    def __init__(
        self,
        llm: LLM,
        prompts: Sequence[list[int]],
        pooling: str | None,
        gate: Gate,
        pool: Executor,
        metrics: Metrics,
        timeout_s: float,
        client: str,
    ) -> None:
        self.vectors: list[Vector] = []
        self._prompts = prompts
        self._embedder = llm.embedder(pooling)
        super().__init__(llm, (), gate, pool, metrics, timeout_s, client)

    async def whole(self, silence_s: float) -> None:
        """Wait until `vectors` has all, count and log it; errors as of items()."""
        async for _ in self.items(silence_s):
            pass
        computed = self._embedder.computed
        self._metrics.prompt_tokens.inc(computed)
        fields = {"texts": len(self._prompts), "prompt_tokens": computed}
        log.info("embedded", extra={"fields": fields})

    def cancel(self) -> None:
        """Leave the queue, or end within a step."""
        super().cancel()
        self._embedder.cancel()

    def _prompt_tokens(self, job: Job | None) -> int:
        return sum(map(len, self._prompts))

    def _serve(self, seat: Seat) -> None:
        self.vectors = list(self._embedder.run(self._prompts))


def _answer(
    name: str, body: EmbeddingsRequest, prompts: Sequence[list[int]], vectors: Sequence[Vector]
) -> bytes:
    tokens = sum(map(len, prompts))
    record = {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": _shown(body, vector)}
            for index, vector in enumerate(vectors)
        ],
        "model": name,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    return json.dumps(record, separators=(",", ":")).encode()


def _shown(body: EmbeddingsRequest, vector: Vector) -> Any:
    """The vector as numbers or in base64, cut to the dimensions asked for."""
    if body.dimensions is not None and body.dimensions < len(vector):
        vector = normalized(vector[: body.dimensions].astype("f8")).astype("f4")
    if body.encoding_format == "base64":
        return base64.b64encode(vector.astype("<f4").tobytes()).decode()
    return vector.tolist()
