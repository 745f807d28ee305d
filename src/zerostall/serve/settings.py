"""What `zerostall serve` is told."""

from __future__ import annotations

from dataclasses import dataclass

from zerostall.engine.embedding import check_pooling
from zerostall.errors import InvalidRequestError


@dataclass(frozen=True)
class Settings:
    """Options of the server; those of the model go to the LLM.

    Attributes:
        host, port: where to listen; port 0 takes a free one.
        parallel: generations that share the engine's steps.
        queue: generations that may wait for their turn; one more gets a 429.
        api_keys: any of these is accepted; none: everybody is.
        cors: origins whose pages may call; "*" is every one.
        chat_template: jinja2 source used instead of the model's own.
        pooling: of embeddings; None: the model's own.
        body_bytes: largest request body.
        body_s: seconds in which a body must have arrived.
        connections: most of them, fewer where the process may not have as many files.
        head_s: seconds in which a connection must have sent the head of a request.
        timeout_s: longest time of a request, waiting included; 0 is no limit.
        grace_s: what running requests have to finish when the server is told to stop; inf is no
            limit.
        keep_alive_s: silence of a stream after which a comment line is sent.
        version: of the package, for /props.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    parallel: int = 8
    queue: int = 64
    api_keys: tuple[str, ...] = ()
    cors: tuple[str, ...] = ()
    chat_template: str | None = None
    pooling: str | None = None
    body_bytes: int = 8 * 2**20
    body_s: float = 30.0
    connections: int = 1000
    head_s: float = 10.0
    timeout_s: float = 3600.0
    grace_s: float = 30.0
    keep_alive_s: float = 10.0
    version: str = "unknown"

    def __post_init__(self) -> None:
        for name, low in (("port", 0), ("parallel", 1), ("queue", 0), ("body_bytes", 1)):
            self._at_least(name, low)
        if self.pooling is not None:
            check_pooling(self.pooling)
        self._at_least("timeout_s", 0)
        self._at_least("grace_s", 0)
        if self.port > 65535:
            raise InvalidRequestError(f"port is {self.port}; give 0 to 65535")
        if any(not key or not key.isascii() for key in self.api_keys):
            raise InvalidRequestError("an API key is empty or not ASCII; give letters and digits")

    def _at_least(self, name: str, low: int) -> None:
        value = getattr(self, name)
        if not value >= low:
            raise InvalidRequestError(f"{name} is {value}; give at least {low}")
