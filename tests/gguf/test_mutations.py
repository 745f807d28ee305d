"""Thousands of truncated, bit-flipped and hostile files: a typed error or a clean run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

SEED = int(os.environ.get("ZEROSTALL_FUZZ_SEED", "20250"))
CASES = int(os.environ.get("ZEROSTALL_FUZZ_CASES", "10000"))


def test_damaged_files_open_or_raise_a_typed_error_in_little_memory(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-X", "faulthandler", "-m", "tests.gguf.mutate"]
    run = subprocess.run(
        [*command, str(SEED), str(CASES), str(tmp_path)],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    last = run.stdout.splitlines()[-1] if run.stdout else "no case"
    assert run.returncode == 0, f"{last}, file {tmp_path / 'case.gguf'}:\n{run.stderr}"
    summary = json.loads(last)
    assert sum(summary["outcomes"].values()) == CASES
    # Enough of each outcome to know that the damage reaches beyond the header.
    assert summary["outcomes"]["opened"] > CASES // 50
    assert summary["outcomes"]["ModelFormatError"] > CASES // 5
    assert summary["outcomes"]["UnsupportedModelError"] > 0
    assert summary["grown_kb"] < 32 * 1024
