"""Many short requests from many clients, some of which go away; what the server holds meanwhile."""

from __future__ import annotations

import random
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx
import psutil

from tests.serve.process import Server
from tests.tasks import HANG_S, eventually

CLIENTS = 16
SCHEMA = {"enum": ["yes", "no"]}
HELLO = [{"role": "user", "content": "import sys"}]


@dataclass(frozen=True)
class Held:
    """What a process holds: threads, file descriptors, bytes of memory of its own."""

    threads: int
    descriptors: int
    memory: int


def held(server: Server) -> Held:
    """What the server holds now that nothing runs."""
    server.wait_until("zerostall_running", 0)
    server.wait_until("zerostall_queued", 0)
    process = psutil.Process(server.process.pid)
    # The connection that asked for the metrics is closed a moment after its answer.
    assert eventually(
        lambda: all(c.status == psutil.CONN_LISTEN for c in process.net_connections("tcp"))
    ), "connections stay open"
    return Held(process.num_threads(), process.num_fds(), process.memory_full_info().uss)


def request(draw: random.Random) -> tuple[str, dict[str, object]]:
    """A route and a body: each kind of answer, with a prompt of its own."""
    text = "".join(draw.choices("def (x):\n", k=draw.randint(1, 40)))
    sampled = {"seed": draw.randrange(2**32), "stream": draw.random() < 0.5}
    tokens = draw.randint(1, 12)
    kind = draw.randrange(5)
    if kind == 0:
        return "/v1/completions", {"prompt": text + "x", "max_tokens": tokens, **sampled}
    if kind == 1:
        form = {"response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA}}}
        return "/v1/chat/completions", {"messages": HELLO, "max_tokens": tokens, **form, **sampled}
    if kind == 2:
        return "/v1/messages", {"messages": HELLO, "max_tokens": tokens, **sampled}
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
