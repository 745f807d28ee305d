"""A server that starts again has the experts that were wanted before."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.cli.shell import run
from tests.serve.process import serving
from tests.tasks import HANG_S

RAM = "20000000"  # room for about half of the built-in model's experts
# What is read ahead hangs on how long things take.
OPTIONS = ("--ram", RAM, "-c", "256", "--io", "pread", "--no-speculate")
BODY = {"prompt": "def parse(text):", "max_tokens": 32, "temperature": 0, "ignore_eos": True}


def first_request(log: Path, profile: Path) -> tuple[float, str, dict[str, float]]:
    """Of a server that then ends: experts there before it, its text, and what it took."""
    with serving(log, *OPTIONS, "--profile", str(profile)) as server:
        before = server.metric("zerostall_expert_resident")
        assert server.metric("zerostall_expert_demanded_total") == 0
        answer = server.post("/v1/completions", BODY).json()
        for name in ("hits", "misses"):
            value = server.metric(f"zerostall_expert_{name}_total")
            assert value == answer["timings"]["streaming"][name]
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(timeout=HANG_S) == 0
    return before, answer["choices"][0]["text"], answer["timings"]["streaming"]


def test_a_server_that_was_told_to_stop_is_warm_when_it_starts_again(tmp_path):
    profile = tmp_path / "nano.profile"
    cold, warm = (first_request(tmp_path / f"{i}.jsonl", profile) for i in range(2))
    assert cold[0] == 0
    assert warm[0] > 0
    assert warm[1] == cold[1]
    assert warm[2]["demanded"] == cold[2]["demanded"]
    assert warm[2]["hits"] > cold[2]["hits"]
    assert warm[2]["misses"] < 0.8 * cold[2]["misses"]


def test_a_profile_that_could_not_be_written_ends_the_server_before_it_serves(tmp_path):
    done = run("serve", "--port", "0", *OPTIONS, "--profile", str(tmp_path / "none" / "profile"))
    assert done.returncode == 1
    assert "none/profile: cannot be written: No such file or directory" in done.stderr
    assert "Traceback" not in done.stderr
