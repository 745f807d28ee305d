"""A sequence in a file: it goes on with the same bits, and no wrong file is taken."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
import xxhash

from tests.graph.tiny import build_tape, engine, forward, random_ids, write_model
from zerostall._core import Engine
from zerostall.errors import (
    ContextLengthError,
    InvalidRequestError,
    OutOfBudgetError,
    StateFileError,
    StorageError,
)

INDEX_BYTES, CHECKSUM = 24, 56  # where the head has them


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("tiny") / "tiny.gguf")


@pytest.fixture
def core(model: Path) -> Engine:
    return engine(model, build_tape(), kv_tokens=1024)


def save(core: Engine, ids: list[int], path: Path) -> Path:
    sequence = core.open_sequence()
    if ids:
        forward(core, ids, 64, sequence)
    core.save_state(sequence, path)
    core.close_sequence(sequence)
    return path


def seal(content: bytearray) -> bytes:
    """With the checksum that the index now has."""
    (size,) = struct.unpack_from("<Q", content, INDEX_BYTES)
    content[CHECKSUM : CHECKSUM + 8] = bytes(8)
    struct.pack_into("<Q", content, CHECKSUM, xxhash.xxh3_64_intdigest(bytes(content[:size])))
    return bytes(content)


def refused(core: Engine, path: Path, error: type[Exception], message: str) -> None:
    before = core.cache_stats()
    with pytest.raises(error, match=message):
        core.load_state(path)
    assert core.cache_stats() == before
    core.check_integrity()
    sequence = core.open_sequence()
    assert sequence == 0
    core.close_sequence(sequence)


@pytest.mark.parametrize("count", [0, 1, 63, 64, 65, 150, 192])
@pytest.mark.parametrize("kv_type", ["f16", "f32", "int8"])
def test_a_loaded_state_goes_on_with_the_same_bits(
    model: Path, tmp_path: Path, count: int, kv_type: str
) -> None:
    tape = build_tape()
    ids = random_ids(count + 20)
    first = engine(model, tape, kv_type=kv_type)
    path = save(first, ids[:count], tmp_path / "state")
    for prefix_cache in (True, False):
        other = engine(model, tape, kv_type=kv_type, threads=1, prefix_cache=prefix_cache)
        sequence = other.load_state(path)
        assert other.length(sequence) == count
        other.check_integrity()
        got = forward(other, ids[count:], 64, sequence)
        assert np.array_equal(got, forward(first, ids)[count:])


def test_pages_that_are_there_already_are_shared_with_what_is_loaded(
    core: Engine, tmp_path: Path
) -> None:
    ids = random_ids(150)
    sequence = core.open_sequence()
    forward(core, ids, 64, sequence)
    core.save_state(sequence, tmp_path / "state")
    loaded = core.load_state(tmp_path / "state")
    assert core.sequence_pages(loaded)[:2] == core.sequence_pages(sequence)[:2]
    core.check_integrity()


def test_others_find_the_prefix_of_what_was_loaded(
    core: Engine, model: Path, tmp_path: Path
) -> None:
    ids = random_ids(150)
    path = save(core, ids, tmp_path / "state")
    other = engine(model, build_tape())
    other.close_sequence(other.load_state(path))
    sequence = other.open_sequence()
    assert other.adopt_prefix(sequence, np.array(ids, np.int32)) == 128
    assert np.array_equal(forward(other, ids[128:], 64, sequence), forward(core, ids)[128:])


@pytest.mark.parametrize("kv_type", ["f16", "f32", "int8"])
def test_the_same_sequence_gives_the_same_file_whatever_its_pages_held_before(
    model: Path, tmp_path: Path, kv_type: str
) -> None:
    ids = random_ids(100)
    first = engine(model, build_tape(), kv_type=kv_type)
    plain = save(first, ids, tmp_path / "plain").read_bytes()
    core = engine(model, build_tape(), threads=1, kv_type=kv_type)
    sequence = core.open_sequence()
    forward(core, ids + random_ids(28, 9), 33, sequence)
    core.truncate(sequence, 100)
    core.save_state(sequence, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == plain
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "plain"]


def test_a_file_cut_anywhere_is_refused(core: Engine, tmp_path: Path) -> None:
    whole = save(core, random_ids(100), tmp_path / "state").read_bytes()
    cut = tmp_path / "cut"
    for size in [*range(0, 800, 37), *range(800, len(whole), 4999), len(whole) - 1]:
        cut.write_bytes(whole[:size])
        refused(core, cut, StateFileError, "cut or damaged")
    cut.write_bytes(whole + b"\0")
    refused(core, cut, StateFileError, "another size")


def test_a_flipped_bit_anywhere_is_refused(core: Engine, tmp_path: Path) -> None:
    whole = save(core, random_ids(100), tmp_path / "state").read_bytes()
    damaged = tmp_path / "damaged"
    for at in [*range(0, 800, 13), *range(800, len(whole), 3989)]:
        content = bytearray(whole)
        content[at] ^= 1 << (at % 8)
        damaged.write_bytes(content)
        refused(core, damaged, StateFileError, "damaged|no saved state|version|another model")


def test_numbers_that_lie_behind_a_right_checksum_are_refused(core: Engine, tmp_path: Path) -> None:
    whole = save(core, random_ids(100), tmp_path / "state").read_bytes()
    forged = tmp_path / "forged"
    for at, message in [
        (8, "version"),
        (12, "another layout"),  # kv type
        (16, "another model"),
        (32, "another layout"),  # layers
        (48, "another layout"),  # positions of a page
        (256, "another layout"),  # KV heads of layer 0
        (280, "another layout"),  # KV heads of layer 1
        (304, "outside the vocabulary"),  # the first token
    ]:
        content = bytearray(whole)
        struct.pack_into("<I", content, at, 0x7FFFFFFF)
        forged.write_bytes(seal(content))
        refused(core, forged, StateFileError, message)
    for tokens, error, message in [
        (63, StateFileError, "another size"),
        (102, StateFileError, "another size"),
        (2**63, ContextLengthError, "do not fit the context of 256"),
    ]:
        content = bytearray(whole)
        struct.pack_into("<Q", content, 40, tokens)
        forged.write_bytes(seal(content))
        refused(core, forged, error, message)


def test_a_state_of_another_training_tape_or_cache_is_refused(core: Engine, tmp_path: Path) -> None:
    path = save(core, random_ids(10), tmp_path / "state")
    retrained = write_model(tmp_path / "tiny.gguf", seed=1)
    refused(engine(retrained, build_tape()), path, StateFileError, "another model")
    same = write_model(tmp_path / "same.gguf", seed=0)
    assert engine(same, build_tape()).load_state(path) == 0
    for other in (build_tape(window=70), build_tape(softcap=20.0)):
        refused(engine(same, other), path, StateFileError, "another model")
    refused(engine(same, build_tape(), kv_type="f32"), path, StateFileError, "kv_type")


def test_a_state_that_does_not_fit_is_refused(core: Engine, model: Path, tmp_path: Path) -> None:
    path = save(core, random_ids(200), tmp_path / "state")
    refused(engine(model, build_tape(), context=199), path, ContextLengthError, "200 positions")
    small = engine(model, build_tape(), context=256)
    busy = small.open_sequence()
    forward(small, random_ids(10, 5), 64, busy)
    before = small.cache_stats()
    with pytest.raises(OutOfBudgetError, match="no free page"):
        small.load_state(path)
    assert small.cache_stats() == before
    small.check_integrity()


def test_what_the_system_refuses_is_a_storage_error(core: Engine, tmp_path: Path) -> None:
    sequence = core.open_sequence()
    with pytest.raises(StorageError, match="cannot write: No such file or directory"):
        core.save_state(sequence, tmp_path / "none" / "state")
    with pytest.raises(StorageError, match="cannot open: No such file or directory"):
        core.load_state(tmp_path / "none")
    with pytest.raises(StorageError, match="not a regular file"):
        core.load_state(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError, match="cannot write"):
        core.save_state(sequence, tmp_path / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
    with pytest.raises(InvalidRequestError, match="sequence 5 is not open"):
        core.save_state(5, tmp_path / "state")
