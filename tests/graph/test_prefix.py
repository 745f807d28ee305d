"""Pages shared by sequences: what is found again has the bits of what is computed anew."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.graph.tiny import build_tape, engine, forward, random_ids, write_model
from zerostall._core import Engine
from zerostall.errors import ContextLengthError, InvalidRequestError, OutOfBudgetError


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("tiny") / "tiny.gguf")


def held(core: Engine, ids: list[int]) -> int:
    """A new sequence that holds `ids`."""
    sequence = core.open_sequence()
    forward(core, ids, 50, sequence)
    return sequence


def adopt(core: Engine, ids: list[int]) -> tuple[int, int]:
    """A new sequence, and how many of `ids` it found."""
    sequence = core.open_sequence()
    return sequence, core.adopt_prefix(sequence, np.array(ids, np.int32))


def pages(core: Engine) -> tuple[int, int, int]:
    core.check_integrity()
    stats = core.cache_stats()
    assert stats["held"] + stats["cached"] + stats["free"] == stats["pages"]
    assert core.free_tokens == 64 * (stats["cached"] + stats["free"])
    return stats["held"], stats["cached"], stats["free"]


@pytest.mark.parametrize("kv_type", ["f16", "f32", "int8"])
@pytest.mark.parametrize("window", [0, 70])
@pytest.mark.parametrize("closed", [False, True])
def test_an_adopted_prefix_gives_the_same_bits(
    model: Path, closed: bool, window: int, kv_type: str
) -> None:
    core = engine(model, build_tape(window=window), kv_type=kv_type, kv_tokens=1024)
    ids = random_ids(200)
    expected = forward(core, ids)
    other = engine(model, build_tape(window=window), kv_type=kv_type, kv_tokens=1024)
    first = held(other, ids[:150] + random_ids(20, 3))
    if closed:
        other.close_sequence(first)
    second, found = adopt(other, ids)
    assert found == 128 == other.length(second)
    assert np.array_equal(forward(other, ids[128:], 17, second), expected[128:])
    other.check_integrity()


@pytest.mark.parametrize(("count", "found"), [(0, 0), (64, 0), (65, 64), (128, 64), (129, 128)])
def test_the_last_token_of_a_prompt_is_never_adopted(model: Path, count: int, found: int) -> None:
    core = engine(model, build_tape())
    ids = random_ids(200)
    core.close_sequence(held(core, ids))
    assert adopt(core, ids[:count])[1] == found


def test_pages_are_found_only_after_the_tokens_that_preceded_them(model: Path) -> None:
    core = engine(model, build_tape(), kv_tokens=1024)
    ids, others = random_ids(128), random_ids(64, 5)
    held(core, ids)
    assert adopt(core, [*ids[64:], 0])[1] == 0
    assert adopt(core, [*others, *ids[64:], 0])[1] == 0
    assert adopt(core, [*ids[:64], *others, 0])[1] == 64
    assert adopt(core, [*ids[:127], (ids[127] + 1) % 50, 0])[1] == 64


def test_only_an_empty_open_sequence_adopts(model: Path) -> None:
    core = engine(model, build_tape())
    sequence = held(core, [1, 2, 3])
    with pytest.raises(InvalidRequestError, match="holds 3 tokens; only an empty one"):
        core.adopt_prefix(sequence, np.array([1, 2], np.int32))
    with pytest.raises(InvalidRequestError, match="sequence 9 is not open"):
        core.adopt_prefix(9, np.array([1, 2], np.int32))
    with pytest.raises(InvalidRequestError, match="sequence 9 is not open"):
        core.fork_sequence(9)


def test_equal_sequences_of_one_batch_end_up_on_the_same_pages(model: Path) -> None:
    core = engine(model, build_tape(), kv_tokens=1024, max_batch=200)
    ids = random_ids(100)
    a, b = core.open_sequence(), core.open_sequence()
    core.step(
        np.array(ids + ids, np.int32), np.repeat(np.int32([a, b]), 100), np.array([], np.int32)
    )
    assert core.sequence_pages(a)[0] == core.sequence_pages(b)[0]
    assert core.sequence_pages(a)[1] != core.sequence_pages(b)[1]
    assert core.cache_stats()["merged"] == 1
    assert pages(core)[0] == 3
    expected = forward(core, ids + random_ids(40, 7))[100:]
    for sequence in (a, b):
        assert np.array_equal(forward(core, random_ids(40, 7), 9, sequence), expected)


def test_a_fork_goes_its_own_way_and_shares_what_is_full(model: Path) -> None:
    core = engine(model, build_tape(), kv_tokens=1024)
    ids, left, right = random_ids(150), random_ids(50, 2), random_ids(50, 3)
    first = held(core, ids)
    second = core.fork_sequence(first)
    assert core.length(second) == 150
    assert core.sequence_pages(first) == core.sequence_pages(second)
    got_right = forward(core, right, 7, second)
    got_left = forward(core, left, 64, first)
    own = [core.sequence_pages(s) for s in (first, second)]
    assert own[0][:2] == own[1][:2] and not set(own[0][2:]) & set(own[1][2:])
    assert core.cache_stats()["copied"] == 1
    assert np.array_equal(got_left, forward(core, ids + left)[150:])
    assert np.array_equal(got_right, forward(core, ids + right)[150:])
    core.check_integrity()


def test_truncating_into_a_shared_page_leaves_it_to_the_others(model: Path) -> None:
    core = engine(model, build_tape(), kv_tokens=1024)
    ids, tail = random_ids(130), random_ids(60, 4)
    first = held(core, ids)
    second, found = adopt(core, ids)
    assert found == 128
    core.truncate(second, 100)
    assert np.array_equal(forward(core, tail, 64, second), forward(core, ids[:100] + tail)[100:])
    assert np.array_equal(forward(core, tail, 64, first), forward(core, ids + tail)[130:])
    assert adopt(core, ids)[1] == 128
    core.check_integrity()


def test_a_page_written_again_stays_for_others_while_there_is_room(model: Path) -> None:
    core = engine(model, build_tape(), context=128)
    ids = random_ids(128)
    sequence = held(core, ids[:64])
    core.truncate(sequence, 10)
    forward(core, [1], 1, sequence)
    assert pages(core) == (1, 1, 0)
    assert adopt(core, ids)[1] == 64


def test_a_page_written_again_is_forgotten_when_there_is_no_other(model: Path) -> None:
    core = engine(model, build_tape(), context=128)
    ids, tail = random_ids(128), random_ids(70, 6)
    sequence = held(core, ids)
    core.truncate(sequence, 40)
    expected = forward(engine(model, build_tape()), ids[:40] + tail)[40:]
    assert np.array_equal(forward(core, tail, 64, sequence), expected)
    assert pages(core) == (2, 0, 0)
    core.close_sequence(sequence)
    assert adopt(core, ids)[1] == 0


def test_the_end_of_a_chain_goes_before_its_beginning_and_the_oldest_chain_first(
    model: Path,
) -> None:
    core = engine(model, build_tape(), context=256, kv_tokens=256)
    old, new = random_ids(128), random_ids(128, 2)
    core.close_sequence(held(core, old))
    core.close_sequence(held(core, new))
    assert pages(core) == (0, 4, 0)
    held(core, random_ids(10, 3))
    for ids, found in ((old, 64), (new, 128)):
        sequence, count = adopt(core, [*ids, 0])
        assert count == found
        core.close_sequence(sequence)
    assert core.cache_stats()["evicted"] == 1
    # The old chain was looked up first, so it is again the older one.
    held(core, random_ids(10, 4))
    assert adopt(core, [*old, 0])[1] == 0
    assert adopt(core, [*new, 0])[1] == 128


def test_a_step_that_finds_no_page_changes_nothing(model: Path) -> None:
    core = engine(model, build_tape(), context=256, kv_tokens=256, max_batch=256)
    ids = random_ids(64)
    core.close_sequence(held(core, ids))
    a, b = held(core, random_ids(130, 2)), core.open_sequence()
    before = pages(core)
    assert before == (3, 1, 0)
    # Room for either, not for both: nothing may be evicted for the first.
    tokens = np.array(random_ids(80, 3), np.int32)
    with pytest.raises(OutOfBudgetError, match="no free page"):
        core.step(tokens, np.array([a] * 63 + [b] * 17, np.int32), np.array([0], np.int32))
    with pytest.raises(ContextLengthError):
        core.step(np.repeat(tokens[:1], 127), np.full(127, a, np.int32), np.array([0], np.int32))
    assert pages(core) == before
    assert (core.length(a), core.length(b)) == (130, 0)
    assert adopt(core, [*ids, 0])[1] == 64


def test_two_forks_that_share_the_last_page_need_one_more(model: Path) -> None:
    core = engine(model, build_tape(), context=128, kv_tokens=128)
    first = held(core, random_ids(10))
    second, third = core.fork_sequence(first), core.fork_sequence(first)
    batch = np.array([1, 2, 3], np.int32)
    owners = np.array([first, second, third], np.int32)
    with pytest.raises(OutOfBudgetError):
        core.step(batch, owners, np.arange(3, dtype=np.int32))
    assert pages(core) == (1, 0, 1)
    core.close_sequence(third)
    got = core.step(batch[:2], owners[:2], np.arange(2, dtype=np.int32))
    assert pages(core) == (2, 0, 0)
    core.close_sequence(first)
    core.close_sequence(second)
    for token, row in zip((1, 2), got, strict=True):
        assert np.array_equal(forward(core, [*random_ids(10), token])[10], row)


def test_without_a_prefix_cache_nothing_is_kept_and_forks_still_share(model: Path) -> None:
    core = engine(model, build_tape(), prefix_cache=False, kv_tokens=512)
    ids, tail = random_ids(150), random_ids(30, 2)
    first = held(core, ids)
    assert adopt(core, ids)[1] == 0
    second = core.fork_sequence(first)
    core.truncate(second, 70)
    assert np.array_equal(forward(core, tail, 64, second), forward(core, ids[:70] + tail)[70:])
    assert np.array_equal(forward(core, tail, 64, first), forward(core, ids + tail)[150:])
    core.close_sequence(first)
    core.close_sequence(second)
    assert pages(core) == (0, 0, 8)


def test_what_was_found_is_counted(model: Path) -> None:
    core = engine(model, build_tape(), kv_tokens=512)
    ids = random_ids(130)
    core.close_sequence(held(core, ids))
    adopt(core, ids)
    adopt(core, random_ids(100, 8))
    stats = core.cache_stats()
    assert [stats[key] for key in ("lookups", "lookup_tokens", "hits", "hit_tokens")] == [
        2,
        129 + 99,
        1,
        128,
    ]
    assert stats["registered"] == 2
