"""Where io_uring is forbidden, as in containers, experts come through pread; one line says so."""

from __future__ import annotations

import json

import pytest

from tests.io.test_uring_forbidden import FORBID, SETUP, pytestmark  # noqa: F401  skips
from tests.tasks import HANG_S
from zerostall._core import uring_error

WHY = "io_uring is not permitted here (EPERM): reading with pread"
GENERATE = """
import json
import os
os.environ["XDG_CACHE_HOME"] = sys.argv[4]
from zerostall import LLM, SamplingParams
from zerostall.engine.streaming import Streaming
greedy = SamplingParams(temperature=0, max_tokens=16, ignore_eos=True)
options = {"threads": 1, "ctx": 256, "ram": 17_000_000}
with LLM("nano", streaming=Streaming(io=sys.argv[3]), **options) as llm:
    streamed = llm.generate("def f(x):", greedy).token_ids
    reader = llm.loaded.scheduler.engine.stream_reader
with LLM("nano", threads=1, ctx=256) as llm:
    assert llm.generate("def f(x):", greedy).token_ids == streamed
    assert llm.loaded.scheduler.engine.stream_reader == {}
print(json.dumps(reader))
"""


def run(io: str, folder: object) -> tuple[dict, str]:
    """How experts were read, and what was said on stderr."""
    import subprocess
    import sys

    command = [sys.executable, "-c", FORBID + GENERATE, str(SETUP), "1", io, str(folder)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=HANG_S)
    if "PR_SET_SECCOMP" in ended.stderr:
        pytest.skip("seccomp filters are forbidden here")
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout), ended.stderr


@pytest.mark.parametrize("io", ["auto", "uring"])
def test_streaming_falls_back_to_pread_and_says_so_once(io, tmp_path):
    if uring_error() != 0:
        pytest.skip("io_uring is forbidden without our doing")
    reader, said = run(io, tmp_path)
    assert (reader["name"], reader["why"]) == ("pread", WHY)
    assert said == WHY + "\n"


def test_pread_that_was_asked_for_is_not_spoken_of(tmp_path):
    reader, said = run("pread", tmp_path)
    assert (reader["name"], reader["why"], said) == ("pread", "", "")
