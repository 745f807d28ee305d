"""Answers of one request run together, in the places that are free."""

from __future__ import annotations

import asyncio
import json
import threading

import pytest

from tests.serve.scripted import ScriptedLLM, talk
from tests.tasks import HANG_S
from zerostall.engine.completion import Chunk, Timings, Usage
from zerostall.serve.gate import Gate

HELLO = [{"role": "user", "content": "x"}]


class Meeting(ScriptedLLM):
    """Answers with the seed; each answer waits in its middle until `meeting` of them are there."""

    def __init__(self, meeting: int) -> None:
        super().__init__("x")
        self.barrier = threading.Barrier(meeting)
        self.lock = threading.Lock()
        self.log: list[tuple[str, int]] = []
        self.running = self.most = 0

    def encode_prompt(self, prompt):
        return [ord(letter) for letter in prompt]

    def stream(self, prompt, params, *, session=None, priority=0, progress=None):
        return self._answer(prompt, params)

    def _answer(self, prompt, params):
        with self.lock:
            self.log.append(("begins", prompt[0]))
            self.running += 1
            self.most = max(self.most, self.running)
        self.log.append(("computed", prompt[0]))
        yield Chunk(f"{chr(prompt[0])}{params.seed}", [1])
        self.barrier.wait(HANG_S)
        with self.lock:
            self.running -= 1
        yield Chunk(".", [2], "stop", None, Usage(3, 2), Timings(1.0, 3, 2.0, 2, 4.0), params.seed)


def complete(llm, parallel, **fields):
    async def ask(client):
        return await client.post("/v1/completions", json=fields)

    return talk(llm, ask, parallel=parallel)


def test_the_answers_to_a_prompt_run_together_and_come_in_order():
    llm = Meeting(3)
    answer = complete(llm, 3, prompt="a", n=6, seed=4).json()
    texts = [choice["text"] for choice in answer["choices"]]
    assert texts == [f"a{seed}." for seed in range(4, 10)]
    assert [choice["index"] for choice in answer["choices"]] == list(range(6))
    assert llm.most == 3


def test_prompts_run_together():
    llm = Meeting(2)
    answer = complete(llm, 2, prompt=["a", "b", "c", "d"], seed=1).json()
    assert [choice["text"] for choice in answer["choices"]] == ["a1.", "b1.", "c1.", "d1."]
    assert llm.most == 2


def test_one_answer_computes_the_prompt_for_the_others():
    llm = Meeting(4)
    assert complete(llm, 4, prompt="a", n=4).status_code == 200
    assert [what for what, _ in llm.log[:2]] == ["begins", "computed"]


def test_a_stream_has_each_answer_under_its_index_and_ends_with_the_last():
    text = complete(Meeting(2), 2, prompt="a", n=2, seed=4, stream=True).text
    chunks = [json.loads(line[6:]) for line in text.split("\n\n") if line.startswith("data: {")]
    texts = {0: "", 1: ""}
    for chunk in chunks:
        texts[chunk["choices"][0]["index"]] += chunk["choices"][0]["text"]
    assert texts == {0: "a4.", 1: "a5."}
    *others, last = chunks
    assert last["timings"]["predicted_n"] == 4
    assert not any("timings" in chunk for chunk in others)
    # Both had begun before one ended.
    assert {chunk["choices"][0]["index"] for chunk in chunks[:2]} == {0, 1}


def test_an_error_of_one_answer_ends_them_all():
    llm = Meeting(2)

    def broken(prompt, params):
        if prompt == [ord("b")]:
            raise RuntimeError("secret")
        yield from Meeting._answer(llm, prompt, params)

    llm._answer = broken
    llm.barrier.abort()
    assert complete(llm, 2, prompt=["a", "b"]).status_code == 500


def test_who_waits_gets_the_next_place_that_becomes_free():
    llm = Meeting(1)
    llm.encode_chat = lambda *_: [ord("c")]
    held, came = threading.Event(), threading.Event()

    def slow(prompt, params):
        if prompt == [ord("c")]:
            came.set()
        # All but the first two wait for the other request: two of them would leave it no place.
        assert (held if prompt[0] in b"ab" else came).wait(HANG_S)
        yield from Meeting._answer(llm, prompt, params)

    llm._answer = slow

    async def ask(client):
        many = {"prompt": ["a", "b", "d", "e", "f", "g"]}
        first = asyncio.ensure_future(client.post("/v1/completions", json=many))
        while "zerostall_running 2.0" not in (await client.get("/metrics")).text:
            pass
        body = {"messages": HELLO}
        other = asyncio.ensure_future(client.post("/v1/chat/completions", json=body))
        while "zerostall_queued 1.0" not in (await client.get("/metrics")).text:
            pass
        held.set()
        return await asyncio.gather(first, other)

    assert [answer.status_code for answer in talk(llm, ask, parallel=2)] == [200, 200]
    assert came.is_set()


def test_a_place_is_spare_if_it_is_free_and_nobody_waits():
    gate = Gate(parallel=2, queue=1)
    first = gate.enter("a", lambda: None, pytest.fail)
    spare = gate.spare("a")
    assert (spare is not None, gate.running) == (True, 2)
    assert gate.spare("a") is None
    started = []
    gate.enter("b", lambda: started.append(1), pytest.fail)
    spare.leave()
    assert (started, gate.running) == ([1], 2)
    first.leave()
    assert gate.spare("a") is not None


@pytest.mark.parametrize("parallel", [1, 2])
def test_the_prompt_counts_as_cached_only_if_it_was(parallel):
    usage = complete(Meeting(1), parallel, prompt="a", n=2).json()["usage"]
    assert usage["prompt_tokens"] == 3
    assert usage["prompt_tokens_details"] == {"cached_tokens": 0}
