"""What tests of whole processes rest on."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.children import child
from tests.tasks import HANG_S

STUCK = """
import threading
def stuck():
    print("here", flush=True)
    threading.Event().wait()
stuck()
"""


def test_a_process_that_hangs_is_ended_and_says_where(capfd):
    with child(
        [sys.executable, "-c", STUCK], hang_s=1, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "here\n"
        assert process.stdout.readline() == ""
        assert process.wait(HANG_S) == -signal.SIGABRT
    errors = capfd.readouterr().err
    assert "in stuck" in errors
    assert f"hangs: {process.pid} python" in errors


def test_a_block_that_fails_leaves_no_process():
    with pytest.raises(ZeroDivisionError), child([sys.executable, "-c", STUCK]) as process:
        1 / 0  # noqa: B018
    assert process.wait(HANG_S) == -signal.SIGKILL
