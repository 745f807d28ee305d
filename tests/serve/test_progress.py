"""How far a prompt is, in each kind of stream that asks for it."""

from __future__ import annotations

import json

import pytest

TEXT = "".join(f"x{i} = {i}\n" for i in range(85))
NAMES = {"total", "cache", "processed", "time_ms", "remaining_ms"}
BODIES = {
    "/v1/completions": {"prompt": TEXT, "max_tokens": 2},
    "/v1/chat/completions": {"messages": [{"role": "user", "content": TEXT}], "max_tokens": 2},
    "/v1/responses": {"input": TEXT, "max_output_tokens": 2},
    "/v1/messages": {"messages": [{"role": "user", "content": TEXT}], "max_tokens": 2},
}


def events(server, path, **fields):
    answer = server.post(path, BODIES[path] | {"stream": True} | fields)
    assert answer.status_code == 200
    lines = [line for line in answer.text.split("\n") if line.startswith("data: {")]
    return [json.loads(line.removeprefix("data: ")) for line in lines]


@pytest.mark.parametrize("path", BODIES)
def test_a_stream_tells_how_far_its_prompt_is(server, path):
    found = events(server, path, return_progress=True)
    told = [event["prompt_progress"] for event in found if "prompt_progress" in event]
    first, *pieces = told
    total, cached = first["total"], first["cache"]
    assert total > 600
    assert first["processed"] == cached
    # The engine takes 512 tokens a step at most.
    assert len(pieces) == -(-(total - cached) // 512)
    done = [progress["processed"] for progress in told]
    assert done == sorted(set(done))
    assert (done[-1], pieces[-1]["remaining_ms"]) == (total, 0)
    for progress in told:
        assert progress.keys() == NAMES
        assert (progress["total"], progress["cache"]) == (total, cached)
    # All of it before the answer.
    last = max(i for i, event in enumerate(found) if "prompt_progress" in event)
    first_text = next(i for i, event in enumerate(found) if says_something(event))
    assert last < first_text


def says_something(event):
    choice = (event.get("choices") or [{}])[0]
    if choice.get("text") or choice.get("delta", {}).get("content"):
        return True
    return event.get("type") in ("response.output_text.delta", "content_block_delta")


@pytest.mark.parametrize("path", BODIES)
def test_only_a_stream_that_asks_is_told(server, path):
    assert not any("prompt_progress" in event for event in events(server, path))
    whole = server.post(path, BODIES[path] | {"return_progress": True})
    assert whole.status_code == 200
    assert "prompt_progress" not in whole.text


def test_each_of_several_answers_tells_under_its_index(server):
    found = events(server, "/v1/chat/completions", return_progress=True, n=2)
    told = [event["choices"][0]["index"] for event in found if "prompt_progress" in event]
    assert told == sorted(told)
    assert set(told) == {0, 1}
    second = [event for event in found if event["choices"][0]["index"] == 1]
    # The prompt is there: all but the last token where the first answer had its place, the whole
    # blocks (of 32 tokens) in another one.
    progress = second[0]["prompt_progress"]
    assert progress["cache"] in (progress["total"] - 1, progress["total"] // 32 * 32)
    assert second[0]["choices"][0]["delta"]["role"] == "assistant"


def test_the_official_clients_pass_over_it(server):
    extra = {"extra_body": {"return_progress": True, "seed": 3}}
    messages = [{"role": "user", "content": TEXT}]
    with server.client() as client, server.anthropic() as claude:
        ask = {"model": "", "messages": messages, "max_tokens": 8, **extra}
        with client.chat.completions.stream(**ask) as stream:
            list(stream)
            said = stream.current_completion_snapshot.choices[0].message
        assert said.role == "assistant"
        with client.responses.stream(
            model="", input=TEXT, max_output_tokens=8, **extra
        ) as response:
            assert list(response)[-1].response.output_text == said.content
        with claude.messages.stream(**ask) as message:
            assert "".join(message.text_stream) == said.content


@pytest.mark.parametrize("path", BODIES)
def test_every_kind_of_answer_carries_its_timings(server, path):
    whole = server.post(path, BODIES[path]).json()
    assert whole["timings"]["predicted_n"] == 2
    told = [found["timings"] for event in events(server, path) if (found := holder(event))]
    assert [timings["predicted_n"] for timings in told] == [2]


def holder(event):
    inner = event.get("response", {})
    return event if "timings" in event else inner if "timings" in inner else None
