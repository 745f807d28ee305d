"""What the first layers chose for a token is read ahead when the token comes again."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from zerostall import _core, arch, gguf, hub
from zerostall.engine.loader import load_tokenizer

LAYERS, USED, EXPERTS = 3, 2, 16
HEAD = [LAYERS, *[USED] * LAYERS, *[EXPERTS] * LAYERS]
EACH = 1 + LAYERS * USED
TEXT = Path(__file__).parents[1] / "data" / "nano_heldout.txt"
# Simulated: a read takes half of what a layer does.
TIMES = {
    "throttle": {"latency_us": 100, "bytes_per_second": 1e9, "simulated": True},
    "pace": {"layer_us": 200, "expert_us": 100},
}


@pytest.fixture(scope="module")
def model():
    file = gguf.open_model(hub.resolve("nano"))
    tape = arch.load(file, 256).tape
    tokenizer = load_tokenizer(file)
    return file, tape, tokenizer.encode(TEXT.read_text(encoding="utf-8"))[:200]


def engine_of(model, **streaming):
    file, tape, _ = model
    memory = _core.plan_memory(file, tape, context=256, streaming=True)
    options = {"bytes": memory["experts"] // 3, "io": "pread", "direct": False, **TIMES}
    return _core.Engine(file, tape, context=256, threads=1, streaming=options | streaming)


def decode(engine, ids):
    sequence = np.array([engine.open_sequence()], np.int32)
    rows = [engine.step(np.array([i], np.int32), sequence, np.zeros(1, np.int32))[0] for i in ids]
    engine.close_sequence(int(sequence[0]))
    return np.array(rows)


def tokens_of(saved):
    """By token, of each layer what is kept."""
    assert saved[: len(HEAD)] == HEAD
    table = np.array(saved[len(HEAD) :]).reshape(-1, EACH)
    return {int(row[0]): row[1:].reshape(LAYERS, USED).tolist() for row in table}


@pytest.fixture(scope="module")
def first(model):
    engine = engine_of(model, trace=True)
    return decode(engine, model[2]), engine


def test_what_is_chosen_most_is_kept_and_fades(model, first):
    _, engine = first
    weights = defaultdict(lambda: defaultdict(float))
    for step, layer, experts, _, _ in engine.take_trace():
        if layer >= LAYERS:
            continue
        # A step is a token; steps count from 1.
        known = weights[model[2][step - 1], layer]
        for expert in known:
            known[expert] *= 0.75
        for expert in experts:
            known[expert] += 1
    kept = tokens_of(engine.expert_habits())
    assert set(kept) == set(model[2])
    compared = 0
    for (token, layer), known in weights.items():
        heavy = sorted(known, key=known.__getitem__, reverse=True)
        # Four are kept, and roundings may tell near ones apart otherwise.
        if len(heavy) > 4 or (len(heavy) > USED and known[heavy[1]] - known[heavy[2]] < 0.01):
            continue
        compared += 1
        assert set(kept[token][layer]) == set(heavy[:USED])
    assert compared > 0.8 * len(weights)


def test_habits_foresee_more_and_change_no_bit(model, first):
    logits, engine = first
    fresh = engine.stream_stats()
    knowing = engine_of(model, habits=engine.expert_habits())
    assert knowing.expert_habits() == engine.expert_habits()
    assert np.array_equal(decode(knowing, model[2]), logits)
    stats = knowing.stream_stats()
    assert stats["demanded"] == fresh["demanded"]
    assert stats["foreseen"] > 1.02 * fresh["foreseen"]
    assert stats["stall_ns"] < fresh["stall_ns"]


def test_reads_of_the_first_layer_begin_with_the_token_whatever_its_state_says(model, first):
    # Experts that the router does not want: only habits can have read them.
    _, engine = first
    token = model[2][0]
    wanted = set(tokens_of(engine.expert_habits())[token][0])
    others = [expert for expert in range(EXPERTS) if expert not in wanted][:USED]
    wrong = engine_of(model, habits=[*HEAD, token, *others * LAYERS])
    decode(wrong, [token])
    right = engine_of(model, habits=engine.expert_habits())
    decode(right, [token])
    assert wrong.stream_stats()["wasted"] >= USED
    assert right.stream_stats()["wasted"] < wrong.stream_stats()["wasted"]
    # The token is learnt as it is.
    assert set(tokens_of(wrong.expert_habits())[token][0]) & wanted


def test_the_first_tokens_go_when_there_is_no_room_for_all(model):
    file, tape, ids = model
    least = _core.plan_memory(file, tape, context=256, streaming=True)["least_experts"]
    few = engine_of(model, bytes=least + 4096)
    decode(few, ids)
    kept = list(tokens_of(few.expert_habits()))
    assert 0 < len(kept) < len(set(ids))
    queue: list[int] = []
    for token in ids:
        if token not in queue:
            queue = [*queue, token][-len(kept) :]
    assert kept == queue
    none = engine_of(model, bytes=least)
    decode(none, ids[:4])
    assert none.expert_habits() == []
    assert engine_of(model, speculate=False).expert_habits() == []


@pytest.mark.parametrize(
    "habits",
    {
        "nothing": [],
        "a head alone": HEAD,
        "of other layers": [LAYERS, 3, 3, 3, *HEAD[4:], *range(10)],
        "cut": [*HEAD, 5, 1, 2, 3],
        "beyond every expert": [*HEAD, 5, 16, -1, 1 << 30, 65535, 7, 7],
        "a token below zero": [*HEAD, -7, *[1] * 6],
    }.items(),
    ids=lambda item: item[0],
)
def test_habits_that_cannot_be_are_ignored(model, first, habits):
    engine = engine_of(model, habits=habits[1])
    kept = tokens_of(engine.expert_habits())
    assert set(kept) <= {5}
    assert np.array_equal(decode(engine, model[2][:20]), first[0][:20])


def test_prompts_teach_habits_too(model):
    engine = engine_of(model)
    ids = np.array(model[2][:100], np.int32)
    sequence = np.full(100, engine.open_sequence(), np.int32)
    engine.step(ids, sequence, np.array([99], np.int32))
    assert set(tokens_of(engine.expert_habits())) == set(model[2][:100])
