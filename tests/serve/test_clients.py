"""Official clients at the same time: each gets what it gets alone, and may go away at any time."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import httpx

from tests.serve.process import LONG
from tests.tasks import eventually

FUNCTION = "def f{i}(x, y):\n    "


def ask(server, i):
    """One client of its own: of both kinds, streamed or not."""
    text = FUNCTION.format(i=i)
    messages = [{"role": "user", "content": text}]
    fixed = {"model": "", "extra_body": {"temperature": 0}}
    if i % 4 == 0:
        with server.client() as client:
            done = client.completions.create(prompt=text, max_tokens=40, **fixed)
            return done.choices[0].text
    if i % 4 == 1:
        with server.anthropic() as client:
            done = client.messages.create(messages=messages, max_tokens=40, **fixed)
            return done.content[0].text
    if i % 4 == 2:
        with server.client() as client:
            chunks = client.chat.completions.create(
                messages=messages, max_tokens=40, stream=True, **fixed
            )
            return "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    with (
        server.anthropic() as client,
        client.messages.stream(messages=messages, max_tokens=40, **fixed) as stream,
    ):
        return "".join(stream.text_stream)


def test_eight_clients_at_once_get_the_same_texts_as_alone(server):
    alone = [ask(server, i) for i in range(8)]
    assert all(alone)
    assert len(set(alone)) > 1
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda i: ask(server, i), range(8))) == alone


def test_a_long_prompt_given_up_before_its_first_token_frees_its_slot(server):
    url, first = f"{server.url}/v1/completions", "zerostall_time_to_first_token_seconds_count"
    numbers = count()

    def given_up():
        """Whether it was before the first token: a fast machine may need some tries."""
        id = f"given-up-{next(numbers)}"
        prompt = [5 + int(c) for c in id[-1]] + [7, 8, 9, 10] * 248
        body = LONG | {"prompt": prompt, "stream": True, "n": 1}
        server.wait_until("zerostall_running", 0)
        before = [server.metric(name) for name in ("zerostall_cancelled_total", first)]
        with httpx.stream("POST", url, json=body, headers={"X-Request-Id": id}):
            busy = server.get("/slots").json()[0]
        server.wait_until("zerostall_running", 0)
        assert not any(slot["is_processing"] for slot in server.get("/slots").json())
        if busy.get("request_id") != id or busy["next_token"][0]["n_decoded"] > 0:
            return False
        assert busy["n_prompt_tokens"] == len(prompt) > 990
        after = [server.metric(name) for name in ("zerostall_cancelled_total", first)]
        if after != [before[0] + 1, before[1]]:
            return False
        *whole, _ = server.log.read_text().split("\n")
        lines = [json.loads(line) for line in whole]
        said = [line["message"] for line in lines if line.get("request_id") == id]
        return "cancelled" in said and "generated" not in said

    assert eventually(given_up)
