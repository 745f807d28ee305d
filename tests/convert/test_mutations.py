"""Hundreds of damaged converted files: a typed error that names a field, or a clean run."""

from __future__ import annotations

import os
from pathlib import Path

from tests.gguf import mutate

SEED = int(os.environ.get("ZEROSTALL_FUZZ_SEED", "20250"))
CASES = int(os.environ.get("ZEROSTALL_FUZZ_CONVERTED", "1000"))


def test_damaged_converted_files_run_or_raise_a_typed_error(tmp_path: Path) -> None:
    summary = mutate.run("tests.convert.damage", SEED, CASES, tmp_path)
    assert summary["outcomes"]["ran"] > CASES // 20
    assert summary["outcomes"]["ModelFormatError"] > CASES // 4
    assert summary["grown_kb"] < 96 * 1024
