"""Which request goes first, as vLLM's field has it."""

from __future__ import annotations

import asyncio

import pytest

from tests.serve.bodies import BODIES
from tests.serve.scripted import ScriptedLLM, talk


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("wrong", [1.5, "1", True, [], float("inf")])
def test_what_is_no_integer_is_a_400_that_names_the_field(server, path, wrong):
    # JSON as httpx writes it knows no infinity.
    text = str(BODIES[path] | {"priority": wrong}).replace("'", '"')
    text = text.replace("True", "true").replace(": inf", ": Infinity")
    headers = {"Content-Type": "application/json"}
    answer = server.post(path, None, content=text, headers=headers)
    assert answer.status_code == 400
    assert "priority" in answer.json()["error"]["message"]


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize(("given", "taken"), [(None, 0), (-7, -7), (3, 3)])
def test_it_reaches_the_engine(path, given, taken):
    llm = ScriptedLLM("a", "b")
    llm.encode_prompt = lambda prompt: prompt

    async def ask(client):
        return await client.post(path, json=BODIES[path] | {"priority": given})

    assert talk(llm, ask).status_code == 200
    assert llm.priorities == [taken]


def test_of_those_that_wait_the_most_urgent_is_answered_first():
    llm = ScriptedLLM("a", silent_until="released")

    async def ask(client):
        asked = []
        for priority in (0, 2, 1, -1):
            body = BODIES["/v1/responses"] | {"priority": priority}
            asked.append(asyncio.ensure_future(client.post("/v1/responses", json=body)))
        metrics = ""
        while "zerostall_running 1.0" not in metrics or "zerostall_queued 3.0" not in metrics:
            metrics = (await client.get("/metrics")).text
        llm.released.set()
        await asyncio.gather(*asked)

    talk(llm, ask, parallel=1)
    first, *others = llm.priorities
    assert others == sorted({0, 2, 1, -1} - {first})
