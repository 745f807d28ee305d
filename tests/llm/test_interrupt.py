"""A real SIGINT stops a call within a step and leaves a usable object."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

CHILD = """
import sys, time
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
    stopped = time.time()
after = [llm.generate("def f(x):", greedy).token_ids for _ in range(20)]
print(stopped, all(ids == before for ids in after))
"""
WORK = {
    "decode": 'lambda: llm.generate("x", long)',
    "prefill": "lambda: llm.logits([5] * 1000)",
    "stream": 'lambda: [chunk for chunk in llm.stream("x", long)]',
    "two threads": "lambda: __import__('concurrent.futures').futures.ThreadPoolExecutor().submit("
    'llm.generate, "y", greedy) and llm.generate("x", long)',
}


@pytest.mark.parametrize("work", WORK)
def test_ctrl_c_stops_at_once_and_leaves_a_usable_object(work):
    import time

    with subprocess.Popen(
        [sys.executable, "-c", CHILD.format(work=WORK[work])],
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout.readline() == "working\n"
        time.sleep(0.3)
        sent = time.time()
        child.send_signal(signal.SIGINT)
        stopped, usable = child.stdout.readline().split()
        assert child.wait(60) == 0
    assert usable == "True"
    assert float(stopped) - sent < 0.5
