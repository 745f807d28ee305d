"""The command, in a process of its own or, quicker, in this one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from typer.testing import CliRunner

from tests.tasks import HANG_S
from zerostall.cli import app

COMMAND = [sys.executable, "-m", "zerostall"]
# The command, whose generations stop after some chunks until they are interrupted.
PAUSING = """
import time
from zerostall import LLM
from zerostall.cli import main
def pausing(stream):
    def paused(*args, **options):
        for i, chunk in enumerate(stream(*args, **options)):
            while i == 5:
                time.sleep(0.01)
            yield chunk
    return paused
LLM.stream, LLM.chat_stream = pausing(LLM.stream), pausing(LLM.chat_stream)
main()
"""


def run(*args: str, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    """Run the command; text in, text out."""
    return subprocess.run(
        [*COMMAND, *args],
        input=stdin,
        env=os.environ | env,
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )


def run_json(*args: str, stdin: str = "") -> tuple[int, dict[str, Any]]:
    """Run the command with --json: its exit code and its object, the only output there is."""
    done = CliRunner().invoke(app.build(), [*args, "--json"], input=stdin)
    assert done.stdout.count("\n") == 1, done.output
    assert done.stderr == ""
    return done.exit_code, json.loads(done.stdout)
