"""Sessions, over an engine that records what it is asked."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from tests.engine.fake_engine import VOCAB, FakeEngine
from tests.engine.running import Greedy, answer, idle
from zerostall.engine.scheduler import Scheduler
from zerostall.engine.session import Session
from zerostall.errors import ClosedError, InvalidRequestError


@pytest.fixture
def engine():
    return FakeEngine()


@pytest.fixture
def scheduler(engine):
    return Scheduler(engine)


def test_a_prompt_goes_in_by_batches_and_only_its_last_row_comes_out(engine, scheduler):
    prompt = list(range(10)) + [1] * 10
    with Session(scheduler) as session:
        assert answer(session, prompt, 1) == [sum(prompt) % VOCAB]
        assert session.tokens == prompt
    assert engine.steps == [{1: (8, 0)}, {1: (8, 0)}, {1: (4, 1)}]


def test_what_is_sampled_is_computed_next(engine, scheduler):
    with Session(scheduler) as session:
        assert answer(session, [1, 2], 4) == [3, 6, 12, 8]
        assert session.tokens == [1, 2, 3, 6, 12]
    assert engine.steps == [{1: (2, 1)}, {1: (1, 1)}, {1: (1, 1)}, {1: (1, 1)}]


def test_a_prompt_that_begins_like_the_last_computes_only_the_rest(engine, scheduler):
    with Session(scheduler) as session:
        answer(session, [1, 2, 3, 4], 2)
        task = Greedy(session.place, [1, 2, 3, 9, 9], 1)
        assert list(session.run(task)) == [24 % VOCAB]
        assert task.kept == 3
        assert engine.sequences[1] == [1, 2, 3, 9, 9]


def test_the_same_prompt_again_computes_its_last_token(engine, scheduler):
    with Session(scheduler) as session:
        first = answer(session, [3, 4, 5], 1)
        task = Greedy(session.place, [3, 4, 5], 1)
        assert list(session.run(task)) == first
    assert task.kept == 2
    assert engine.steps[-1] == {1: (1, 1)}


def test_score_gives_the_rows_from_start_in_blocks_the_engine_can_give(engine, scheduler):
    tokens = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]
    with Session(scheduler) as session:
        rows = np.concatenate(list(session.score(tokens, start=10)))
        assert list(session.score(tokens, start=14)) == []
    assert rows.argmax(axis=1).tolist() == [sum(tokens[: i + 1]) % VOCAB for i in range(10, 14)]
    assert engine.steps == [{1: (8, 0)}, {1: (5, 3)}, {1: (1, 1)}]


def test_blocks_are_not_computed_faster_than_they_are_taken(engine, scheduler):
    with Session(scheduler) as session:
        blocks = session.score([1] * 12)
        next(blocks)
        idle(scheduler)
        assert len(engine.steps) == 2  # one in the caller's hands, one waiting
        assert sum(len(block) for block in blocks) == 9


def test_closing_a_session_frees_its_sequence(engine, scheduler):
    session = Session(scheduler)
    answer(session, [1], 1)
    assert list(engine.sequences) == [1]
    idle(scheduler)
    session.close()
    session.close()
    assert engine.sequences == {}
    with pytest.raises(ClosedError):
        answer(session, [1], 1)


def test_a_session_dropped_inside_a_step_is_freed_before_the_next(engine, scheduler):
    dropped = Session(scheduler)
    answer(dropped, [1], 1)
    step = engine.step

    def collecting(*args):
        dropped.close()  # as a garbage collection inside the step would
        assert 1 in engine.sequences
        engine.step = step
        return step(*args)

    engine.step = collecting
    with Session(scheduler) as other:
        answer(other, [1], 2)
        assert list(engine.sequences) == [2]


def test_after_close_every_use_is_a_typed_error_and_freeing_is_quiet(engine, scheduler):
    session = Session(scheduler)
    scheduler.close()
    with pytest.raises(ClosedError, match="make a new one"):
        answer(session, [1], 1)
    with pytest.raises(ClosedError):
        Session(scheduler)
    session.close()


def test_a_second_task_in_a_session_is_refused(scheduler):
    with Session(scheduler) as session:
        first = session.run(Greedy(session.place, [1], 5))
        next(first)
        with pytest.raises(InvalidRequestError, match="under way"):
            answer(session, [1], 1)
        assert len(list(first)) == 4


def test_a_task_whose_consumer_stops_makes_room_for_the_next(engine, scheduler):
    with Session(scheduler) as session:
        first = session.run(Greedy(session.place, [1], 500))
        next(first)
        first.close()
        assert answer(session, [2], 1) == [2]


@pytest.mark.parametrize("length", [30, 3])
def test_a_cancelled_session_ends_within_a_step_also_inside_a_prompt(engine, scheduler, length):
    engine.hold = threading.Event()
    errors = []

    def use():
        with Session(scheduler) as session:
            sessions.append(session)
            try:
                answer(session, [1] * length, 5)
            except ClosedError as error:
                errors.append(str(error))

    sessions: list[Session] = []
    user = threading.Thread(target=use)
    user.start()
    engine.began.acquire()
    sessions[0].cancel()  # the step under way is only for it, and would never end
    user.join()
    idle(scheduler)
    assert errors == ["this session was cancelled; open a new one"]
    assert engine.steps == []
    assert engine.sequences == {}


def test_cancelling_before_the_use_counts_too(scheduler):
    with Session(scheduler) as session:
        session.cancel()
        with pytest.raises(ClosedError, match="cancelled"):
            answer(session, [1], 1)
