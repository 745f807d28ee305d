"""io_uring_enter that fails in the middle of a step ends it with an error, and nothing hangs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.experts.streamed import Model
from tests.tasks import HANG_S
from zerostall._core import uring_error

pytestmark = pytest.mark.skipif(uring_error() != 0, reason="io_uring is forbidden here")

# Threads that wait for each other for ever cannot be ended but with their process.
CHILD = """
import sys
import numpy as np
from tests.experts.streamed import Model, check_counters, logits, step, until_it_works
from zerostall.errors import StorageError
model, threads = Model(sys.argv[1]), int(sys.argv[2])
ids = model.ids(6)
failures = 0
for first in range(0, 90, 3):
    for count in (1, 7):
        faults = {"failing_enters": range(first, first + count)}
        try:
            engine = model.engine(threads, bytes=model.least, io="uring", depth=4, faults=faults)
        except StorageError as error:
            assert "io_uring_enter failed" in str(error), error
            continue
        got, errors = until_it_works(engine, lambda: logits(engine, ids, 2))
        assert np.array_equal(got, model.expected(ids))
        assert all("io_uring_enter failed" in error for error in errors), errors
        failures += len(errors)
assert failures > 20, failures
faults = {"failing_enters": range(60, 9999)}
engine = model.engine(threads, bytes=model.least, io="uring", faults=faults)
sequence, failed = engine.open_sequence(), 0
for i in range(40):
    try:
        step(engine, sequence, model.ids(40)[i : i + 1])
    except StorageError as error:
        assert str(error).endswith("; read with pread instead"), error
        failed += 1
    check_counters(engine)
assert engine.length(sequence) == 40 - failed and failed > 0
print("done", flush=True)
"""


@pytest.mark.parametrize("threads", [1, 2])
def test_a_ring_that_fails_ends_the_step_and_the_next_one_works(
    either: Model, threads: int
) -> None:
    command = [sys.executable, "-c", CHILD, str(either.path), str(threads)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=HANG_S)
    assert (ended.returncode, ended.stdout) == (0, "done\n"), ended.stderr
