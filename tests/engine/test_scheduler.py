"""Continuous batching, over an engine that records what each step holds."""

from __future__ import annotations

import math
import random
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engine.fake_engine import PAGE, VOCAB, FakeEngine, pages
from tests.engine.running import Greedy, answer, idle
from tests.tasks import eventually
from zerostall.engine.scheduler import Scheduler
from zerostall.engine.session import Session
from zerostall.errors import ClosedError, OutOfBudgetError, StorageError


def expected(prompt: list[int], count: int) -> list[int]:
    total, given_out = sum(prompt), []
    for _ in range(count):
        given_out.append(total % VOCAB)
        total += total % VOCAB
    return given_out


class Users:
    """Threads that each ask something of the same scheduler at once."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.answers: dict[object, object] = {}
        self.sessions: dict[object, Session] = {}
        self._threads: list[threading.Thread] = []

    def ask(self, name, prompt: list[int], count: int, priority: int = 0) -> None:
        def run():
            with Session(self.scheduler) as session:
                self.sessions[name] = session
                try:
                    self.answers[name] = answer(session, prompt, count, priority)
                except Exception as error:  # noqa: BLE001  whatever it is, the test looks at it
                    self.answers[name] = error

        before = self.scheduler.active
        thread = threading.Thread(target=run)
        self._threads.append(thread)
        thread.start()
        assert eventually(lambda: self.scheduler.active > before or name in self.answers)

    def wait(self) -> dict[object, object]:
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()
        return self.answers


def held(engine: FakeEngine) -> threading.Event:
    engine.hold = threading.Event()
    return engine.hold


def test_tasks_share_steps_and_give_what_they_give_alone():
    engine = FakeEngine()
    hold = held(engine)
    users = Users(Scheduler(engine))
    prompts = {name: [name + 1] * (name + 1) for name in range(3)}
    for name, prompt in prompts.items():
        users.ask(name, prompt, 10)
    hold.set()
    answers = users.wait()
    assert answers == {name: expected(prompt, 10) for name, prompt in prompts.items()}
    assert sum(len(step) == 3 for step in engine.steps) >= 8
    assert len(engine.steps) <= 14


def test_answers_go_on_while_a_long_prompt_comes_in():
    engine = FakeEngine()
    hold = held(engine)
    users = Users(Scheduler(engine))
    users.ask("stream", [1], 40)
    engine.began.acquire()
    users.ask("long", [2] * 100, 1)
    hold.set()
    assert users.wait() == {"stream": expected([1], 40), "long": expected([2] * 100, 1)}
    shared = [step for step in engine.steps if 2 in step]
    assert all(step[1] == (1, 1) for step in shared)


# Of the 8 tokens of a step 7 are the prompt's, or 1.
@pytest.mark.parametrize(("factor", "steps"), [(math.inf, 20), (1.0, 140)])
def test_how_much_a_prompt_may_slow_streams_down_is_a_choice(factor, steps):
    engine = FakeEngine()
    hold = held(engine)
    scheduler = Scheduler(engine, gap_factor=factor)
    scheduler._pace.note(1, 0, 1.0)  # so that both costs are known
    scheduler._pace.note(0, 1, 1.0)
    users = Users(scheduler)
    users.ask("stream", [1], 200)
    engine.began.acquire()
    users.ask("long", [2] * 140, 1)
    hold.set()
    assert users.wait() == {"stream": expected([1], 200), "long": expected([2] * 140, 1)}
    assert sum(2 in step for step in engine.steps) == steps


def test_the_cache_is_looked_up_before_a_prompt_is_computed():
    engine = FakeEngine()
    scheduler = Scheduler(engine)
    prompt = [1, 2, 3] * 50
    with Session(scheduler) as session:
        answer(session, prompt, 1)
    with Session(scheduler) as session:
        task = Greedy(session.place, [*prompt[:140], 7, 7], 1)
        assert list(session.run(task)) == expected([*prompt[:140], 7, 7], 1)
    assert task.kept == 2 * PAGE


def test_an_urgent_prompt_overtakes():
    engine = FakeEngine()
    hold = held(engine)
    users = Users(Scheduler(engine))
    users.ask("first", [1] * 80, 1)
    engine.began.acquire()
    users.ask("urgent", [2] * 16, 1, priority=-1)
    hold.set()
    users.wait()
    last_of = {
        sequence: max(i for i, step in enumerate(engine.steps) if sequence in step)
        for sequence in (1, 2)
    }
    assert last_of[2] < last_of[1]


def test_short_prompts_do_not_wait_for_a_long_one():
    engine = FakeEngine()
    hold = held(engine)
    users = Users(Scheduler(engine))
    users.ask("long", [1] * 400, 1)
    engine.began.acquire()
    for name in range(3):
        users.ask(name, [2 + name] * 4, 1)
    hold.set()
    assert len(users.wait()) == 4
    for sequence in (2, 3, 4):
        assert max(i for i, step in enumerate(engine.steps) if sequence in step) < 12


def test_full_memory_preempts_and_nobody_fails():
    engine = FakeEngine(capacity=3 * PAGE)
    hold = held(engine)
    scheduler = Scheduler(engine)
    users = Users(scheduler)
    for name in range(3):
        users.ask(name, [name + 1] * 50, 100)
    hold.set()
    assert users.wait() == {name: expected([name + 1] * 50, 100) for name in range(3)}
    assert scheduler.preempted >= 1


def test_resting_sequences_lose_their_memory_first():
    engine = FakeEngine(capacity=3 * PAGE)
    scheduler = Scheduler(engine)
    with Session(scheduler) as resting, Session(scheduler) as working:
        answer(resting, [1] * 100, 1)
        assert answer(working, [2] * 100, 1) == expected([2] * 100, 1)
        assert resting.tokens == []
        assert answer(resting, [1] * 100, 2) == expected([1] * 100, 2)
    assert scheduler.preempted == 0


def test_what_never_fits_is_the_only_one_to_fail():
    engine = FakeEngine(capacity=2 * PAGE)
    hold = held(engine)
    users = Users(Scheduler(engine))
    users.ask("small", [1] * 10, 30)
    users.ask("large", [2] * 150, 1)
    hold.set()
    answers = users.wait()
    assert answers["small"] == expected([1] * 10, 30)
    assert isinstance(answers["large"], OutOfBudgetError)


def test_a_failed_step_fails_whose_fault_it_was():
    engine = FakeEngine()
    engine.failing = {9}
    hold = held(engine)
    users = Users(Scheduler(engine))
    users.ask("good", [1] * 5, 20)
    users.ask("bad", [9] * 5, 20)
    users.ask("also good", [2] * 5, 20)
    hold.set()
    answers = users.wait()
    assert isinstance(answers.pop("bad"), ValueError)
    assert answers == {"good": expected([1] * 5, 20), "also good": expected([2] * 5, 20)}


def test_a_cancelled_task_leaves_within_a_step_and_the_others_go_on():
    engine = FakeEngine()
    hold = held(engine)
    users = Users(Scheduler(engine))
    users.ask("stays", [1] * 3, 50)
    users.ask("leaves", [2] * 200, 50)
    users.sessions["leaves"].cancel()
    hold.set()
    answers = users.wait()
    assert answers["stays"] == expected([1] * 3, 50)
    assert isinstance(answers["leaves"], ClosedError)
    assert sum(2 in step for step in engine.steps) <= 1


def test_closing_ends_what_runs_and_what_waits():
    engine = FakeEngine()
    held(engine)
    scheduler = Scheduler(engine)
    users = Users(scheduler)
    for name in range(3):
        users.ask(name, [1] * 20, 5)
    engine.began.acquire()
    assert scheduler.close().scores == []
    assert all(isinstance(answered, ClosedError) for answered in users.wait().values())


def test_a_slow_consumer_holds_up_nobody_else_and_no_thread_stays():
    engine = FakeEngine()
    scheduler = Scheduler(engine)
    with Session(scheduler) as slow, Session(scheduler) as quick:
        events = slow.run(Greedy(slow.place, [1], 50, ahead=4))
        taken = [next(events)]
        idle(scheduler)
        assert len(engine.steps) <= 6
        assert answer(quick, [2], 30) == expected([2], 30)
        idle(scheduler)
        assert eventually(lambda: "zs-engine" not in {t.name for t in threading.enumerate()})
        assert [*taken, *events] == [*expected([1], 50)]


def test_an_error_in_a_consumers_callback_is_its_own():
    class Broken(Greedy):
        def receive(self, logits):
            raise ZeroDivisionError

    scheduler = Scheduler(FakeEngine())
    with Session(scheduler) as session:
        with pytest.raises(ZeroDivisionError):
            list(session.run(Broken(session.place, [1], 1)))
        assert answer(session, [1], 1) == [1]


def test_the_trace_is_given_after_each_step():
    engine = FakeEngine()
    engine.take_trace = lambda: ["demand"]
    seen = []
    scheduler = Scheduler(engine, seen.append)
    with Session(scheduler) as session:
        answer(session, [1], 3)
    assert seen == [["demand"]] * 3


def test_a_trace_that_cannot_be_written_changes_no_answer_and_is_told_once(caplog):
    engine = FakeEngine()
    taken = []
    engine.take_trace = lambda: taken.append(1) or ["demand"]

    def full(demands):
        if len(taken) >= 3:
            raise StorageError("run.jsonl: No space left on device")

    hold = held(engine)
    scheduler = Scheduler(engine, full)
    users = Users(scheduler)
    prompts = {name: [name + 1] * (name + 2) for name in range(3)}
    for name, prompt in prompts.items():
        users.ask(name, prompt, 12)
    hold.set()
    assert users.wait() == {name: expected(prompt, 12) for name, prompt in prompts.items()}
    with Session(scheduler) as session:
        assert answer(session, [5], 4) == expected([5], 4)
        assert session.tokens == engine.sequences[session.place.sequence]
    assert len(taken) == len(engine.steps)  # what the core keeps for the trace does not pile up
    assert str(scheduler.trace_error) == "run.jsonl: No space left on device"
    assert [record.message for record in caplog.records] == [
        "nothing more is traced: run.jsonl: No space left on device"
    ]


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1000),
    capacity=st.integers(4, 12),
    users=st.integers(1, 6),
)
def test_whatever_comes_and_goes_everybody_gets_what_is_theirs(seed, capacity, users):
    chance = random.Random(seed)
    engine = FakeEngine(capacity=capacity * PAGE)
    scheduler = Scheduler(engine)
    crowd = Users(scheduler)
    wanted = {}
    for name in range(users):
        shared = [3] * chance.choice([0, 70, 130])
        prompt = shared + [chance.randrange(VOCAB) for _ in range(chance.randrange(1, 90))]
        count = chance.randrange(1, 30)
        if pages([0] * (len(prompt) + count)) > capacity * PAGE:
            continue
        wanted[name] = expected(prompt, count)
        crowd.ask(name, prompt, count, priority=chance.randrange(3))
        if chance.random() < 0.2:
            crowd.sessions[name].cancel()
            del wanted[name]
    answers = crowd.wait()
    assert {name: answers[name] for name in wanted} == wanted
    idle(scheduler)
    assert eventually(lambda: engine.sequences == {})
