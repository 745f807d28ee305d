"""Processes that tests start: they end with the test, and tell where they hang."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.tasks import HANG_S

SETTLE_S = 10  # to write what its threads do


@contextlib.contextmanager
def child(
    command: Sequence[str], *, hang_s: float = HANG_S, **options: Any
) -> Iterator[subprocess.Popen[Any]]:
    """A process; killed if the block fails, aborted if it takes longer than `hang_s`.

    Python then writes to its standard error where each thread is, so that a failed test of a
    hang, which may be hard to see again, says so.
    """
    env = {**options.pop("env", os.environ), "PYTHONFAULTHANDLER": "1"}
    with subprocess.Popen(command, env=env, **options) as process:
        watch = threading.Timer(hang_s, _abort, (process,))
        watch.start()
        try:
            yield process
        except BaseException:
            process.kill()
            raise
        finally:
            watch.cancel()
            watch.join()


def _abort(process: subprocess.Popen[Any]) -> None:
    for task in sorted(Path(f"/proc/{process.pid}/task").glob("*")):
        said = [task.name]
        for name in ("comm", "wchan", "syscall"):
            with contextlib.suppress(OSError):
                said.append((task / name).read_text().strip())
        print("hangs:", *said, file=sys.stderr)
    process.send_signal(signal.SIGABRT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(SETTLE_S)
    process.kill()
