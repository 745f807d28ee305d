"""What is told when something breaks that nobody foresaw."""

from __future__ import annotations

import contextlib
import io
import json
import logging

import pytest

from tests.serve.scripted import ScriptedLLM, talk
from zerostall.serve.logs import JsonFormatter

HELLO = [{"role": "user", "content": "x"}]
BODIES = {
    "/v1/completions": {"prompt": [1, 2]},
    "/v1/chat/completions": {"messages": HELLO},
    "/v1/responses": {"input": "x"},
    "/v1/messages": {"messages": HELLO, "max_tokens": 9},
}
TOLD = "internal error; the server's log says more"
ERROR = {"message": TOLD, "type": "server_error", "param": None, "code": None}


class Breaking(ScriptedLLM):
    """Breaks after its first piece."""

    def encode_prompt(self, prompt):
        return prompt

    def _stream(self, *args):
        yield next(super()._stream(*args))
        raise RuntimeError("secret")


@contextlib.contextmanager
def logged():
    """The lines of the server's log, as they are in the end."""
    text, lines = io.StringIO(), []
    handler = logging.StreamHandler(text)
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger("zerostall")
    logger.addHandler(handler)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)
        lines += [json.loads(line) for line in text.getvalue().splitlines()]


@pytest.mark.parametrize("path", BODIES)
def test_a_fault_in_the_middle_of_a_stream_is_a_last_event_that_tells_nothing(path):
    async def ask(client):
        headers = {"X-Request-Id": "mine-2"}
        return await client.post(path, json=BODIES[path] | {"stream": True}, headers=headers)

    with logged() as lines:
        answer = talk(Breaking("first", "second"), ask)
    assert answer.status_code == 200
    *before, last = answer.text.strip().split("\n\n")
    assert "first" in "".join(before)
    name, _, data = last.rpartition("data: ")
    event = json.loads(data)
    if path == "/v1/messages":
        assert name == "event: error\n"
        error = {"type": "api_error", "message": TOLD}
        assert event == {"type": "error", "error": error, "request_id": "mine-2"}
    elif path == "/v1/responses":
        assert name == "event: error\n"
        numbers = {"sequence_number": len(before)}
        error = {"code": "server_error", "message": TOLD, "param": None}
        assert event == {"type": "error"} | error | numbers
    else:
        assert (name, event) == ("", {"error": ERROR})
    assert "secret" not in answer.text
    (line,) = [line for line in lines if line["level"] == "error"]
    assert (line["message"], line["request_id"]) == ("a stream broke off", "mine-2")
    assert "RuntimeError: secret" in line["traceback"]
