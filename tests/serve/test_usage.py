"""What the usage of a chat tells beside its sums."""

from __future__ import annotations

import json

import pytest

from tests.serve.scripted import ScriptedLLM, talk

BODY = {"messages": [{"role": "user", "content": "x"}]}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("pieces", "opening", "reasoning"),
    [
        (("<think>", "why", "</think>", "so"), "", 3),
        (("why", "</think>", "so"), "<think>", 2),
        (("so", "and", "so"), "", 0),
    ],
)
def test_the_tokens_of_the_reasoning_are_counted(stream, pieces, opening, reasoning):
    fields = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}

    async def ask(client):
        return await client.post("/v1/chat/completions", json=BODY | fields)

    answer = talk(ScriptedLLM(*pieces, opening=opening), ask)
    if stream:
        *_, last, done = answer.text.strip().split("\n\n")
        assert done == "data: [DONE]"
        usage = json.loads(last.removeprefix("data: "))["usage"]
    else:
        usage = answer.json()["usage"]
    assert usage == {
        "prompt_tokens": 3,
        "completion_tokens": len(pieces),
        "total_tokens": 3 + len(pieces),
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }
