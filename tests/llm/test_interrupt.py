"""A real SIGINT stops a call within a step and leaves a usable object."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.children import child
from tests.tasks import HANG_S, eventually
from zerostall import SamplingParams

CHILD = """
import sys
from zerostall import LLM, SamplingParams
llm = LLM("nano", threads=2)
greedy = SamplingParams(temperature=0, max_tokens=16)
before = llm.generate("def f(x):", greedy).token_ids
long = SamplingParams(temperature=0, max_tokens=900, ignore_eos=True)
work = {work}
print("working", flush=True)
try:
    while True:
        work()
except KeyboardInterrupt:
    pass
after = [llm.generate("def f(x):", greedy).token_ids for _ in range(20)]
print(all(ids == before for ids in after))
"""
WORK = {
    "decode": 'lambda: llm.generate("x", long)',
    "prefill": "lambda: llm.logits([5] * 1000)",
    "stream": 'lambda: [chunk for chunk in llm.stream("x", long)]',
    "two threads": "lambda: __import__('concurrent.futures').futures.ThreadPoolExecutor().submit("
    'llm.generate, "y", greedy) and llm.generate("x", long)',
}


@pytest.mark.parametrize("work", WORK)
def test_ctrl_c_stops_a_call_and_leaves_a_usable_object(work):
    with child(
        [sys.executable, "-c", CHILD.format(work=WORK[work])],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "working\n"
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "True\n"
        assert process.wait(HANG_S) == 0


class Watched:
    """The engine; in its fifth step a signal comes, and is seen by the thread that waits."""

    def __init__(self, scheduler):
        self._scheduler = scheduler
        self._engine = scheduler.engine
        self.steps = 0

    def __getattr__(self, name):
        return getattr(self._engine, name)

    def step(self, *args):
        self.steps += 1
        if self.steps == 5:
            os.kill(os.getpid(), signal.SIGINT)
            assert eventually(lambda: self._scheduler._batch[0].task.stopped)
        return self._engine.step(*args)


def test_a_signal_in_a_step_ends_a_generation_with_that_step(llm, monkeypatch):
    scheduler = llm.loaded.scheduler
    watched = Watched(scheduler)
    with monkeypatch.context() as patch:
        patch.setattr(scheduler, "_engine", watched)
        with pytest.raises(KeyboardInterrupt):
            llm.generate("x", SamplingParams(max_tokens=900, ignore_eos=True))
        assert eventually(lambda: not scheduler._running)
    assert watched.steps == 5
    assert llm.generate("x", SamplingParams(max_tokens=3, ignore_eos=True)).usage.completion_tokens
