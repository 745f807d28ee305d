"""Low copies of experts: used on a miss and only then, and gone where the full record is there."""

from __future__ import annotations

import re
from pathlib import Path

import gguf
import numpy as np
import pytest

from tests.experts.streamed import (
    BACK_ENDS,
    Logits,
    Model,
    check_counters,
    convert_nano,
    logits,
    low_engine,
    low_memory,
    step,
)
from zerostall import LLM, SamplingParams, _core, hub
from zerostall.cli.run import describe
from zerostall.engine.streaming import Streaming
from zerostall.errors import InvalidRequestError, OutOfBudgetError, StateFileError

GREEDY = SamplingParams(temperature=0, max_tokens=24, ignore_eos=True)

# Root mean square of what low copies change, in deviations of the logits, where nearly all experts
# are missed; it is 0.15 and 0.26.
MOST_OFF = {"Q3_K": 0.2, "Q2_K": 0.35}
# Reads take the same time in every run.
DRIVE = {"latency_us": 80, "bytes_per_second": 3e9, "simulated": True}


def off(got: Logits, expected: Logits) -> float:
    """Root mean square of the difference over the deviation of the expected logits."""
    return float(np.sqrt(np.mean((got - expected) ** 2)) / expected.std())


@pytest.mark.parametrize("io", BACK_ENDS)
def test_with_the_option_off_a_file_with_low_copies_has_the_same_bits(
    low: Model, converted: Model, io: str
) -> None:
    ids = low.ids(40)
    expected = converted.expected(ids)
    assert np.array_equal(low.expected(ids), expected)
    for budget in low.budgets():
        streamed = low.engine(bytes=budget, io=io)
        for chunk in (1, 20):
            assert np.array_equal(logits(streamed, ids, chunk), expected)
        stats = check_counters(streamed)
        assert stats["low_used"] == stats["low_bytes"] == stats["upgrades"] == 0
    assert low.least == converted.least


@pytest.mark.parametrize("format", MOST_OFF)
def test_what_is_missed_is_computed_with_its_low_copy(format: str, tmp_path: Path) -> None:
    model = convert_nano(tmp_path, format)
    streamed = low_engine(model, speculate=False)
    ids = model.ids(64)
    got = logits(streamed, ids, 1)
    assert not np.array_equal(got, model.expected(ids))
    assert 0 < off(got, model.expected(ids)) < MOST_OFF[format]
    stats = check_counters(streamed)
    assert stats["low_used"] == stats["misses"] > stats["demanded"] / 2
    records = {t.shape[1] for t in model.file.stored_tensors() if ".low." in t.name}
    (record,) = records
    assert stats["low_bytes"] % record == 0
    assert 0 < stats["low_bytes"] <= stats["low_used"] * record


def with_experts_in(format: str, path: Path) -> Model:
    """The built-in model with its experts decoded and encoded again."""
    source = gguf.GGUFReader(hub.resolve("nano"))
    writer = gguf.GGUFWriter(path, "qwen3moe")
    for key, entry in source.fields.items():
        if key.startswith("GGUF.") or key == "general.architecture":
            continue
        sub = entry.types[1] if len(entry.types) > 1 else None
        writer.add_key_value(key, entry.contents(), entry.types[0], sub)
    for tensor in source.tensors:
        data, kind = tensor.data, tensor.tensor_type
        if "_exps." in tensor.name:
            values = _core.decode(kind.name, data.reshape(-1), int(tensor.n_elements))
            data = _core.encode(format, values).reshape(*data.shape[:2], -1)
            kind = gguf.GGMLQuantizationType[format]
        writer.add_tensor(tensor.name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return Model(path)


def test_a_token_that_misses_all_has_the_bits_of_a_model_of_such_weights(
    low: Model, tmp_path: Path
) -> None:
    expected = with_experts_in("Q2_K", tmp_path / "requantised.gguf")
    for token in range(5):
        ids = np.array([token], np.int32)
        for threads in (1, 3):
            streamed = low_engine(low, threads, speculate=False)
            assert np.array_equal(logits(streamed, ids), expected.expected(ids))
            stats = check_counters(streamed)
            assert stats["low_used"] == stats["demanded"] == 12


def test_a_prompt_reads_full_records(low: Model) -> None:
    streamed = low_engine(low)
    ids = low.ids(60)
    assert np.array_equal(logits(streamed, ids, 20), low.expected(ids))
    assert check_counters(streamed)["low_used"] == 0


def test_with_every_expert_in_memory_the_bits_are_those_of_the_full_model(low: Model) -> None:
    streamed = low_engine(low, bytes=low_memory(low)["experts"])
    for seed in range(20):
        logits(streamed, low.ids(64, seed))
        if streamed.stream_stats()["resident"] == 6 * 16:
            break
    assert streamed.stream_stats()["resident"] == 6 * 16
    ids = low.ids(40, seed=30)
    assert np.array_equal(logits(streamed, ids, 1), low.expected(ids))
    assert check_counters(streamed)["low_used"] == 0


def test_experts_that_come_again_are_read_in_full_until_no_low_copy_is_used(low: Model) -> None:
    """Without predictions, and if no prompt ever comes."""
    streamed = low_engine(
        low,
        bytes=low_memory(low)["experts"],
        speculate=False,
        throttle=DRIVE,
        pace={"layer_us": 400, "expert_us": 200},
    )
    ids = low.ids(12)
    for _ in range(60):
        before = streamed.stream_stats()["low_used"]
        got = logits(streamed, ids, 1)
        if streamed.stream_stats()["low_used"] == before:
            break
    stats = check_counters(streamed)
    assert stats["low_used"] == before
    assert stats["upgrades"] > 0
    assert stats["misses"] == stats["low_used"]
    assert np.array_equal(got, low.expected(ids))


def test_predictions_read_full_records(low: Model) -> None:
    """By a simulated clock, so that they come as early in every run."""
    pace = {"layer_us": 400, "expert_us": 200}
    runs = []
    for threads in (1, 2):
        streamed = low_engine(low, threads, bytes=low.quarter, throttle=DRIVE, pace=pace)
        got = logits(streamed, low.ids(100), 1)
        runs.append((got.tobytes(), check_counters(streamed)))
    (_, stats) = runs[0]
    assert runs[0] == runs[1]
    assert stats["shadow_hits"] > 0 and stats["low_used"] > 0
    assert stats["upgrades"] > 0


def test_low_copies_make_a_token_wait_less(low: Model) -> None:
    """By the simulated clock the same in every run; where every read is waited for, by the ratio
    of their bytes."""
    options = {
        "bytes": low.quarter,
        "throttle": {"latency_us": 0, "bytes_per_second": 1e9, "simulated": True},
        "pace": {"layer_us": 0, "expert_us": 0},
        "speculate": False,
    }
    ids = low.ids(100)
    stalls = {}
    for copies in (False, True):
        streamed = low_engine(low, **options, low_copies=copies)
        logits(streamed, ids, 1)
        stalls[copies] = check_counters(streamed)["stall_ns"]
    assert 0.5 * stalls[False] < stalls[True] < 0.95 * stalls[False]


def test_a_file_without_low_copies_is_refused_with_how_to_make_them(
    nano: Model, converted: Model
) -> None:
    for model in (nano, converted):
        with pytest.raises(InvalidRequestError, match="--miss-copy Q2_K"):
            model.engine(bytes=model.all, low_copies=True)


def test_a_state_computed_with_low_copies_is_taken_only_by_its_like(
    low: Model, tmp_path: Path
) -> None:
    lossy = low_engine(low)
    sequence = lossy.open_sequence()
    step(lossy, sequence, low.ids(4))
    lossy.save_state(sequence, tmp_path / "state")
    with pytest.raises(StateFileError, match="settings that give other results"):
        low.engine().load_state(tmp_path / "state")
    assert lossy.length(lossy.load_state(tmp_path / "state")) == 4


def test_a_budget_below_the_least_is_refused(low: Model) -> None:
    assert low.least < low_memory(low)["least_experts"] < 2 * low.least
    with pytest.raises(OutOfBudgetError, match="one token needs"):
        low_engine(low, bytes=low_memory(low)["least_experts"] - 1)


def test_an_llm_counts_and_prints_what_low_copies_served(low: Model) -> None:
    """In the smallest memory that works, which is named."""
    options = {"ctx": 256, "threads": 1, "streaming": Streaming(io="pread", miss_precision="low")}
    with pytest.raises(OutOfBudgetError) as caught:
        LLM(low.path, ram=1, **options)
    named = re.search(r"the smallest ram that works is (\d+) bytes", str(caught.value))
    assert named
    with LLM(low.path, ram=int(named[1]), **options) as llm:
        answer = llm.generate("def parse(text):", GREEDY)
    taken = answer.timings.streaming
    assert taken is not None
    assert 0 < taken.low_used <= taken.misses
    assert 0 < taken.low_bytes < taken.bytes_read
    assert f"missed ({taken.low_used} computed with low copies)" in describe(answer.timings)


def test_where_all_fits_into_memory_low_copies_change_nothing(low: Model) -> None:
    lossy = Streaming(miss_precision="low")
    with LLM(low.path, threads=1, streaming=lossy) as llm, LLM("nano", threads=1) as plain:
        answer = llm.generate("def parse(text):", GREEDY)
        assert answer.token_ids == plain.generate("def parse(text):", GREEDY).token_ids
    assert answer.timings.streaming is None


def test_a_model_without_low_copies_is_refused_even_where_all_fits_into_memory() -> None:
    with pytest.raises(InvalidRequestError, match="OUT.gguf --miss-copy Q2_K"):
        LLM("nano", streaming=Streaming(miss_precision="low"))
    with pytest.raises(InvalidRequestError, match="give one of full, low"):
        Streaming(miss_precision="half")
