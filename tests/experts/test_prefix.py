"""Prefixes and saved states are independent of how experts come into memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.experts.streamed import Model, logits, step
from zerostall.errors import StateFileError


def test_a_prefix_computed_with_streamed_experts_has_the_bits_of_a_resident_model(
    either: Model,
) -> None:
    engine = either.engine(2, bytes=either.quarter, io="pread")
    ids = either.ids(120)
    expected = either.expected(ids)
    logits(engine, ids[:100], 33)
    sequence = engine.open_sequence()
    assert engine.adopt_prefix(sequence, ids) == 64
    assert np.array_equal(step(engine, sequence, ids[64:]), expected[64:])
    engine.check_integrity()


def test_a_state_moves_between_a_streamed_and_a_resident_model(
    either: Model, tmp_path: Path
) -> None:
    engine = either.engine(bytes=either.least, io="pread")
    ids = either.ids(100)
    sequence = engine.open_sequence()
    for at in range(0, 80, 40):
        step(engine, sequence, ids[at : at + 40])
    engine.save_state(sequence, tmp_path / "state")
    other = either.engine()
    loaded = other.load_state(tmp_path / "state")
    assert np.array_equal(step(other, loaded, ids[80:]), either.expected(ids)[80:])


def test_a_state_computed_with_a_lossy_route_is_taken_only_by_its_like(
    either: Model, tmp_path: Path
) -> None:
    lossy = either.engine(bytes=either.quarter, io="pread", route_margin=0.5)
    sequence = lossy.open_sequence()
    step(lossy, sequence, either.ids(10))
    lossy.save_state(sequence, tmp_path / "state")
    with pytest.raises(StateFileError, match="settings that give other results"):
        either.engine().load_state(tmp_path / "state")
    assert lossy.length(lossy.load_state(tmp_path / "state")) == 10
