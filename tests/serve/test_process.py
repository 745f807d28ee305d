"""Start and end: signals, loads that fail, addresses that are taken."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from typer.testing import CliRunner

from tests.children import child
from tests.cli.shell import run
from tests.serve.process import LONG, serving
from tests.tasks import HANG_S
from zerostall.cli import app


@pytest.mark.parametrize(("sign", "s"), [(signal.SIGTERM, str(HANG_S)), (signal.SIGINT, "inf")])
def test_told_to_stop_it_finishes_what_runs_and_ends_with_0(tmp_path, sign, s):
    body = LONG | {"n": 4, "stream": True, "stream_options": {"include_usage": True}}
    with serving(tmp_path / "log.jsonl", "--grace", s) as server:
        url = f"{server.url}/v1/completions"
        with httpx.stream("POST", url, json=body, timeout=HANG_S) as answer:
            lines = answer.iter_lines()
            next(lines)  # so that it runs
            server.process.send_signal(sign)
            *_, usage, done = [line for line in lines if line]
        assert json.loads(usage.removeprefix("data: "))["usage"]["completion_tokens"] == 3600
        assert done == "data: [DONE]"
        assert server.process.wait(timeout=HANG_S) == 0
        with pytest.raises(httpx.ConnectError):
            server.get("/health")
    assert "Traceback" not in (tmp_path / "log.jsonl").read_text()


def test_after_the_grace_time_what_runs_or_waits_is_cancelled_and_told_so(tmp_path):
    log = tmp_path / "log.jsonl"
    args = ("--grace", "1.4", "--parallel", "2")
    with serving(log, *args) as server, ThreadPoolExecutor() as pool:
        answers = []
        for count, stream in enumerate((True, False, True, False), 1):
            body = LONG | {"stream": stream}
            answers.append(pool.submit(server.post, "/v1/completions", body))
            server.wait_until("zerostall_runs", count)
            if count == 2:  # the first has had both places, and gives one up
                server.wait_until("zerostall_queued", 0)
        assert (server.metric("zerostall_running"), server.metric("zerostall_queued")) == (2, 2)
        begin = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(timeout=HANG_S) == 0
        assert time.monotonic() - begin >= 1.4
        first, *others = [answer.result() for answer in answers]
    assert first.status_code == 200
    *_, last = [line for line in first.text.split("\n") if line]
    assert json.loads(last.removeprefix("data: "))["error"]["type"] == "unavailable_error"
    for answer in others:
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert answer.json()["error"]["type"] == "unavailable_error"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    told = [line["status"] for line in lines if line.get("path") == "/v1/completions"]
    assert sorted(told) == [200, 503, 503, 503]
    assert not any("traceback" in line or line["level"] == "error" for line in lines)


NEVER = """
import contextlib, threading
from zerostall.serve.server import serve
from zerostall.serve.settings import Settings

@contextlib.contextmanager
def never():
    threading.Event().wait()
    yield

serve("never", never(), Settings(port=0, grace_s=1e6), lambda address: print(address, flush=True))
"""


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_while_it_loads_it_ends_without_waiting_for_the_grace_time(sign):
    command = [sys.executable, "-c", NEVER]
    with child(command, stdout=subprocess.PIPE, text=True) as process:
        url = process.stdout.readline().strip()
        assert httpx.get(f"{url}/health", timeout=HANG_S).status_code == 503
        process.send_signal(sign)
        assert process.wait(timeout=HANG_S) == 0


EARLY = """
import signal, uvicorn
run = uvicorn.Server.run
def late(server, **options):
    signal.raise_signal(signal.{sign})
    run(server, **options)
uvicorn.Server.run = late
"""


@pytest.mark.parametrize("sign", ["SIGTERM", "SIGINT"])
def test_a_signal_before_uvicorn_looks_for_them_ends_the_server_too(sign):
    command = [sys.executable, "-c", EARLY.format(sign=sign) + NEVER]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANG_S, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_model_that_does_not_load_ends_the_server_with_the_reason(tmp_path):
    done = run("serve", "-m", str(tmp_path / "none.gguf"), "--port", "0")
    assert done.returncode == 1
    assert "none.gguf" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_in_use_is_told():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = CliRunner().invoke(app.build(), ["serve", "--port", port])
    assert done.exit_code == 2
    assert "cannot listen on 127.0.0.1" in done.stderr


@pytest.mark.parametrize(
    ("args", "word"),
    [
        (("--parallel", "0"), "parallel is 0"),
        (("--queue", "-1"), "queue is -1"),
        (("--gap-factor", "0.5"), "gap_factor is 0.5; give at least 1"),
        (("--gap-factor", "nan"), "gap_factor is nan"),
        (("--port", "70000"), "port is 70000"),
        (("--api-key", ""), "API key is empty"),
        (("--chat-template", "/none"), "--chat-template /none"),
    ],
)
def test_options_out_of_range_are_wrong_usage(args, word):
    done = CliRunner().invoke(app.build(), ["serve", *args])
    assert done.exit_code == 2
    assert word in done.stderr
