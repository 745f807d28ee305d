"""Two thousand models that parse but lie: each runs or raises a typed error that names a field."""

from __future__ import annotations

import os
from pathlib import Path

from tests.gguf import mutate

SEED = int(os.environ.get("ZEROSTALL_FUZZ_SEED", "20250"))
CASES = int(os.environ.get("ZEROSTALL_FUZZ_LIES", "2000"))


def test_models_that_lie_run_or_raise_a_typed_error_in_little_memory(tmp_path: Path) -> None:
    summary = mutate.run("tests.arch.lies", SEED, CASES, tmp_path)
    # Enough of each outcome to know that the lies reach the engine.
    assert summary["outcomes"]["ran"] > CASES // 5
    assert summary["outcomes"]["ModelFormatError"] > CASES // 5
    assert summary["outcomes"]["UnsupportedModelError"] > 0
    assert summary["grown_kb"] < 96 * 1024
