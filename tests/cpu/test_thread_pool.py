"""The engine's threads: where they run, and that they rest."""

from __future__ import annotations

import os
import threading
import time

import pytest

from tests.graph.tiny import build_tape, engine, forward, random_ids, write_model
from tests.tasks import eventually, masks
from zerostall._core import read_topology
from zerostall.errors import InvalidRequestError

pytestmark = pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity"), reason="this system cannot pin threads"
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("tiny") / "tiny.gguf")


def test_workers_stay_on_their_cpu_and_the_caller_stays_free(model):
    cpus = read_topology().cpus
    before, free = set(masks()), os.sched_getaffinity(0)
    core = engine(model, build_tape(), threads=3, cpus=[cpus[0], cpus[-1], cpus[0]])
    forward(core, random_ids(20))

    def workers():
        return sorted(sorted(mask) for task, mask in masks().items() if task not in before)

    assert eventually(lambda: workers() == sorted([[cpus[-1]], [cpus[0]]])), workers()
    assert os.sched_getaffinity(0) == free
    assert core.cpus == [cpus[0], cpus[-1], cpus[0]]


def test_the_caller_is_on_its_cpu_during_a_step(model):
    cpus = read_topology().cpus
    core = engine(model, build_tape(), threads=2, cpus=[cpus[0], cpus[-1]], context=2048)
    main, seen, done = threading.get_native_id(), set(), threading.Event()

    def watch():
        while not done.is_set():
            seen.add(frozenset(os.sched_getaffinity(main)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    free, during = os.sched_getaffinity(0), frozenset([cpus[0]])
    try:
        assert eventually(lambda: forward(core, random_ids(300)).size > 0 and during in seen)
    finally:
        done.set()
        watcher.join()
    assert seen <= {frozenset(free), during}


def test_a_mask_without_the_callers_cpu_is_left_alone(model):
    cpus = read_topology().cpus
    if len(cpus) < 2:
        pytest.skip("needs two CPUs")
    core = engine(model, build_tape(), threads=2, cpus=[cpus[0], cpus[0]])
    expected = forward(core, random_ids(5))
    free = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {cpus[1]})
        assert (forward(core, random_ids(5)) == expected).all()
        assert os.sched_getaffinity(0) == {cpus[1]}
    finally:
        os.sched_setaffinity(0, free)


@pytest.mark.parametrize(
    ("cpus", "message"),
    [([0], "cpus lists 1 CPUs for 2 threads"), ([8191, 8191], "CPU 8191 is not one that")],
)
def test_cpus_that_cannot_be_used_are_an_error(model, cpus, message):
    with pytest.raises(InvalidRequestError, match=message):
        engine(model, build_tape(), threads=2, cpus=cpus)


def test_an_idle_engine_uses_no_cpu(model):
    core = engine(model, build_tape(), threads=4)
    forward(core, random_ids(20))

    def rests():
        before = time.process_time()
        time.sleep(0.5)
        return time.process_time() - before < 0.02

    # Where others take the CPUs, threads spin to their end some time later.
    assert eventually(rests)


def test_engines_that_share_the_cpus_all_get_on(model):
    """More threads than CPUs, in engines at once: no result changes, none starves."""
    threads = 2 * len(os.sched_getaffinity(0))
    ids = random_ids(60)
    expected = forward(engine(model, build_tape()), ids)
    engines = [engine(model, build_tape(), threads=threads) for _ in range(2)]
    results = {}

    def work(number):
        core = engines[number]
        sequence = core.open_sequence()
        results[number] = forward(core, ids, 1, sequence)

    callers = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    started = time.process_time()
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert (results[0] == expected).all() and (results[1] == expected).all()
    # 2 x 60 steps of about 30 barriers take some hundredths of a second of all CPUs' time; spinning
    # against each other would take a time slice at each.
    assert time.process_time() - started < 5
