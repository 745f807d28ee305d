"""Saving and loading sessions when the cache is full, over the engine that records its steps."""

from __future__ import annotations

import threading

import pytest

from tests.engine.fake_engine import PAGE, FakeEngine
from tests.engine.running import Greedy, answer, idle
from tests.tasks import eventually
from zerostall.engine.scheduler import Scheduler
from zerostall.engine.session import Session
from zerostall.errors import InvalidRequestError, OutOfBudgetError


@pytest.fixture
def engine():
    return FakeEngine(capacity=3 * PAGE)


@pytest.fixture
def scheduler(engine):
    return Scheduler(engine)


def test_a_state_is_loaded_where_resting_sessions_hold_all_memory(engine, scheduler, tmp_path):
    with Session(scheduler) as first, Session(scheduler) as second:
        answer(first, [1] * 100, 1)
        scheduler.save(first.place, tmp_path / "state")
        answer(second, [2] * 60, 1)
        with Session(scheduler, scheduler.restore(tmp_path / "state")) as loaded:
            assert loaded.tokens == [1] * 100
            assert (first.tokens, second.tokens) == ([], [2] * 60)  # the one that rests longest
            task = Greedy(loaded.place, [1] * 100, 1)
            assert list(loaded.run(task)) == [100 % 16]
            assert task.kept == 99
    assert engine.sequences == {}


def test_a_state_larger_than_all_memory_is_refused_and_harms_nobody(engine, scheduler, tmp_path):
    (tmp_path / "state").write_text(str([1] * (3 * PAGE + 1)))
    with Session(scheduler) as session:
        expected = answer(session, [3] * 70, 4)
        with pytest.raises(OutOfBudgetError):
            scheduler.restore(tmp_path / "state")
        assert answer(session, [3] * 70, 4) == expected


def test_loading_takes_no_memory_from_those_that_compute(engine, scheduler, tmp_path):
    (tmp_path / "state").write_text(str([1] * 150))
    with Session(scheduler) as session:
        events = session.run(Greedy(session.place, [2] * 70, 80, ahead=4))
        next(events)
        with pytest.raises(OutOfBudgetError):
            scheduler.restore(tmp_path / "state")
        assert len([*events]) == 79
        # Whoever has taken its last token rests, whether or not the thread has seen it yet.
        Session(scheduler, scheduler.restore(tmp_path / "state")).close()
        assert session.tokens == []
    assert scheduler.preempted == 0


def test_saving_a_session_whose_memory_was_taken_says_so_and_how_it_comes_back(scheduler, tmp_path):
    with Session(scheduler) as session, Session(scheduler) as other:
        with pytest.raises(InvalidRequestError, match="holds no tokens; there is nothing to save"):
            scheduler.save(session.place, tmp_path / "state")
        answer(session, [1] * 100, 1)
        answer(other, [2] * 100, 1)
        with pytest.raises(InvalidRequestError, match="100 tokens left the cache .* last prompt"):
            scheduler.save(session.place, tmp_path / "state")
        answer(session, [1] * 100, 1)
        scheduler.save(session.place, tmp_path / "state")
    with Session(scheduler, scheduler.restore(tmp_path / "state")) as loaded:
        assert loaded.tokens == [1] * 100


def test_no_memory_is_taken_from_a_session_that_is_being_saved(engine, scheduler, tmp_path):
    begun, full, truncated = threading.Event(), threading.Event(), threading.Event()
    save, step, truncate = engine.save_state, engine.step_hidden, engine.truncate

    def slow(sequence, path):
        begun.set()
        full.wait()
        truncated.wait(0.1)  # it never comes; were it to, the file would be empty
        save(sequence, path)

    def stepping(*args):
        try:
            return step(*args)
        except OutOfBudgetError:
            full.set()
            raise

    def truncating(*args):
        truncate(*args)
        truncated.set()

    with Session(scheduler) as resting, Session(scheduler) as working:
        answer(resting, [1] * 100, 1)
        answer(working, [2] * PAGE, 1)
        engine.save_state, engine.step_hidden, engine.truncate = slow, stepping, truncating
        engine.hold = threading.Event()
        while engine.began.acquire(blocking=False):
            pass
        worker = threading.Thread(target=answer, args=(working, [2] * (PAGE + 6), 1))
        worker.start()
        engine.began.acquire()  # a step that will find the cache full
        saver = threading.Thread(target=scheduler.save, args=(resting.place, tmp_path / "state"))
        saver.start()
        begun.wait()
        engine.hold.set()
        saver.join()
        worker.join()
    assert (tmp_path / "state").read_text() == str([1] * 100)
    assert truncated.is_set()


def test_what_is_closed_while_another_is_saved_is_free_when_it_is_and_the_engine_idles(
    engine, scheduler, tmp_path
):
    save = engine.save_state
    with Session(scheduler) as kept, Session(scheduler) as dropped:
        answer(kept, [1] * 60, 1)
        answer(dropped, [2] * 60, 1)
        idle(scheduler)

        def saving(*args):
            dropped.close()  # which does not wait for the lock
            save(*args)
            assert len(engine.sequences) == 2

        engine.save_state = saving
        scheduler.save(kept.place, tmp_path / "state")
        assert list(engine.sequences.values()) == [[1] * 60]


def test_what_is_closed_while_the_engine_becomes_idle_is_free_without_another_step():
    class Emptied(FakeEngine):
        """Closes a session when it is asked for room, which is under the scheduler's lock."""

        leaving: Session | None = None

        @property
        def free_tokens(self):
            if self.leaving is not None and not scheduler._tasks:
                self.leaving.close()
            return super().free_tokens

    engine = Emptied()
    scheduler = Scheduler(engine)
    with Session(scheduler) as first, Session(scheduler) as other:
        answer(first, [1] * 60, 1)
        idle(scheduler)
        engine.leaving = first
        answer(other, [2] * 60, 1)
        idle(scheduler)
        assert eventually(lambda: list(engine.sequences.values()) == [[2] * 60])
