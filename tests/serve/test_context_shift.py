"""A server whose answers go on when the context is full."""

from __future__ import annotations

import pytest
from openai import BadRequestError

from tests.serve.process import Server, serving
from zerostall import LLM, SamplingParams

PROMPT = "def read_lines(path):"


@pytest.fixture(scope="module")
def shifting(model, tmp_path_factory) -> Server:
    log = tmp_path_factory.mktemp("shifting") / "log"
    with serving(log, "-m", str(model), "-c", "64", "--ctx-shift", "--keep", "5") as server:
        yield server


@pytest.fixture(scope="module")
def expected(model) -> str:
    with LLM(model, threads=1, ctx=64, context_shift=True, keep=5) as llm:
        params = SamplingParams(max_tokens=150, temperature=0, ignore_eos=True)
        return llm.generate(PROMPT, params).text


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_is_as_long_as_was_asked(shifting, expected, stream):
    with shifting.client() as client:
        ask = {"model": "", "prompt": PROMPT, "max_tokens": 150, "temperature": 0}
        ask["extra_body"] = {"ignore_eos": True}
        if stream:
            *chunks, last = client.completions.create(
                **ask, stream=True, stream_options={"include_usage": True}
            )
            text = "".join(chunk.choices[0].text for chunk in chunks)
            reason, usage = chunks[-1].choices[0].finish_reason, last.usage
        else:
            answer = client.completions.create(**ask)
            text, reason = answer.choices[0].text, answer.choices[0].finish_reason
            usage = answer.usage
    assert (text, reason, usage.completion_tokens) == (expected, "length", 150)


def test_a_chat_without_a_limit_ends_after_as_many_tokens_as_the_context_has(shifting):
    with shifting.client() as client:
        answer = client.chat.completions.create(
            model="",
            messages=[{"role": "user", "content": PROMPT}],
            extra_body={"ignore_eos": True, "temperature": 0},
        )
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage.completion_tokens == 64


def test_a_prompt_that_does_not_fit_is_refused_all_the_same(shifting):
    with shifting.client() as client, pytest.raises(BadRequestError) as caught:
        client.completions.create(model="", prompt=[5] * 65)
    assert caught.value.code == "context_length_exceeded"
