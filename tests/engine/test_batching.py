"""How a step is divided among tasks."""

from __future__ import annotations

import math

import pytest

from tests.engine.running import Greedy
from zerostall.engine.batching import BURST_S, FEWEST, UNKNOWN, Pace, Room, TokenCost, compose
from zerostall.engine.task import Place, Scoring, Task


def task(remaining: int, first_row: int | None = None, priority: int = 0) -> Task:
    made = Greedy(Place(), [1] * remaining, 1, priority)
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


def test_an_urgent_prompt_comes_before_shorter_ones():
    tasks = [task(900, priority=-1), task(600, priority=-1), task(40, priority=9)]
    assert sorted(shares(tasks)) == [(0, 256, 0), (1, 256, 0)]


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


def measured(pace, *sizes):
    """A pace that knows answers of 100 ms, and each token of prompts of these sizes to cost 5."""
    pace.note(4, 0, 0.100)
    for size in sizes or (1, 2, 4, 8, 16, 32, 64, 128, 256):
        pace.note(0, size, size * 0.005)
    return pace


def steps(pace, tasks, count):
    """How many tokens of prompts each of the next steps takes beside an answer."""
    taken = []
    for _ in range(count):
        parts = compose([task(1), *tasks], pace, 512, 16)[1:]
        for part in parts:
            part.task.place.tokens += part.ids
        tasks = [each for each in tasks if each.remaining]
        taken.append(sum(part.tokens for part in parts))
        pace.note(4, taken[-1], 0.100 + taken[-1] * 0.005)
    return taken


def test_a_long_prompt_makes_steps_with_answers_at_most_twice_as_long():
    assert steps(measured(Pace()), [task(2000)], 100) == [20] * 100


def test_the_end_of_a_long_prompt_is_not_a_short_one():
    taken = steps(measured(Pace()), [task(200)], 11)
    assert taken == [20] * 10 + [0]


def test_short_prompts_end_at_once_with_what_earlier_steps_left_unused():
    burst = round((0.100 + BURST_S) / 0.005)
    pace = measured(Pace())
    assert steps(pace, [task(30) for _ in range(4)], 1) == [burst]
    # It is used up, and comes back with steps that have nothing of prompts.
    assert steps(pace, [task(30) for _ in range(4)], 6) == [0, 30, 30, 0, 30, 30]
    assert steps(pace, [], 3) == [0] * 3
    assert steps(pace, [task(80)], 1) == [80]


def test_a_short_prompt_makes_progress_beside_a_long_one_when_nothing_is_left():
    pace = measured(Pace())
    steps(pace, [task(120)], 1)
    tasks = [task(1), task(2000), task(40)]
    assert shares(tasks, pace)[1:] == [(1, 10, 0), (2, 10, 0)]


def test_short_prompts_do_not_wait_for_a_long_one_nor_starve_it():
    tasks = [task(1), task(2000), task(40), task(30)]
    assert shares(tasks, measured(Pace()))[1:] == [(1, 10, 0), (2, 40, 1), (3, 30, 1)]
    # A prompt of which the cache has all but a little is short.
    known = task(1000)
    known.kept = 950
    known.place.tokens = [1] * 950
    assert shares([task(1), known], measured(Pace()))[1:] == [(1, 50, 1)]


def test_many_tokens_at_once_cost_as_little_as_was_measured():
    cost = TokenCost()
    assert not cost
    cost.note(1, 0.015)
    assert cost.fitting(0.100, 512) == 6
    cost.note(16, 16 * 0.008)
    cost.note(128, 128 * 0.004)
    assert cost.each_s(15) == 0.015
    assert cost.each_s(100) == 0.008
    assert cost.each_s(500) == 0.004
    assert cost.fitting(0.100, 512) == 6
    assert cost.fitting(0.160, 512) == 20
    assert cost.fitting(0.600, 512) == 150
    assert cost.fitting(0.600, 100) == 75
    assert cost.fitting(9.0, 512) == 512
    assert cost.fitting(0.0, 512) == FEWEST
    assert cost.fitting(0.0, 0) == 0


@pytest.mark.parametrize(("factor", "tokens"), [(1.0, FEWEST), (1.5, 10), (2.0, 20), (6.0, 100)])
def test_how_much_a_prompt_may_slow_answers_down_is_a_choice(factor, tokens):
    assert measured(Pace(factor)).room(512).steady == tokens


def test_without_leave_to_slow_answers_down_no_prompt_ends_at_once():
    assert measured(Pace(1.0)).room(512) == Room(FEWEST, FEWEST, FEWEST)


@pytest.mark.parametrize("factor", [math.inf, 1e308])
def test_without_a_limit_prompts_fill_the_step(factor):
    assert measured(Pace(factor)).room(512).steady == 512
    assert Pace(math.inf).room(512) == Room(512, 512, 512)
    tasks = [task(1), task(1000)]
    assert shares(tasks, measured(Pace(factor))) == [(0, 1, 1), (1, 511, 0)]


def test_what_a_prompt_will_take_follows_from_what_steps_have_cost():
    pace = Pace()
    assert pace.prompt_ms(100, beside=False) is None
    measured(pace)
    assert pace.prompt_ms(100, beside=False) == pytest.approx(500)
    # 20 tokens a step beside answers, which take as long again.
    assert pace.prompt_ms(100, beside=True) == pytest.approx(1000)
    assert pace.prompt_ms(0, beside=True) == 0
    assert measured(Pace(math.inf)).prompt_ms(100, beside=True) == pytest.approx(600)


def test_a_slow_prompt_goes_on_all_the_same():
    pace = Pace()
    pace.note(0, 100, 100.0)
    pace.note(4, 0, 0.010)
    assert pace.room(512).steady == FEWEST


def test_before_anything_is_measured_prompts_are_taken_carefully():
    assert Pace().room(512) == Room(UNKNOWN, UNKNOWN, UNKNOWN)
    assert Pace().room(5).steady == 5


def test_one_disturbed_step_does_not_lengthen_those_that_follow():
    pace = Pace()
    for seconds in (*[0.1] * 9, 3.0):
        pace.note(1, 0, seconds)
    pace.note(1, 4, 0.148)
    assert pace.room(512).steady == 8  # of 12 ms each in 100
    for _ in range(9):  # answers have become dearer
        pace.note(8, 0, 0.2)
    assert pace.room(512).steady == 16
