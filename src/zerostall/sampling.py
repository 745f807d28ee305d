"""What a generation may be asked to do: how to choose tokens, and when to stop."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from zerostall.errors import InvalidRequestError

UINT64_MAX = 2**64 - 1
FORMS = ("json_schema", "grammar", "regex")


@dataclass(frozen=True)
class SamplingParams:
    """How one generation chooses its tokens and when it stops.

    The defaults of `temperature`, `top_k`, `top_p` and `min_p` are llama.cpp's, so a prompt
    moved from there behaves alike. `temperature=0` is greedy: always the most likely token
    after penalties and bias, the lowest id on a tie.

    Attributes:
        max_tokens: most tokens to generate. None: 128 for a completion; for a chat until the
            model ends its answer or the context is full.
        temperature: >= 0; divides the logits.
        top_k: keep the k most likely tokens; 0 keeps all.
        top_p: keep the smallest set of most likely tokens whose probability reaches this.
        min_p: drop tokens less likely than this fraction of the likeliest.
        typical_p: locally typical sampling; 1 is off (arXiv:2202.00666).
        repetition_penalty: divides positive logits of seen tokens, multiplies negative
            ones; 1 is off (CTRL, arXiv:1909.05858).
        presence_penalty: subtracted once from the logit of a seen token; 0 is off.
        frequency_penalty: subtracted per occurrence of a seen token; 0 is off.
        penalty_last_n: how many last tokens, prompt included, the penalties look at; 0 turns
            them off, -1 looks at the whole context.
        logit_bias: token id -> value added to its logit before anything else; -inf bans it.
        seed: None draws one; Completion.seed tells which.
        stop: text ends before the first of these strings, even if it spans tokens.
        stop_token_ids: token ids that end the generation; they give no text.
        ignore_eos: go on after the model's end-of-text token.
        min_tokens: tokens that end the text, of the model's or of `stop_token_ids`, are banned
            until there are so many; stop strings, and a form that is complete, end it all the
            same.
        shown_tokens: control tokens, which are hidden, whose own text appears all the same.
        logprobs: None, or how many alternatives to report for each token (0: only the token
            itself), as natural logarithms of the model's own distribution (temperature 1,
            before penalties).
        json_schema: a JSON schema: the text is JSON that satisfies it.
        grammar: a grammar in Lark's form (with llguidance's additions) or in GBNF: the text is a
            sentence of it.
        regex: a regular expression that the whole text matches. One of the three at most; each
            ends the generation when nothing can follow, also with `ignore_eos`.

    Raises:
        InvalidRequestError: a value is out of its range; the message names the field.
    """

    max_tokens: int | None = None
    temperature: float = 0.8
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    typical_p: float = 1.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    penalty_last_n: int = 64
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    seed: int | None = None
    stop: Sequence[str] = ()
    stop_token_ids: Sequence[int] = ()
    ignore_eos: bool = False
    min_tokens: int = 0
    shown_tokens: Sequence[int] = ()
    logprobs: int | None = None
    json_schema: Mapping[str, Any] | None = None
    grammar: str | None = None
    regex: str | None = None

    @property
    def constrained(self) -> bool:
        """Whether the text has to have a form."""
        return any(getattr(self, name) is not None for name in FORMS)

    def __post_init__(self) -> None:
        if isinstance(self.stop, str):
            object.__setattr__(self, "stop", (self.stop,))
        if self.max_tokens is not None:
            self._whole("max_tokens", 0, 2**31 - 1)
        self._real("temperature", 0.0, math.inf)
        self._whole("top_k", 0, 2**31 - 1)
        self._real("top_p", 0.0, 1.0)
        self._real("min_p", 0.0, 1.0)
        self._real("typical_p", 0.0, 1.0)
        self._real("repetition_penalty", 0.0, math.inf)
        if self.repetition_penalty == 0:
            raise _outside("repetition_penalty", 0, "more than 0 (1 is off)")
        self._real("presence_penalty", -math.inf, math.inf)
        self._real("frequency_penalty", -math.inf, math.inf)
        self._whole("penalty_last_n", -1, 2**31 - 1)
        if self.seed is not None:
            self._whole("seed", 0, UINT64_MAX)
        if self.logprobs is not None:
            self._whole("logprobs", 0, 1000)
        for text in self.stop:
            if not isinstance(text, str) or not text:
                raise _outside("stop", text, "non-empty strings")
        self._whole("min_tokens", 0, 2**31 - 1)
        for name in ("stop_token_ids", "shown_tokens"):
            for token in getattr(self, name):
                if not _is_whole(token) or token < 0:
                    raise _outside(name, token, "token ids, whole numbers from 0")
        for token, bias in self.logit_bias.items():
            if not _is_whole(token) or token < 0:
                raise _outside("logit_bias", token, "token ids, whole numbers from 0")
            if not _is_real(bias) or math.isnan(bias) or bias == math.inf:
                raise _outside("logit_bias", bias, "numbers, or -inf to ban a token")

        self._check_form()

    def _check_form(self) -> None:
        given = [name for name in FORMS if getattr(self, name) is not None]
        if len(given) > 1:
            raise InvalidRequestError(f"{given[1]} is given beside {given[0]}; give one of them")
        if self.json_schema is not None and not isinstance(self.json_schema, Mapping):
            raise _outside("json_schema", self.json_schema, "a JSON schema as a dict")
        for name in ("grammar", "regex"):
            text = getattr(self, name)
            if text is None:
                continue
            if not isinstance(text, str) or not text:
                raise _outside(name, text, "a text that is not empty")
            if not is_text(text):
                raise InvalidRequestError(f"{name} has a lone surrogate, which is no text")

    def _whole(self, name: str, low: int, high: int) -> None:
        value = getattr(self, name)
        if not _is_whole(value) or not low <= value <= high:
            raise _outside(name, value, f"a whole number from {low} to {high}")

    def _real(self, name: str, low: float, high: float) -> None:
        value = getattr(self, name)
        if not _is_real(value) or not math.isfinite(value) or not low <= value <= high:
            if high == math.inf:
                wanted = "a finite number" if low == -math.inf else f"a finite number >= {low:g}"
            else:
                wanted = f"a number from {low:g} to {high:g}"
            raise _outside(name, value, wanted)


def is_text(value: str) -> bool:
    """Whether a string can be written as UTF-8: lone surrogates cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_whole(value: Any) -> bool:
    """True for ints and numpy integers, not for bools or floats."""
    return hasattr(value, "__index__") and not isinstance(value, bool)


def _is_real(value: Any) -> bool:
    """True for ints, floats and numpy scalars, not for bools or strings."""
    return hasattr(value, "__float__") and not isinstance(value, bool)


def _outside(name: str, value: object, wanted: str) -> InvalidRequestError:
    return InvalidRequestError(f"{name} is {value!r}; give {wanted}")
