"""Training a speculator on the built-in model, and running with it."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from zerostall import LLM, SamplingParams, _core, arch, gguf, hub
from zerostall.engine.loader import Options, plan_load
from zerostall.engine.speculator import TrainedGuess, read_speculator
from zerostall.engine.streaming import Streaming
from zerostall.errors import InvalidRequestError, OutOfBudgetError, StorageError
from zerostall.lab.speculator import train, write_speculator
from zerostall.lab.states import STATE_BYTES, record, standard_library

LAYERS, EXPERTS, USED, WIDTH = 6, 16, 2, 256


@pytest.fixture(scope="module")
def llm():
    with LLM("nano", ctx=512, threads=1, streaming=Streaming(record_states=STATE_BYTES)) as llm:
        yield llm


@pytest.fixture(scope="module")
def training(llm):
    return train(llm, standard_library(12), tokens=6144)


@pytest.fixture(scope="module")
def model():
    file = gguf.open_model(hub.resolve("nano"))
    return file, arch.load(file, 256).tape


def engine(model, **options):
    file, tape = model
    least = _core.plan_memory(file, tape, context=256, streaming=True)["least_experts"]
    streaming = {"bytes": least + (1 << 20), "io": "pread", "direct": False} | options
    return _core.Engine(file, tape, context=256, max_batch=64, streaming=streaming)


def decode(engine, ids):
    """Logits after each token, some of them in one step and the others each in its own."""
    sequence = engine.open_sequence()
    steps = [ids[:40], *([token] for token in ids[40:])]
    return np.concatenate(
        [
            engine.step(
                np.array(part, np.int32),
                np.full(len(part), sequence, np.int32),
                np.arange(len(part), dtype=np.int32),
            )
            for part in steps
        ]
    )


def test_recorded_states_explain_guesses_and_choices(llm):
    ids = llm.tokenize("import os\nfor name in os.listdir('.'):\n    print(name)\n")
    (states,) = record(llm, [ids])
    kinds = {"late_input", "late_guess", "logits"}
    both = kinds | {"early_input", "early_guess"}
    assert [set(layer) for layer in states] == [kinds, *[both] * (LAYERS - 1)]
    for index, layer in enumerate(states):
        assert {name: rows.shape for name, rows in layer.items()} == {
            name: (len(ids), WIDTH if name.endswith("input") else EXPERTS) for name in layer
        }
        # A guess is the router of its layer, in 8 bits, on the state that it is made of.
        name = f"blk.{index}.ffn_gate_inp.weight"
        router = llm.file.tensor_bytes(name).view(np.float32).reshape(EXPERTS, WIDTH)
        for stage in {name.split("_")[0] for name in layer} - {"logits"}:
            expected = layer[f"{stage}_input"] @ router.T
            off = layer[f"{stage}_guess"] - expected
            assert 1e-4 < np.abs(off).mean() / np.abs(expected).mean() < 0.01
    assert llm.loaded.scheduler.engine.take_states() == [{}] * LAYERS


def run_step(engine, sequence, count):
    ids, owners = np.arange(count, dtype=np.int32), np.full(count, sequence, np.int32)
    engine.step(ids, owners, np.zeros(0, np.int32))


def test_states_keep_to_their_memory(model):
    row = 4 * LAYERS * (2 * WIDTH + 3 * EXPERTS)
    recording = engine(model, record_states=10 * row)
    sequence = recording.open_sequence()
    for _ in range(2):
        run_step(recording, sequence, 6)
    assert [len(layer["logits"]) for layer in recording.take_states()] == [10] * LAYERS


def test_a_step_that_fails_leaves_no_states(model):
    # Three tokens want at most 36 experts in three reads each.
    faults = {"failing_reads": list(range(110, 2000))}
    recording = engine(model, record_states=STATE_BYTES, speculate=False, faults=faults)
    sequence = recording.open_sequence()
    run_step(recording, sequence, 3)
    with pytest.raises(StorageError):
        run_step(recording, sequence, 60)
    assert {len(v) for layer in recording.take_states() for v in layer.values()} == {3}


def test_training_names_more_of_the_experts_that_held_out_tokens_use(training):
    assert [(q.layer, q.late) for q in training.qualities] == [
        (0, True),
        *((layer, late) for layer in range(1, LAYERS) for late in (False, True)),
    ]
    assert (training.fitted, training.held_out) == (5120, 1024)
    recalls = np.array([[q.untrained, q.trained] for q in training.qualities])
    assert (recalls[:, 1] > recalls[:, 0]).sum() >= 9
    # On 25,000 tokens of other modules 39 to 86% for the first layer, 75.5 to 85.1% for all.
    assert recalls[0, 1] > recalls[0, 0] + 0.2
    assert recalls[:, 1].mean() > recalls[:, 0].mean() + 0.04


def test_a_speculator_changes_what_is_read_and_no_bit_of_the_logits(llm, training, model, tmp_path):
    path = tmp_path / "speculator.gguf"
    write_speculator(path, model[0], training.guesses)
    ids = llm.tokenize(standard_library(1, seed=5)[0])[:200]
    options = Streaming(io="pread", speculator=path).to_core(1 << 24, model[0])
    assert options["bytes"] == 1 << 24
    without, trained = engine(model), engine(model, trained=options["trained"])
    np.testing.assert_array_equal(decode(without, ids), decode(trained, ids))
    named = [e.stream_stats() for e in (without, trained)]
    assert named[0]["demanded"] == named[1]["demanded"]
    recall = [stats["foreseen"] / stats["demanded"] for stats in named]
    assert recall[1] > recall[0] + 0.03


def test_the_engine_adds_the_product_of_both_matrices_and_the_bias(model):
    rng = np.random.default_rng(0)
    shapes = (3, WIDTH), (EXPERTS, 3), (EXPERTS,)
    guesses = [
        TrainedGuess(2, late, *(rng.standard_normal(s).astype(np.float32) for s in shapes))
        for late in (False, True)
    ]
    ids = list(range(100, 150))
    found = []
    for trained in ([], [guess.to_core() for guess in guesses]):
        one = engine(model, trained=trained, record_states=STATE_BYTES)
        decode(one, ids)
        found.append(one.take_states())
    for guess in guesses:
        plain, corrected = (states[2] for states in found)
        x = plain[f"{guess.stage}_input"]
        expected = plain[f"{guess.stage}_guess"] + (x @ guess.a.T) @ guess.b.T + guess.bias
        np.testing.assert_allclose(corrected[f"{guess.stage}_guess"], expected, atol=1e-2)
        np.testing.assert_array_equal(plain["logits"], corrected["logits"])


def test_a_correction_of_other_sizes_is_refused(model):
    shapes = (3, WIDTH), (EXPERTS + 1, 3), (EXPERTS + 1,)
    guess = TrainedGuess(1, False, *(np.zeros(shape, np.float32) for shape in shapes))
    with pytest.raises(InvalidRequestError, match="trained for 17 experts of states of 256"):
        engine(model, trained=[guess.to_core()])


def test_texts_too_short_are_refused(llm):
    with pytest.raises(InvalidRequestError, match="2560 are needed: give longer ones"):
        train(llm, ["x = 1\n"])
    with pytest.raises(InvalidRequestError, match="rank is 0"):
        train(llm, standard_library(2), rank=0)


def test_a_speculator_counts_in_the_smallest_budget_that_works(llm, tmp_path, training):
    path = tmp_path / "speculator.gguf"
    write_speculator(path, llm.file, training.guesses)
    assert len(read_speculator(path, llm.file)) == len(training.guesses)
    greedy = SamplingParams(temperature=0, max_tokens=8)

    def load(ram, speculator):
        streaming = Streaming(io="pread", speculator=speculator)
        return LLM("nano", ctx=256, threads=1, ram=ram, streaming=streaming)

    def smallest(speculator, ram=1):
        with pytest.raises(OutOfBudgetError) as caught:
            load(ram, speculator)
        assert ("the speculator" in str(caught.value)) == (speculator is not None)
        return int(re.search(r"smallest ram that works is (\d+) bytes", str(caught.value))[1])

    least = smallest(path)
    assert smallest(path, least - 1) == least
    taken = sum(guess.bytes for guess in training.guesses)
    assert 0 <= least - smallest(None) - taken < taken  # and the reserve for it
    with load(least, path) as guessing:
        scheduler = guessing.loaded.scheduler
        assert guessing.generate("import os", greedy).token_ids
        assert scheduler.stream_stats()["predicted"] > 0
    # It comes out of the room for experts, however much that is.
    options = Options(threads=1, ctx=256, ram=least + 10**6, kv_tokens=256, max_batch=64)
    rooms = [
        plan_load(
            llm.path, replace(options, streaming=Streaming(speculator=each))
        ).plan.expert_bytes
        for each in (None, path)
    ]
    assert rooms[0] - rooms[1] == taken


def test_the_speculator_of_another_model_is_refused_also_where_experts_would_fit(llm, tmp_path):
    path, other = tmp_path / "speculator.gguf", tmp_path / "other.gguf"
    other.write_bytes(llm.path.read_bytes() + bytes(4096))
    write_speculator(path, gguf.open_model(other), [])
    with pytest.raises(InvalidRequestError, match="was trained for another model"):
        LLM("nano", ctx=256, threads=1, streaming=Streaming(speculator=path))
