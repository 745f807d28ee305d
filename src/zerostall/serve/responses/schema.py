"""The body of /v1/responses."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import BaseModel, Field

from zerostall.serve import forms
from zerostall.serve.calls.styles import ANY, Calling
from zerostall.serve.conversation import no_such, switches
from zerostall.serve.faults import ApiError
from zerostall.serve.forms import FREE, Form
from zerostall.serve.messages import Message
from zerostall.serve.responses.items import to_messages
from zerostall.serve.schema import Alternatives, Generation, Tools

# What would change the answer cannot be ignored.
_REFUSED = {
    "previous_response_id": "answers are not stored; give the whole conversation as input",
    "conversation": "answers are not stored; give the whole conversation as input",
    "prompt": "there are no stored prompts; give instructions and input",
    "background": "answers are not stored; wait for this one, or stream it",
    "response_format": "give text.format",
}
# Answers have them too.
LOGPROBS = "message.output_text.logprobs"  # of `include`
_ECHOED = ("instructions", "metadata", "reasoning", "text", "tool_choice", "tools")


class TextConfig(BaseModel):
    """The form of the answer; its verbosity is the model's business."""

    format: dict[str, Any] | None = None


class Reasoning(BaseModel):
    """How much to reason first."""

    effort: str | None = None


class ResponsesRequest(Generation):
    """The body of /v1/responses; the other fields of sampling may be given too."""

    input: str | Annotated[list[Message], Field(min_length=1)]
    instructions: str | None = None
    max_output_tokens: Annotated[int, Field(ge=1)] | None = None
    metadata: dict[str, Any] | None = None
    tools: Tools | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    text: TextConfig | None = None
    reasoning: Reasoning | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    include: list[str] | None = None
    top_logprobs: Alternatives | None = None

    def check(self) -> None:
        """Refuse what cannot be done; errors as for Generation."""
        super().check()
        for name, reason in _REFUSED.items():
            if getattr(self, name, None) or (self.model_extra or {}).get(name):
                raise no_such(name, reason)
        for name in ("add_generation_prompt", "continue_final_message"):
            if (self.model_extra or {}).get(name) is not None:
                raise no_such(name, "an answer is always an item of its own")
        if self.choices > 1:
            raise no_such("n", "there is one answer")
        given = self.model_dump(include=set(_ECHOED))
        for name in _ECHOED:
            try:
                json.dumps(given[name], ensure_ascii=False, allow_nan=False).encode()
            except (ValueError, RecursionError) as error:
                told = f"{name}: not a number, or a lone surrogate, which is no text"
                raise ApiError(400, told, param=name) from error

    def messages(self) -> list[Message]:
        """The conversation in the form of chats; errors as to_messages()."""
        return to_messages(self.instructions, self.input)

    @property
    def alternatives(self) -> int | None:
        """How many likely tokens are told beside each of the text; None: no logprobs at all."""
        wanted = LOGPROBS in (self.include or []) or self.top_logprobs
        return (self.top_logprobs or 0) if wanted else None

    def variables(self) -> dict[str, Any]:
        """Switches of the model's template."""
        effort = self.reasoning.effort if self.reasoning else None
        return switches(effort, self.chat_template_kwargs)

    @property
    def several(self) -> bool:
        """Whether more than one call may be made."""
        return self.parallel_tool_calls is not False

    @property
    def offered(self) -> Tools | None:
        """The tools that the model may call, in the form of chats.

        Raises:
            ApiError: 400, one is no function.
        """
        if self.tool_choice == "none":
            return None
        asked = self.tool_choice if self._allows else None
        return forms.allowed([_function(tool) for tool in self.tools or []], asked) or None

    @property
    def _allows(self) -> bool:
        choice = self.tool_choice
        return isinstance(choice, dict) and choice.get("type") == "allowed_tools"

    def form(self, calling: Calling = ANY) -> Form:
        """What the answer is held to: a call, a schema, or a grammar of one's own."""
        form, must = super().form(), self._must()
        if must is not None:
            if form is not FREE:
                raise ApiError(400, f"{form.where} is given beside tool_choice", param=form.where)
            return forms.called(must, "tools", calling, several=self.several)
        schema = forms.of_format(self.text.format if self.text else None, "text")
        if schema is None:
            return form
        if form is not FREE:
            raise ApiError(400, f"{form.where} is given beside text", param=form.where)
        return forms.held(schema, "text", forms.functions(self.offered or []), calling)

    def _must(self) -> list[dict[str, Any]] | None:
        choice = forms.mode(self.tool_choice) if self._allows else self.tool_choice
        if choice in (None, "none", "auto"):
            return None
        if choice == "required":
            return forms.chosen(self.offered, None)
        named = isinstance(choice, dict) and choice.get("type") == "function"
        name = choice.get("name") if named and isinstance(choice, dict) else None
        if not isinstance(name, str):
            raise ApiError(
                400,
                'tool_choice: give "none", "auto", "required" or {"type": "function", "name": ...}',
                param="tool_choice",
            )
        return forms.chosen(self.offered, name)


def _function(tool: dict[str, Any]) -> dict[str, Any]:
    if tool.get("type") != "function":
        raise no_such("tools", f"{tool.get('type')!r} does not run here; give functions")
    names = ("name", "description", "parameters")
    return {"type": "function", "function": {n: tool[n] for n in names if tool.get(n) is not None}}
