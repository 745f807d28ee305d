"""No field of a request makes the server fail, whatever is in it."""

from __future__ import annotations

import json

import httpx
import pytest

from tests.serve.process import JSON
from tests.tasks import HANG_S

HI = [{"role": "user", "content": "x"}]
BASES = {
    "/v1/completions": {"prompt": "x", "max_tokens": 1},
    "/v1/chat/completions": {"messages": HI, "max_tokens": 1},
    "/v1/messages": {"messages": HI, "max_tokens": 1},
    "/v1/messages/count_tokens": {"messages": HI},
    "/v1/responses": {"input": "x", "max_output_tokens": 1},
    "/tokenize": {"content": "x"},
    "/detokenize": {"tokens": [5]},
    "/apply-template": {"messages": HI},
}
SAMPLING = ["max_tokens", "temperature", "top_p", "top_k", "min_p", "typical_p", "seed", "stop"]
SAMPLING += ["logit_bias", "stop_token_ids", "presence_penalty", "repetition_penalty", "ignore_eos"]
FORM = [
    "priority",
    "return_progress",
    "n",
    "stream",
    "stream_options",
    "response_format",
    "model",
    "logprobs",
]
HELD = ["json_schema", "grammar", "regex", "parallel_tool_calls", "chat_template_kwargs"]
BLOCKS = ["messages", "system", "tools", "tool_choice", "thinking", "output_config"]
ITEMS = ["input", "instructions", "tools", "tool_choice", "text", "reasoning", "metadata"]
ITEMS += ["max_output_tokens", "previous_response_id", "background", "top_logprobs", "include"]
FIELDS = {
    "/v1/completions": [*SAMPLING, *FORM, *HELD[:3], "prompt", "echo", "suffix", "best_of"],
    "/v1/chat/completions": [*FORM, *HELD, "messages", "tools", "tool_choice", "top_logprobs"],
    "/v1/messages": [*BLOCKS, *FORM, *HELD[:3], "max_tokens", "stop_sequences", "output_format"],
    "/v1/messages/count_tokens": BLOCKS,
    "/v1/responses": [*FORM, *HELD, *ITEMS],
    "/tokenize": ["content", "add_special", "with_pieces"],
    "/detokenize": ["tokens"],
    "/apply-template": ["messages", "tools", "chat_template_kwargs"],
}
VALUES = [None, True, -1, 0, 1.5, float("inf"), float("nan"), 10**30, "", "x", "\ud800", {}]
VALUES += [[], [1], ["\ud800"], [[1]], [[]], [None], {"a": 1}, {"1": -1e308}, {"-1": 1}]
VALUES += [{"type": "object"}, {"type": "\ud800"}, {"const": "\ud800"}, {"type": "tool", "name": 1}]
VALUES += [{"format": {"type": "json_schema", "schema": {"const": float("nan")}}}, [{"type": "x"}]]
VALUES += [
    [{"role": "\ud800", "content": "\ud800"}],
    [{"role": "user", "content": ["x"]}],
    [{"role": "user", "content": "x", "tool_calls": [1, {"function": {"arguments": "["}}]}],
]


@pytest.mark.parametrize("path", BASES)
def test_a_hostile_value_is_answered_or_refused(server, path):
    failed = []
    with httpx.Client(base_url=server.url, headers=JSON, timeout=HANG_S) as client:
        for field in FIELDS[path]:
            for value in VALUES:
                body = json.dumps(BASES[path] | {field: value})
                answer = client.post(path, content=body)
                if answer.status_code not in (200, 400):
                    failed.append((field, value, answer.status_code))
    assert failed == []
