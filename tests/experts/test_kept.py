"""While slots are empty, what was read ahead for nothing stays: it is often wanted soon."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.experts.streamed import (
    BACK_ENDS,
    Model,
    check_counters,
    reads_at_load,
    step,
    until_it_works,
)
from zerostall import convert, gguf, hub
from zerostall.engine.loader import load_tokenizer

TEXT = Path(__file__).parents[1] / "data" / "nano_heldout.txt"
TOKENS = 60
# Simulated: a read takes about two layers, so that few guesses have come whole when they fail.
SLOW = {
    "throttle": {"latency_us": 100, "bytes_per_second": 2e8, "simulated": True},
    "pace": {"layer_us": 400, "expert_us": 100},
}


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Model:
    path = tmp_path_factory.mktemp("kept") / "nano.gguf"
    convert.convert(hub.resolve("nano"), path)
    return Model(path)


@pytest.fixture(scope="module")
def ids(model: Model) -> np.ndarray:
    tokenizer = load_tokenizer(gguf.open_model(model.path))
    assert tokenizer is not None
    return np.array(tokenizer.encode(TEXT.read_text(encoding="utf-8"))[:TOKENS], np.int32)


def decode(engine, ids) -> np.ndarray:
    """Logits of each token, one a step, and that the counters hold between any two."""
    sequence, rows = engine.open_sequence(), []
    try:
        for at in range(len(ids)):
            rows.append(step(engine, sequence, ids[at : at + 1])[0])
            check_counters(engine)
    finally:
        engine.close_sequence(sequence)
    return np.array(rows)


def first_demands(engine) -> str:
    """What the first demand of each expert met: h(it), s(hadow hit) or m(iss)."""
    first: dict[tuple[int, int], str] = {}
    for _, layer, experts, _, met in engine.take_trace():
        for expert, outcome in zip(experts, met, strict=True):
            first.setdefault((layer, expert), outcome)
    return "".join(first.values())


@pytest.mark.parametrize("io", BACK_ENDS)
def test_what_was_guessed_too_early_is_there_when_it_is_wanted(model, ids, io):
    engine = model.engine(io=io, bytes=model.all, trace=True, **SLOW)
    assert np.array_equal(decode(engine, ids), model.expected(ids))
    assert "h" in first_demands(engine)
    assert engine.stream_stats()["wasted"] > 0


def test_without_reading_ahead_every_first_demand_misses(model, ids):
    engine = model.engine(io="pread", bytes=model.all, trace=True, speculate=False, **SLOW)
    decode(engine, ids)
    assert set(first_demands(engine)) == {"m"}


def test_what_is_kept_leaves_the_slots_that_reads_need(model, ids):
    """With the least memory there is no empty slot soon; with a little more, for longer."""
    for share in (0, 1, 2, 4):
        budget = model.least + (model.all - model.least) * share // 16
        engine = model.engine(io="pread", bytes=budget, **SLOW)
        assert np.array_equal(decode(engine, ids), model.expected(ids))
        stats = engine.stream_stats()
        assert stats["resident"] < stats["slots"]


def test_errors_of_what_nobody_demanded_fail_no_step(model, ids):
    """A part of what is read on fails; the expert is read again when it is demanded."""
    loaded = reads_at_load(model, io="pread", bytes=model.all)
    # Of ten reads the first four fail: a part that is tried again may fail every time.
    failing = [n for n in range(loaded, loaded + 600) if n % 10 < 4]
    faults = {"failing_reads": failing}
    engine = model.engine(io="pread", bytes=model.all, faults=faults, **SLOW)
    found, errors = until_it_works(engine, lambda: decode(engine, ids))
    assert np.array_equal(found, model.expected(ids))
    assert errors
