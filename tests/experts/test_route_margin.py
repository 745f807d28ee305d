"""What --route-margin does: experts in memory are preferred, so that fewer are missed."""

from __future__ import annotations

import numpy as np
import pytest

from tests.experts.streamed import Model, check_counters, logits

# A drive and a pace by the clock of a simulation, so that every run counts the same.
CLOCK = {
    "throttle": {"latency_us": 300, "bytes_per_second": 3e8, "simulated": True},
    "pace": {"layer_us": 200, "expert_us": 100},
}


def run(model: Model, budget: int, margin: float, **options: object):
    engine = model.engine(bytes=budget, io="pread", route_margin=margin, **options)
    return engine, logits(engine, model.ids(96), 1)


def test_a_wider_margin_misses_fewer_experts(either: Model) -> None:
    misses = []
    for margin in (0.0, 1.0, 4.0):
        engine, got = run(either, either.quarter, margin, speculate=False, **CLOCK)
        stats = check_counters(engine)
        misses.append(stats["misses"] / stats["demanded"])
        assert np.array_equal(got, either.expected(either.ids(96))) == (margin == 0)
    assert misses[0] > 1.1 * misses[1] > 1.2 * misses[2]


@pytest.mark.parametrize("margin", [0.5, 3.0])
def test_where_all_experts_are_in_memory_no_bit_is_another(either: Model, margin: float) -> None:
    experts = sum(count for count, _, _ in either.engine(bytes=either.all).expert_layers)
    engine, got = run(either, either.all, margin, profile=[1.0] * experts)
    assert check_counters(engine)["resident"] == experts
    assert np.array_equal(got, either.expected(either.ids(96)))
    assert engine.stream_stats()["misses"] == 0
