"""How what streaming takes is divided among the tasks that share steps."""

from __future__ import annotations

import random
import threading

import pytest

from tests.engine.fake_engine import FakeEngine
from tests.engine.running import Greedy, idle
from zerostall.engine.batching import Part
from zerostall.engine.meter import Ledger, StreamMeter, timings
from zerostall.engine.scheduler import Scheduler
from zerostall.engine.task import Place

SUMMED = ("hits", "shadow_hits", "misses", "speculated", "wasted", "predicted", "foreseen")
SUMMED += (
    "low_used",
    "evictions",
    "upgrades",
    "bytes_read",
    "low_bytes",
    "bytes_wasted",
    "prefetched_bytes",
    "released_bytes",
    "stall_ns",
    "read_ns",
)


def stats(value: int = 0) -> dict[str, int]:
    counted = {name: value + i for i, name in enumerate(SUMMED)}
    return counted | {"demanded": 0, "slots": 9, "resident": 7, "given": 4096}


def parts(*tokens: int) -> list[Part]:
    return [Part(Greedy(Place(), [1] * count, 1), count, 1) for count in tokens]


def test_shares_are_in_proportion_to_the_tokens():
    ledger, batch = Ledger(stats()), parts(1, 1, 6)
    ledger.charge(batch, stats(800), 0)
    assert [part.task.streamed["bytes_read"] for part in batch] == [100, 100, 600]
    ledger.charge(batch[:1], stats(801), 0)
    assert [part.task.streamed["misses"] for part in batch] == [101, 100, 600]


def test_what_does_not_divide_is_lost_nowhere_and_falls_to_nobody_always():
    ledger, batch = Ledger(stats()), parts(1, 1, 1)
    for step in range(1, 31):
        ledger.charge(batch, stats(2 * step), 0)
        assert sum(part.task.streamed["hits"] for part in batch) == 2 * step
    assert [part.task.streamed["hits"] for part in batch] == [20, 20, 20]


def test_demands_stay_the_sum_of_their_kinds():
    ledger, batch = Ledger(stats()), parts(1, 5, 11)
    ledger.charge(batch, stats(10), 0)
    shares = [timings(part.task.streamed) for part in batch]
    assert sum(share.demanded for share in shares) == 30
    for share in shares:
        assert share.demanded == share.hits + share.shadow_hits + share.misses


def test_computing_is_what_a_step_took_beside_its_stalls():
    ledger, batch = Ledger(stats()), parts(1, 3)
    ledger.charge(batch, stats(4_000_000), 10_000_000)
    assert [timings(part.task.streamed).compute_ms for part in batch] == [1.5, 4.5]
    ledger.charge(batch, stats(9_000_000), 5_000_000)  # all of it stalled
    assert ledger.whole(stats())["compute_ns"] == 6_000_000


def test_what_is_true_at_one_moment_is_not_divided_nor_summed():
    ledger, batch = Ledger(stats()), parts(1, 3)
    for slots in (20, 10):
        ledger.charge(batch, stats(8) | {"slots": slots}, 0)
    shares = [timings(part.task.streamed) for part in batch]
    assert [(s.slots, s.resident, s.given) for s in shares] == [(10, 7, 4096)] * 2
    both = shares[0] + shares[1]
    assert (both.slots, both.resident, both.given) == (10, 7, 4096)
    assert both.bytes_read == shares[0].bytes_read + shares[1].bytes_read


def test_without_streaming_there_are_no_shares():
    ledger, batch = Ledger({}), parts(1, 2)
    ledger.charge(batch, {}, 5)
    assert [part.task.streamed for part in batch] == [{}, {}]


class Counting(FakeEngine):
    """Each step counts a random amount, and some of it only after its end."""

    def __init__(self) -> None:
        super().__init__()
        self.counted = stats()
        self.chance = random.Random(1)

    def step(self, *args):
        logits = super().step(*args)
        for name in SUMMED:
            self.counted[name] += self.chance.randrange(1000)
        return logits

    def stream_stats(self):
        return dict(self.counted)


@pytest.mark.parametrize("requests", [1, 2, 5])
def test_the_shares_of_requests_that_share_steps_are_together_what_was_counted(requests):
    engine = Counting()
    scheduler = Scheduler(engine)
    engine.hold = threading.Event()  # until all are there
    meter = StreamMeter(scheduler)
    tasks = [Greedy(Place(), [i + 1] * (3 + 7 * i), 20) for i in range(requests)]
    for task in tasks:
        scheduler.submit(task)
    engine.hold.set()
    for task in tasks:
        while task.take() is not None:
            pass
    idle(scheduler)
    shared = sum(len(step) > 1 for step in engine.steps)
    assert (shared > 0) is (requests > 1)
    for name in SUMMED:
        assert sum(task.streamed[name] for task in tasks) == engine.counted[name] - stats()[name]
    whole = meter.read()
    assert sum(timings(task.streamed).bytes_read for task in tasks) == whole.bytes_read
    assert sum(timings(task.streamed).demanded for task in tasks) == whole.demanded
    computed = sum(task.streamed["compute_ns"] for task in tasks)
    assert whole.compute_ms == computed / 1e6 > 0
