"""Conversations to prompts, by the model's own chat template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from jinja2 import Template, TemplateError, TemplateSyntaxError
from jinja2.exceptions import SecurityError

from zerostall.errors import InvalidRequestError, ModelFormatError
from zerostall.text.sandbox import ChatEnvironment, RefusedError

if TYPE_CHECKING:
    from zerostall.text.tokenizer import Tokenizer

_KEY = "tokenizer.chat_template"
# Set by render() itself; its other arguments have names that no template reads.
_SET = frozenset({"template", "messages", "tools", "add_generation_prompt", "bos", "eos", "now"})
_REASONING = ("reasoning_content", "thinking", "reasoning")


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
        InvalidRequestError: the template refuses the conversation (with its own message), or
            fails on it.
        ModelFormatError: the template is no jinja2, reaches for what the sandbox forbids, or
            would take too much time or memory.
    """
    compiled = _compile(template)
    environment: ChatEnvironment = compiled.environment  # type: ignore[assignment]
    values: dict[str, Any] = {
        "messages": [_with_reasoning(_plain(message)) for message in messages],
        "tools": _plain(tools),
        "documents": _plain(documents),
        "add_generation_prompt": add_generation_prompt,
        "strftime_now": (now or datetime.now()).strftime,
    }
    values |= {name: text for name, text in (("bos_token", bos), ("eos_token", eos)) if text}
    values |= {name: _plain(value) for name, value in variables.items()}
    environment.begin()
    try:
        return compiled.render(values)
    except RefusedError as error:
        raise InvalidRequestError(f"the model's chat template says: {error}") from error
    except (SecurityError, RecursionError, MemoryError, OverflowError) as error:
        raise ModelFormatError(f"{_KEY}: {error or type(error).__name__}") from error
    except Exception as error:  # a template can fail in any way that Python can
        raise _failed(error) from error


def ask(
    tokenizer: Tokenizer,
    name: str,
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]] | None,
    variables: Mapping[str, Any] | None,
) -> str:
    """A conversation in a model's own format, up to where its answer begins.

    Args:
        tokenizer: has the template and the tokens that it may write.
        name: of the model, for messages.
        messages, tools, variables: as for render().

    Raises:
        InvalidRequestError: there are no messages or no template, or as render().
    """
    if not messages:
        raise InvalidRequestError("messages is empty; give at least one message")
    switches = dict(variables or {})
    check_variables(switches)
    template = tokenizer.template_for(tools)
    if template is None:
        raise InvalidRequestError(
            f"{name} has no chat template: it is a base model; complete plain text instead "
            "(generate(), or `zerostall run`)"
        )
    return render(
        template,
        [dict(message) for message in messages],
        tools=None if tools is None else [dict(tool) for tool in tools],
        add_generation_prompt=True,
        bos=tokenizer.bos_token,
        eos=tokenizer.eos_token,
        **switches,
    )


def check_variables(variables: Mapping[str, Any]) -> None:
    """Refuse switches of a template that would take the place of what render() sets.

    Raises:
        InvalidRequestError: one of them would.
    """
    for name in variables:
        if not isinstance(name, str) or name in _SET:
            raise InvalidRequestError(f"variables has {name!r}, which is set from other arguments")


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


def _plain(value: Any) -> Any:
    """Rebuild ``value`` of JSON types, so that a template meets no object with methods."""
    if value is None or type(value) in (str, int, float, bool):
        return value
    if isinstance(value, Mapping):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    for kind in (str, int, float):
        if isinstance(value, kind):
            return kind(value)
    if hasattr(value, "item"):  # a numpy scalar
        return _plain(value.item())
    raise InvalidRequestError(
        f"a message holds a {type(value).__name__}; give strings, numbers, lists and dicts"
    )


def _with_reasoning(message: Any) -> Any:
    """Offer reasoning under each name that templates know it by."""
    if not isinstance(message, dict):
        raise InvalidRequestError(f"a message is a {type(message).__name__}, expected a dict")
    given = next((message[name] for name in _REASONING if message.get(name) is not None), None)
    if given is None:
        return message
    return {"thinking": given, **message, "reasoning_content": given}
