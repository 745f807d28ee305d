"""Memory is arranged while nothing is computed."""

from __future__ import annotations

import gc
import threading
import time
import weakref

from tests.engine.fake_engine import FakeEngine
from tests.engine.running import Greedy
from tests.tasks import HANG_S, eventually
from zerostall import LLM
from zerostall.engine.scheduler import Scheduler
from zerostall.engine.settling import settle_while_idle
from zerostall.engine.task import Place
from zerostall.hub import resolve


class Split(FakeEngine):
    """Has some slices of work left."""

    def __init__(self, slices: int) -> None:
        super().__init__()
        self.slices = slices

    def settle(self, seconds: float) -> bool:
        if seconds > 0 and self.slices:
            self.slices -= 1
            time.sleep(seconds)
        return self.slices == 0


def test_an_idle_engine_is_settled_and_the_thread_ends():
    engine = Split(3)
    scheduler = Scheduler(engine)
    thread = settle_while_idle(scheduler)
    thread.join(HANG_S)
    assert not thread.is_alive()
    assert engine.slices == 0


def test_there_is_no_thread_where_nothing_is_left():
    assert settle_while_idle(Scheduler(Split(0))) is None


def test_it_waits_while_something_is_computed():
    engine = Split(10**9)
    engine.hold = threading.Event()
    scheduler = Scheduler(engine)
    scheduler.submit(Greedy(Place(), [1, 2], 1))
    assert engine.began.acquire(timeout=HANG_S)
    thread = settle_while_idle(scheduler)
    time.sleep(0.1)
    assert engine.slices == 10**9
    engine.hold.set()
    assert eventually(lambda: engine.slices < 10**9)
    scheduler.close()
    thread.join(HANG_S)
    assert not thread.is_alive()


def test_it_does_not_keep_a_model_that_nobody_has():
    scheduler = Scheduler(Split(10**9))
    thread = settle_while_idle(scheduler)
    gone = weakref.ref(scheduler)
    del scheduler
    assert eventually(lambda: gc.collect() is not None and gone() is None)
    thread.join(HANG_S)
    assert not thread.is_alive()


def test_the_core_says_when_it_is_done():
    with LLM(resolve("nano"), threads=1) as llm:
        engine = llm._loaded.scheduler.engine
        assert eventually(lambda: engine.settle(0))
        assert engine.settle()
