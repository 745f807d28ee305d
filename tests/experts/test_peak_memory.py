"""`ram=` bounds the whole process, as the kernel measures it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.tasks import HANG_S
from zerostall import gguf
from zerostall.convert import convert
from zerostall.engine.speculator import TrainedGuess
from zerostall.lab.shapes import Shape
from zerostall.lab.speculator import write_speculator
from zerostall.lab.synth import write_model

RAM = 448 << 20  # an eighth of it, which is left to Python, is more than Python takes
LAYERS, EXPERTS, WIDTH, RANK = 4, 256, 512, 192
LARGE = Shape(
    *("large", "qwen3moe", LAYERS, WIDTH, 4, 2, 64, 0, 512, 512),
    query_key_norm="head",
    experts=EXPERTS,
    used=8,
    expert_hidden=512,
)
CHILD = """
import json, re, sys
from pathlib import Path
from zerostall import LLM, SamplingParams
from zerostall.engine.streaming import Streaming
path, ram, *speculator = sys.argv[1:]
streaming = Streaming(io="pread", speculator=Path(speculator[0]) if speculator else None)
many = SamplingParams(temperature=0, max_tokens=64, ignore_eos=True)
with LLM(path, threads=2, ram=int(ram), streaming=streaming) as llm:
    # Of random weights, so that each text wants other experts.
    for first in range(4):
        llm.generate([first + 7 * i for i in range(60)], many)
    stats, memory = llm.loaded.scheduler.stream_stats(), llm.loaded.scheduler.engine.memory()
peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) << 10
print(json.dumps({"peak": peak, "memory": memory} | stats))
"""


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("peak") / "large.gguf"
    write_model(path, "large", LARGE)
    return path


def measure(path: Path, *speculator: Path) -> dict[str, int]:
    """The counters of a process of its own, and the most memory it had."""
    command = [sys.executable, "-c", CHILD, *map(str, (path, RAM, *speculator))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANG_S, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
@pytest.mark.parametrize("kind", ["plain", "converted", "guessing"])
def test_the_most_memory_that_the_process_takes_is_within_its_budget(
    plain: Path, tmp_path: Path, kind: str
) -> None:
    path, speculator = plain, []
    if kind == "converted":
        path = tmp_path / "converted.gguf"
        convert(plain, path)
    if kind == "guessing":
        speculator = [tmp_path / "speculator.gguf"]
        shapes = (RANK, WIDTH), (EXPERTS, RANK), (EXPERTS,)
        zeros = [np.zeros(shape, np.float32) for shape in shapes]
        guesses = [TrainedGuess(layer, True, *zeros) for layer in range(LAYERS)]
        write_speculator(speculator[0], gguf.open_model(plain), guesses)
    found = measure(path, *speculator)
    assert found["memory"]["experts"] > RAM
    assert found["evictions"] > 0  # the room for experts was full
    # And no smaller than it has to be: it is for experts that it is given.
    assert 0.85 * RAM < found["peak"] <= RAM
