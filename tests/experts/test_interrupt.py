"""Ctrl-C stops a step that waits for a drive, and leaves the engine usable."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time

import pytest

from tests.children import child
from tests.experts.streamed import Model, reads_at_load, step
from tests.tasks import HANG_S
from zerostall.errors import StorageError

CHILD = """
import sys, time
import numpy as np
from tests.children import child
from tests.experts.streamed import Model, logits, step
path, io = sys.argv[1:3]
threads, stalled, before, stall_ms = map(int, sys.argv[3:])
model = Model(path)
ids = model.ids(8)
engine = model.engine(threads, bytes=model.least, io=io, speculate=False,
                      faults={"stalled_reads": [stalled], "stall_ms": stall_ms})
sequence = engine.open_sequence()
for i in range(before):
    step(engine, sequence, ids[i : i + 1])
try:
    print("waiting", flush=True)
    step(engine, sequence, ids[before : before + 1])
    while True:
        time.sleep(0.01)
except KeyboardInterrupt:
    pass
print(engine.length(sequence) == before, flush=True)
print(np.array_equal(logits(engine, ids), model.expected(ids)))
"""


def steps_before(model: Model, io: str, read: int) -> int:
    """How many steps are done before the one that needs this read."""
    engine = model.engine(bytes=model.least, io=io, speculate=False, faults={"gone_after": read})
    sequence = engine.open_sequence()
    ids = model.ids(8)
    for done in range(len(ids)):
        try:
            step(engine, sequence, ids[done : done + 1])
        except StorageError:
            return done
    raise AssertionError("no step needs it")


@pytest.mark.parametrize(("io", "threads"), [("uring", 1), ("pread", 2)])
def test_ctrl_c_ends_the_wait_for_a_stalled_drive(nano: Model, io: str, threads: int) -> None:
    stalled = reads_at_load(nano, bytes=nano.least, io=io, speculate=False) + 40
    before = steps_before(nano, io, stalled)
    # The first drive comes back too late for anybody, the second before long.
    for stall_s in (10 * HANG_S, 1):
        numbers = map(str, (threads, stalled, before, 1000 * stall_s))
        with child(
            [sys.executable, "-c", CHILD, str(nano.path), io, *numbers],
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "waiting\n"
            time.sleep(0.3)  # by then it most likely waits; before, nothing is to be undone
            process.send_signal(signal.SIGINT)
            undone = process.stdout.readline()
            if stall_s > HANG_S:
                process.kill()
                assert undone == "True\n"
            else:
                assert process.stdout.readline() == "True\n"
                assert process.wait(HANG_S) == 0


def test_others_run_on_while_closing_waits_for_the_drive(nano: Model) -> None:
    engine = nano.engine(bytes=nano.least, io="pread", faults={"closing_ms": 1000})
    closed = threading.Event()
    steps = 0

    def run_on() -> None:
        nonlocal steps
        while not closed.wait(0.01):
            steps += 1

    other = threading.Thread(target=run_on)
    other.start()
    before = steps
    del engine
    during = steps - before
    closed.set()
    other.join()
    assert during > 10
