"""Request bodies. Fields that are not here are ignored, as OpenAI's own clients need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr

from zerostall.errors import InvalidRequestError
from zerostall.sampling import FORMS, SamplingParams
from zerostall.serve import forms
from zerostall.serve.calls.styles import ANY, Calling
from zerostall.serve.faults import ApiError
from zerostall.serve.forms import FREE, Form
from zerostall.serve.run import Job

if TYPE_CHECKING:
    from zerostall.llm import LLM

MAX_CHOICES = 128
MAX_LOGPROBS = 20
MAX_STOPS = 32
COMPLETION_TOKENS = 16  # of /v1/completions when max_tokens is not given, as at OpenAI
UNLIMITED = -1  # max_tokens by which llama.cpp's clients ask for the rest of the context

Stops = Annotated[list[str], Field(max_length=MAX_STOPS)]
Alternatives = Annotated[int, Field(ge=0, le=MAX_LOGPROBS)]
Tools = list[dict[str, Any]]

# What would change the answer cannot be ignored.
_REFUSED = {
    "suffix": "text cannot be inserted before a suffix",
    "functions": "deprecated; give tools",
    "function_call": "deprecated; give tool_choice",
    "audio": "only text can be generated",
    "prompt_embeds": "give text or token ids",
}


class StreamOptions(BaseModel):
    """Options of a stream."""

    include_usage: bool | None = None


class Generation(BaseModel):
    """What completions and chats have in common."""

    model_config = ConfigDict(extra="allow")

    model: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    typical_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None
    repeat_penalty: float | None = None
    repeat_last_n: int | None = None
    seed: int | None = None
    stop: str | Stops | None = None
    stop_token_ids: list[int] | None = None
    ignore_eos: bool | None = None
    logit_bias: dict[int, float] | None = None
    response_format: dict[str, Any] | None = None
    json_schema: dict[str, Any] | None = None
    grammar: str | None = None
    regex: str | None = None
    priority: StrictInt | None = None
    return_progress: bool | None = None

    @property
    def choices(self) -> int:
        """How many answers are wanted."""
        return self.n or 1

    def check(self) -> None:
        """Refuse what cannot be done.

        Raises:
            ApiError: 400 with the field's name.
        """
        for name, reason in _REFUSED.items():
            if (self.model_extra or {}).get(name):
                raise ApiError(400, f"{name}: {reason}", param=name, code="unsupported_parameter")
        self.form()

    def form(self, _: Calling = ANY) -> Form:
        """What the answer is held to, by whichever of the four fields is given.

        Args:
            calling: how the model writes calls.

        Raises:
            ApiError: 400 with the field's name.
        """
        schema = forms.of_format(self.response_format)
        given = {name: getattr(self, name) for name in FORMS if getattr(self, name) is not None}
        if schema is not None:
            given["response_format"] = schema
        if len(given) > 1:
            first, second = list(given)[:2]
            raise ApiError(400, f"{second} is given beside {first}", param=second)
        if schema is not None:
            return Form("response_format", {"json_schema": schema})
        return Form(next(iter(given)), given) if given else FREE

    def job(
        self, index: int, prompt: list[int], params: SamplingParams, *, score_prompt: bool = False
    ) -> Job:
        """One of the generations that the request asks for."""
        watched = bool(self.stream and self.return_progress)
        return Job(index, prompt, params, score_prompt, watched, self.priority or 0)

    def sampling(
        self,
        choice: int,
        max_tokens: int,
        logprobs: int | None,
        form: Form = FREE,
        shown: Sequence[int] = (),
    ) -> SamplingParams:
        """The engine's parameters for one of the answers; each has a seed of its own.

        Args:
            choice: the number of the answer.
            max_tokens: most tokens of it.
            logprobs: how many alternatives each token has; None: no logprobs.
            form: what it is held to.
            shown: control tokens that its text has.

        Raises:
            ApiError: 400, a value is out of its range.
        """
        given = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            # -1 is how vLLM's clients ask for all tokens.
            "top_k": 0 if self.top_k == -1 else self.top_k,
            "min_p": self.min_p,
            "typical_p": self.typical_p,
            "presence_penalty": self.presence_penalty,
            "frequency_penalty": self.frequency_penalty,
            "repetition_penalty": (
                self.repeat_penalty if self.repetition_penalty is None else self.repetition_penalty
            ),
            "penalty_last_n": self.repeat_last_n,
            "stop": [self.stop] if isinstance(self.stop, str) else self.stop,
            "stop_token_ids": self.stop_token_ids,
            "ignore_eos": self.ignore_eos,
            "logit_bias": self.logit_bias,
            # -1 is how llama.cpp's clients ask for any seed.
            "seed": None if self.seed in (None, -1) else self.seed + choice,
            "max_tokens": max_tokens,
            "logprobs": logprobs,
            "shown_tokens": shown,
            **form.given,
        }
        given = {name: value for name, value in given.items() if value is not None}
        return make_params(given, form)


def make_params(given: Mapping[str, Any], form: Form = FREE) -> SamplingParams:
    """SamplingParams, whose errors name the request's field."""
    try:
        return SamplingParams(**given)
    except InvalidRequestError as error:
        refused = form.refused(str(error))
        if refused is not None:
            raise refused from error
        field = str(error).split(" ", 1)[0]  # its messages begin with it
        raise ApiError(400, str(error), param=field if field in given else None) from error


def check_params(llm: LLM, prompt: list[int], params: SamplingParams, form: Form = FREE) -> None:
    """Let the engine check a request before anything is computed.

    Raises:
        ApiError: 400, a token outside the vocabulary, stop strings without one, or a form that
            is wrong.
    """
    try:
        llm.stream(prompt, params)  # computes nothing until somebody iterates
    except InvalidRequestError as error:
        refused = form.refused(str(error))
        if refused is not None:
            raise refused from error
        field = str(error).split(" ", 1)[0]
        known = field in ("logit_bias", "stop_token_ids")
        raise ApiError(400, str(error), param=field if known else "stop") from error


class CompletionRequest(Generation):
    """The body of /v1/completions."""

    prompt: (
        StrictStr
        | Annotated[list[StrictInt], Field(min_length=1)]
        | Annotated[list[StrictStr | list[StrictInt]], Field(min_length=1, max_length=MAX_CHOICES)]
    )
    echo: bool | None = None
    logprobs: Alternatives | None = None
    best_of: int | None = None

    def check(self) -> None:
        """Refuse what cannot be done; errors as for Generation."""
        super().check()
        if self.best_of not in (None, self.choices):
            raise ApiError(400, "best_of: give n instead", param="best_of")

    def prompts(self) -> list[str | list[int]]:
        """Each prompt."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if isinstance(self.prompt[0], int):
            return [[token for token in self.prompt if isinstance(token, int)]]
        return [prompt for prompt in self.prompt if not isinstance(prompt, int)]


class ChatRequest(Generation):
    """The body of /v1/chat/completions."""

    messages: Annotated[list[dict[str, Any]], Field(min_length=1)]
    max_completion_tokens: int | None = None
    logprobs: bool | None = None
    top_logprobs: Alternatives | None = None
    tools: Tools | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None

    def check(self) -> None:
        """Refuse what cannot be done; errors as for Generation."""
        super().check()
        if self.top_logprobs and not self.logprobs:
            raise ApiError(400, "top_logprobs: set logprobs to true too", param="top_logprobs")
        self.choice()

    @property
    def offered(self) -> Tools | None:
        """The tools that the model may call."""
        return self.tools if self.tools and self.tool_choice != "none" else None

    def choice(self) -> list[dict[str, Any]] | None:
        """The functions of which one must be called; None if none must.

        Raises:
            ApiError: 400, there is no such function.
        """
        choice = self.tool_choice
        if choice in (None, "none", "auto"):
            return None
        if choice == "required":
            return forms.chosen(self.tools, None)
        function = choice.get("function") if isinstance(choice, dict) else None
        name = function.get("name") if isinstance(function, dict) else None
        if not isinstance(name, str):
            raise ApiError(
                400,
                'tool_choice: give "none", "auto", "required" or {"type": "function", "function": '
                '{"name": ...}}',
                param="tool_choice",
            )
        return forms.chosen(self.tools, name)

    def form(self, calling: Calling = ANY) -> Form:
        """As for Generation; the calls that must be made, or may be made instead."""
        form, must = super().form(), self.choice()
        if must is not None:
            if form.given and form.where != "response_format":
                raise ApiError(400, f"{form.where} is given beside tool_choice", param=form.where)
            several = self.parallel_tool_calls is not False
            return forms.called(must, "tools", calling, several=several)
        if form.where == "response_format" and self.offered:
            tools = forms.functions(self.offered)
            return forms.held(form.given["json_schema"], form.where, tools, calling)
        return form


class TemplateRequest(BaseModel):
    """The body of /apply-template."""

    messages: Annotated[list[dict[str, Any]], Field(min_length=1)]
    tools: Tools | None = None
    chat_template_kwargs: dict[str, Any] | None = None


class TokenizeRequest(BaseModel):
    """The body of /tokenize, by llama.cpp's names."""

    content: str
    add_special: bool = False
    parse_special: bool = True
    with_pieces: bool = False


class DetokenizeRequest(BaseModel):
    """The body of /detokenize, by llama.cpp's names."""

    tokens: list[StrictInt]
