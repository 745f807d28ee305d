"""Tokens a second of several clients at once: `python bench/experiments/clients.py URL`.

URL is that of a server with OpenAI's completions, zerostall's or llama.cpp's:

    zerostall serve -m MODEL -t 2 -c 512 --parallel 8 --port 8201
    llama-server -m MODEL -t 2 -tb 2 -np 8 -c 4096 --port 8200
    python bench/experiments/clients.py http://127.0.0.1:8201 --clients 1,8 --tokens 128

Each client sends random tokens and waits for an answer of the given length. Models without a
vocabulary need one for llama-server, which stops at the first answer otherwise.
"""

from __future__ import annotations

import argparse
import json
import random
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

FIRST, LAST = 300, 30000  # tokens of prompts: none that is special


def answer(url: str, seed: int, prompt: int, tokens: int) -> int:
    """Ask for an answer to random tokens; how many tokens it has."""
    rng = random.Random(seed)
    body = {
        "model": "any",
        "prompt": [rng.randrange(FIRST, LAST) for _ in range(prompt)],
        "max_tokens": tokens,
        "temperature": 0,
        "ignore_eos": True,
        "cache_prompt": False,
    }
    request = urllib.request.Request(
        f"{url}/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request) as response:
        return int(json.load(response)["usage"]["completion_tokens"])


def main() -> None:
    """Measure each number of clients in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--clients", default="1,8", help="how many at once, one after the other")
    parser.add_argument("--prompt", type=int, default=16, help="tokens of each prompt")
    parser.add_argument("--tokens", type=int, default=128, help="tokens of each answer")
    asked = parser.parse_args()
    seed = 0
    for clients in map(int, asked.clients.split(",")):
        with ThreadPoolExecutor(clients) as pool:
            begun = time.perf_counter()
            answers = [
                pool.submit(answer, asked.url, seed + i, asked.prompt, asked.tokens)
                for i in range(clients)
            ]
            tokens = sum(each.result() for each in answers)
            taken = time.perf_counter() - begun
        seed += clients
        print(f"{clients} clients: {tokens} tokens, {tokens / taken:.1f} a second", flush=True)


if __name__ == "__main__":
    main()
