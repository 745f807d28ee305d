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
    "stall_ns",
    "read_ns",
)


def stats(value: int = 0) -> dict[str, int]:
    return {name: value + i for i, name in enumerate(SUMMED)} | {"demanded": 0, "slots": 9}


def parts(*tokens: int) -> list[Part]:
    return [Part(Greedy(Place(), [1] * count, 1), count, 1) for count in tokens]


def test_shares_are_in_proportion_to_the_tokens():
    ledger, batch = Ledger(stats()), parts(1, 1, 6)
    ledger.charge(batch, stats(800))
    assert [part.task.streamed["bytes_read"] for part in batch] == [100, 100, 600]
    ledger.charge(batch[:1], stats(801))
    assert [part.task.streamed["misses"] for part in batch] == [101, 100, 600]


def test_what_does_not_divide_is_lost_nowhere_and_falls_to_nobody_always():
    ledger, batch = Ledger(stats()), parts(1, 1, 1)
    for step in range(1, 31):
        ledger.charge(batch, stats(2 * step))
        assert sum(part.task.streamed["hits"] for part in batch) == 2 * step
    assert [part.task.streamed["hits"] for part in batch] == [20, 20, 20]


def test_demands_stay_the_sum_of_their_kinds():
    ledger, batch = Ledger(stats()), parts(1, 5, 11)
    ledger.charge(batch, stats(10))
    shares = [timings(part.task.streamed) for part in batch]
    assert sum(share.demanded for share in shares) == 30
    for share in shares:
        assert share.demanded == share.hits + share.shadow_hits + share.misses


def test_without_streaming_there_are_no_shares():
    ledger, batch = Ledger({}), parts(1, 2)
    ledger.charge(batch, {})
    assert [part.task.streamed for part in batch] == [{}, {}]


class Counting(FakeEngine):
    """Each step counts a random amount, and some of it only after its end."""

    def __init__(self) -> None:
        super().__init__()
        self.counted = dict.fromkeys(SUMMED, 0)
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
        assert sum(task.streamed[name] for task in tasks) == engine.counted[name]
    whole = meter.read()
    assert sum(timings(task.streamed).bytes_read for task in tasks) == whole.bytes_read
    assert sum(timings(task.streamed).demanded for task in tasks) == whole.demanded
