"""An answer that may have one call ends after it, whether or not the model would go on."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.serve.scripted import ScriptedLLM, inside, talk
from tests.tasks import HANG_S, eventually

HELLO = [{"role": "user", "content": "x"}]
SCHEMA = {"type": "object"}
FUNCTION = {"name": "add", "parameters": SCHEMA}
FIELDS = {
    "/v1/chat/completions": {
        "messages": HELLO,
        "tools": [{"type": "function", "function": FUNCTION}],
        "parallel_tool_calls": False,
    },
    "/v1/responses": {
        "input": "x",
        "tools": [{"type": "function"} | FUNCTION],
        "parallel_tool_calls": False,
    },
    "/v1/messages": {
        "messages": HELLO,
        "max_tokens": 50,
        "tools": [{"name": "add", "input_schema": SCHEMA}],
        "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
    },
}
HERMES = ("So: ", '<tool_call>{"name": "add", "arguments": {"a": 1}}', "</tool_call>")
AGAIN = ("\n", '<tool_call>{"name": "add", "arg', 'uments": {"a": 2}}', "</tool_call>")
LLAMA = ('{"name": "add", "parameters": {"a": 1}}',)
LLAMA_AGAIN = ("; ", '{"name": "add", "parameters": {"a": 2}}')
LLAMA_TEMPLATE = '<|start_header_id|> {"name": function name, "parameters": {}}'


class Endless(ScriptedLLM):
    """Says its pieces, and then nothing more until it is cancelled."""

    def _stream(self, prompt, session, priority):
        *others, last = super()._stream(prompt, session, priority)
        yield from others
        assert session.cancelled.wait(HANG_S)
        yield last


def told(path, answer):
    """Arguments of the calls, why it ended, and tokens of the prompt and of the answer."""
    if path == "/v1/chat/completions":
        (choice,) = answer["choices"]
        calls = [call["function"]["arguments"] for call in choice["message"]["tool_calls"]]
        usage = answer["usage"]
        read, written = usage["prompt_tokens"], usage["completion_tokens"]
        return [json.loads(call) for call in calls], choice["finish_reason"], read, written
    usage = answer["usage"]
    tokens = (usage["input_tokens"], usage["output_tokens"])
    if path == "/v1/responses":
        calls = [item["arguments"] for item in answer["output"] if item["type"] == "function_call"]
        return [json.loads(call) for call in calls], answer["status"], *tokens
    calls = [block["input"] for block in answer["content"] if block["type"] == "tool_use"]
    return calls, answer["stop_reason"], *tokens


ENDS = {
    "/v1/chat/completions": "tool_calls",
    "/v1/responses": "completed",
    "/v1/messages": "tool_use",
}


def ask(llm, path, **fields):
    async def post(client):
        return await client.post(path, json=FIELDS[path] | fields)

    return talk(llm, post)


@pytest.mark.parametrize("path", FIELDS)
def test_a_second_call_is_not_told_and_the_model_is_stopped(path):
    # The last piece would come only if the run was not cancelled.
    answer = ask(Endless(*HERMES, *AGAIN, "never"), path)
    assert told(path, answer.json()) == ([{"a": 1}], ENDS[path], 3, len(HERMES) + 3)
    assert answer.json()["timings"]["predicted_n"] == len(HERMES) + 3


@pytest.mark.parametrize("path", FIELDS)
def test_so_it_is_where_calls_hang_together(path):
    llm = Endless(*LLAMA, *LLAMA_AGAIN, "never", template=LLAMA_TEMPLATE)
    assert told(path, ask(llm, path).json())[:2] == ([{"a": 1}], ENDS[path])


@pytest.mark.parametrize("path", FIELDS)
def test_text_after_the_call_ends_it_too(path):
    calls, reason, *_ = told(path, ask(Endless(*HERMES, " So ", "never"), path).json())
    assert (calls, reason) == ([{"a": 1}], ENDS[path])


@pytest.mark.parametrize("path", FIELDS)
def test_a_stream_ends_as_other_streams_do(path):
    fields = {"stream": True, "stream_options": {"include_usage": True}}
    answer = ask(Endless(*HERMES, *AGAIN, "never"), path, **fields)
    lines = [line for line in answer.text.split("\n") if line.startswith("data: {")]
    events = [json.loads(line.removeprefix("data: ")) for line in lines]
    assert not any(event.get("error") for event in events)
    assert '{\\"a\\": 2}' not in answer.text
    if path == "/v1/chat/completions":
        *_, last, usage = events
        assert last["choices"][0]["finish_reason"] == "tool_calls"
        assert last["timings"]["predicted_n"] == usage["usage"]["completion_tokens"] == 6
        assert answer.text.endswith("data: [DONE]\n\n")
    elif path == "/v1/responses":
        assert told(path, events[-1]["response"]) == ([{"a": 1}], "completed", 3, 6)
    else:
        assert events[-2]["delta"]["stop_reason"] == "tool_use"
        assert events[-2]["usage"]["output_tokens"] == 6
        assert events[-1]["type"] == "message_stop"


@pytest.mark.parametrize("path", FIELDS)
def test_one_call_that_the_model_ends_itself_is_no_cancelled_run(path):
    async def post():
        async with inside(ScriptedLLM(*HERMES, "\n")) as (client, service):
            answer = await client.post(path, json=FIELDS[path])
            return answer, service

    answer, service = asyncio.run(post())
    assert told(path, answer.json()) == ([{"a": 1}], ENDS[path], 3, len(HERMES) + 1)
    assert eventually(lambda: not service.runs)
    assert service.metrics.cancelled._value.get() == 0


@pytest.mark.parametrize("llm", [Endless, ScriptedLLM])
def test_each_of_several_answers_has_one(llm):
    path = "/v1/chat/completions"
    for stream in (False, True):
        answer = ask(llm(*HERMES, *AGAIN, "never"), path, n=2, stream=stream)
        ends = answer.text.replace(": ", ":").count('"finish_reason":"tool_calls"')
        assert ends == 2
        assert answer.text.count("call_") == 2
        assert "error" not in answer.text


@pytest.mark.parametrize("path", FIELDS)
def test_by_itself_an_answer_may_have_several(path):
    several = {"parallel_tool_calls": None, "tool_choice": None}
    answer = ask(ScriptedLLM(*HERMES, *AGAIN), path, **several)
    assert told(path, answer.json())[0] == [{"a": 1}, {"a": 2}]
