"""Replays: hits worked out by hand, a plain reference, and what must hold of any trace."""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import replace as changed

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.lab.synthetic_trace import EXPERT_BYTES, make_trace, synthetic_trace
from zerostall.engine.streaming import reserve, with_reserve
from zerostall.errors import InvalidRequestError, OutOfBudgetError
from zerostall.lab.eviction import POLICIES
from zerostall.lab.replay import Replayed, Tally, replay
from zerostall.lab.slots import divide_budget
from zerostall.lab.trace import TracedLayer, TraceHeader

A, B, C = 0, 1, 2
ONE_LAYER = TraceHeader("one", (TracedLayer(3, 1, EXPERT_BYTES),), 1000)


def budget(header, room):
    """The RAM that keeps `room` experts of one size resident, beside the slots for reads."""
    most_used = max(layer.used for layer in header.layers)
    slots = room + most_used
    while slots - min(max(slots // 24, most_used), max(64, most_used)) < room:
        slots += 1
    return with_reserve(header.other_bytes + slots * header.layers[0].bytes)


def replay_one(trace, room, policy, **options):
    (found,) = replay(trace, [budget(trace.header, room)], [policy], **options)
    assert found.room == room
    return found


def one_layer(experts):
    return make_trace(ONE_LAYER, [(step, 1, 0, [e]) for step, e in enumerate(experts, 1)])


@pytest.mark.parametrize(
    ("policy", "half_life", "hits"),
    [
        ("lru", 256, 1),  # A at 3; C drives B out, B drives A out
        ("lfu", 256, 2),  # A at 3 and 6: its count of 2 outlives C, which drove B out
        ("belady", 256, 3),  # C, never wanted again, is not kept
        ("lrfu", 1, 1),  # A's score at 5 is 2^-4 + 2^-2, C's 2^-1: as LRU
        ("lrfu", 256, 2),  # nothing has decayed: as LFU
    ],
)
def test_six_demands_and_two_places(policy, half_life, hits):
    trace = one_layer([A, B, A, C, B, A])
    found = replay_one(trace, 2, policy, half_life_steps=half_life)
    assert found.decode == Tally(6, 6, hits, (6 - hits) * EXPERT_BYTES)
    assert found.prompt == Tally(0, 0, 0, 0)


@pytest.mark.parametrize(
    ("policy", "half_life", "hits"),
    [
        ("lru", 256, 5),  # C drives A out, and A is missed once when it comes back
        ("lfu", 256, 4),  # A stays; B and C drive each other out
        ("lrfu", 256, 4),  # as LFU
        ("lrfu", 2, 3),  # first as LFU; at step 7 A's score is 0.55, B's 1.06, C's 1.5: A goes
        ("lrfu", 1, 5),  # at step 5 A's score is 0.44, B's 0.5: as LRU
        ("belady", 256, 5),
    ],
)
def test_a_favourite_of_the_past_gives_way_the_sooner_the_shorter_the_half_life(
    policy, half_life, hits
):
    trace = one_layer([A, A, A, B, C, B, C, A, A])
    assert replay_one(trace, 2, policy, half_life_steps=half_life).decode.hits == hits


def test_hits_are_counted_before_any_expert_of_the_layer_is_let_in():
    header = TraceHeader("two", (TracedLayer(4, 2, EXPERT_BYTES),), 0)
    trace = make_trace(header, [(1, 1, 0, [0, 1]), (2, 1, 0, [2, 0]), (3, 1, 0, [0, 2])])
    # Step 2: 0 is a hit although 2, named before it, needs a place; 1 goes.
    assert replay_one(trace, 2, "lru").decode.hits == 3


def test_in_a_prompt_a_miss_drives_out_only_experts_of_its_own_or_earlier_layers():
    header = TraceHeader("two", (TracedLayer(2, 1, EXPERT_BYTES),) * 2, 0)
    # Layer 1's expert is the least recent, but its turn in the prompt is still to come.
    before = [(1, 1, 1, [0]), (2, 1, 0, [0])]
    after = [(4, 1, 0, [1]), (4, 1, 1, [0])]
    prompt = make_trace(header, [*before, (3, 9, 0, [1], [9]), *after])
    found = replay_one(prompt, 2, "lru")
    assert (found.decode.hits, found.decode.demands, found.decode.tokens) == (2, 4, 3)
    assert found.prompt == Tally(9, 1, 0, EXPERT_BYTES)
    # Eight tokens are no prompt: layer 1's expert goes, and is missed.
    batch = replay_one(make_trace(header, [*before, (3, 8, 0, [1], [8]), *after]), 2, "lru")
    assert (batch.decode.hits, batch.decode.tokens) == (1, 11)


def test_a_trace_of_prompts_alone_counts_them():
    trace = make_trace(ONE_LAYER, [(1, 9, 0, [A], [9]), (2, 20, 0, [A, B], [20, 3])])
    for policy in POLICIES:
        found = replay_one(trace, 2, policy)
        assert (found.decode.tokens, found.decode.hits, found.prompt.tokens) == (29, 1, 0)


def test_lrfu_weighs_a_prompt_by_the_logarithm_of_its_tokens():
    # A's prompt is worth log2(1 + 9) = 3.32. C is let in when its demands are worth as much as
    # the lesser of A and B: the fourth time beside B's 4, when A goes and is missed; the third
    # time beside B's 3, when B goes.
    for times, hits in ((4, 3), (3, 2 + 1 + 1)):
        steps = [B] * times + [C] * 4 + [A]
        decode = [(step, 1, 0, [expert]) for step, expert in enumerate(steps, 2)]
        trace = make_trace(ONE_LAYER, [(1, 9, 0, [A], [9]), *decode])
        assert replay_one(trace, 2, "lrfu", half_life_steps=1e6).decode.hits == hits


def reference(trace, room, policy, half_life=256.0):
    """Hits of the decode steps, from the definitions: scores are summed at each decision."""
    history: dict[tuple, list] = {}
    inside, hits = set(), 0

    def score(expert, now):
        demands = history[expert]
        latest = demands[-1][2]
        if policy == "lru":
            return (latest,)
        if policy == "lfu":
            return (sum(tokens for _, tokens, _ in demands), latest)
        worth = sum(math.log2(1 + n) * 2 ** (-(now - step) / half_life) for step, n, _ in demands)
        return (round(math.log2(worth), 9), latest)  # equal but for the order of a sum is equal

    for event, step in enumerate(trace.steps.tolist()):
        layer, prompt = int(trace.layers[event]), trace.tokens[event] > 8
        span = slice(trace.first[event], trace.first[event + 1])
        wanted = [(layer, expert) for expert in trace.experts[span].tolist()]
        hits += 0 if prompt else sum(expert in inside for expert in wanted)
        for place, expert in enumerate(wanted):
            tokens = int(trace.counts[span][place])
            history.setdefault(expert, []).append((step, tokens, (event, place)))
        for expert in [expert for expert in wanted if expert not in inside]:
            if len(inside) < room:
                inside.add(expert)
                continue
            may_go = [other for other in inside if not prompt or other[0] <= layer]
            least = min(may_go, key=lambda other: score(other, step), default=None)
            if least is not None and score(least, step) < score(expert, step):
                inside.remove(least)
                inside.add(expert)
    return hits


def best_possible(trace, room):
    """The most hits that any choice of residents gives in decode steps, by trying all."""
    best = {frozenset(): 0}
    for event in range(len(trace.steps)):
        layer, counted = int(trace.layers[event]), trace.tokens[event] <= 8
        span = slice(trace.first[event], trace.first[event + 1])
        wanted = {(layer, expert) for expert in trace.experts[span].tolist()}
        after: dict[frozenset, int] = {}
        for inside, hits in best.items():
            total = hits + (len(inside & wanted) if counted else 0)
            for kept in subsets(inside | wanted, room):
                after[kept] = max(after.get(kept, 0), total)
        best = after
    return max(best.values())


@functools.cache
def subsets(items, room):
    """Those of `room` members, or all of them if there are fewer: a full memory costs nothing."""
    return [
        frozenset(chosen) for chosen in itertools.combinations(sorted(items), min(room, len(items)))
    ]


@st.composite
def traces(draw, layers=2, experts=5, events=24):
    """Steps of one token and of many, that demand one or two experts of some of the layers."""
    header = TraceHeader("any", (TracedLayer(experts, 1, EXPERT_BYTES),) * layers, 0)
    found = []
    for step in range(1, events // layers + 1):
        tokens = draw(st.sampled_from([1, 1, 1, 2, 9]))
        for layer in range(layers):
            wanted = draw(st.lists(st.integers(0, experts - 1), max_size=2, unique=True))
            if wanted:
                counts = [draw(st.integers(1, tokens)) for _ in wanted]
                found.append((step, tokens, layer, wanted, counts))
    found = found or [(1, 1, 0, [0], [1])]
    return make_trace(header, found)


@settings(max_examples=60)
@given(traces(), st.sampled_from([1.3, 5.7, 256.0]))
def test_every_policy_agrees_with_a_plain_reference(trace, half_life):
    if (trace.tokens > 8).all():
        return  # then prompts count, which the reference does not know
    for room in (2, 4, 7):
        for policy in ("lru", "lfu", "lrfu"):
            found = replay_one(trace, room, policy, half_life_steps=half_life)
            assert found.decode.hits == reference(trace, room, policy, half_life), policy


@settings(max_examples=25)
@given(traces(experts=4, events=16), st.integers(2, 4))
def test_belady_is_the_best_that_any_choice_of_residents_can_do(trace, room):
    if (trace.tokens > 8).all():
        return
    assert replay_one(trace, room, "belady").decode.hits == best_possible(trace, room)


@settings(max_examples=15)
@given(
    seed=st.integers(0, 1000),
    skew=st.sampled_from([0.0, 0.7, 1.5]),
    stickiness=st.sampled_from([0.0, 0.4, 0.9]),
    room=st.integers(9, 60),
)
def test_belady_bounds_every_policy_and_more_memory_never_costs_hits(seed, skew, stickiness, room):
    trace = synthetic_trace(4, 16, 2, 60, skew, stickiness, seed)
    budgets = [budget(trace.header, room), budget(trace.header, room + 3)]
    hits = {(r.ram_bytes, r.policy): r.decode.hits for r in replay(trace, budgets)}
    for ram in budgets:
        assert hits[ram, "belady"] == max(hits[ram, policy] for policy in POLICIES)
    for policy in ("lru", "belady"):
        assert hits[budgets[0], policy] <= hits[budgets[1], policy]


def test_policies_agree_with_the_reference_on_a_longer_trace():
    trace = synthetic_trace(3, 12, 2, 150, 0.8, 0.3, 7)
    for policy in ("lru", "lfu", "lrfu"):
        found = replay_one(trace, 14, policy, half_life_steps=20)
        assert found.decode.hits == reference(trace, 14, policy, 20)


def test_with_room_for_all_only_the_first_demands_miss():
    trace = synthetic_trace(3, 8, 2, 100, 0.0, 0.0, 1)
    first = len(set(zip(trace.layers.repeat(2).tolist(), trace.experts.tolist(), strict=True)))
    for found in replay(trace, [2**40]):
        assert (found.room, found.decode.demands) == (24, 600)
        assert found.decode.demands - found.decode.hits == first == 24
        assert found.decode.bytes_per_token == 24 * EXPERT_BYTES / 100


def test_experts_of_each_size_have_a_pool_of_their_own():
    small, large = TracedLayer(8, 1, 1000), TracedLayer(8, 1, 3000)
    header = TraceHeader("mixed", (small, large, small), 500)
    pools = divide_budget(
        header, with_reserve(500 + 3000 + 6000)
    )  # the least: 3 slots of 1000, 2 of 3000
    assert [(p.slot_bytes, p.layers, p.room) for p in pools] == [
        (1000, (0, 2), 2),
        (3000, (1,), 1),
    ]
    # What is left is shared as 77000 to 210000: 80 slots of one, 72 of the other hold all.
    pools = divide_budget(header, with_reserve(500 + 9000 + 28700))
    assert [pool.room for pool in pools] == [3 + 7 - 1, 2 + 7 - 1]
    # A miss of one size drives out nothing of the other.
    events = [(1, 1, 0, [0]), (1, 1, 1, [0]), (2, 1, 0, [1]), (2, 1, 2, [0]), (3, 1, 1, [0])]
    (found,) = replay(make_trace(header, events), [with_reserve(9500)], ["lru"])
    assert found.decode == Tally(3, 5, 1, 1000 + 3000 + 1000 + 1000)


@pytest.mark.parametrize(
    ("layers", "used", "slots", "room"),
    [
        (1, 4, 16, 12),  # at least as many slots for reads as a layer uses
        (1, 4, 240, 230),  # 1/24
        (20, 4, 2400, 2336),  # at most 64
        (1, 100, 400, 300),  # unless a layer uses more
    ],
)
def test_some_slots_hold_no_residents(layers, used, slots, room):
    header = TraceHeader("any", (TracedLayer(300, used, 10),) * layers, 0)
    assert divide_budget(header, with_reserve(slots * 10))[0].room == room


@pytest.mark.parametrize("ram", [10_000_000, 300_000_000, 8_000_000_000])
def test_a_budget_leaves_the_rest_of_the_process_what_the_engine_leaves_it(ram):
    header = TraceHeader("any", (TracedLayer(1 << 24, 1, 1000),), 500)
    slots = (ram - reserve(ram) - 500) // 1000
    assert divide_budget(header, ram)[0].room == slots - min(slots // 24, 64)


def test_a_budget_too_small_names_the_smallest_that_works():
    trace = make_trace(ONE_LAYER, [(1, 1, 0, [A])])
    smallest = with_reserve(1000 + 2 * EXPERT_BYTES)
    with pytest.raises(OutOfBudgetError, match=f"smallest ram that works is {smallest} bytes"):
        replay(trace, [2**30, smallest - 1])
    assert [found.room for found in replay(trace, [smallest], ["lru"])] == [1]


def test_the_forecast_is_the_slower_of_drive_and_compute():
    tally = Tally(tokens=10, demands=80, hits=40, bytes_missed=10 * 5_000_000)
    found = Replayed(2**30, "lru", 100, tally, Tally(0, 0, 0, 0))
    assert found.tokens_per_s(1e9, None) == pytest.approx(200)  # 5 ms of reading
    assert found.tokens_per_s(1e9, 2.0) == pytest.approx(200)
    assert found.tokens_per_s(1e9, 20.0) == pytest.approx(50)
    assert found.tokens_per_s(None, 20.0) is None
    at_rest = changed(found, decode=changed(tally, bytes_missed=0))
    assert at_rest.tokens_per_s(1e9, 20.0) == pytest.approx(50)
    assert at_rest.tokens_per_s(1e9, None) is None


def test_requests_out_of_range_are_refused():
    trace = make_trace(ONE_LAYER, [(1, 1, 0, [A])])
    with pytest.raises(InvalidRequestError, match="policy is 'fifo'; give some of lrfu, lru"):
        replay(trace, [2**30], ["fifo"])
    for half_life in (0.0, -1.0, math.nan):
        with pytest.raises(InvalidRequestError, match="half-life is"):
            replay(trace, [2**30], half_life_steps=half_life)
    with pytest.raises(InvalidRequestError, match="no demands"):
        replay(make_trace(ONE_LAYER, []), [2**30])
