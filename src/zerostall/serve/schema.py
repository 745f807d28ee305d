"""Request bodies. Fields that are not here are ignored, as OpenAI's own clients need."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr

from zerostall.errors import InvalidRequestError
from zerostall.sampling import UINT64_MAX, SamplingParams
from zerostall.serve import forms
from zerostall.serve.calls.styles import ANY, Calling
from zerostall.serve.faults import ApiError
from zerostall.serve.forms import FREE, Form
from zerostall.serve.job import Job
from zerostall.serve.messages import ending

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
# As OpenAI's schema has it, and as the engine does.
Seed = Annotated[int, Field(ge=-(2**63), le=UINT64_MAX)]
Bias = tuple[StrictInt, float | Literal[False]]  # of a token, by llama.cpp's form; False bans it

# The names that a request may have for a field of SamplingParams; the first that is given counts.
_NAMES = {
    "max_tokens": ("max_completion_tokens", "max_output_tokens", "max_tokens", "n_predict"),
    "repetition_penalty": ("repetition_penalty", "repeat_penalty"),
    "penalty_last_n": ("repeat_last_n",),
    "stop": ("stop_sequences", "stop"),
}

_FIELDS = {field.name for field in dataclasses.fields(SamplingParams)}

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
    seed: Seed | None = None
    stop: str | Stops | None = None
    stop_token_ids: list[int] | None = None
    ignore_eos: bool | None = None
    min_tokens: Annotated[int, Field(ge=0)] | None = None
    n_predict: int | None = None
    logit_bias: dict[int, float] | list[Bias] | None = None
    response_format: dict[str, Any] | None = None
    json_schema: dict[str, Any] | None = None
    grammar: str | None = None
    regex: str | None = None
    guided_json: dict[str, Any] | str | None = None
    guided_regex: str | None = None
    guided_grammar: str | None = None
    guided_choice: list[str] | None = None
    structured_outputs: dict[str, Any] | None = None
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
        modalities = (self.model_extra or {}).get("modalities")
        if isinstance(modalities, list) and any(each != "text" for each in modalities):
            raise ApiError(
                400,
                "modalities: only text can be generated",
                param="modalities",
                code="unsupported_parameter",
            )
        self.form()

    def form(self, _: Calling = ANY) -> Form:
        """What the answer is held to, by whichever of the fields is given.

        Args:
            calling: how the model writes calls.

        Raises:
            ApiError: 400 with the field's name.
        """
        return forms.asked_for(dict(self), self.response_format)

    @property
    def tells_progress(self) -> bool:
        """Whether the caller is told how far the prompt is."""
        return bool(self.stream and self.return_progress)

    def job(
        self,
        index: int,
        prompt: list[int],
        params: SamplingParams,
        *,
        score_prompt: bool = False,
        watched: bool = False,
    ) -> Job:
        """One of the generations that the request asks for; `watched` by the server itself."""
        watched = watched or self.tells_progress
        return Job(index, prompt, params, score_prompt, watched, self.priority or 0)

    def name_of(self, field: str) -> str:
        """By which of its names a field of SamplingParams is given; its own if by none."""
        known = type(self).model_fields
        names = _NAMES.get(field, ())
        given = (n for n in names if n in known and getattr(self, n) is not None)
        return next(given, field)

    def limit(self, context: int, default: int = UNLIMITED) -> int:
        """The most tokens of an answer: those that are asked for, or as many as there can be."""
        given = getattr(self, self.name_of("max_tokens"))
        tokens: int = default if given is None else given
        return context if tokens == UNLIMITED else tokens

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
            "min_tokens": self.min_tokens,
            "logit_bias": self._biases(),
            # -1 is how llama.cpp's clients ask for any seed; int64 goes around as uint64 does.
            "seed": None if self.seed in (None, -1) else (self.seed + choice) % 2**64,
            "max_tokens": max_tokens,
            "logprobs": logprobs,
            "shown_tokens": shown,
            **form.given,
        }
        given = {name: value for name, value in given.items() if value is not None}
        if self.min_tokens is not None and self.min_tokens > max_tokens:
            name = self.name_of("max_tokens")
            told = f"min_tokens is {self.min_tokens}, more than {name}, {max_tokens}"
            raise ApiError(400, told, param="min_tokens")
        try:
            return SamplingParams(**given)
        except InvalidRequestError as error:
            raise self._blamed(error, form) from error

    def check_params(self, llm: LLM, params: SamplingParams, form: Form = FREE) -> None:
        """Let the engine check parameters before anything is computed.

        Of the prompt, which was checked when it was encoded, nothing depends on: any will do.

        Raises:
            ApiError: 400, a token outside the vocabulary, stop strings without one, or a form that
                is wrong.
        """
        try:
            llm.stream([0], params)  # computes nothing until somebody iterates
        except InvalidRequestError as error:
            raise self._blamed(error, form, "stop") from error

    def _blamed(
        self, error: InvalidRequestError, form: Form, otherwise: str | None = None
    ) -> ApiError:
        """The answer to an error of the engine, by the names that the request has."""
        refused = form.refused(str(error))
        if refused is not None:
            return refused
        field, space, told = str(error).partition(" ")  # its messages begin with it
        if field not in _FIELDS:
            param = None if otherwise is None else self.name_of(otherwise)
            return ApiError(400, str(error), param=param)
        name = self.name_of(field)
        return ApiError(400, name + space + told, param=name)

    def _biases(self) -> dict[int, float] | None:
        if not isinstance(self.logit_bias, list):
            return self.logit_bias
        return {token: -math.inf if bias is False else bias for token, bias in self.logit_bias}


class CompletionRequest(Generation):
    """The body of /v1/completions."""

    prompt: (
        StrictStr
        | Annotated[list[StrictInt], Field(min_length=1)]
        | Annotated[list[StrictStr | list[StrictInt]], Field(min_length=1, max_length=MAX_CHOICES)]
    )
    echo: bool | None = None
    logprobs: Alternatives | None = None
    best_of: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = None

    def check(self) -> None:
        """Refuse what cannot be done; errors as for Generation."""
        super().check()
        if self.best_of is not None and self.best_of < self.choices:
            raise ApiError(400, f"best_of: give at least n, {self.choices}", param="best_of")
        if self.stream and self.candidates > self.choices:
            raise ApiError(400, "best_of: which are best shows at the end only", param="best_of")

    @property
    def candidates(self) -> int:
        """How many answers are made of each prompt, to choose from."""
        return self.best_of or self.choices

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
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None

    def check(self) -> None:
        """Refuse what cannot be done; errors as for Generation."""
        super().check()
        ending(self.messages, self.add_generation_prompt, self.continue_final_message)
        if self.top_logprobs and not self.logprobs:
            raise ApiError(400, "top_logprobs: set logprobs to true too", param="top_logprobs")
        self.choice()

    @property
    def several(self) -> bool:
        """Whether more than one call may be made."""
        return self.parallel_tool_calls is not False

    @property
    def offered(self) -> Tools | None:
        """The tools that the model may call.

        Raises:
            ApiError: 400, tool_choice allows one that is not there.
        """
        if self.tool_choice == "none":
            return None
        allowed = forms.allowed(self.tools, self._allowed())
        return allowed or None

    def _allowed(self) -> Any:
        choice = self.tool_choice
        if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
            return choice.get("allowed_tools")
        return None

    def choice(self) -> list[dict[str, Any]] | None:
        """The functions of which one must be called; None if none must.

        Raises:
            ApiError: 400, there is no such function.
        """
        choice = self.tool_choice
        if self._allowed() is not None:
            choice = forms.mode(self._allowed())
        if choice in (None, "none", "auto"):
            return None
        if choice == "required":
            return forms.chosen(self.offered, None)
        function = choice.get("function") if isinstance(choice, dict) else None
        name = function.get("name") if isinstance(function, dict) else None
        if not isinstance(name, str):
            raise ApiError(
                400,
                'tool_choice: give "none", "auto", "required", {"type": "function", "function": '
                '{"name": ...}} or {"type": "allowed_tools", "allowed_tools": ...}',
                param="tool_choice",
            )
        return forms.chosen(self.tools, name)

    def form(self, calling: Calling = ANY) -> Form:
        """As for Generation; the calls that must be made, or may be made instead."""
        form, must = super().form(), self.choice()
        if must is not None:
            if form.given and form.where != "response_format":
                raise ApiError(400, f"{form.where} is given beside tool_choice", param=form.where)
            return forms.called(must, "tools", calling, several=self.several)
        if form.where == "response_format" and self.offered:
            tools = forms.functions(self.offered)
            return forms.held(form.given["json_schema"], form.where, tools, calling)
        return form


class TemplateRequest(BaseModel):
    """The body of /apply-template."""

    messages: Annotated[list[dict[str, Any]], Field(min_length=1)]
    tools: Tools | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    add_generation_prompt: bool | None = None
    continue_final_message: bool | None = None


class TokenizeRequest(BaseModel):
    """The body of /tokenize, by llama.cpp's names (content) or vLLM's (prompt)."""

    content: str | None = None
    prompt: str | None = None
    add_special_tokens: bool | None = None  # true, beside prompt
    return_token_strs: bool | None = None
    add_special: bool | None = None  # false, beside content
    parse_special: bool | None = None  # true
    with_pieces: bool | None = None


class DetokenizeRequest(BaseModel):
    """The body of /detokenize, by llama.cpp's names."""

    tokens: list[StrictInt]
