"""Answers held to a form: a JSON schema, a grammar or a regular expression, by llguidance."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from zerostall.errors import InvalidRequestError
from zerostall.sampling import SamplingParams
from zerostall.text.guidance import describe

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

    from zerostall.text.tokenizer import Tokenizer

KEPT = 32  # compiled grammars
MESSAGE = 500  # characters of llguidance's account of an error, which may quote the whole grammar

# Between the parts of JSON. Without a bound a model that does not know how to go on may write
# spaces until its tokens are spent.
_SPACE = r"[ \n]{0,16}"


class Constraint:
    """What a grammar lets one generation write next.

    Ask for the mask before each choice of a token and tell the token after it.
    """

    def __init__(self, matcher: LLMatcher, field: str, ends: frozenset[int]) -> None:
        self._matcher = matcher
        self._field = field
        self._ends = ends

    @property
    def finished(self) -> bool:
        """Whether the text is complete and nothing may follow it."""
        return self._matcher.is_stopped()

    def allowed(self, logits: npt.NDArray[np.float32]) -> None:
        """Set the logits [vocab] of tokens that may not come next to -inf, in place.

        Raises:
            InvalidRequestError: nothing may come next, because a bias bans what the grammar
                wants, or the grammar became too large to follow.
        """
        mask = np.frombuffer(self._matcher.compute_bitmask(), np.uint8)
        self._check()
        bits = np.unpackbits(mask, bitorder="little").view(np.bool_)[: len(logits)]
        # Rows of logits may be wider than the vocabulary: those tokens stand for nothing.
        logits[len(bits) :] = -np.inf
        np.copyto(logits[: len(bits)], np.float32(-np.inf), where=~bits)
        if not np.isfinite(logits).any():
            raise InvalidRequestError(f"{self._field}: none of the tokens it allows can follow")

    def accept(self, token: int) -> None:
        """Go on by a token; those that end the text are not part of it.

        Raises:
            InvalidRequestError: the grammar became too large to follow.
        """
        if token not in self._ends:
            self._matcher.consume_token(token)
            self._check()

    def _check(self) -> None:
        if self._matcher.is_error():
            raise _refused(self._field, self._matcher.get_error())


class Grammars:
    """Compiles what requests ask for, for one tokenizer. Safe to share between threads."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._described: LLTokenizer | None = None
        self._lock = threading.Lock()
        self._compiled: OrderedDict[str, LLMatcher] = OrderedDict()

    def constraint(self, params: SamplingParams) -> Constraint | None:
        """A fresh constraint for a generation; None if it may write anything.

        Raises:
            InvalidRequestError: the schema, grammar or expression is wrong or not supported; the
                message begins with the field's name.
        """
        form = _form(params)
        if form is None:
            return None
        field, grammar = form
        with self._lock:
            matcher = self._compiled.get(grammar)
            if matcher is None:
                matcher = self._compile(field, grammar)
                self._compiled[grammar] = matcher
                if len(self._compiled) > KEPT:
                    self._compiled.popitem(last=False)
            self._compiled.move_to_end(grammar)
            return Constraint(matcher.deep_copy(), field, self._tokenizer.eog_ids)

    def _compile(self, field: str, grammar: str) -> LLMatcher:
        from llguidance import LLMatcher, LLParserLimits

        if self._described is None:
            self._described = describe(self._tokenizer)
        # Verbose errors show the state of its parser, which is nobody's business.
        limits = LLParserLimits(verbose_errors=False)
        matcher = LLMatcher(self._described, grammar, log_level=0, limits=limits)
        if matcher.is_error():
            raise _refused(field, matcher.get_error())
        return matcher


def json_rule(schema: Mapping[str, Any]) -> str:
    """JSON of a schema as part of a rule of a Lark grammar.

    Raises:
        InvalidRequestError: the schema is not JSON itself.
    """
    try:
        options = {"whitespace_pattern": _SPACE}
        return "%json " + json.dumps({"x-guidance": options} | dict(schema), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise _refused("json_schema", str(error)) from error


def _form(params: SamplingParams) -> tuple[str, str] | None:
    """The field that is given, and its grammar in llguidance's words."""
    from llguidance import LLMatcher
    from llguidance.gbnf_to_lark import any_to_lark

    if params.json_schema is not None:
        return "json_schema", _schema_grammar(params.json_schema)
    if params.regex is not None:
        return "regex", LLMatcher.grammar_from_regex(params.regex)
    if params.grammar is None:
        return None
    try:
        return "grammar", LLMatcher.grammar_from_lark(any_to_lark(params.grammar))
    except Exception as error:  # the converter of GBNF raises whatever its parser trips over
        raise _refused("grammar", str(error) or type(error).__name__) from error


def _schema_grammar(schema: Mapping[str, Any]) -> str:
    from llguidance import LLMatcher

    try:
        text = json.dumps(schema, allow_nan=False)
        return LLMatcher.grammar_from_json_schema(text, defaults={"whitespace_pattern": _SPACE})
    except (TypeError, ValueError, RecursionError) as error:
        raise _refused("json_schema", str(error)) from error


def _refused(field: str, reason: str) -> InvalidRequestError:
    reason = reason if len(reason) <= MESSAGE else reason[:MESSAGE] + " ..."
    return InvalidRequestError(f"{field}: {reason}")
