"""The command, in a process of its own or, quicker, in this one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from typer.testing import CliRunner

from zerostall.cli import app

COMMAND = [sys.executable, "-m", "zerostall"]


def run(*args: str, stdin: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    """Run the command; text in, text out."""
    return subprocess.run(
        [*COMMAND, *args],
        input=stdin,
        env=os.environ | env,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def run_json(*args: str, stdin: str = "") -> tuple[int, dict[str, Any]]:
    """Run the command with --json: its exit code and its object, the only output there is."""
    done = CliRunner().invoke(app.build(), [*args, "--json"], input=stdin)
    assert done.stdout.count("\n") == 1, done.output
    assert done.stderr == ""
    return done.exit_code, json.loads(done.stdout)
