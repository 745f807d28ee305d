"""Every architecture gives the same bits after a prefix that another sequence computed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.arch.running import NAMES, Case, engine, run

CONTEXT = 144


@pytest.mark.parametrize("name", NAMES)
def test_an_adopted_prefix_and_a_loaded_state_give_the_same_bits(name: str, tmp_path: Path) -> None:
    core = engine(Case(name), CONTEXT, kv_tokens=3 * CONTEXT, kv_type="f16")
    ids = np.random.default_rng(5).integers(0, core.vocab_size, CONTEXT).astype(np.int32)
    expected = run(core, ids, 32)[130:]
    adopted = core.open_sequence()
    assert core.adopt_prefix(adopted, ids[:130]) == 128
    rows = np.arange(14, dtype=np.int32)

    def tail(sequence: int) -> np.ndarray:
        return core.step(ids[130:], np.full(14, sequence, np.int32), rows)

    core.step(ids[128:130], np.full(2, adopted, np.int32), rows[:0])
    core.save_state(adopted, tmp_path / "state")
    assert np.array_equal(tail(adopted), expected)
    assert np.array_equal(tail(core.load_state(tmp_path / "state")), expected)
    core.check_integrity()
