"""/v1/chat/completions: the model's format, OpenAI's chunks, reasoning and tools."""

from __future__ import annotations

import json

import pytest
from openai import BadRequestError

from tests.serve.process import serving
from tests.serve.scripted import ScriptedLLM, talk
from zerostall import SamplingParams

HELLO = [{"role": "user", "content": "import sys"}]
ASK = {"model": "any", "messages": HELLO, "max_tokens": 16, "seed": 3}
TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]


@pytest.fixture(scope="module")
def expected(llm):
    return llm.chat(HELLO, SamplingParams(max_tokens=16, seed=3))


def test_an_answer_is_what_the_llm_gives_with_that_seed(client, expected):
    answer = client.chat.completions.create(**ASK)
    assert answer.object == "chat.completion"
    choice = answer.choices[0]
    assert (choice.message.role, choice.message.content) == ("assistant", expected.text)
    assert choice.finish_reason == "length"
    assert answer.usage.prompt_tokens == expected.usage.prompt_tokens
    assert answer.usage.completion_tokens == 16
    again = client.chat.completions.create(**ASK | {"max_tokens": 999}, max_completion_tokens=16)
    assert again.choices[0].message.content == expected.text


def test_a_stream_has_openais_chunks(server, expected):
    body = ASK | {"stream": True, "stream_options": {"include_usage": True}}
    answer = server.post("/v1/chat/completions", body)
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    *events, done, end = answer.text.split("\n\n")
    assert (done, end) == ("data: [DONE]", "")
    chunks = [json.loads(event.removeprefix("data: ")) for event in events]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    first, *middle, last, usage = chunks
    assert first["choices"] == [
        {
            "index": 0,
            "delta": {"role": "assistant", "content": ""},
            "logprobs": None,
            "finish_reason": None,
        }
    ]
    assert "".join(chunk["choices"][0]["delta"]["content"] for chunk in middle) == expected.text
    assert (last["choices"][0]["delta"], last["choices"][0]["finish_reason"]) == ({}, "length")
    assert last["timings"]["predicted_n"] == 16
    assert usage["choices"] == []
    assert usage["usage"]["completion_tokens"] == 16
    assert all(chunk["usage"] is None for chunk in chunks[:-1])


def test_each_of_n_answers_streams_under_its_index(client, llm):
    texts = {0: "", 1: ""}
    for chunk in client.chat.completions.create(**ASK, n=2, stream=True):
        texts[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    alone = [llm.chat(HELLO, SamplingParams(max_tokens=16, seed=seed)).text for seed in (3, 4)]
    assert list(texts.values()) == alone


def test_logprobs_have_tokens_bytes_and_alternatives(client, llm):
    expected = llm.chat(HELLO, SamplingParams(max_tokens=4, temperature=0, logprobs=2))
    ask = {"model": "", "messages": HELLO, "max_tokens": 4, "temperature": 0}
    got = client.chat.completions.create(**ask, logprobs=True, top_logprobs=2).choices[0].logprobs
    assert [entry.logprob for entry in got.content] == [e.logprob for e in expected.logprobs]
    assert b"".join(bytes(entry.bytes) for entry in got.content).decode() == expected.text
    assert [[top.logprob for top in entry.top_logprobs] for entry in got.content] == [
        [logprob for _, logprob in entry.top] for entry in expected.logprobs
    ]
    streamed = client.chat.completions.create(**ask, logprobs=True, stream=True)
    entries = [
        entry
        for chunk in streamed
        if chunk.choices[0].logprobs
        for entry in chunk.choices[0].logprobs.content
    ]
    assert [entry.logprob for entry in entries] == [e.logprob for e in expected.logprobs]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, "response_format"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"messages": []}, "messages"),
        ({"messages": [{"content": "x"}]}, "messages"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages"),
        ({"messages": [{"role": "user", "content": "import sys\n" * 2000}]}, "messages"),
    ],
)
def test_what_cannot_be_done_is_a_400_that_names_the_field(client, fields, param):
    with pytest.raises(BadRequestError) as caught:
        client.chat.completions.create(**ASK | fields)
    assert caught.value.param == param


def test_contents_in_parts_are_joined(server):
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    body = {"messages": [{"role": "user", "content": parts}]}
    assert server.post("/apply-template", body).json() == {"prompt": "# user: a\nb\n# assistant:"}


def test_a_base_model_says_so_unless_it_is_given_a_template(tmp_path, llm):
    template = tmp_path / "chat.jinja"
    template.write_text("{{ messages[-1].content }} = <think>")
    with serving(tmp_path / "base.jsonl") as server:
        answer = server.post("/v1/chat/completions", ASK)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "messages")
        assert "base model" in answer.json()["error"]["message"]
    options = ("--chat-template", str(template), "--alias", "tiny/model")
    with serving(tmp_path / "log.jsonl", *options) as server:
        answer = server.post("/v1/chat/completions", ASK).json()
        (listed,) = server.get("/v1/models").json()["data"]
    assert (answer["model"], listed["id"]) == ("tiny/model", "tiny/model")
    message = answer["choices"][0]["message"]
    said = llm.generate("import sys = <think>", SamplingParams(max_tokens=16, seed=3)).text
    assert message == {"role": "assistant", "content": "", "reasoning_content": said.strip()}


def chat(llm, **fields):
    async def ask(client):
        return await client.post("/v1/chat/completions", json={"messages": HELLO} | fields)

    return talk(llm, ask)


def deltas(text):
    chunks = [json.loads(line[6:]) for line in text.split("\n\n") if line.startswith("data: {")]
    return [(c["choices"][0]["delta"], c["choices"][0]["finish_reason"]) for c in chunks]


CALLING = (
    "<think>I",
    " add</think>\n",
    "So: <tool",
    '_call>{"name": "add", "argu',
    'ments": {"a": 1}}',
)
CALLING += ("</tool_call>",)


def test_reasoning_and_calls_of_tools_have_fields_of_their_own():
    llm = ScriptedLLM(*CALLING)
    choice = chat(llm, tools=TOOLS).json()["choices"][0]
    (call,) = choice["message"].pop("tool_calls")
    assert choice["message"] == {
        "role": "assistant",
        "content": "So:",
        "reasoning_content": "I add",
    }
    assert choice["finish_reason"] == "tool_calls"
    assert call.pop("id").startswith("call_")
    assert call == {"type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    assert llm.asked[0][1] == TOOLS


def test_a_stream_tells_reasoning_and_calls_apart_too():
    found = deltas(chat(ScriptedLLM(*CALLING), tools=TOOLS, stream=True).text)
    first, *others = [delta["tool_calls"][0] for delta, _ in found if "tool_calls" in delta]
    assert (first["index"], first["function"]["name"]) == (0, "add")
    assert json.loads("".join(call["function"]["arguments"] for call in others)) == {"a": 1}
    assert "".join(delta.get("reasoning_content", "") for delta, _ in found) == "I add"
    assert "".join(delta.get("content", "") for delta, _ in found) == "So:"
    assert found[-1] == ({}, "tool_calls")


def test_without_tools_or_with_tool_choice_none_calls_are_content():
    for fields in ({}, {"tools": TOOLS, "tool_choice": "none"}):
        llm = ScriptedLLM(*CALLING)
        choice = chat(llm, **fields).json()["choices"][0]
        assert choice["message"]["content"] == "".join(CALLING).split("</think>\n")[1]
        assert choice["finish_reason"] == "stop"
        assert llm.asked[0][1] is None


def test_templates_see_text_and_arguments_as_objects():
    llm = ScriptedLLM("x")
    call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    turns = [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "2"},
    ]
    assert chat(llm, messages=turns).status_code == 200
    assistant, tool = llm.asked[0][0]
    assert assistant["content"] == ""
    assert assistant["tool_calls"][0]["function"] == {"name": "add", "arguments": {"a": 1}}
    assert tool == turns[1]
