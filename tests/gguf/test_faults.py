"""A file that breaks the format is refused with the field, what was found and what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.gguf import builder as b
from zerostall.errors import ModelFormatError, UnsupportedModelError
from zerostall.gguf import open_model

F32, Q4_K = 0, 12
W = bytes(16)  # the data of a [4] F32 tensor
Break = Callable[[b.Builder], object]


def message(path: Path, data: bytes, error: type[Exception]) -> str:
    path.write_bytes(data)
    with pytest.raises(error) as caught:
        open_model(path)
    text = str(caught.value)
    assert text.startswith(str(path))
    assert "; " in text, "says what to do"
    return text


FAULTS: dict[str, tuple[Break, str]] = {
    "a tensor count beyond the file": (
        lambda f: setattr(f, "n_tensors", 1000),
        "header, tensor count: found 1000 times at least 25 bytes",
    ),
    "a huge tensor count": (
        lambda f: setattr(f, "n_tensors", 2**63),
        "header, tensor count: found 9223372036854775808, expected at most 1048576",
    ),
    "a metadata count beyond the file": (
        lambda f: setattr(f, "n_entries", 900_000),
        "header, metadata count: found 900000 times",
    ),
    "a huge metadata count": (
        lambda f: setattr(f, "n_entries", 2**64 - 1),
        "header, metadata count: found 18446744073709551615",
    ),
    "an empty key": (lambda f: f.add("", b.U32, 1), "metadata entry 1, key length: found 0"),
    "a key that is not UTF-8": (
        lambda f: f.add(b"a\xc0\xaf", b.U8, 1),
        r"metadata entry 1, key: found 'a\xc0\xaf', expected UTF-8",
    ),
    "a duplicate key": (
        lambda f: f.add("k", b.U8, 1).add("other", b.U8, 1).add("k", b.U8, 2),
        "metadata key 'k', key: found it twice",
    ),
    "an unknown value type": (
        lambda f: f.add("k", b.ARRAY, (b.U8, [])).entries.insert(0, (b"k", 13, 0)),
        "metadata key 'k', value type: found 13, expected a type id from 0 to 12",
    ),
    "a boolean that is neither 0 nor 1": (
        lambda f: f.add("k", b.BOOL, 2),
        "metadata key 'k', boolean value: found 2",
    ),
    "a boolean in an array": (
        lambda f: f.add("k", b.ARRAY, (b.BOOL, [1, 0, 255])),
        "metadata key 'k', boolean value: found 255",
    ),
    "arrays nested five deep": (
        lambda f: f.add("k", b.ARRAY, nested(5)),
        "metadata key 'k', array nesting: found 5 levels, expected at most 4",
    ),
    "an alignment of another type": (
        lambda f: f.add("general.alignment", b.U64, 32),
        "metadata key 'general.alignment', type: found uint64, expected uint32",
    ),
    "an alignment of 0": (
        lambda f: f.add("general.alignment", b.U32, 0),
        "metadata key 'general.alignment', value: found 0, expected a power of two",
    ),
    "an alignment of 48": (
        lambda f: f.add("general.alignment", b.U32, 48),
        "metadata key 'general.alignment', value: found 48",
    ),
    "five dimensions": (
        lambda f: f.tensor("w", (1, 1, 1, 1, 1), F32, bytes(4)),
        "tensor 'w', number of dimensions: found 5, expected at most 4",
    ),
    "a dimension of 0": (
        lambda f: f.tensor("w", (4, 0), F32),
        "tensor 'w', dimensions: found [4, 0]",
    ),
    "dimensions whose product wraps to a small size": (
        lambda f: f.tensor("w", (2**32, 2**32), F32, W),
        "tensor 'w', dimensions: found [4294967296, 4294967296], expected a size below 2^64",
    ),
    "a row that is no multiple of the block": (
        lambda f: f.tensor("w", (255, 2), Q4_K, bytes(288)),
        "tensor 'w', row length: found 255, expected a multiple of 256, the block of Q4_K",
    ),
    "an unaligned offset": (
        lambda f: f.tensor("w", (4,), F32, W, offset=8),
        "tensor 'w', offset: found 8, expected a multiple of the alignment, 32",
    ),
    "overlapping tensors": (
        lambda f: f.tensor("w", (16,), F32, bytes(64)).tensor("v", (4,), F32, W, offset=32),
        "inside tensor 'w', expected no overlap",
    ),
    "tensors at one place": (
        lambda f: f.tensor("w", (4,), F32, W).tensor("v", (4,), F32, W, offset=0),
        "expected no overlap",
    ),
    "data beyond the file": (
        lambda f: f.tensor("w", (4, 1000), F32, W),
        "tensor 'w', data: found 16000 bytes at offset 0 of the data section",
    ),
    "an offset near 2^64": (
        lambda f: f.tensor("w", (4,), F32, W, offset=2**64 - 32),
        "tensor 'w', data: found 16 bytes at offset 18446744073709551584",
    ),
    "a duplicate tensor": (
        lambda f: f.tensor("w", (4,), F32, W).tensor("w", (4,), F32, W),
        "tensor 'w', name: found it twice",
    ),
    "an empty tensor name": (
        lambda f: f.tensor("", (4,), F32, W),
        "tensor entry 1, name length: found 0",
    ),
}


def nested(depth: int) -> tuple[int, list[object]]:
    return (b.U8, [1]) if depth == 1 else (b.ARRAY, [nested(depth - 1)])


@pytest.mark.parametrize("fault", FAULTS)
def test_the_field_at_fault_is_named(fault: str, tmp_path: Path) -> None:
    damage, expected = FAULTS[fault]
    file = b.Builder()
    damage(file)
    assert expected in message(tmp_path / "m.gguf", file.build(), ModelFormatError)


@pytest.mark.parametrize(
    ("version", "error", "expected"),
    [
        (0, ModelFormatError, "header, version: found 0, expected 2 or 3"),
        (1, UnsupportedModelError, "header, version: found 1, expected 2 or 3"),
        (4, UnsupportedModelError, "header, version: found 4, expected 2 or 3"),
        (0x03000000, UnsupportedModelError, "found a big-endian file"),
    ],
)
def test_other_versions_are_named(
    version: int, error: type[Exception], expected: str, tmp_path: Path
) -> None:
    text = message(tmp_path / "m.gguf", b.Builder(version=version).build(), error)
    assert expected in text


@pytest.mark.parametrize(
    ("type_id", "expected"),
    [
        (43, "tensor 'w': found type id 43, which is unknown"),
        (2**32 - 1, "tensor 'w': found type id 4294967295, which is unknown"),
        (4, "tensor 'w': found type Q4_2, which was withdrawn"),
        (31, "tensor 'w': found type Q4_0_4_4, which was withdrawn"),
    ],
)
def test_an_unknown_tensor_type_is_unsupported(type_id: int, expected: str, tmp_path: Path) -> None:
    file = b.Builder().tensor("w", (32,), type_id, bytes(64))
    assert expected in message(tmp_path / "m.gguf", file.build(), UnsupportedModelError)


def test_hostile_lengths_are_refused_without_allocating(tmp_path: Path) -> None:
    file = b.Builder().add("text", b.STRING, "abc").add("list", b.ARRAY, (b.STRING, ["x"]))
    data = file.build()
    for name, at, size in file.fields:
        if not name.endswith("length"):
            continue
        for claim in (2**31, 2**32, 2**61, 2**63 - 1, 2**63, 2**64 - 1):
            damaged = data[:at] + claim.to_bytes(8, "little") + data[at + size :]
            assert f"found {claim} " in message(tmp_path / "m.gguf", damaged, ModelFormatError)


def test_a_file_cut_anywhere_says_that_it_is_truncated(tmp_path: Path) -> None:
    file = b.Builder().add("k", b.ARRAY, (b.STRING, ["one", "two"])).tensor("w", (4,), F32, W)
    data = file.build()
    for size in range(4, len(data)):
        assert "truncated" in message(tmp_path / "m.gguf", data[:size], ModelFormatError)


def test_a_string_that_is_not_utf8_is_refused_when_read(tmp_path: Path) -> None:
    file = b.Builder().add("good", b.U8, 1).add("bad", b.ARRAY, (b.STRING, ["fine", b"\xff"]))
    (tmp_path / "m.gguf").write_bytes(file.build())
    model = open_model(tmp_path / "m.gguf")
    assert model.get("good") == 1
    with pytest.raises(ModelFormatError, match=r"metadata key 'bad': found '\\xff', expected UTF"):
        model.get("bad")


def test_control_characters_of_a_file_do_not_reach_the_message(tmp_path: Path) -> None:
    file = b.Builder().add("k\x1b[2J\n", b.BOOL, 3)
    text = message(tmp_path / "m.gguf", file.build(), ModelFormatError)
    assert r"metadata key 'k\x1b[2J\x0a'" in text
    assert text.isprintable()
