"""Many short requests from many clients, some of which go away; what the server holds meanwhile."""

from __future__ import annotations

import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

import httpx
import psutil

from tests.serve.process import LONG, Server
from tests.tasks import HANG_S, eventually

CLIENTS = 16
PARALLEL = 4
# Prompts that begin like others', for more than two pages of 64 tokens.
PREFIXES = ["".join(f"{name}{i} = {i}\n" for i in range(30)) for name in "abcd"]
TOO_LONG = {"messages": [{"role": "user", "content": "x = 1\n" * 3_000}]}  # keeps a thread busy
SCHEMA = {"enum": ["yes", "no"]}
HELLO = [{"role": "user", "content": "import sys"}]


@dataclass(frozen=True)
class Held:
    """What a process holds: threads, file descriptors, bytes of memory of its own."""

    threads: int
    descriptors: int
    memory: int


def settle(server: Server) -> None:
    """Wait until nothing is kept of any request: no run, no place, no page, no connection."""
    for name in ("running", "queued", "runs"):
        server.wait_until(f"zerostall_{name}", 0)
    assert eventually(lambda: server.metric("zerostall_cache_pages", state="held") == 0), (
        "pages stay held"
    )
    process = psutil.Process(server.process.pid)
    # The connection that asked for the metrics is closed a moment after its answer.
    assert eventually(
        lambda: all(c.status == psutil.CONN_LISTEN for c in process.net_connections("tcp"))
    ), "connections stay open"


def held(server: Server) -> Held:
    """What the server holds now that nothing runs."""
    settle(server)
    process = psutil.Process(server.process.pid)
    # The engine's thread ends a moment after its last step.
    threads = min(process.num_threads() for _ in range(100))
    return Held(threads, process.num_fds(), process.memory_full_info().uss)


def fill_pools(server: Server) -> None:
    """Keep all threads of the server's pools busy at once: they start when they are needed."""
    with ThreadPoolExecutor(CLIENTS) as pool:
        url = "/v1/messages/count_tokens"
        answers = list(pool.map(lambda _: server.post(url, TOO_LONG), range(CLIENTS)))
        assert {answer.status_code for answer in answers} == {200}
    with ExitStack() as streams:
        for _ in range(PARALLEL):
            url = f"{server.url}/v1/completions"
            streams.enter_context(httpx.stream("POST", url, json=LONG | {"stream": True}))
        server.wait_until("zerostall_running", PARALLEL)


def fill_cache(server: Server) -> None:
    """Use every page of the cache once: memory is taken when it is first written."""
    number = 0
    while server.metric("zerostall_cache_evicted_pages_total") == 0:
        body = {"prompt": [100 + number] * 960, "max_tokens": 1}
        assert server.post("/v1/completions", body).status_code == 200
        number += 1


def request(draw: random.Random) -> tuple[str, dict[str, object]]:
    """A route and a body: each kind of answer, with a prompt of its own."""
    text = "".join(draw.choices("def (x):\n", k=draw.randint(1, 40)))
    if draw.random() < 0.4:
        text = draw.choice(PREFIXES) + text
    sampled = {"seed": draw.randrange(2**32), "stream": draw.random() < 0.5}
    tokens = draw.randint(1, 12)
    kind = draw.randrange(5)
    if kind == 0:
        return "/v1/completions", {"prompt": text + "x", "max_tokens": tokens, **sampled}
    if kind == 1:
        form = {"response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA}}}
        return "/v1/chat/completions", {"messages": HELLO, "max_tokens": tokens, **form, **sampled}
    if kind == 2:
        asked = [{"role": "user", "content": text + "x"}]
        return "/v1/messages", {"messages": asked, "max_tokens": tokens, **sampled}
    if kind == 3:
        return "/v1/responses", {"input": text + "x", "max_output_tokens": tokens, **sampled}
    return "/v1/chat/completions", {"messages": [], "max_tokens": tokens}  # a 400


def storm(server: Server, requests: int, seed: int, gone: float = 0.25) -> Counter[str]:
    """Send requests from CLIENTS threads; a share `gone` of them is given up half way.

    Returns:
        How many ended how: a status, or "gone".
    """
    ended: Counter[str] = Counter()
    lock = threading.Lock()

    def client(number: int) -> None:
        draw = random.Random(f"{seed}.{number}")
        mine = len(range(number, requests, CLIENTS))
        with httpx.Client(base_url=server.url, timeout=HANG_S) as http:
            for _ in range(mine):
                how = _one(http, draw, draw.random() < gone)
                with lock:
                    ended[how] += 1

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(client, range(CLIENTS)))
    return ended


def _one(http: httpx.Client, draw: random.Random, gives_up: bool) -> str:
    path, body = request(draw)
    if not gives_up:
        return str(http.post(path, json=body).status_code)
    if "max_tokens" in body:
        body = {**body, "max_tokens": 400}
    if draw.random() < 0.5:
        # Before the answer begins: the connection is cut while the request waits or runs.
        try:
            http.post(path, json=body, timeout=draw.uniform(0.001, 0.05))
        except httpx.TimeoutException:
            return "gone"
        return "answered first"
    with http.stream("POST", path, json={**body, "stream": True}) as answer:
        for _ in answer.iter_raw():
            break  # leaving closes the connection
    return "gone"
