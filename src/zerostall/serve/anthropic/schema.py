"""Bodies of /v1/messages and /v1/messages/count_tokens."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from zerostall.serve import forms
from zerostall.serve.anthropic.turns import to_openai
from zerostall.serve.calls.styles import ANY, Calling
from zerostall.serve.conversation import no_such, switches
from zerostall.serve.faults import ApiError
from zerostall.serve.forms import FREE, Form
from zerostall.serve.messages import Message
from zerostall.serve.schema import Generation, Stops, Tools


class Tool(BaseModel):
    """A function that the model may call."""

    name: Annotated[str, Field(min_length=1)]
    description: str | None = None
    input_schema: dict[str, Any] | None = None
    type: str | None = None


class ToolChoice(BaseModel):
    """Whether a function must be called, and which."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class Thinking(BaseModel):
    """Whether to reason first; a budget is not kept."""

    type: Literal["enabled", "disabled", "adaptive"]


class OutputConfig(BaseModel):
    """The effort of reasoning, and the form of the answer."""

    effort: str | None = None
    format: dict[str, Any] | None = None


class Conversation(BaseModel):
    """What is counted, and what an answer is made of."""

    model_config = ConfigDict(extra="allow")

    messages: Annotated[list[Message], Field(min_length=1)]
    system: str | list[dict[str, Any]] | None = None
    tools: list[Tool] | None = None
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    chat_template_kwargs: dict[str, Any] | None = None

    def turns(self) -> list[Message]:
        """The conversation in OpenAI's form; errors as to_openai()."""
        return to_openai(self.system, self.messages)

    def variables(self) -> dict[str, Any]:
        """Switches of the model's template."""
        given = switches(self.output_config.effort if self.output_config else None, None)
        if self.thinking is not None:
            given["enable_thinking"] = self.thinking.type != "disabled"
        return given | (self.chat_template_kwargs or {})

    @property
    def several(self) -> bool:
        """Whether more than one call may be made."""
        return self.tool_choice is None or not self.tool_choice.disable_parallel_tool_use

    @property
    def offered(self) -> Tools | None:
        """The tools that the model may call, in OpenAI's form.

        Raises:
            ApiError: 400, one runs at Anthropic's servers.
        """
        if self.tool_choice is not None and self.tool_choice.type == "none":
            return None
        return [_function(tool) for tool in self.tools or []] or None


class MessagesRequest(Conversation, Generation):
    """The body of /v1/messages; the other fields of sampling may be given too."""

    max_tokens: Annotated[int, Field(ge=1)]
    stop_sequences: Stops | None = None
    output_format: dict[str, Any] | None = None

    def check(self) -> None:
        """Refuse what cannot be done; errors as for Generation."""
        super().check()
        if self.choices > 1:
            raise no_such("n", "there is one answer")
        for name in ("add_generation_prompt", "continue_final_message"):
            if (self.model_extra or {}).get(name) is not None:
                raise no_such(name, "a last turn of the assistant's is always continued")
        if self.stop is not None:
            raise no_such("stop", "give stop_sequences")
        if self.response_format is not None:
            raise no_such("response_format", "give output_config.format")
        if not all(self.stop_sequences or []):
            raise ApiError(400, "stop_sequences: one is empty", param="stop_sequences")
        self.stop = self.stop_sequences

    def form(self, calling: Calling = ANY) -> Form:
        """What the answer is held to: a call, a schema, or a grammar of one's own."""
        where = "output_config" if self.output_format is None else "output_format"
        config = self.output_config.format if self.output_config else None
        schema = forms.of_format(self.output_format or config, where)
        form = super().form()
        choice = self.tool_choice
        if choice is not None and choice.type in ("any", "tool"):
            if choice.type == "tool" and choice.name is None:
                raise ApiError(400, "tool_choice: name is missing", param="tool_choice")
            if form is not FREE:
                raise ApiError(400, f"{form.where} is given beside tool_choice", param=form.where)
            must = forms.chosen(self.offered, choice.name if choice.type == "tool" else None)
            return forms.called(must, "tools", calling, several=self.several)
        if schema is None:
            return form
        if form is not FREE:
            raise ApiError(400, f"{form.where} is given beside {where}", param=form.where)
        return forms.held(schema, where, forms.functions(self.offered or []), calling)


def _function(tool: Tool) -> dict[str, Any]:
    if tool.type not in (None, "custom"):
        raise no_such("tools", f"{tool.type!r} does not run here; give functions")
    function = {"name": tool.name, "parameters": tool.input_schema or forms.ANY_OBJECT}
    if tool.description is not None:
        function["description"] = tool.description
    return {"type": "function", "function": function}
