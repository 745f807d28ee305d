"""Text to token ids and back, as the model file describes it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Protocol

from zerostall.errors import InvalidRequestError, UnsupportedModelError
from zerostall.text.bpe import BytePairEncoder
from zerostall.text.metadata import Metadata, read_text
from zerostall.text.pieces import Pieces
from zerostall.text.special import SpecialTokens
from zerostall.text.spm import ScoreEncoder
from zerostall.text.templates import read_templates
from zerostall.text.token_type import TokenType
from zerostall.text.unigram import UnigramEncoder
from zerostall.text.vocabulary import Vocabulary, read_vocabulary


class Encoder(Protocol):
    """Encodes a piece of text that holds no special token."""

    def encode(self, text: str, first: bool) -> list[int]:
        """Return the ids; ``first`` tells that the piece starts the text or follows a special
        token."""


class Tokenizer:
    """The tokenizer of one model file. Safe to share between threads.

    No Unicode normalization happens before byte-level BPE: the file does not say which one the
    model was trained with (NFC for Qwen, none for Llama), and decoding gives back every text.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        encoder: Encoder,
        templates: dict[str, str] | None = None,
        rstrip: frozenset[int] = frozenset(),
    ) -> None:
        self._vocabulary = vocabulary
        self._encoder = encoder
        self._rstrip = rstrip
        self._pieces = Pieces(vocabulary)
        self.chat_templates: dict[str, str] = templates or {}

    @classmethod
    def from_gguf(cls, file: Metadata) -> Tokenizer:
        """Read the tokenizer of an open GGUF file.

        Raises ``UnsupportedModelError`` if the file has no vocabulary or one of a kind that does
        not exist here, ``ModelFormatError`` if its fields contradict one another.
        """
        vocabulary = read_vocabulary(file)
        return cls(
            vocabulary,
            _encoder(file, vocabulary),
            read_templates(file, vocabulary.ids),
            _rstrip(file, vocabulary),
        )

    @property
    def vocab_size(self) -> int:
        """The number of tokens."""
        return len(self._vocabulary.tokens)

    @property
    def bos_id(self) -> int | None:
        """The token that begins a text."""
        return self._vocabulary.bos_id

    @property
    def eos_id(self) -> int | None:
        """The token that ends a text."""
        return self._vocabulary.eos_id

    @property
    def bos_token(self) -> str:
        """The text of the token that begins a text, or an empty string."""
        return "" if self.bos_id is None else self._vocabulary.tokens[self.bos_id]

    @property
    def eos_token(self) -> str:
        """The text of the token that ends a text, or an empty string."""
        return "" if self.eos_id is None else self._vocabulary.tokens[self.eos_id]

    @property
    def add_bos(self) -> bool:
        """Whether ``encode`` puts BOS in front when ``add_special`` is set."""
        return self._vocabulary.add_bos

    @property
    def add_space_prefix(self) -> bool:
        """Whether encoding puts a space in front of the text."""
        return self._vocabulary.add_space_prefix

    @property
    def eog_ids(self) -> frozenset[int]:
        """Every token that ends a generation."""
        return self._vocabulary.eog_ids

    @property
    def chat_template(self) -> str | None:
        """The chat template: the file's, else ChatML if the vocabulary has its markers."""
        return self.chat_templates.get("default")

    def template_for(self, tools: Sequence[object] | None) -> str | None:
        """The template for a conversation with these tools: the file may have one for tools.

        As in transformers, an empty list of tools asks for it too.
        """
        template = None if tools is None else self.chat_templates.get("tool_use")
        return self.chat_template if template is None else template

    def token(self, id: int) -> str:
        """Return the text of a token as the file stores it."""
        return self._vocabulary.tokens[self._checked(id)]

    def id_of(self, token: str) -> int | None:
        """Return the id of a token by its stored text, or None."""
        return self._vocabulary.ids.get(token)

    def encode(self, text: str, add_special: bool = True, parse_special: bool = False) -> list[int]:
        """Return the token ids of ``text``.

        ``add_special`` adds BOS and EOS where the model wants them. ``parse_special`` looks up
        control tokens that are spelled out in the text, for rendered chat templates; the file's
        user-defined tokens are always looked up.
        """
        _check_text(text)
        vocabulary = self._vocabulary
        ids: list[int] = []
        if add_special and vocabulary.add_bos and vocabulary.bos_id is not None:
            ids.append(vocabulary.bos_id)
        special = self._all_special if parse_special else self._user_defined
        first = True
        for piece in special.split(text):
            if isinstance(piece, int):
                ids.append(piece)
            else:
                ids += self._encoder.encode(piece, first)
            first = isinstance(piece, int)
        if add_special and vocabulary.add_eos and vocabulary.eos_id is not None:
            ids.append(vocabulary.eos_id)
        return ids

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str:
        """Return the text of ``ids``, with U+FFFD for bytes that are no UTF-8.

        Where encoding puts a space in front of the text, decoding takes it away again.
        """
        pieces = (self._pieces.of(self._checked(id), not skip_special) for id in ids)
        data = b"".join(pieces)
        if self._vocabulary.add_space_prefix:
            data = self._without_prefix(ids, data, skip_special)
        return data.decode("utf-8", "replace")

    def token_bytes(self, id: int, show_special: bool = False) -> bytes:
        """Return the bytes of one token; control tokens have none unless ``show_special``."""
        return self._pieces.of(self._checked(id), show_special)

    def _without_prefix(self, ids: Sequence[int], data: bytes, skip_special: bool) -> bytes:
        # The prefix stands after leading control tokens, which may be shown.
        shown = 0
        for id in ids:
            if self._vocabulary.types[id] != TokenType.CONTROL:
                break
            shown += len(self._pieces.of(id, not skip_special))
        return data[:shown] + data[shown:].removeprefix(b" ")

    def _checked(self, id: int) -> int:
        if not 0 <= id < self.vocab_size:
            raise InvalidRequestError(
                f"token id {id} does not exist: the vocabulary has {self.vocab_size} tokens"
            )
        return id

    @cached_property
    def _user_defined(self) -> SpecialTokens:
        return self._special((TokenType.USER_DEFINED,))

    @cached_property
    def _all_special(self) -> SpecialTokens:
        return self._special((TokenType.USER_DEFINED, TokenType.CONTROL, TokenType.UNKNOWN))

    def _special(self, kinds: Iterable[TokenType]) -> SpecialTokens:
        wanted = set(kinds)
        vocabulary = self._vocabulary
        chosen = [id for id, kind in enumerate(vocabulary.types) if kind in wanted]
        return SpecialTokens(((vocabulary.tokens[id], id) for id in chosen), self._rstrip)


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequestError(
            f"the text has a lone surrogate at {error.start}: decode it with errors='replace'"
        ) from error


def _encoder(file: Metadata, vocabulary: Vocabulary) -> Encoder:
    if vocabulary.pre is not None:
        return BytePairEncoder(file, vocabulary.ids, vocabulary.pre)
    if vocabulary.model == "llama":
        return ScoreEncoder(vocabulary)
    if vocabulary.model == "t5":
        return UnigramEncoder(file, vocabulary)
    raise UnsupportedModelError(f"tokenizer.ggml.model is '{vocabulary.model}'")


def _rstrip(file: Metadata, vocabulary: Vocabulary) -> frozenset[int]:
    """The special tokens that swallow whitespace: a rule of Phi-3, known by its name only."""
    name = (read_text(file, "general.name") or "").lower()
    if "phi-3" not in name and "phi3" not in name:
        return frozenset()
    kinds = (TokenType.CONTROL, TokenType.UNKNOWN, TokenType.USER_DEFINED)
    kept = ("<unk>", "<s>", "<|endoftext|>")
    return frozenset(
        id
        for id, kind in enumerate(vocabulary.types)
        if kind in kinds and vocabulary.tokens[id] not in kept
    )
