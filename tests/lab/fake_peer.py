"""A stand-in for llama-bench: prints its JSON with made-up speeds, and notes how it was called."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path

PREFILL, DECODE = 500.0, 40.0

SCRIPT = """#!{python}
import json, sys
arguments = sys.argv[1:]
value = lambda flag: int(arguments[arguments.index(flag) + 1])
with open({log!r}, "a") as log:
    log.write(json.dumps(arguments) + "\\n")
records = []
for p, n, speed in ((value("-p"), 0, {prefill}), (0, value("-n"), {decode})):
    if p or n:
        records.append({{"build_commit": "abc1234", "n_prompt": p, "n_gen": n, "avg_ts": speed}})
print(json.dumps(records))
"""


def make(folder: Path) -> tuple[Path, Path]:
    """The program, and the file that gets a line of JSON for each call."""
    log = folder / "calls.jsonl"
    program = folder / "llama-bench"
    program.write_text(
        SCRIPT.format(python=sys.executable, log=str(log), prefill=PREFILL, decode=DECODE)
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program, log


def calls(log: Path) -> list[list[str]]:
    """The arguments of each call so far."""
    return [json.loads(line) for line in log.read_text().splitlines()]
