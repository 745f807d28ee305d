"""Conversations to prompts, by the model's own chat template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from jinja2 import Template, TemplateError, TemplateSyntaxError
from jinja2.exceptions import SecurityError

from zerostall.errors import InvalidRequestError, ModelFormatError
from zerostall.text.bounds import MAX_DEPTH
from zerostall.text.sandbox import ChatEnvironment, RefusedError

if TYPE_CHECKING:
    from zerostall.text.tokenizer import Tokenizer

_KEY = "tokenizer.chat_template"
# Set by render() itself; its other arguments have names that no template reads.
_SET = frozenset({"template", "messages", "tools", "add_generation_prompt", "bos", "eos", "now"})
# How a prompt ends: with what opens the assistant's turn, inside the last message, or behind it.
Ending = Literal["answer", "continue", "none"]
_TAG = "ZEROSTALL GOES ON HERE "  # stands where the last message ends
_REASONING = ("reasoning_content", "thinking", "reasoning")
# A rendering that left its bounds; RunawayError is a SecurityError.
_STOPPED = (SecurityError, RecursionError, MemoryError, OverflowError)


def render(
    template: str,
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]] | None = None,
    add_generation_prompt: bool = True,
    bos: str = "",
    eos: str = "",
    documents: Sequence[Mapping[str, Any]] | None = None,
    now: datetime | None = None,
    **variables: Any,
) -> str:
    """Render a conversation as transformers' ``apply_chat_template`` does.

    Args:
        template: jinja2 source.
        messages: dicts with "role" and "content" and whatever else the template reads.
        tools: JSON schemas of functions.
        add_generation_prompt: end with what opens the assistant's turn.
        bos: text of the model's BOS token; templates see it as ``bos_token``.
        eos: likewise.
        documents: texts to ground the answer on, for templates that know them.
        now: what ``strftime_now`` tells; None: the present.
        variables: switches of this template, such as ``enable_thinking``.

    Raises:
        InvalidRequestError: the template refuses the conversation (with its own message), fails
            on it, or would take too much time or memory for it; a value is no JSON, or nested
            too deep (the message begins with the argument's name).
        ModelFormatError: the template is no jinja2, or for any conversation reaches for what the
            sandbox forbids or would take too much time or memory.
    """
    compiled = _compile(template)
    environment: ChatEnvironment = compiled.environment  # type: ignore[assignment]
    values: dict[str, Any] = {
        "messages": [_with_reasoning(_plain(message, "messages")) for message in messages],
        "tools": _plain(tools, "tools"),
        "documents": _plain(documents, "documents"),
        "add_generation_prompt": add_generation_prompt,
        "strftime_now": (now or datetime.now()).strftime,
    }
    values |= {name: text for name, text in (("bos_token", bos), ("eos_token", eos)) if text}
    values |= {name: _plain(value, "variables") for name, value in variables.items()}
    environment.begin()
    try:
        return compiled.render(values)
    except RefusedError as error:
        raise InvalidRequestError(f"the model's chat template says: {error}") from error
    except _STOPPED as error:
        raise _stopped(template, error) from error
    except Exception as error:  # a template can fail in any way that Python can
        raise _failed(error) from error


def prompt(
    tokenizer: Tokenizer,
    name: str,
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]] | None = None,
    variables: Mapping[str, Any] | None = None,
    ending: Ending = "answer",
) -> str:
    """What the model's own template makes of a conversation, up to the answer.

    Args:
        tokenizer: the model's, with its templates.
        name: the model's, for errors.
        messages, tools, variables: as for render().
        ending: "continue" ends with the last message's text, so that the model goes on with it;
            "none" with all that the template has behind that message.

    Raises:
        InvalidRequestError: there is no message or no template; the template does not show the
            text that is to go on; and as render().
        ModelFormatError: as render().
    """
    if not messages:
        raise InvalidRequestError("messages is empty; give at least one message")
    switches = dict(variables or {})
    check_variables(switches)
    template = tokenizer.template_for(tools)
    if template is None:
        raise InvalidRequestError(
            f"{name} has no chat template: it is a base model; "
            "complete plain text instead (generate(), or `zerostall run`)"
        )
    turns = [dict(message) for message in messages]
    if ending == "continue":
        turns[-1] = _tagged(turns[-1])
    text = render(
        template,
        turns,
        tools=None if tools is None else [dict(tool) for tool in tools],
        add_generation_prompt=ending == "answer",
        bos=tokenizer.bos_token,
        eos=tokenizer.eos_token,
        **switches,
    )
    return _cut(text) if ending == "continue" else text


def _tagged(message: Mapping[str, Any]) -> dict[str, Any]:
    content = message.get("content")
    if not isinstance(content, str):
        raise InvalidRequestError("the last message has no text, so it cannot go on")
    return {**message, "content": content + _TAG}


def _cut(text: str) -> str:
    """A rendered conversation up to the tag, as transformers does it."""
    tag = _TAG.rstrip()
    place = text.rfind(tag)
    if place < 0:
        raise InvalidRequestError(
            "the model's chat template does not show the last message, so it cannot go on"
        )
    before = text[:place]
    # A template that takes the space behind the tag away takes that of the text away too.
    return before if text.startswith(_TAG, place) else before.rstrip()


def check_variables(variables: Mapping[str, Any]) -> None:
    """Refuse switches of a template that would take the place of what render() sets.

    Raises:
        InvalidRequestError: one of them would.
    """
    for name in variables:
        if not isinstance(name, str) or name in _SET:
            raise InvalidRequestError(f"variables has {name!r}, which is set from other arguments")


def check_template(template: str) -> None:
    """Refuse a template of the user's that is no jinja2, before there is a conversation.

    Raises:
        InvalidRequestError: it is none; the message names the line, where that is known.
    """
    try:
        _compile(template)
    except ModelFormatError as error:
        reason = str(error).removeprefix(_KEY).lstrip(",: ")
        raise InvalidRequestError(f"no chat template: {reason}") from error


def _stopped(template: str, error: Exception) -> InvalidRequestError | ModelFormatError:
    reason = str(error) or type(error).__name__
    if _is_sound(template):
        return InvalidRequestError(
            f"the model's chat template stopped at this conversation: {reason}; make it shorter"
            " or plainer, or complete plain text (--raw)"
        )
    return ModelFormatError(f"{_KEY}: {reason}")


@lru_cache(maxsize=16)
def _is_sound(template: str) -> bool:
    """Whether one word stays in its bounds; then a conversation that leaves them is at fault."""
    try:
        compiled = _compile(template)
        compiled.environment.begin()  # type: ignore[attr-defined]
        compiled.render(
            messages=[{"role": "user", "content": "x"}],
            tools=None,
            documents=None,
            add_generation_prompt=True,
            strftime_now=datetime.now().strftime,
        )
    except _STOPPED:
        return False
    except Exception:  # noqa: BLE001  it may fail in any way, as for want of tools
        return True
    return True


def _failed(error: Exception) -> InvalidRequestError:
    return InvalidRequestError(
        f"the model's chat template failed on this conversation ({type(error).__name__}: {error}):"
        " check the messages' roles and fields, or complete plain text (--raw)"
    )


@lru_cache(maxsize=16)
def _compile(template: str) -> Template:
    try:
        return ChatEnvironment().from_string(template)
    except TemplateSyntaxError as error:
        raise ModelFormatError(f"{_KEY}, line {error.lineno}: {error.message}") from error
    except (TemplateError, SyntaxError, RecursionError, MemoryError, ValueError) as error:
        raise ModelFormatError(f"{_KEY}: {error or type(error).__name__}") from error


def _plain(value: Any, field: str, depth: int = MAX_DEPTH) -> Any:
    """Rebuild ``value`` of JSON types, so that a template meets no object with methods."""
    if value is None or type(value) in (str, int, float, bool):
        return value
    if depth == 0:
        raise InvalidRequestError(f"{field}: a value is nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, Mapping):
        return {
            _plain(key, field, depth - 1): _plain(item, field, depth - 1)
            for key, item in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_plain(item, field, depth - 1) for item in value]
    for kind in (str, int, float):
        if isinstance(value, kind):
            return kind(value)
    if hasattr(value, "item"):  # a numpy scalar
        return _plain(value.item(), field, depth - 1)
    raise InvalidRequestError(
        f"{field}: a value is of type {type(value).__name__}; give strings, numbers, lists and"
        " dicts"
    )


def _with_reasoning(message: Any) -> Any:
    """Offer reasoning under each name that templates know it by."""
    if not isinstance(message, dict):
        raise InvalidRequestError(f"a message is a {type(message).__name__}, expected a dict")
    given = next((message[name] for name in _REASONING if message.get(name) is not None), None)
    if given is None:
        return message
    return {"thinking": given, **message, "reasoning_content": given}
