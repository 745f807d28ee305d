"""Ctrl-C stops a step that waits for a drive, and leaves the engine usable."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from tests.experts.streamed import Model, reads_at_load

CHILD = """
import sys, time
import numpy as np
from tests.experts.streamed import Model, logits, step
model = Model(sys.argv[1])
ids = model.ids(8)
stalled = [int(sys.argv[2]) + 40]
engine = model.engine({threads}, bytes=model.least, io={io!r},
                      faults={{"stalled_reads": stalled, "stall_ms": 1800}})
sequence = engine.open_sequence()
done = 0
print("waiting", flush=True)
try:
    while True:
        step(engine, sequence, ids[done : done + 1])
        done = (done + 1) % 8
        if done == 0:
            engine.truncate(sequence, 0)
except KeyboardInterrupt:
    stopped = time.time()
kept = engine.length(sequence) == done
right = np.array_equal(logits(engine, ids), model.expected(ids))
print(stopped, kept, right)
"""


@pytest.mark.parametrize(("io", "threads"), [("uring", 1), ("pread", 2)])
def test_ctrl_c_ends_the_wait_for_a_stalled_drive(nano: Model, io: str, threads: int) -> None:
    loaded = reads_at_load(nano, bytes=nano.least, io=io)
    script = CHILD.format(io=io, threads=threads)
    with subprocess.Popen(
        [sys.executable, "-c", script, str(nano.path), str(loaded)],
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "waiting\n"
        time.sleep(0.3)
        sent = time.time()
        child.send_signal(signal.SIGINT)
        stopped, kept, right = child.stdout.readline().split()
        assert child.wait(60) == 0
    assert float(stopped) - sent < 1.0
    assert (kept, right) == ("True", "True")
