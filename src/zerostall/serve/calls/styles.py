"""How each family of models writes its calls, and which one a chat template belongs to."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from zerostall.serve.calls.feed import Feed, Reading
from zerostall.serve.calls.functions import FUNCTION, Schemas, function_call
from zerostall.serve.calls.objects import arguments, object_call
from zerostall.serve.parts import Call, CallEnd

if TYPE_CHECKING:
    from zerostall.text import Tokenizer

CALL, CALLED = "<tool_call>", "</tool_call>"
PYTHON_TAG = "<|python_tag|>"
CALLS, CALL_ID, ARGS = "[TOOL_CALLS]", "[CALL_ID]", "[ARGS]"

# [TOOL_CALLS]NAME[ARGS]{, in Mistral Small 3.2 with [CALL_ID]ID before [ARGS].
_NAMED = re.compile(r"\s*([^\s\[\]{}]+)\s*(?:\[CALL_ID\]\s*[^\s\[\]{}]*\s*)?(?:\[ARGS\])?\s*(?=\{)")
_NAME = 512  # characters before the arguments; more is no call

Reader = Callable[[Feed, Schemas], Reading[bool]]


def _tagged(feed: Feed, schemas: Schemas) -> Reading[bool]:
    if (yield from feed.starts(CALL, FUNCTION)) == CALL:
        feed.take(len(CALL))
        yield from feed.space()
    begin = yield from feed.starts("{", FUNCTION)
    if begin == "{":
        made = yield from object_call(feed)
    elif begin == FUNCTION:
        made = yield from function_call(feed, schemas)
    else:
        return False
    if made:
        # Some write a brace too many.
        yield from feed.skip("} \t\r\n")
        if (yield from feed.starts(CALLED)) or CALLED.startswith(feed.text):
            feed.take(len(CALLED))
        _end(feed)
    return made


def _end(feed: Feed) -> None:
    if not feed.cut:
        feed.emit(CallEnd())


def _bare(feed: Feed, schemas: Schemas) -> Reading[bool]:
    tagged = (yield from feed.starts(PYTHON_TAG, "{")) == PYTHON_TAG
    if tagged:
        feed.take(len(PYTHON_TAG))
    # An answer of JSON is told from a call by the name.
    made = yield from object_call(feed, names=None if tagged else schemas, patient=tagged)
    while made:
        _end(feed)
        yield from feed.skip("; \t\r\n")
        if not (yield from feed.starts("{")):
            break
        feed.mark()
        made = yield from object_call(feed, names=schemas, patient=False)
    return made


def _listed(feed: Feed, _: Schemas) -> Reading[bool]:
    feed.take(len(CALLS))
    yield from feed.space()
    if not (yield from feed.starts("[")):
        return (yield from _named(feed))
    feed.take(1)
    made = yield from object_call(feed)
    while made:
        yield from feed.space()
        _end(feed)
        if not (yield from feed.starts(",")):
            break
        feed.take(1)
        made = yield from object_call(feed)
    if made and (yield from feed.starts("]")):
        feed.take(1)
    return made


def _named(feed: Feed) -> Reading[bool]:
    while "{" not in feed.text[:_NAME] and len(feed.text) < _NAME and not feed.over:
        yield
    found = _NAMED.match(feed.text)
    if found is None:
        return False
    feed.take(found.end())
    feed.emit(Call(found[1]))
    yield from arguments(feed)
    _end(feed)
    return True


@dataclass(frozen=True)
class Style:
    """A way to write calls.

    Attributes:
        openings: what a call begins with, anywhere in the content.
        read: reads one from its opening on, or several that hang together; whether it was one.
        markers: what may be a control token, and has to be seen all the same.
        bare: a call may also begin with a brace where the content begins.
        short_ids: the template takes calls with ids of nine letters and digits only.
    """

    name: str
    openings: tuple[str, ...]
    read: Reader
    markers: tuple[str, ...]
    bare: bool = False
    short_ids: bool = False


HERMES = Style("hermes", (CALL,), _tagged, (CALL, CALLED))
CODER = Style("coder", (CALL, FUNCTION), _tagged, (CALL, CALLED))
LLAMA = Style("llama", (PYTHON_TAG,), _bare, (PYTHON_TAG,), bare=True)
MISTRAL_LIST = Style("mistral list", (CALLS,), _listed, (CALLS,), short_ids=True)
MISTRAL = Style("mistral", (CALLS,), _listed, (CALLS, CALL_ID, ARGS), short_ids=True)


def style_of(template: str | None) -> Style:
    """The style of a chat template, by the markers in it; Hermes's if it has none."""
    text = template or ""
    if CALLS in text:
        return MISTRAL if ARGS in text else MISTRAL_LIST
    if FUNCTION in text and "<parameter=" in text:
        return CODER
    if CALL in text:
        return HERMES
    llama = "<|start_header_id|>" in text and '"parameters"' in text
    return LLAMA if llama or PYTHON_TAG in text else HERMES


@dataclass(frozen=True)
class Calling:
    """How one model writes calls of the tools that it is offered.

    Attributes:
        style: of its chat template.
        controls: markers that are control tokens of its vocabulary, with their ids.
        template: the chat template.
        schemas: parameters of each tool on offer, by its name.
    """

    style: Style = HERMES
    controls: Mapping[str, int] = field(default_factory=dict)
    template: str = ""
    schemas: Schemas = field(default_factory=dict)

    @classmethod
    def of(cls, tokenizer: Tokenizer | None, tools: Sequence[Mapping[str, Any]] | None) -> Calling:
        """That of a model, without one for a model without a vocabulary."""
        if tokenizer is None:
            return cls(schemas=_schemas(tools))
        template = tokenizer.template_for(tools) or ""
        style = style_of(template)
        ids = {marker: tokenizer.id_of(marker) for marker in style.markers}
        controls = {
            marker: id
            for marker, id in ids.items()
            if id is not None and not tokenizer.token_bytes(id)
        }
        return cls(style, controls, template, _schemas(tools))


ANY = Calling()  # for checks that need no model


def _schemas(tools: Sequence[Mapping[str, Any]] | None) -> Schemas:
    found = {}
    for tool in tools or []:
        function = tool.get("function")
        if isinstance(function, Mapping) and isinstance(function.get("name"), str):
            schema = function.get("parameters")
            found[function["name"]] = schema if isinstance(schema, Mapping) else {}
    return found
