"""A server in a process of its own, on a free port."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from anthropic import Anthropic
from openai import OpenAI
from prometheus_client.parser import text_string_to_metric_families

from tests.cli.shell import COMMAND
from tests.tasks import HANG_S, eventually

JSON = {"Content-Type": "application/json"}
# More than a quarter of a minute of work for the built-in model, until it is cancelled.
LONG = {"prompt": "def f(", "max_tokens": 900, "n": 100, "ignore_eos": True, "seed": 1}


@dataclass
class Server:
    process: subprocess.Popen[str]
    url: str
    log: Path
    headers: dict[str, str] = field(default_factory=dict)  # of get()

    def client(self, **options: object) -> OpenAI:
        options = {"api_key": "none", "max_retries": 0, "timeout": HANG_S} | options
        return OpenAI(base_url=f"{self.url}/v1", **options)

    def anthropic(self, **options: object) -> Anthropic:
        options = {"api_key": "none", "max_retries": 0, "timeout": HANG_S} | options
        return Anthropic(base_url=self.url, **options)

    def get(self, path: str, **options: object) -> httpx.Response:
        return httpx.get(self.url + path, **{"timeout": HANG_S, "headers": self.headers} | options)

    def post(self, path: str, body: object, **options: object) -> httpx.Response:
        return httpx.post(self.url + path, json=body, timeout=HANG_S, **options)

    def metric(self, name: str, **labels: str) -> float:
        """The value of one sample of /metrics, 0 where there is none."""
        for family in text_string_to_metric_families(self.get("/metrics").text):
            for sample in family.samples:
                if sample.name == name and sample.labels.items() >= labels.items():
                    return sample.value
        return 0.0

    def wait_until(self, name: str, value: float) -> None:
        """Wait until a metric has a value."""
        assert eventually(lambda: self.metric(name) == value), (name, self.metric(name), value)


@contextlib.contextmanager
def serving(log: Path, *args: str, **env: str) -> Iterator[Server]:
    """A server that has loaded its model; told to stop at the end, if it still runs."""
    command = [*COMMAND, "serve", "--port", "0", "-t", "1", *args]
    with (
        log.open("w") as errors,
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env=os.environ | env
        ) as process,
    ):
        try:
            assert process.stdout is not None
            found = re.search(r"http://\S+", process.stdout.readline())
            assert found, log.read_text()
            server = Server(process, found[0], log)
            assert eventually(lambda: server.get("/health").status_code == 200)
            yield server
        finally:
            process.terminate()
            try:
                process.wait(timeout=HANG_S)
            finally:
                process.kill()
