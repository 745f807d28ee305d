"""What clients of other servers send out of habit means here what it means there."""

from __future__ import annotations

import json

import pytest

HELLO = [{"role": "user", "content": "import sys"}]
COMPLETION = {"prompt": "def f(", "max_tokens": 8, "seed": 1}
CHAT = {"messages": HELLO, "max_tokens": 8, "seed": 1}
BODIES = {
    "/v1/completions": COMPLETION,
    "/v1/chat/completions": CHAT,
    "/v1/responses": {"input": "x", "max_output_tokens": 8, "seed": 1},
    "/v1/messages": CHAT,
}


def text_of(answer):
    assert answer.status_code == 200, answer.text
    body = answer.json()
    if "output" in body:
        return body["output"][0]["content"][0]["text"]
    if "choices" not in body:
        return body["content"][0]["text"]
    choice = body["choices"][0]
    return choice["text"] if "text" in choice else choice["message"]["content"]


NULLS = ("stream", "stream_options", "seed", "stop", "logit_bias", "n", "temperature")
NULLS += ("return_progress", "priority", "response_format", "user", "ignore_eos", "top_logprobs")


@pytest.mark.parametrize("path", BODIES)
def test_null_is_as_if_it_was_not_given(server, path):
    body = BODIES[path]
    nulls = dict.fromkeys(NULLS) | {"logprobs": None, "echo": None} | body
    assert text_of(server.post(path, nulls)) == text_of(server.post(path, body))


def test_a_null_among_the_options_of_a_stream_asks_for_nothing(server):
    body = COMPLETION | {"stream": True, "stream_options": {"include_usage": None}}
    assert "usage" not in server.post("/v1/completions", body).text


def test_max_tokens_minus_one_is_the_rest_of_the_context(server, llm):
    body = {"prompt": [5] * (llm.context - 30), "max_tokens": -1, "ignore_eos": True, "seed": 1}
    usage = server.post("/v1/completions", body).json()["usage"]
    assert usage["completion_tokens"] == 31  # the last needs no place
    chat = CHAT | {"max_tokens": -1, "stop_token_ids": list(range(4096))}
    assert server.post("/v1/chat/completions", chat).json()["usage"]["completion_tokens"] == 1


def test_top_k_minus_one_is_all_tokens(server):
    answers = {
        k: text_of(server.post("/v1/completions", COMPLETION | {"top_k": k})) for k in (-1, 0, 1)
    }
    assert answers[-1] == answers[0] != answers[1]


def test_llama_cpps_name_of_the_penalty_is_known(server):
    def said(**fields):
        return text_of(server.post("/v1/completions", COMPLETION | {"max_tokens": 32} | fields))

    ours = said(repetition_penalty=1.8)
    assert said(repeat_penalty=1.8) == ours != said()
    assert said(repetition_penalty=1.8, repeat_penalty=1.0) == ours
    assert said(repeat_penalty=1.8, repeat_last_n=0) == said()
    answer = server.post("/v1/completions", COMPLETION | {"repeat_penalty": -1})
    assert answer.status_code == 400


def test_no_alternatives_need_no_logprobs(server):
    for fields in ({"top_logprobs": 0}, {"top_logprobs": 0, "logprobs": False}):
        answer = server.post("/v1/chat/completions", CHAT | fields)
        assert answer.json()["choices"][0]["logprobs"] is None


def test_four_stop_strings_end_the_text_at_the_first_that_comes(server):
    whole = text_of(server.post("/v1/completions", COMPLETION))
    stops = ["never", "nor this", whole[5], whole[3]]
    body = server.post("/v1/completions", COMPLETION | {"stop": stops}).json()["choices"][0]
    assert body["text"] == whole[: min(whole.index(stop) for stop in stops[2:])]
    assert body["finish_reason"] == "stop"


def test_the_same_seed_gives_the_same_whole_or_streamed_and_beside_others(server):
    whole = text_of(server.post("/v1/completions", COMPLETION))
    text = server.post("/v1/completions", COMPLETION | {"stream": True, "n": 2}).text
    chunks = [json.loads(line[6:]) for line in text.split("\n") if line.startswith("data: {")]
    choices = [chunk["choices"][0] for chunk in chunks]
    assert "".join(each["text"] for each in choices if each["index"] == 0) == whole
