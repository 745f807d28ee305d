"""Memory budgets: what is counted, what is chosen, what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.graph.tiny import HEAD_DIM, HEADS, HIDDEN, KV_HEADS, WIDTH, build_tape, write_model
from zerostall._core import GgufFile
from zerostall.engine.budget import (
    Footprint,
    Plan,
    available_bytes,
    footprint,
    make_plan,
    parse_bytes,
    show_bytes,
)
from zerostall.engine.streaming import reserve, with_reserve
from zerostall.errors import InvalidRequestError, OutOfBudgetError

NEED = Footprint(weights=1_000_000, kv_per_token=100, scratch=50_000)


@pytest.mark.parametrize(
    ("text", "size"),
    [(4096, 4096), ("512", 512), ("1.5G", 3 << 29), ("8 GiB", 8 << 30), ("2kb", 2048)],
)
def test_sizes_are_bytes_or_powers_of_1024(text, size):
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "lots", "-1G", 0, "5 apples", "G"])
def test_a_size_that_is_none_is_refused(text):
    with pytest.raises(InvalidRequestError, match="ram is"):
        parse_bytes(text)


def test_sizes_are_shown_in_three_digits():
    assert [show_bytes(n) for n in (12, 2048, 14_900_000, 5 << 30)] == [
        "12 bytes",
        "2 KiB",
        "14.2 MiB",
        "5 GiB",
    ]


def test_a_footprint_counts_weights_the_cache_of_every_layer_and_scratch(tmp_path):
    file = GgufFile(str(write_model(tmp_path / "tiny.gguf", layers=3)))
    tape = build_tape(layers=3)
    need = footprint(file, tape, 100, 32, "f16", threads=2)
    a_layer = WIDTH * HEAD_DIM * (HEADS + 2 * KV_HEADS) + HEADS * HEAD_DIM * WIDTH
    matrices = 3 * (a_layer + 3 * WIDTH * HIDDEN)
    head = 64 * WIDTH  # 50 rows in panels of 16
    norms = 3 * WIDTH
    assert need.weights == 4 * (matrices + head + norms)
    # Rows of values in the cache are padded to whole vectors of 16.
    assert need.kv_per_token == 3 * KV_HEADS * (HEAD_DIM + 32) * 2
    assert footprint(file, tape, 100, 32, "f32", 2).kv_per_token == 2 * need.kv_per_token
    # One byte a value, and scales of keys and values.
    int8 = footprint(file, tape, 100, 32, "int8", 2)
    assert int8.kv_per_token == 3 * KV_HEADS * (HEAD_DIM + 32 + 2 * 4)
    assert footprint(file, tape, 100, 64, "f16", 2).scratch > need.scratch


@pytest.mark.parametrize(
    ("model_context", "ctx", "ram", "plan"),
    [
        (32768, None, None, Plan(4096, 8 * 4096)),
        (2048, None, None, Plan(2048, 8 * 2048)),
        (32768, 20000, None, Plan(20000, 8 * 20000)),
        (32768, None, with_reserve(1_050_000 + 100 * 4096), Plan(4096, 4096)),
        (32768, None, with_reserve(1_050_000 + 100 * 5000), Plan(4096, 4992)),
        (32768, None, with_reserve(1_050_000 + 100 * 4000), Plan(2048, 3968)),
        (32768, None, with_reserve(1_050_000 + 100 * 256), Plan(256, 256)),
    ],
)
def test_the_context_is_4096_or_less_where_model_or_memory_want_so(
    monkeypatch, model_context, ctx, ram, plan
):
    monkeypatch.setattr("zerostall.engine.budget.available_bytes", lambda: None)
    assert make_plan(NEED, model_context, ctx, ram, "m.gguf") == plan


def test_a_budget_too_small_names_the_smallest_that_works_and_that_works():
    with pytest.raises(OutOfBudgetError) as caught:
        make_plan(NEED, 32768, None, 1_000_000, "m.gguf")
    least = with_reserve(1_075_600)
    assert f"the smallest ram that works is {least} bytes (with ctx=256)" in str(caught.value)
    assert make_plan(NEED, 32768, None, least, "m.gguf") == Plan(256, 256)
    with pytest.raises(OutOfBudgetError):
        make_plan(NEED, 32768, None, least - 1, "m.gguf")


def test_a_context_that_was_asked_for_is_never_shortened():
    with pytest.raises(OutOfBudgetError) as caught:
        make_plan(NEED, 32768, 8192, 1_500_000, "m.gguf")
    both = with_reserve(1_869_200), with_reserve(1_075_600)
    assert "{} bytes with ctx=8192, {} bytes with ctx=256".format(*both) in str(caught.value)
    assert make_plan(NEED, 32768, 8192, both[0], "m.gguf") == Plan(8192, 8192)
    with pytest.raises(OutOfBudgetError):
        make_plan(NEED, 32768, 8192, both[0] - 1, "m.gguf")


@pytest.mark.parametrize("ram", [2_000_000, 400_000_000, 8_000_000_000])
@pytest.mark.parametrize("given", [True, False])
def test_what_is_planned_leaves_the_reserve_of_the_budget_free(monkeypatch, ram, given):
    monkeypatch.setattr("zerostall.engine.budget.available_bytes", lambda: ram)
    need = replace(NEED, kv_per_token=ram // 400)  # so that the cache takes all there is
    plan = make_plan(need, 64, 64, ram if given else None, "m.gguf")
    taken = need.weights + need.scratch + plan.kv_tokens * need.kv_per_token
    assert ram // 2 < taken + reserve(ram) <= ram


STREAMED = Footprint(
    weights=1_000_000, kv_per_token=100, scratch=50_000, experts=10**9, least_experts=10**6
)


def streamed_plan(room, ctx=4096, kv_tokens=None):
    """With so much room for experts beside one context."""
    ram = with_reserve(STREAMED.total(kv_tokens or ctx) - STREAMED.least_experts + room)
    resident = Footprint(weights=10**10, kv_per_token=100, scratch=50_000)
    return make_plan(resident, 8192, ctx, ram, "m.gguf", STREAMED, kv_tokens)


def test_a_second_context_beside_streamed_experts_takes_a_sixteenth_of_their_room_at_most():
    assert streamed_plan(16 * 409_600) == Plan(4096, 8192, 15 * 409_600)
    assert streamed_plan(80 * 409_600) == Plan(4096, 8192, 79 * 409_600)
    half = 8 * 409_600
    assert streamed_plan(half) == Plan(4096, 4096 + 2048, half - 204_800)
    assert streamed_plan(10**6) == Plan(4096, 4096, 10**6)  # experts need all of it
    assert streamed_plan(10**6 + 6400) == Plan(4096, 4096 + 64, 10**6)
    assert streamed_plan(10**9 + 409_600) == Plan(4096, 8192, 10**9)


def test_the_size_of_the_cache_can_be_chosen():
    assert streamed_plan(10**8, kv_tokens=20_000) == Plan(4096, 20_000, 10**8)
    assert make_plan(NEED, 8192, 2048, 10**9, "m.gguf", None, 2100) == Plan(2048, 2100)
    assert make_plan(NEED, 8192, None, 10**9, "m.gguf", None, 1000) == Plan(1000, 1000)
    ram = with_reserve(NEED.total(9000))
    assert make_plan(NEED, 8192, None, ram, "m.gguf", None, 9000) == Plan(4096, 9000)
    with pytest.raises(OutOfBudgetError, match=f"works is {ram} bytes with kv_tokens=9000, .*=256"):
        make_plan(NEED, 8192, None, ram - 1, "m.gguf", None, 9000)
    with pytest.raises(InvalidRequestError, match="too few for one sequence of ctx=512"):
        make_plan(NEED, 8192, 512, 10**9, "m.gguf", None, 511)


def test_a_context_beyond_the_model_is_refused_with_its_limit():
    with pytest.raises(InvalidRequestError, match="give 1 to 2048"):
        make_plan(NEED, 2048, 4096, None, "m.gguf")


def test_what_is_free_now_is_the_budget_when_none_is_given(monkeypatch):
    monkeypatch.setattr("zerostall.engine.budget.available_bytes", lambda: 500_000)
    with pytest.raises(OutOfBudgetError, match="488 KiB are available"):
        make_plan(NEED, 4096, None, None, "m.gguf")


def test_available_memory_is_the_least_of_the_machine_and_the_cgroups(tmp_path):
    group = tmp_path / "sys/fs/cgroup/job"
    group.mkdir(parents=True)
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9 kB\nMemAvailable:  1000 kB\n")
    (tmp_path / "proc/self/cgroup").write_text("0::/job\n")
    assert available_bytes(tmp_path) == 1_024_000
    (group / "memory.max").write_text("600000\n")
    (group / "memory.current").write_text("400000\n")
    (group / "memory.stat").write_text("anon 100000\ninactive_file 250000\n")
    assert available_bytes(tmp_path) == 600_000 - 400_000 + 250_000
    (group / "memory.max").write_text("max\n")
    assert available_bytes(tmp_path) == 1_024_000
