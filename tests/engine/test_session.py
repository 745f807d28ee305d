"""Sessions and turns, over an engine that records what it is asked."""

from __future__ import annotations

import itertools
import threading

import numpy as np
import pytest

from tests.engine.fake_engine import VOCAB, FakeEngine
from tests.tasks import eventually
from zerostall.engine.session import Session, Turns
from zerostall.errors import ClosedError


@pytest.fixture
def engine():
    return FakeEngine()


@pytest.fixture
def turns(engine):
    return Turns(engine)


def test_a_prompt_goes_in_by_batches_and_only_its_last_row_comes_out(engine, turns):
    with Session(turns) as session:
        logits, computed = session.prefill(list(range(10)) + [1] * 10)
    assert engine.steps == [(1, 8, 0), (1, 8, 0), (1, 4, 1)]
    assert (int(logits.argmax()), computed) == ((45 + 10) % VOCAB, 20)


def test_a_prompt_that_begins_like_the_last_computes_only_the_rest(engine, turns):
    with Session(turns) as session:
        session.prefill([1, 2, 3, 4])
        session.decode(5)
        logits, computed = session.prefill([1, 2, 3, 9, 9])
        assert (computed, int(logits.argmax())) == (2, 24 % VOCAB)
        assert engine.sequences[1] == [1, 2, 3, 9, 9]


def test_the_same_prompt_again_computes_its_last_token(engine, turns):
    with Session(turns) as session:
        first, _ = session.prefill([3, 4, 5])
        again, computed = session.prefill([3, 4, 5])
    assert computed == 1
    assert np.array_equal(first, again)


def test_score_gives_the_rows_from_start_in_blocks_the_engine_can_give(engine, turns):
    tokens = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14]
    with Session(turns) as session:
        rows = np.concatenate(list(session.score(tokens, start=10)))
    assert rows.argmax(axis=1).tolist() == [sum(tokens[: i + 1]) % VOCAB for i in range(10, 14)]
    assert [step[1:] for step in engine.steps] == [(8, 0), (2, 0), (3, 3), (1, 1)]


def test_an_interrupted_step_leaves_a_session_that_goes_on(engine, turns):
    with Session(turns) as session:
        session.prefill([1, 2])
        engine.interrupt_at = 1
        with pytest.raises(KeyboardInterrupt):
            session.decode(3)
        logits = session.decode(3)
    assert int(logits.argmax()) == 6


def test_a_step_that_was_not_noted_before_an_interrupt_is_taken_back(engine, turns):
    with Session(turns) as session:
        session.prefill([1, 2])
        engine.sequences[1].append(7)  # stepped, then Ctrl-C before the session knew
        logits, computed = session.prefill([1, 2, 3])
    assert (int(logits.argmax()), computed) == (6, 1)


def test_closing_a_session_frees_its_sequence(engine, turns):
    session = Session(turns)
    assert list(engine.sequences) == [1]
    session.close()
    session.close()
    assert engine.sequences == {}
    with pytest.raises(ClosedError):
        session.decode(1)


def test_a_session_dropped_inside_a_step_is_freed_before_the_next_turn(engine, turns):
    dropped = Session(turns)
    other = Session(turns)
    step = engine.step

    def collecting(*args):
        dropped.close()  # as a garbage collection inside the step would
        assert 1 in engine.sequences
        return step(*args)

    engine.step = collecting
    other.decode(1)
    engine.step = step
    other.decode(1)
    assert list(engine.sequences) == [2]


def test_after_close_every_use_is_a_typed_error_and_freeing_is_quiet(engine, turns):
    session = Session(turns)
    turns.close()
    with pytest.raises(ClosedError, match="make a new one"):
        session.decode(1)
    with pytest.raises(ClosedError):
        Session(turns)
    session.close()


def test_two_threads_take_turns_step_by_step(engine, turns):
    start = threading.Barrier(2)
    step = engine.step

    def contended(*args):
        # Until the last step but one, the other thread asks for its turn before this one ends.
        assert len(engine.steps) >= 59 or eventually(turns._next.locked)
        return step(*args)

    engine.step = contended

    def run():
        with Session(turns) as session:
            start.wait()
            for _ in range(30):
                session.decode(1)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    order = [sequence for sequence, _, _ in engine.steps]
    changes = sum(a != b for a, b in itertools.pairwise(order))
    assert (len(order), changes) == (60, 59)  # a plain lock gives a handful of changes


def test_a_cancelled_session_begins_no_further_step_also_inside_a_prompt(engine, turns):
    step = engine.step

    def cancel_in_the_second(*args):
        if len(engine.steps) == 1:
            session.cancel()
        return step(*args)

    engine.step = cancel_in_the_second
    with Session(turns) as session, pytest.raises(ClosedError, match="cancelled"):
        session.prefill([1] * 30)
    assert len(engine.steps) == 2
    assert engine.sequences == {}
