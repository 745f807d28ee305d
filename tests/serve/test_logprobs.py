"""Chats and responses tell the logprobs of the content's tokens, and of no others."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest

from tests.serve.scripted import ScriptedLLM, talk
from zerostall.engine.completion import TokenLogprob

CHAT = "/v1/chat/completions"
PARAMETERS = {"type": "object"}
FIELDS = {
    CHAT: {
        "messages": [{"role": "user", "content": "x"}],
        "logprobs": True,
        "tools": [{"type": "function", "function": {"name": "add", "parameters": PARAMETERS}}],
    },
    "/v1/responses": {
        "input": "x",
        "include": ["message.output_text.logprobs"],
        "tools": [{"type": "function", "name": "add", "parameters": PARAMETERS}],
    },
}


class Likely(ScriptedLLM):
    """Tells of its i-th token the logprob -i; its bytes are the piece's."""

    def __init__(self, *pieces, **options):
        super().__init__(*pieces, **options)

        def token_bytes(id, show_special=False):
            return pieces[id].encode()

        self.tokenizer = SimpleNamespace(token_bytes=token_bytes)

    def _stream(self, *args):
        for chunk in super()._stream(*args):
            entries = [TokenLogprob(id, float(-id), []) for id in chunk.token_ids]
            yield replace(chunk, logprobs=entries)


THINK = ("<think>", "hm", "</think>", "\n\n")
CALL = ("<tool", "_call>", '{"name": "add", ', '"arguments": {"t": "l"}}', "</tool_call>")
CASES = [
    (("so", " it", " is"), "so it is", [0, 1, 2]),
    ((*THINK, "t", "hink"), "think", [4, 5]),
    (("<", "think", ">", "x", "</", "think", ">", "\n", "yes"), "yes", [8]),
    (("So:", "\n", *CALL), "So:", [0]),
    ((*THINK, "So", ":", " ", *CALL, "\n", "to", "ol"), "So:tool", [4, 5, 13, 14]),
    (CALL, None, []),
    (("a ", "<", "b", " c"), "a <b c", [0, 1, 2, 3]),
    (("a", " <tool_call>", "no", "thing"), "a <tool_call>nothing", [0, 1, 2, 3]),
    (("a ", "b <to", "p", " "), "a b <top ", [0, 1, 2, 3]),
    (("aa", "aa", " ", "aa"), "aaaa aa", [0, 1, 2, 3]),
]


def ask(llm, path, **fields):
    async def post(client):
        return await client.post(path, json=FIELDS[path] | fields)

    return talk(llm, post)


def events(text):
    lines = [line for line in text.split("\n") if line.startswith("data: {")]
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def check(entries, text, tokens):
    assert [-entry["logprob"] for entry in entries] == tokens
    joined = b"".join(bytes(entry["bytes"]) for entry in entries).decode()
    assert joined.split() == (text or "").split() or joined == text


@pytest.mark.parametrize(("pieces", "text", "tokens"), CASES)
def test_joined_they_are_the_content_of_a_chat(pieces, text, tokens):
    (choice,) = ask(Likely(*pieces), CHAT).json()["choices"]
    assert choice["message"]["content"] == text
    check(choice["logprobs"]["content"], text, tokens)


@pytest.mark.parametrize(("pieces", "text", "tokens"), CASES)
def test_in_a_stream_they_come_with_it(pieces, text, tokens):
    choices = [e["choices"][0] for e in events(ask(Likely(*pieces), CHAT, stream=True).text)]
    said = [choice["delta"].get("content") or "" for choice in choices]
    assert "".join(said) == (text or "")
    entries = [each["logprobs"]["content"] for each in choices if each["logprobs"]]
    check([entry for each in entries for entry in each], text, tokens)
    assert all(content for choice, content in zip(choices, said, strict=True) if choice["logprobs"])


@pytest.mark.parametrize(("pieces", "text", "tokens"), CASES)
@pytest.mark.parametrize("stream", [False, True])
def test_so_do_responses(pieces, text, tokens, stream):
    answer = ask(Likely(*pieces), "/v1/responses", stream=stream)
    response = events(answer.text)[-1]["response"] if stream else answer.json()
    parts = [item["content"][0] for item in response["output"] if item["type"] == "message"]
    assert "".join(part["text"] for part in parts) == (text or "")
    check([entry for part in parts for entry in part["logprobs"]], text, tokens)
