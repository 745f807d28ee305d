"""Thousands of truncated, bit-flipped and hostile files: a typed error or a clean run."""

from __future__ import annotations

import os
from pathlib import Path

from tests.gguf import mutate

SEED = int(os.environ.get("ZEROSTALL_FUZZ_SEED", "20250"))
CASES = int(os.environ.get("ZEROSTALL_FUZZ_CASES", "10000"))


def test_damaged_files_open_or_raise_a_typed_error_in_little_memory(tmp_path: Path) -> None:
    summary = mutate.run("tests.gguf.mutate", SEED, CASES, tmp_path)
    # Enough of each outcome to know that the damage reaches beyond the header.
    assert summary["outcomes"]["opened"] > CASES // 50
    assert summary["outcomes"]["ModelFormatError"] > CASES // 5
    assert summary["outcomes"]["UnsupportedModelError"] > 0
    assert summary["grown_kb"] < 32 * 1024
