"""What `zerostall trace` computes of a recorded run is what the engine did."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.experts.streamed import Model, logits
from zerostall.engine.streaming import with_reserve
from zerostall.errors import OutOfBudgetError
from zerostall.lab.replay import replay
from zerostall.lab.slots import divide_budget, habits_bytes
from zerostall.lab.trace import TracedLayer, TraceHeader, TraceWriter
from zerostall.lab.trace_reader import read_trace


@pytest.mark.parametrize("half_life", [8.0, 256.0])
@pytest.mark.parametrize("part", [0.0, 0.25, 0.6])
def test_lrfu_in_the_replay_hits_where_the_engine_did(
    converted: Model, tmp_path: Path, part: float, half_life: float
) -> None:
    # Of a converted file a budget is slots only, as in a replay.
    budget = int(converted.least + part * (converted.all - converted.least))
    # By a simulated clock the machine's memory plays no part.
    clock = {"throttle": {"simulated": True}, "pace": {"layer_us": 1}}
    engine = converted.engine(
        bytes=budget, io="pread", speculate=False, trace=True, half_life=half_life, **clock
    )
    logits(engine, converted.ids(128), 1)
    header = TraceHeader("nano", tuple(TracedLayer(*each) for each in engine.expert_layers), 0)
    demands = engine.take_trace()
    with TraceWriter(tmp_path / "trace", header) as writer:
        writer.add(demands)
    assert engine.take_trace() == []
    stats = engine.stream_stats()
    ram = with_reserve(budget)
    (replayed,) = replay(read_trace(tmp_path / "trace"), [ram], ["lrfu"], half_life)
    assert replayed.decode.demands == stats["demanded"]
    assert replayed.decode.hits == stats["hits"]
    assert replayed.decode.bytes_missed == stats["bytes_read"]
    assert replayed.room == sum(pool.room for pool in divide_budget(header, ram))
    assert stats["resident"] <= replayed.room


@pytest.mark.parametrize("part", [0.0, 0.02, 0.4])
def test_a_replay_takes_off_what_a_run_that_reads_ahead_remembers(
    converted: Model, part: float
) -> None:
    budget = int(converted.least + part * (converted.all - converted.least))
    clock = {"throttle": {"simulated": True}, "pace": {"layer_us": 1}}
    engine = converted.engine(bytes=budget, io="pread", **clock)
    logits(engine, converted.ids(128), 1)
    layers = tuple(TracedLayer(*each) for each in engine.expert_layers)
    header = TraceHeader("nano", layers, 0, read_ahead=True)
    rooms = [
        sum(pool.room for pool in divide_budget(each, with_reserve(budget)))
        for each in (header, replace(header, read_ahead=False))
    ]
    assert engine.stream_stats()["resident"] == rooms[0]  # full
    kept = habits_bytes(header, budget, budget - converted.least)
    assert (kept > 0) == (part > 0)
    assert (rooms[1] > rooms[0]) == (part == 0.4)  # more than is left over beside whole slots


def test_the_least_room_in_a_replay_is_the_engines(converted: Model) -> None:
    from zerostall.lab.slots import size_classes

    layers = converted.engine(bytes=converted.least).expert_layers
    header = TraceHeader("nano", tuple(TracedLayer(*each) for each in layers), 0)
    assert sum(pool.least_bytes for pool in size_classes(header)) == converted.least


def test_the_least_room_for_many_layers_holds_all_experts_of_a_token() -> None:
    # 48 layers of 8: of 392 slots 16 are for reads, which leaves room for 376 experts only.
    header = TraceHeader("m", (TracedLayer(128, 8, 4096),) * 48, 0)
    ram = with_reserve(400 * 4096)
    pools = divide_budget(header, ram)
    assert [pool.room for pool in pools] == [384]
    with pytest.raises(OutOfBudgetError, match=f"smallest ram that works is {ram} bytes"):
        divide_budget(header, ram - 1)
