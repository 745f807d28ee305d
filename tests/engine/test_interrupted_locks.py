"""A signal's exception never leaves the scheduler's lock behind."""

from __future__ import annotations

import subprocess
import sys

from tests.children import child
from tests.tasks import HANG_S

# An exception holds the frames that it struck. Whatever lock they keep is asked for again by the
# first `finally` on the way out.
STORM = """
import signal
from tests.engine.fake_engine import FakeEngine
from tests.engine.running import Greedy
from zerostall.engine.scheduler import Scheduler
from zerostall.engine.task import Place

scheduler = Scheduler(FakeEngine())
task = Greedy(Place(), [1, 2], 1)
signal.signal(signal.SIGALRM, signal.default_int_handler)
struck = 0
for i in range(20_000):
    try:
        signal.setitimer(signal.ITIMER_REAL, 1e-6 * (30 + i % 50))
        while True:
            try:
                scheduler.stop(task)
            finally:
                scheduler.stop(task)
    except KeyboardInterrupt:
        struck += 1
print(struck)
"""


def test_a_signal_while_a_lock_is_taken_leaves_it_free():
    with child([sys.executable, "-c", STORM], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "20000\n"
        assert process.wait(HANG_S) == 0
