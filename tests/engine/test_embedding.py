"""Embeddings over an engine whose states are the sum and the number of the tokens so far."""

from __future__ import annotations

import itertools
import threading

import numpy as np
import pytest

from tests.engine.fake_engine import PAGE, FakeEngine
from tests.engine.running import answer, idle
from tests.tasks import eventually
from zerostall.engine.embedding import AT_ONCE, Embedder, encoded
from zerostall.engine.scheduler import Scheduler
from zerostall.engine.session import Session
from zerostall.errors import ClosedError, ContextLengthError, OutOfBudgetError


def expected(tokens: list[int], pooling: str) -> list[float]:
    sums = list(itertools.accumulate(tokens))
    states = np.array([sums, range(1, len(sums) + 1)], np.float64).T
    pooled = {"mean": states.mean(0), "last": states[-1], "cls": states[0]}[pooling]
    return pooled.astype(np.float32).tolist()


def embed(scheduler: Scheduler, pooling: str, *texts: list[int]) -> list[list[float]]:
    embedder = Embedder(scheduler, pooling, normalize=False)
    return [vector.tolist() for vector in embedder.run(texts)]


@pytest.fixture
def engine():
    return FakeEngine()


@pytest.mark.parametrize("pooling", ["mean", "last", "cls"])
def test_states_are_pooled_as_asked(engine, pooling):
    texts = [[3], [1, 2, 5] * 9, [7] * 40]
    got = embed(Scheduler(engine), pooling, *texts)
    assert got == [expected(text, pooling) for text in texts]
    assert all(rows == 0 for step in engine.steps for _, rows in step.values())  # no logits


def test_vectors_have_length_one_unless_asked_otherwise(engine):
    (vector,) = Embedder(Scheduler(engine), "last").run([[1, 2]])
    assert vector.tolist() == pytest.approx([3 / 13**0.5, 2 / 13**0.5])
    (vector,) = Embedder(Scheduler(engine), "mean").run([[0]])
    assert vector.tolist() == [0.0, 1.0]


def together(scheduler: Scheduler, *calls) -> list:
    """What calls give that each add to what the scheduler has to do, then run at once."""
    given: dict[int, object] = {}

    def keep(place: int, call) -> None:
        given[place] = call()

    hold = scheduler.engine.hold = threading.Event()
    threads = [threading.Thread(target=keep, args=pair) for pair in enumerate(calls)]
    for thread in threads:
        before = scheduler.active
        thread.start()
        assert eventually(lambda: scheduler.active > before)  # noqa: B023  called at once
    hold.set()
    for thread in threads:
        thread.join(60)
    return [given[place] for place in range(len(calls))]


def test_texts_share_steps_with_one_another_and_with_answers(engine):
    scheduler = Scheduler(engine)
    texts = [[1] * 20, [2] * 20, [3] * 20]

    def ask():
        with Session(scheduler) as session:
            return answer(session, [1], 3)

    calls = [lambda text=text: embed(scheduler, "mean", text) for text in texts]
    *given, answered = together(scheduler, *calls, ask)
    assert given == [[expected(text, "mean")] for text in texts]
    assert answered == [1, 2, 4]
    assert any(len(step) > 2 for step in engine.steps)


def test_no_more_texts_are_under_way_than_fill_a_step(engine):
    engine.hold = threading.Event()
    scheduler = Scheduler(engine)
    texts = [[i % 16] for i in range(3 * AT_ONCE)]
    given = []
    thread = threading.Thread(target=lambda: given.extend(embed(scheduler, "last", *texts)))
    thread.start()
    assert eventually(lambda: scheduler.active == AT_ONCE)
    engine.hold.set()
    thread.join(60)
    assert given == [expected(text, "last") for text in texts]


def test_the_last_token_needs_what_the_cache_has_not_and_a_mean_needs_all(engine):
    scheduler = Scheduler(engine)
    text = [1, 2, 3] * 50
    embed(scheduler, "last", text)
    idle(scheduler)

    def computed(pooling: str) -> int:
        engine.steps.clear()
        assert embed(scheduler, pooling, text) == [expected(text, pooling)]
        return sum(tokens for step in engine.steps for tokens, _ in step.values())

    assert computed("last") == len(text) - 2 * PAGE
    assert computed("mean") == len(text)
    assert computed("cls") == 1


def test_texts_that_lose_their_memory_are_computed_again():
    engine = FakeEngine(capacity=4 * PAGE)
    scheduler = Scheduler(engine)
    texts = [[i + 1] * 150 for i in range(6)]
    for pooling in ("mean", "last"):
        got = embed(scheduler, pooling, *texts)
        assert got == [expected(text, pooling) for text in texts]


def test_a_mean_goes_on_after_its_memory_was_taken():
    class Full(FakeEngine):
        """Has no memory for the first step in which both go on."""

        failed = False

        def step_hidden(self, *batch):
            going_on = {int(sequence) for sequence in batch[1] if self.sequences[int(sequence)]}
            if len(going_on) == 2 and not self.failed:
                self.failed = True
                raise OutOfBudgetError("no free page")
            return super().step_hidden(*batch)

    scheduler = Scheduler(Full())
    text = [2] * 180

    def urgent():
        with Session(scheduler) as session:
            return answer(session, [1] * 100, 60, priority=-1)

    vectors, answered = together(scheduler, lambda: embed(scheduler, "mean", text), urgent)
    assert vectors == [expected(text, "mean")]
    assert len(answered) == 60
    assert scheduler.preempted == 1


def test_a_text_that_fits_alone_nowhere_fails_and_frees_the_rest():
    engine = FakeEngine(capacity=2 * PAGE)
    scheduler = Scheduler(engine)
    with pytest.raises(OutOfBudgetError):
        embed(scheduler, "last", [1] * 10, [2] * 200, [3] * 10)
    idle(scheduler)
    scheduler.release(Session(scheduler).place)
    assert engine.sequences == {}


def test_cancelled_embeddings_end_within_a_step(engine):
    engine.hold = threading.Event()
    scheduler = Scheduler(engine)
    embedder = Embedder(scheduler, "mean")
    failed = []

    def run():
        try:
            list(embedder.run([[1] * 100] * 30))
        except ClosedError as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    engine.began.acquire()
    embedder.cancel()
    thread.join(60)
    assert "were cancelled" in str(failed[0])
    idle(scheduler)
    scheduler.release(Session(scheduler).place)
    assert engine.sequences == {}
    with pytest.raises(ClosedError):
        list(embedder.run([[1]]))


def test_dropping_the_iterator_frees_the_texts_that_were_under_way(engine):
    scheduler = Scheduler(engine)
    vectors = Embedder(scheduler, "last").run([[1] * 50] * (AT_ONCE + 2))
    next(vectors)
    vectors.close()
    idle(scheduler)
    scheduler.release(Session(scheduler).place)
    assert engine.sequences == {}


def test_a_text_is_a_string_or_ids_and_several_name_the_one_at_fault():
    def encode(text):
        if len(text) > 3:
            raise ContextLengthError("too long")
        return [len(text)]

    assert encoded("abc", encode) == [[3]]
    assert encoded([7, 8], encode) == [[2]]
    assert encoded(np.array([7, 8]), encode) == [[2]]
    assert encoded(["a", [1, 2]], encode) == [[1], [2]]
    assert encoded(np.array([[7, 8, 9]]), encode) == [[3]]
    assert encoded([], encode) == []
    with pytest.raises(ContextLengthError, match=r"^too long"):
        encoded("abcd", encode)
    with pytest.raises(ContextLengthError, match="text 1: too long"):
        encoded(["a", "abcd"], encode)
