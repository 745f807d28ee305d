"""A model whose experts are larger than its cgroup runs within it and is not killed."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.children import child
from tests.tasks import HANG_S
from zerostall.lab.memory_cgroup import MemoryCgroup
from zerostall.lab.shapes import Shape
from zerostall.lab.synth import write_model

LIMIT = 180 << 20
LOWERED = 140 << 20
STEP = 3 << 20  # less than what the engine keeps free
LARGE = Shape(
    *("large", "qwen3moe", 4, 512, 4, 2, 64, 0, 512, 512),
    query_key_norm="head",
    experts=128,
    used=8,
    expert_hidden=512,
)
# Experts of 2.6 MB and more, whose slots lie across huge pages.
HUGE = Shape(
    *("huge", "qwen3moe", 2, 1024, 4, 2, 64, 0, 512, 512),
    query_key_norm="head",
    experts=48,
    used=2,
    expert_hidden=1408,
)
ROOT = Path("/sys/fs/cgroup")
CHILD = """
import json, os, resource, sys
sys.stdin.readline()  # until it is in its group
from zerostall import LLM, SamplingParams
from zerostall.engine.streaming import Streaming
greedy = SamplingParams(temperature=0, max_tokens=24)
options = {"ram": int(sys.argv[2])} if len(sys.argv) > 2 else {}
with LLM(sys.argv[1], threads=2, streaming=Streaming(io="pread"), **options) as llm:
    answer = llm.generate([5, 6, 7] * 4, greedy)
    streaming = answer.timings.streaming
    print(json.dumps({
        "tokens": answer.token_ids,
        "misses": streaming.misses if streaming else None,
    }))
"""
# Says what it generated, again and again, and at the end how many slots it gave back.
SERVER = """
import json, sys, threading
sys.stdin.readline()  # until it is in its group
from zerostall import LLM, SamplingParams
from zerostall.engine.streaming import Streaming
greedy = SamplingParams(temperature=0, max_tokens=8)
ends = threading.Event()
threading.Thread(target=lambda: (sys.stdin.readline(), ends.set()), daemon=True).start()
with LLM(sys.argv[1], threads=2, streaming=Streaming(io="pread")) as llm:
    while not ends.wait(0.11):  # so that the first layer of each answer looks at memory
        print(json.dumps(llm.generate([5, 6, 7] * 4, greedy).token_ids), flush=True)
    print(llm.loaded.scheduler.stream_stats()["given"], flush=True)
"""


@contextlib.contextmanager
def limited(limit: int) -> Iterator[tuple[Path, Path]]:
    """A new memory cgroup: its folder, and its file that tells the most it has used."""
    one = ROOT / "memory"
    old = (one / "memory.limit_in_bytes").exists()
    folder = (one if old else ROOT) / f"zerostall-test-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup can be made: {error}")
    try:
        name = "memory.limit_in_bytes" if old else "memory.max"
        try:
            (folder / name).write_text(str(limit))
            with contextlib.suppress(OSError):
                (folder / "memory.swap.max").write_text("0")
        except OSError as error:
            pytest.skip(f"the memory of a cgroup cannot be limited: {error}")
        peak = folder / ("memory.max_usage_in_bytes" if old else "memory.peak")
        yield folder, peak
    finally:
        folder.rmdir()


def lower(folder: Path, limit: int, answers: Iterator[str]) -> Iterator[str]:
    """Lower the limit by less than the engine keeps free, wait until it has looked, and again."""
    file = folder / "memory.limit_in_bytes"
    while (now := int(file.read_text())) > limit:
        file.write_text(str(max(limit, now - STEP)))
        # The first may have begun before.
        yield next(answers)
        yield next(answers)


def write(folder: Path, shape: Shape) -> Path:
    """A model that is larger than the cgroup."""
    path = folder / "model.gguf"
    write_model(path, "model", shape)
    assert path.stat().st_size > 1.2 * LIMIT
    return path


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """About 240 MB of experts."""
    return write(tmp_path_factory.mktemp("large"), LARGE)


@pytest.fixture(scope="module")
def huge(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """About 270 MB of experts."""
    return write(tmp_path_factory.mktemp("huge"), HUGE)


def start(
    path: Path, *arguments: str, script: str = CHILD
) -> contextlib.AbstractContextManager[subprocess.Popen[str]]:
    return child(
        [sys.executable, "-c", script, str(path), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.skipif(sys.platform != "linux", reason="cgroups are Linux's")
def test_experts_larger_than_the_cgroup_run_within_it(large: Path) -> None:
    with start(large, str(4 << 30)) as free:
        expected, _ = free.communicate("\n", timeout=HANG_S)
    with limited(LIMIT) as (folder, peak):
        with start(large) as process:
            (folder / "cgroup.procs").write_text(str(process.pid))
            output, _ = process.communicate("\n", timeout=HANG_S)
        assert process.returncode == 0, "killed" if process.returncode == -9 else "failed"
        used = int(peak.read_text()) if peak.exists() else None
        kills = MemoryCgroup(folder, (folder / "memory.events").exists()).oom_kills()
    assert kills == 0
    assert used is None or LIMIT // 2 < used <= LIMIT
    got = json.loads(output)
    assert got["tokens"] == json.loads(expected)["tokens"]
    assert json.loads(expected)["misses"] is None
    assert got["misses"] > 0


@pytest.mark.skipif(sys.platform != "linux", reason="cgroups are Linux's")
@pytest.mark.parametrize("model", ["large", "huge"])
def test_a_limit_that_is_lowered_while_it_decodes_kills_nothing_and_changes_no_bit(
    model: str, request: pytest.FixtureRequest
) -> None:
    if not (ROOT / "memory" / "memory.limit_in_bytes").exists():
        # Version 2 kills as the limit is written, unless what is in use is below it.
        pytest.skip("no cgroups of version 1")
    path = request.getfixturevalue(model)
    with limited(LIMIT) as (folder, _), start(path, script=SERVER) as process:
        assert process.stdin and process.stdout
        (folder / "cgroup.procs").write_text(str(process.pid))
        process.stdin.write("\n")
        process.stdin.flush()
        expected = process.stdout.readline()
        assert len(json.loads(expected)) == 8
        answers = set(lower(folder, LOWERED, iter(process.stdout.readline, "")))
        output, _ = process.communicate("\n", timeout=HANG_S)
        assert process.returncode == 0, "killed" if process.returncode == -9 else "failed"
        *others, given = output.splitlines(keepends=True)
        assert answers | set(others) == {expected}
        # The rest of the difference was free: of the budget's reserve, and of scratch for prompts
        # that are longer than this one.
        assert int(given) > (LIMIT - LOWERED) // 4
        assert int((folder / "memory.usage_in_bytes").read_text()) <= LOWERED
        assert int((folder / "memory.limit_in_bytes").read_text()) == LOWERED
