"""How a step is divided among tasks."""

from __future__ import annotations

import math

import pytest

from tests.engine.running import Greedy
from zerostall.engine.batching import BURST_S, FEWEST, UNKNOWN, Pace, compose
from zerostall.engine.task import Place, Scoring, Task


def task(remaining: int, first_row: int | None = None) -> Task:
    made = Greedy(Place(), [1] * remaining, 1)
    if first_row is not None:
        made.next_row = first_row
    return made


def shares(tasks, pace=None, max_batch=512, max_rows=16):
    parts = compose(tasks, pace or Pace(), max_batch, max_rows)
    return [(tasks.index(part.task), part.tokens, part.rows) for part in parts]


def test_a_prompt_alone_fills_the_batch():
    assert shares([task(2048)]) == [(0, 512, 0)]
    assert shares([task(300)]) == [(0, 300, 1)]


def test_answers_come_first_and_all_of_them():
    tasks = [task(1000), *(task(1) for _ in range(5))]
    assert shares(tasks)[:5] == [(i, 1, 1) for i in range(1, 6)]
    assert shares(tasks)[5] == (0, UNKNOWN, 0)


def test_no_more_answers_than_rows():
    tasks = [task(1) for _ in range(20)]
    assert len(shares(tasks)) == 16
    assert len(shares(tasks, max_batch=7)) == 7


def test_half_goes_to_the_first_prompt_the_rest_to_the_shortest():
    assert sorted(shares([task(900), task(600), task(40)])) == [
        (0, 256, 0),
        (1, 216, 0),
        (2, 40, 1),
    ]
    assert sorted(shares([task(900), task(40)])) == [(0, 472, 0), (1, 40, 1)]


def test_rows_are_not_more_than_the_engine_gives():
    scoring = Scoring(Place(), [1] * 100, 90)
    assert shares([scoring], max_rows=4) == [(0, 94, 4)]
    scoring.place.tokens = [1] * 94
    scoring.next_row = 94
    assert shares([scoring], max_rows=4) == [(0, 4, 4)]


def test_hidden_states_take_no_rows_of_logits():
    hidden = Scoring(Place(), [1] * 100, 0, hidden=True)
    assert shares([hidden], max_rows=4) == [(0, 100, 100)]
    assert sorted(shares([hidden, task(50)], max_rows=1)) == [(0, 100, 100), (1, 50, 1)]
    # The last token of a text is no answer, beside which prompts would be slowed.
    last = Scoring(Place(), [1], 0, hidden=True)
    assert sorted(shares([last, task(300)])) == [(0, 1, 1), (1, 300, 1)]


def steps(pace, count):
    """How many tokens of a long prompt each of the next steps takes, of 5 ms beside 100 ms."""
    taken = []
    for _ in range(count):
        taken.append(pace.prompt_tokens(512))
        pace.note(4, taken[-1], 0.100 + taken[-1] * 0.005)
    return taken


def test_a_long_prompt_makes_steps_with_answers_at_most_twice_as_long():
    pace = Pace()
    pace.note(4, 0, 0.100)
    pace.note(4, 20, 0.100 + 20 * 0.005)
    first, *others = steps(pace, 50)
    assert first == pytest.approx((0.100 + BURST_S) / 0.005, abs=1)
    assert others == [pytest.approx(20, abs=1)] * 49
    assert pace.prompt_tokens(10) == 10


def test_what_prompts_left_unused_is_there_for_the_next_one():
    pace = Pace()
    pace.note(0, 20, 20 * 0.005)
    pace.note(4, 0, 0.100)
    assert steps(pace, 3) == [pytest.approx(70, abs=1), *[pytest.approx(20, abs=1)] * 2]
    pace.note(4, 0, 0.100)
    assert pace.prompt_tokens(512) == pytest.approx(40, abs=1)
    for _ in range(10):
        pace.note(4, 0, 0.100)
    assert pace.prompt_tokens(512) == pytest.approx(70, abs=1)


@pytest.mark.parametrize(("factor", "tokens"), [(1.0, FEWEST), (1.5, 10), (2.0, 20), (6.0, 100)])
def test_how_much_a_prompt_may_slow_answers_down_is_a_choice(factor, tokens):
    pace = Pace(factor)
    pace.note(0, 20, 20 * 0.005)
    pace.note(4, 0, 0.100)
    pace.note(4, 512, 0.100 + 512 * 0.005)
    assert pace.prompt_tokens(512) == pytest.approx(tokens, abs=1)


@pytest.mark.parametrize("factor", [math.inf, 1e308])
def test_without_a_limit_prompts_fill_the_step(factor):
    pace = Pace(factor)
    pace.note(4, 0, 0.100)
    pace.note(0, 20, 20 * 0.005)
    assert pace.prompt_tokens(512) == 512
    assert Pace(math.inf).prompt_tokens(512) == 512
    tasks = [task(1), task(1000)]
    assert shares(tasks, pace) == [(0, 1, 1), (1, 511, 0)]


def test_what_a_prompt_will_take_follows_from_what_steps_have_cost():
    pace = Pace()
    assert pace.prompt_ms(100, beside=False) is None
    pace.note(4, 0, 0.100)
    pace.note(0, 20, 20 * 0.005)
    assert pace.prompt_ms(100, beside=False) == pytest.approx(500)
    # 20 tokens a step beside answers, which take as long again.
    assert pace.prompt_ms(100, beside=True) == pytest.approx(1000)
    assert pace.prompt_ms(0, beside=True) == 0


def test_a_slow_prompt_goes_on_all_the_same():
    pace = Pace()
    pace.note(0, 100, 100.0)
    pace.note(4, 0, 0.010)
    assert pace.prompt_tokens(512) == FEWEST


def test_before_anything_is_measured_prompts_are_taken_carefully():
    assert Pace().prompt_tokens(512) == UNKNOWN
    assert Pace().prompt_tokens(5) == 5
