"""A stand-in for llama-bench: prints its JSON with made-up speeds, and notes how it was called."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path

PREFILL, DECODE = 500.0, 40.0

# Of the decoding tests that -n lists, only the last has the speed DECODE.
SCRIPT = """#!{python}
import json, sys
arguments = sys.argv[1:]
values = lambda flag: [int(v) for v in arguments[arguments.index(flag) + 1].split(",")]
with open({log!r}, "a") as log:
    log.write(json.dumps(arguments) + "\\n")
tests = [(p, 0, {prefill}) for p in values("-p")]
tests += [(0, n, {decode} + 100 * more) for more, n in enumerate(reversed(values("-n")))][::-1]
tests += [(*values("-pg"), {prefill})] if "-pg" in arguments else []
records = []
for p, n, speed in tests:
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
