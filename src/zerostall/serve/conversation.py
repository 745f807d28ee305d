"""Conversations as prompts: what chats, messages and responses have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from zerostall.errors import ZerostallError
from zerostall.serve.calls.styles import Calling
from zerostall.serve.faults import ApiError, to_api_error
from zerostall.serve.messages import Message, to_template
from zerostall.serve.output import THINK, THOUGHT, OutputParser
from zerostall.serve.schema import Tools
from zerostall.text.chat import Ending

if TYPE_CHECKING:
    from zerostall.llm import LLM

# Of a request, by the argument that an error of rendering begins with.
_FIELDS = {
    "variables": "chat_template_kwargs",
    "documents": "chat_template_kwargs",
    "tools": "tools",
}


@dataclass(frozen=True)
class Prompt:
    """A conversation as the engine takes it.

    Attributes:
        tokens: up to the answer.
        thinking: they end inside the reasoning.
        calling: how the model writes calls.
        offered: there are tools to call.
        several: more than one call may be made.
    """

    tokens: list[int]
    thinking: bool
    calling: Calling
    offered: bool
    several: bool = True

    @property
    def parser(self) -> OutputParser:
        """A new one, for an answer to it."""
        calling = self.calling if self.offered else None
        return OutputParser(thinking=self.thinking, calling=calling, several=self.several)

    @property
    def may_be_cut(self) -> bool:
        """Whether an answer is ended here after its first call."""
        return self.offered and not self.several

    @property
    def shown(self) -> list[int]:
        """Control tokens that the parser has to see."""
        return list(self.calling.controls.values()) if self.offered else []


def read(
    llm: LLM,
    messages: list[Message],
    tools: Tools | None,
    variables: Mapping[str, Any] | None = None,
    where: str = "messages",
    ending: Ending = "answer",
    *,
    several: bool = True,
) -> Prompt:
    """The prompt of a conversation in OpenAI's form.

    Args:
        llm: its chat template is used.
        messages: with contents as text or as parts of text.
        tools: functions that the template shows.
        variables: switches of the template.
        where: the request's field, for errors.
        ending: whether the last message goes on.
        several: more than one call may be made.

    Raises:
        ApiError: 400, the template refuses, or the prompt is longer than the context.
    """
    calling = Calling.of(llm.loaded.tokenizer, tools)
    plain = to_template(messages, calling)
    try:
        text = llm.render_chat(plain, tools, variables, ending)
        tokens = llm.encode_chat(plain, tools, variables, ending)
    except ZerostallError as error:
        raise blamed(error, where) from error
    # What goes on may have begun its reasoning itself.
    own = str(plain[-1]["content"]) if ending == "continue" else ""
    thinking = text.rstrip().endswith(THINK) or own.rfind(THINK) > own.rfind(THOUGHT)
    return Prompt(tokens, thinking, calling, bool(tools), several)


def count(
    llm: LLM,
    messages: list[Message],
    tools: Tools | None,
    variables: Mapping[str, Any] | None = None,
    ending: Ending = "answer",
) -> int:
    """How many tokens the prompt of read() has, also when that is more than the context.

    Raises:
        ApiError: 400, the template refuses.
    """
    plain = to_template(messages, Calling.of(llm.loaded.tokenizer, tools))
    try:
        text = llm.render_chat(plain, tools, variables, ending)
        ids = llm.tokenize(text, add_special=False, parse_special=True)
    except ZerostallError as error:
        raise blamed(error) from error
    bos = llm.bos_id  # of which a prompt has one, whether or not the template writes it
    return len(ids) + (bos is not None and ids[:1] != [bos])


def blamed(error: ZerostallError, where: str = "messages") -> ApiError:
    """The answer to an error of rendering; `where` is the field of the conversation."""
    named = str(error).split(" ", 1)[0].rstrip(":")
    return to_api_error(error, _FIELDS.get(named, where))


def switches(effort: str | None, given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Variables of the template: the effort of reasoning, and what the caller names itself."""
    named: dict[str, Any] = {}
    if effort is not None:
        named = {"reasoning_effort": effort, "enable_thinking": effort != "none"}
    return named | dict(given or {})


def no_such(where: str, what: str) -> ApiError:
    """A 400 for what a field asks for and this server has not."""
    return ApiError(400, f"{where}: {what}", param=where, code="unsupported_parameter")
