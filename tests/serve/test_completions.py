"""/v1/completions through the official client, beside what the LLM itself gives."""

from __future__ import annotations

import json
import math
import socket

import pytest
from openai import BadRequestError

from tests.serve.process import LONG
from zerostall import SamplingParams

PROMPT = "def read_lines(path):"
ASK = {"model": "any", "prompt": PROMPT, "max_tokens": 24, "seed": 5}


@pytest.fixture(scope="module")
def expected(llm):
    return llm.generate(PROMPT, SamplingParams(max_tokens=24, seed=5))


def test_an_answer_is_what_the_llm_gives_with_that_seed(client, llm, expected):
    answer = client.completions.create(**ASK)
    assert answer.object == "text_completion"
    assert answer.model == "nano-chat"
    assert answer.choices[0].text == expected.text
    assert answer.choices[0].finish_reason == "length"
    prompt = len(llm.encode_prompt(PROMPT))
    usage = answer.usage
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (
        prompt,
        24,
        prompt + 24,
    )
    timings = answer.model_extra["timings"]
    assert (timings["prompt_n"], timings["predicted_n"], timings["cache_n"]) == (prompt, 24, 0)
    assert timings["predicted_per_second"] == pytest.approx(24e3 / timings["predicted_ms"])


def test_a_stream_is_the_same_text_in_pieces(client, expected):
    chunks = list(client.completions.create(**ASK, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == expected.text
    assert [
        chunk.choices[0].finish_reason for chunk in chunks if chunk.choices[0].finish_reason
    ] == ["length"]
    assert len({chunk.id for chunk in chunks}) == 1
    assert len(chunks) > 10


def test_usage_comes_last_in_a_stream_that_asks_for_it(client, llm):
    *chunks, last = client.completions.create(
        **ASK, stream=True, stream_options={"include_usage": True}
    )
    assert last.choices == []
    assert last.usage.completion_tokens == 24
    assert last.usage.prompt_tokens == len(llm.encode_prompt(PROMPT))
    assert all(chunk.usage is None for chunk in chunks)


def test_prompts_may_be_token_ids_and_several(client, llm, expected):
    ids = llm.encode_prompt(PROMPT)
    for prompt in (ids, [ids], [PROMPT]):
        answer = client.completions.create(**ASK | {"prompt": prompt})
        assert answer.choices[0].text == expected.text
    greedy = SamplingParams(max_tokens=4, temperature=0)
    two = client.completions.create(
        model="", prompt=["import os", "class A:"], max_tokens=4, temperature=0, n=2
    )
    alone = [llm.generate(prompt, greedy).text for prompt in ("import os", "class A:")]
    assert [choice.text for choice in two.choices] == [alone[0], alone[0], alone[1], alone[1]]
    assert [choice.index for choice in two.choices] == [0, 1, 2, 3]
    assert two.usage.completion_tokens == 16
    assert two.usage.prompt_tokens == sum(
        len(llm.encode_prompt(prompt)) for prompt in ("import os", "class A:")
    )


def test_each_of_n_answers_has_the_next_seed(client, llm):
    answer = client.completions.create(**ASK, n=3)
    texts = [
        llm.generate(PROMPT, SamplingParams(max_tokens=24, seed=seed)).text for seed in (5, 6, 7)
    ]
    assert [choice.text for choice in answer.choices] == texts
    streamed = {0: "", 1: "", 2: ""}
    for chunk in client.completions.create(**ASK, n=3, stream=True):
        streamed[chunk.choices[0].index] += chunk.choices[0].text
    assert list(streamed.values()) == texts


def test_the_best_are_the_likeliest_of_those_made(client, llm):
    made = [
        llm.generate(PROMPT, SamplingParams(max_tokens=8, seed=seed, temperature=2, logprobs=0))
        for seed in (5, 6, 7, 8)
    ]
    made.sort(key=lambda each: -sum(e.logprob for e in each.logprobs) / len(each.logprobs))
    answer = client.completions.create(
        **ASK | {"max_tokens": 8}, n=2, best_of=4, temperature=2, extra_body={}
    )
    assert [choice.text for choice in answer.choices] == [each.text for each in made[:2]]
    assert [(choice.index, choice.logprobs) for choice in answer.choices] == [(0, None), (1, None)]
    assert answer.usage.completion_tokens == 32


def test_a_stop_string_ends_the_text_before_it(client, expected):
    stop = expected.text[5:8]
    for given in (stop, ["never", stop]):
        choice = client.completions.create(**ASK, stop=given).choices[0]
        assert choice.text == expected.text[: expected.text.index(stop)]
        assert choice.finish_reason == "stop"


def test_sampling_fields_reach_the_engine(client, llm):
    fields = {"temperature": 1.5, "top_p": 0.7, "presence_penalty": 0.5, "frequency_penalty": 0.2}
    bias = {str(token): -100 for token in llm.tokenize("\n    ")}
    answer = client.completions.create(
        **ASK | fields, logit_bias=bias, extra_body={"top_k": 9, "min_p": 0.01}
    )
    params = SamplingParams(
        max_tokens=24,
        seed=5,
        top_k=9,
        min_p=0.01,
        logit_bias={int(token): value for token, value in bias.items()},
        **fields,
    )
    assert answer.choices[0].text == llm.generate(PROMPT, params).text


def test_a_bias_may_come_as_pairs_of_which_false_bans(client, llm, expected):
    token = expected.token_ids[0]
    want = llm.generate(
        PROMPT, SamplingParams(max_tokens=24, seed=5, logit_bias={token: -math.inf})
    )
    for pairs in ([[token, False]], [[token, -1e9]]):
        answer = client.completions.create(**ASK, extra_body={"logit_bias": pairs})
        assert answer.choices[0].text == want.text


def test_min_tokens_and_n_predict_are_kept(client, llm):
    end = llm.tokenizer.eos_id
    fields = {"model": "", "prompt": PROMPT, "logit_bias": {str(end): 100}}
    for asked in (0, 3):
        answer = client.completions.create(**fields, extra_body={"min_tokens": asked})
        assert answer.usage.completion_tokens == asked + 1
    body = {"n_predict": 7, "ignore_eos": True}
    answer = client.completions.create(model="", prompt=PROMPT, extra_body=body)
    assert answer.usage.completion_tokens == 7
    answer = client.completions.create(model="", prompt=PROMPT, max_tokens=5, extra_body=body)
    assert answer.usage.completion_tokens == 5


def test_logprobs_are_the_engines(client, llm):
    greedy = {"max_tokens": 5, "temperature": 0}
    expected = llm.generate(PROMPT, SamplingParams(**greedy, logprobs=3))
    got = client.completions.create(model="", prompt=PROMPT, logprobs=3, **greedy).choices[0]
    assert got.logprobs.token_logprobs == [entry.logprob for entry in expected.logprobs]
    assert "".join(got.logprobs.tokens) == got.text == expected.text
    assert got.logprobs.text_offset == [
        len("".join(got.logprobs.tokens[:i])) for i in range(len(got.logprobs.tokens))
    ]
    assert got.logprobs.top_logprobs[0] == {
        llm.detokenize([token]): logprob for token, logprob in expected.logprobs[0].top
    }


def test_echo_puts_the_prompt_first_with_its_logprobs(client, llm):
    ids = llm.encode_prompt(PROMPT)
    ask = {"model": "", "prompt": ids, "max_tokens": 0, "echo": True}
    assert client.completions.create(**ask).choices[0].text == PROMPT
    choice = client.completions.create(**ask, logprobs=0).choices[0]
    rows = llm.logits(ids).astype("f8")
    exact = [row[t] - row.max() - _log_sum(row) for row, t in zip(rows, ids[1:], strict=False)]
    assert choice.text == PROMPT
    assert choice.logprobs.token_logprobs[0] is None
    assert choice.logprobs.token_logprobs[1:] == pytest.approx(exact, abs=1e-4)
    streamed = client.completions.create(**ask | {"max_tokens": 2}, logprobs=0, stream=True)
    pieces = [chunk.choices[0] for chunk in streamed]
    assert pieces[0].text == PROMPT
    assert len(pieces[0].logprobs.tokens) == len(ids)
    assert pieces[1].logprobs.text_offset == [len(PROMPT)]


@pytest.mark.parametrize("prompt", ["def é(x): ", "<|endoftext|>def é(x): "])
def test_offsets_count_what_the_text_shows(client, llm, prompt):
    special = llm.tokenizer.eos_id
    pieces = [special, *llm.tokenize("def é"), *llm.tokenize("(x): ")]
    ask = {"model": "", "max_tokens": 2, "temperature": 0, "echo": True, "logprobs": 0}
    ask["logit_bias"] = {"0": -100}
    choice = client.completions.create(prompt=pieces, **ask).choices[0]
    assert choice.text.startswith("def é(x): ")
    _check_offsets(choice, hidden="<|endoftext|>")
    choice = client.completions.create(prompt=prompt, **ask).choices[0]
    assert choice.text.startswith(prompt)
    _check_offsets(choice, hidden="")


def _check_offsets(choice, hidden):
    starts, tokens = choice.logprobs.text_offset, choice.logprobs.tokens
    assert starts[0] == 0
    for start, token in zip(starts, tokens, strict=True):
        shown = "" if token == hidden else token.replace("\ufffd", "")
        assert choice.text.startswith(shown, start)
    text = "".join("" if token == hidden else token for token in tokens)
    if "\ufffd" not in text:
        assert text == choice.text


def _log_sum(row):
    import numpy as np

    return np.log(np.exp(row - row.max()).sum())


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"suffix": "x"}, "suffix"),
        ({"n": 2, "best_of": 1}, "best_of"),
        ({"best_of": 3, "stream": True}, "best_of"),
        ({"extra_body": {"min_tokens": 25}}, "min_tokens"),
        ({"extra_body": {"min_tokens": -1}}, "min_tokens"),
        ({"extra_body": {"modalities": ["text", "audio"]}}, "modalities"),
        ({"extra_body": {"guided_json": "{"}}, "guided_json"),
        ({"extra_body": {"guided_json": {"type": "x"}}}, "guided_json"),
        ({"extra_body": {"guided_regex": "("}}, "guided_regex"),
        ({"extra_body": {"guided_grammar": "start: ["}}, "guided_grammar"),
        ({"extra_body": {"guided_choice": []}}, "guided_choice"),
        ({"extra_body": {"guided_choice": ["a"], "regex": "a"}}, "guided_choice"),
        ({"extra_body": {"structured_outputs": {"regex": 3}}}, "structured_outputs"),
        ({"extra_body": {"structured_outputs": {"structural_tag": "{}"}}}, "structured_outputs"),
        (
            {"extra_body": {"structured_outputs": {"regex": "a", "choice": ["a"]}}},
            "structured_outputs",
        ),
        ({"extra_body": {"logit_bias": [[5, "x"]]}}, "logit_bias"),
        ({"n": 0}, "n"),
        ({"temperature": -1}, "temperature"),
        ({"max_tokens": -2}, "max_tokens"),
        ({"logprobs": 99}, "logprobs"),
        ({"logit_bias": {"999999": 1}}, "logit_bias"),
        ({"logit_bias": {"a": 1}}, "logit_bias"),
        ({"stop": ""}, "stop"),
        ({"prompt": ""}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [1, "a"]}, "prompt"),
        ({"prompt": [999999]}, "prompt"),
        ({"extra_body": {"grammar": "root ::= x"}}, "grammar"),
        ({"extra_body": {"response_format": {"type": "xml"}}}, "response_format"),
    ],
)
def test_what_cannot_be_done_is_a_400_that_names_the_field(client, fields, param):
    with pytest.raises(BadRequestError) as caught:
        client.completions.create(**ASK | fields)
    assert caught.value.param == param
    assert caught.value.type == "invalid_request_error"


def test_a_prompt_longer_than_the_context_is_refused_before_any_work(server, client, llm):
    before = server.metric("zerostall_prompt_tokens_total")
    with pytest.raises(BadRequestError, match="1025 tokens, the context 1024") as caught:
        client.completions.create(**ASK | {"prompt": [5] * (llm.context + 1)})
    assert caught.value.code == "context_length_exceeded"
    assert server.metric("zerostall_prompt_tokens_total") == before


def test_unknown_fields_are_ignored(client, expected):
    answer = client.completions.create(**ASK, user="me", extra_body={"nonsense": {"a": [1]}})
    assert answer.choices[0].text == expected.text


def test_a_client_that_goes_away_cancels_within_a_step(server, client):
    server.wait_until("zerostall_running", 0)
    before = server.metric("zerostall_cancelled_total")
    with client.completions.create(model="", **_client(LONG), stream=True) as stream:
        next(iter(stream))
        server.wait_until("zerostall_running", 2)  # of its answers
    server.wait_until("zerostall_cancelled_total", before + 1)
    server.wait_until("zerostall_running", 0)
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        body = json.dumps(LONG)
        head = f"POST /v1/completions HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json"
        connection.sendall(f"{head}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        server.wait_until("zerostall_running", 2)  # of its answers
    server.wait_until("zerostall_cancelled_total", before + 2)
    server.wait_until("zerostall_running", 0)


def _client(body):
    """The fields as the client takes them."""
    known = {name: body[name] for name in ("prompt", "max_tokens", "n", "seed")}
    return known | {"extra_body": {"ignore_eos": body["ignore_eos"]}}
