"""Run GGUF language models on the CPU: `LLM`, `SamplingParams`, typed errors.

from zerostall import LLM, SamplingParams
with LLM("nano") as llm:
    print(llm.generate("def fibonacci(n):", SamplingParams(temperature=0)).text)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zerostall.engine.completion import Chunk, Completion
    from zerostall.engine.streaming import Streaming
    from zerostall.errors import (
        ClosedError,
        ContextLengthError,
        InternalError,
        InvalidRequestError,
        ModelFormatError,
        ModelNotFoundError,
        OutOfBudgetError,
        StateFileError,
        StorageError,
        UnsupportedModelError,
        ZerostallError,
    )
    from zerostall.llm import LLM
    from zerostall.sampling import SamplingParams

__version__ = "0.1.0"

__all__ = [
    "LLM",
    "Chunk",
    "ClosedError",
    "Completion",
    "ContextLengthError",
    "InternalError",
    "InvalidRequestError",
    "ModelFormatError",
    "ModelNotFoundError",
    "OutOfBudgetError",
    "PromptProgress",
    "SamplingParams",
    "StateFileError",
    "StorageError",
    "Streaming",
    "UnsupportedModelError",
    "ZerostallError",
    "__version__",
]

_HOMES = {
    "LLM": "llm",
    "SamplingParams": "sampling",
    "Chunk": "engine.completion",
    "Completion": "engine.completion",
    "PromptProgress": "engine.completion",
    "Streaming": "engine.streaming",
}


def __getattr__(name: str) -> Any:
    # Imported on first use, so that `zerostall --help` need not load numpy and the core.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = importlib.import_module(f"{__name__}.{_HOMES.get(name, 'errors')}")
    return getattr(home, name)


def __dir__() -> list[str]:
    return sorted(__all__)
