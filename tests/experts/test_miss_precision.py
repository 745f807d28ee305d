"""The study of bench/experiments/miss_precision.py on a small scale: low copies pay."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).parents[2] / "bench" / "experiments" / "miss_precision.py"
TOKENS = 1024
CASE = (80, 3e9, 200)  # of which the table in docs/guides/streaming.md has a row


@pytest.fixture(scope="module")
def study() -> ModuleType:
    spec = importlib.util.spec_from_file_location("miss_precision_study", SCRIPT)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_a_sixth_of_the_time_stalled_goes_for_less_than_a_hundredth_of_perplexity(
    study: ModuleType, tmp_path: Path
) -> None:
    """Perplexity goes up by 1% at most (it may fall by chance), and two threads count the same."""
    prepared = study.prepare(tmp_path, "Q2_K", TOKENS)
    off, on = (study.run(prepared, CASE, low) for low in (False, True))
    again = study.run(prepared, CASE, True, threads=2)
    assert off.stats["low_used"] == 0 < on.stats["low_used"] <= on.stats["misses"]
    assert off.stats["demanded"] == on.stats["demanded"]
    assert on.stall_s < off.stall_s * 5 / 6
    assert on.perplexity < off.perplexity * 1.01
    assert (again.perplexity, again.stats) == (on.perplexity, on.stats)
