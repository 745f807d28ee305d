"""What a loaded model is, until it is closed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from zerostall.engine.loader import Loaded
from zerostall.engine.meter import StreamMeter
from zerostall.engine.settling import settle_while_idle
from zerostall.errors import ClosedError, InvalidRequestError

if TYPE_CHECKING:
    from zerostall._core import GgufFile
    from zerostall.arch import Architecture
    from zerostall.text import Tokenizer


class OpenModel:
    """A loaded model's properties; any of them raises ClosedError once it is closed."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded: Loaded | None = loaded
        settle_while_idle(loaded.scheduler)

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the model. A call under way in another thread ends with ClosedError."""
        if self._loaded is not None:
            loaded, self._loaded = self._loaded, None
            loaded.close()

    @property
    def loaded(self) -> Loaded:
        """The loaded model's parts, unless closed."""
        if self._loaded is None:
            raise ClosedError("this LLM was closed; make a new one")
        return self._loaded

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer; InvalidRequestError if the file has no vocabulary."""
        if self.loaded.tokenizer is None:
            raise InvalidRequestError(
                f"{self.loaded.path.name} has no vocabulary: give token ids instead of text "
                "(`zerostall run --tokens 1,2,3`)"
            )
        return self.loaded.tokenizer

    @property
    def bos_id(self) -> int | None:
        """The beginning-of-text token, if the model wants one in front of every text."""
        return self.tokenizer.bos_id if self.tokenizer.add_bos else None

    @property
    def path(self) -> Path:
        """The model's file."""
        return self.loaded.path

    @property
    def file(self) -> GgufFile:
        """The open GGUF file: metadata and tensor directory."""
        return self.loaded.file

    @property
    def architecture(self) -> Architecture:
        """The model's tape and sizes."""
        return self.loaded.model

    @property
    def context(self) -> int:
        """Longest sequence in tokens."""
        return self.loaded.scheduler.context

    @property
    def vocab_size(self) -> int:
        """Number of token ids, and the width of logits."""
        return self.loaded.scheduler.vocab_size

    @property
    def load_ms(self) -> float:
        """How long loading took, in milliseconds."""
        return self.loaded.load_ms

    def meter(self) -> StreamMeter:
        """Counts what streaming experts takes from now on, for all calls together.

        It also tells what the KV cache holds.
        """
        return StreamMeter(self.loaded.scheduler)
