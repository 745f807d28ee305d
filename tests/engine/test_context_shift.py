"""What stays of a text that has filled the context, and how the scheduler goes on with it."""

from __future__ import annotations

import pytest

from tests.engine.fake_engine import PAGE, VOCAB, FakeEngine
from tests.engine.running import Greedy, answer
from zerostall.engine.context_shift import ALL, ContextShift, check_keep
from zerostall.engine.scheduler import Scheduler
from zerostall.engine.session import Session
from zerostall.errors import InvalidRequestError

PROMPT = [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("keep", "bos", "head"),
    [(0, None, 0), (0, 0, 1), (0, 7, 0), (2, None, 2), (2, 0, 3), (9, 0, 4), (ALL, 0, 4)],
)
def test_the_head_is_the_first_token_and_what_is_kept_of_the_prompt(keep, bos, head):
    assert ContextShift.of(keep, 100, PROMPT, bos).head == head


@pytest.mark.parametrize(("context", "head"), [(10, 6), (5, 1), (4, 0), (1, 0)])
def test_four_places_are_never_kept(context, head):
    assert ContextShift.of(ALL, context, [5] * context, None).head == head


def test_a_full_context_loses_the_older_half_of_what_is_behind_its_head():
    shift = ContextShift(10, 2)
    assert shift.make_room(list(range(9))) is None
    assert shift.make_room(list(range(10))) == [0, 1, 6, 7, 8, 9]
    assert ContextShift(9, 2).make_room(list(range(9))) == [0, 1, 5, 6, 7, 8]
    assert ContextShift(1, 0).make_room([3]) == []


def test_no_more_is_kept_than_there_is_room_for():
    check_keep(60, 64)
    check_keep(ALL, 1)
    check_keep(0, 1)
    with pytest.raises(InvalidRequestError, match="keep is 61; of a context of 64 .* 60 can stay"):
        check_keep(61, 64)


class Shifting(Greedy):
    """Greedy in a context that is shorter than the engine's."""

    def __init__(self, place, prompt, count, shift, priority=0):
        super().__init__(place, prompt, count, priority)
        self.shift = shift

    def receive(self, logits):
        more = super().receive(logits)
        stays = self.shift.make_room(self.tokens)
        if not more or stays is None:
            return more
        self.restart([*stays, *more])
        return ()


def expected(prompt: list[int], count: int, shift: ContextShift) -> list[int]:
    tokens, given = list(prompt), []
    for _ in range(count):
        given.append(sum(tokens) % VOCAB)
        tokens = shift.make_room(tokens) or tokens
        tokens.append(given[-1])
    return given


@pytest.mark.parametrize("head", [0, 3, 70, 150])
def test_a_restarted_task_goes_on_as_its_text_afresh(head):
    engine = FakeEngine()
    prompt, shift = [i % 7 for i in range(160)], ContextShift(200, head)
    with Session(Scheduler(engine)) as session:
        given = list(session.run(Shifting(session.place, prompt, 300, shift)))
        assert given == expected(prompt, 300, shift)
        assert len(session.tokens) <= 200
        # The next prompt finds what is there, not what was.
        assert answer(session, prompt, 3) == expected(prompt, 3, ContextShift(1000, 0))


def test_a_head_of_a_page_or_more_is_not_computed_again():
    def computed(head: int) -> int:
        engine = FakeEngine()
        with Session(Scheduler(engine)) as session:
            shift = ContextShift(200, head)
            list(session.run(Shifting(session.place, [i % 7 for i in range(200)], 2, shift)))
        return sum(tokens for step in engine.steps for tokens, _ in step.values())

    assert computed(70) == 200 + 65 + 1
    assert computed(0) == 200 + 100 + 1


def test_shifting_tasks_that_crowd_the_memory_all_end_well():
    engine = FakeEngine(capacity=5 * PAGE)
    scheduler = Scheduler(engine)
    shift = ContextShift(150, 10)
    sessions = [Session(scheduler) for _ in range(3)]
    prompts = [[i + 1] * (40 + 30 * i) for i in range(3)]
    tasks = [
        Shifting(session.place, prompt, 400, shift)
        for session, prompt in zip(sessions, prompts, strict=True)
    ]
    for task in tasks:
        scheduler.submit(task)
    for task, prompt in zip(tasks, prompts, strict=True):
        given = list(iter(task.take, None))
        assert given == expected(prompt, 400, shift)
    for session in sessions:
        session.close()
