"""Time stalled by a simulated clock is what the drive and the pace make it, to the nanosecond."""

from __future__ import annotations

from math import floor

import pytest

from tests.experts.streamed import Model, check_counters, step
from zerostall.errors import InvalidRequestError

LATENCY_US, RATE = 300, 3e8
DRIVE = {"latency_us": LATENCY_US, "bytes_per_second": RATE, "simulated": True}


def decode(model: Model, threads: int = 1, **streaming):
    """Forty tokens, a token a step."""
    options = {"bytes": model.quarter, "io": "pread", "throttle": DRIVE} | streaming
    engine = model.engine(threads, **options)
    sequence = engine.open_sequence()
    for one in model.ids(40):
        step(engine, sequence, one.reshape(1))
    return engine


@pytest.mark.parametrize("expert_us", [0, 100, 1000])
def test_a_stall_is_the_time_of_reads_less_that_of_experts_computed_meanwhile(converted, expert_us):
    pace = {"layer_us": 50, "expert_us": expert_us}
    engine = decode(converted, pace=pace, speculate=False, trace=True)
    sizes = [size for *_, size in engine.expert_layers]
    latency, compute = LATENCY_US * 1000, expert_us * 1000
    expected = misses = 0
    for _, layer, _, _, outcomes in engine.take_trace():
        transfer = floor(sizes[layer] / RATE * 1e9)
        # Hits are computed first, the others as they come, one transfer after another.
        now = outcomes.count("h") * compute
        for nth in range(1, outcomes.count("m") + 1):
            arrives = latency + nth * transfer
            expected += max(0, arrives - now)
            now = max(now, arrives) + compute
        misses += outcomes.count("m")
    assert misses > 100
    assert check_counters(engine)["stall_ns"] == expected


@pytest.mark.parametrize("io", ["pread", "mmap"])
def test_the_same_run_counts_the_same(converted, io):
    pace = {"layer_us": 200, "expert_us": 100}
    first = check_counters(decode(converted, pace=pace))
    assert first["shadow_hits"] > 0
    again = check_counters(decode(converted, threads=2, pace=pace, io=io))
    cache = {"prefetched_bytes", "released_bytes"}  # of the page cache: of each back end its own
    assert {key: again[key] for key in first.keys() - cache} == {
        key: first[key] for key in first.keys() - cache
    }


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"pace": {"layer_us": 1}, "throttle": {"latency_us": 1}}, "pace"),
        ({"pace": {"layer_us": 1}, "throttle": {}}, "pace"),
        ({"pace": {"layer_us": -1}}, "layer_us"),
        ({"pace": {"expert_us": float("nan")}}, "expert_us"),
        ({"pace": {"experts_us": 1}}, "experts_us"),
    ],
)
def test_a_pace_that_cannot_be_kept_is_refused(converted, options, named):
    with pytest.raises(InvalidRequestError, match=named):
        converted.engine(bytes=converted.quarter, **{"throttle": DRIVE} | options)
