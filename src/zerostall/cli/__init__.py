"""The `zerostall` command. `registry.py` lists the verbs, each in a file of its name."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point: parse the arguments, run the verb, exit with its code."""
    try:
        from zerostall.cli import app

        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
        app.build()(prog_name="zerostall")
    except KeyboardInterrupt:  # before typer could see it
        sys.exit(130)
