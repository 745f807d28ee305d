"""What every token needs is locked in memory, where the process may do so."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from tests.experts.streamed import Model
from tests.tasks import HANG_S

STATUS = Path("/proc/self/status")
VECTORS = 64 << 10  # at most, of these models
CHILD = """
import sys
from tests.experts.streamed import Model
def locked():
    (line,) = [l for l in open("/proc/self/status") if l.startswith("VmLck:")]
    return int(line.split()[1]) * 1024
model = Model(sys.argv[1])
before = locked()
all_in_memory = model.engine()
print(locked() - before)
engine = model.engine(bytes=model.least, io="pread")
weights = engine.memory()["weights"]
print(locked() - before, weights)
del engine
print(locked() - before)
"""


def run(model: Model) -> list[list[int]]:
    command = [sys.executable, "-c", CHILD, str(model.path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=HANG_S)
    assert ended.returncode == 0, ended.stderr
    return [[int(word) for word in line.split()] for line in ended.stdout.splitlines()]


def may_lock(size: int) -> bool:
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    capable = next(x for x in STATUS.read_text().splitlines() if x.startswith("CapEff:"))
    return soft < 0 or soft >= size or int(capable.split()[1], 16) >> 14 & 1 == 1  # CAP_IPC_LOCK


@pytest.mark.skipif(not STATUS.exists(), reason="reads /proc")
def test_the_weights_beside_streamed_experts_are_locked_and_experts_are_not(
    either: Model,
) -> None:
    if not may_lock(either.engine(bytes=either.least).memory()["weights"]):
        pytest.skip("this process may not lock as much (ulimit -l)")
    (resident,), (streamed, weights), (after,) = run(either)
    assert resident == 0  # without streaming nothing is
    # Whole pages, and each tensor begins on one, but for vectors (norms and the like), which lie
    # in ordinary memory; no slot of an expert.
    assert weights - VECTORS <= streamed < weights + (1 << 20) < weights + either.least
    assert after == 0
