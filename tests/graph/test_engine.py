"""The executor: the same bits however a sequence is fed, and state that survives errors."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import numpy as np
import pytest

from tests.graph.tiny import VOCAB, build_tape, engine, forward, random_ids, write_model
from zerostall import arch, hub
from zerostall._core import GgufFile, isa_models, isas
from zerostall.errors import ContextLengthError, InvalidRequestError, OutOfBudgetError


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("tiny") / "tiny.gguf")


@pytest.mark.parametrize("window", [0, 70])
@pytest.mark.parametrize("kv_type", ["f16", "f32", "int8"])
def test_chunks_threads_and_isas_give_the_same_bits(model: Path, window: int, kv_type: str) -> None:
    tape = build_tape(window=window, softcap=20.0)
    ids = random_ids(150)
    expected = forward(engine(model, tape, kv_type=kv_type), ids)
    assert np.isfinite(expected).all() and expected.std() > 0.1
    for threads in (1, 2, 3):
        for chunk in (1, 7, 32):
            core = engine(model, tape, kv_type=kv_type, threads=threads)
            assert np.array_equal(forward(core, ids, chunk), expected)
    for isa in isas() + isa_models():
        assert np.array_equal(forward(engine(model, tape, kv_type=kv_type, isa=isa), ids), expected)


@pytest.mark.parametrize("experts", [False, True])
@pytest.mark.parametrize(
    "cores", [{"uneven": True}, {"nodes": [0, 0, 1]}, {"nodes": [0, 1, 2], "uneven": True}]
)
def test_uneven_cores_and_several_nodes_give_the_same_bits(
    model: Path, experts: bool, cores: dict[str, object]
) -> None:
    path = hub.resolve("nano") if experts else model
    tape = arch.load(GgufFile(str(path)), 256).tape if experts else build_tape()
    ids = random_ids(70)
    expected = forward(engine(path, tape), ids)
    for chunk in (1, 32):
        core = engine(path, tape, threads=3, **cores)
        assert np.array_equal(forward(core, ids, chunk), expected)


def test_a_node_for_every_thread_is_needed(model: Path) -> None:
    with pytest.raises(InvalidRequestError, match="nodes has 1 entries; give one for each of the"):
        engine(model, build_tape(), nodes=[0])


@pytest.mark.parametrize("kv_type", ["f16", "int8"])
@pytest.mark.parametrize("window", [0, 1500])
def test_decode_past_a_chunk_of_keys_gives_the_bits_of_prefill(
    model: Path, window: int, kv_type: str
) -> None:
    tape = build_tape(layers=1, window=window)
    core = engine(model, tape, context=2600, max_batch=300, kv_type=kv_type)
    ids = random_ids(2500)
    expected = forward(core, ids, 300)
    one = core.open_sequence()
    forward(core, ids[:2200], 256, one)
    rows = [forward(core, [token], 1, one)[0] for token in ids[2200:2230]]
    assert np.array_equal(np.stack(rows), expected[2200:2230])
    assert np.array_equal(forward(core, ids[2230:2236], 3, one), expected[2230:2236])


def test_a_window_hides_what_lies_before_it(model: Path) -> None:
    core = engine(model, build_tape(layers=1, window=5))
    ids = random_ids(40)
    other = [(i + 1) % VOCAB for i in ids[:30]] + ids[30:]
    assert np.array_equal(forward(core, ids)[34:], forward(core, other)[34:])
    assert not np.array_equal(forward(core, ids)[33], forward(core, other)[33])


def test_sequences_that_share_a_batch_do_not_see_each_other(model: Path) -> None:
    core = engine(model, build_tape(), kv_tokens=1024)
    first, second = random_ids(20, 2), random_ids(13, 3)
    a, b = core.open_sequence(), core.open_sequence()
    tokens = np.array(first + second, np.int32)
    owners = np.array([a] * 20 + [b] * 13, np.int32)
    both = core.step(tokens, owners, np.arange(33, dtype=np.int32))
    assert np.array_equal(both[:20], forward(core, first))
    assert np.array_equal(both[20:], forward(core, second))


def test_a_truncated_sequence_continues_as_if_the_rest_had_never_been(model: Path) -> None:
    core = engine(model, build_tape())
    ids = random_ids(100)
    sequence = core.open_sequence()
    forward(core, ids[:70] + random_ids(25, 9), 32, sequence)
    core.truncate(sequence, 70)
    assert core.length(sequence) == 70
    tail = forward(core, ids[70:], 64, sequence)
    assert np.array_equal(tail, forward(core, ids, 64)[70:])


def test_only_the_rows_asked_for_come_back(model: Path) -> None:
    core = engine(model, build_tape())
    ids = random_ids(30)
    every = forward(core, ids)
    sequence = core.open_sequence()
    some = core.step(
        np.array(ids, np.int32), np.full(30, sequence, np.int32), np.array([29, 3, 3], np.int32)
    )
    assert np.array_equal(some, every[[29, 3, 3]])
    none = core.step(
        np.array([1], np.int32), np.array([sequence], np.int32), np.array([], np.int32)
    )
    assert none.shape == (0, VOCAB) and core.length(sequence) == 31


def test_a_sequence_past_the_context_is_refused_and_stays_as_it_was(model: Path) -> None:
    core = engine(model, build_tape(), context=100)
    sequence = core.open_sequence()
    forward(core, random_ids(90), 64, sequence)
    with pytest.raises(ContextLengthError, match="101 positions do not fit the context of 100"):
        forward(core, random_ids(11), 64, sequence)
    assert core.length(sequence) == 90
    forward(core, random_ids(10), 64, sequence)


def test_a_full_cache_is_an_error_and_closing_a_sequence_frees_it(model: Path) -> None:
    core = engine(model, build_tape(), context=128)
    first, second = core.open_sequence(), core.open_sequence()
    forward(core, random_ids(100), 64, first)
    with pytest.raises(OutOfBudgetError, match="no free page"):
        forward(core, random_ids(60), 64, second)
    assert core.length(second) == 0
    core.close_sequence(first)
    forward(core, random_ids(100), 64, second)


@pytest.mark.parametrize(
    ("tokens", "sequences", "rows", "message"),
    [
        ([VOCAB], [0], [0], "outside the vocabulary"),
        ([-1], [0], [0], "outside the vocabulary"),
        ([1], [0], [1], "outside the batch"),
        ([1, 2], [0], [0], "same length"),
        ([1], [7], [0], "sequence 7 is not open"),
        ([1, 2, 3], [0, 1, 0], [0], "must be neighbours"),
        ([], [], [], "1 to 64 tokens"),
        ([1] * 65, [0] * 65, [0], "1 to 64 tokens"),
    ],
)
def test_a_wrong_batch_is_refused(
    model: Path, tokens: list[int], sequences: list[int], rows: list[int], message: str
) -> None:
    core = engine(model, build_tape())
    core.open_sequence()
    core.open_sequence()
    with pytest.raises(InvalidRequestError, match=message):
        core.step(*(np.array(a, np.int32) for a in (tokens, sequences, rows)))


def test_a_signal_stops_a_step_and_leaves_the_sequence_as_it_was(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    layers = 40
    path = write_model(tmp_path_factory.mktemp("deep") / "deep.gguf", layers)
    core = engine(path, build_tape(layers), context=4096, max_batch=1024, isa="scalar", threads=1)
    sequence = core.open_sequence()
    timer = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()

    def endless() -> None:
        while True:
            forward(core, random_ids(4000), 1000, sequence)
            core.truncate(sequence, 0)

    with pytest.raises(KeyboardInterrupt):
        endless()
    timer.join()
    kept = core.length(sequence)
    assert kept % 1000 == 0
    forward(core, random_ids(3), 3, sequence)
    assert core.length(sequence) == kept + 3
