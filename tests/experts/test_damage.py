"""Files that are damaged or cut short after they were opened."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from tests.experts.streamed import BACK_ENDS, Model, logits
from zerostall.errors import ModelFormatError, StorageError

LAYER = 2


@pytest.fixture
def copy(converted: Model, tmp_path: Path) -> Model:
    """A converted model that a test may damage."""
    path = tmp_path / "copy.gguf"
    path.write_bytes(converted.path.read_bytes())
    return Model(path)


def records(model: Model, layer: int) -> list[int]:
    """Where the records of a layer begin."""
    stored = [t for t in model.file.stored_tensors() if f"blk.{layer}.ffn_experts" in t.name]
    (tensor,) = stored
    return [tensor.offset + expert * tensor.shape[1] for expert in range(tensor.shape[0])]


def write(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as stream:
        stream.seek(at)
        stream.write(data)


@pytest.mark.parametrize(
    ("at", "field"), [(0, "magic"), (8, "dtype_id"), (16, "expert"), (20, "d_model")]
)
@pytest.mark.parametrize("io", BACK_ENDS)
def test_a_damaged_header_is_named_and_harms_no_other_expert(
    copy: Model, io: str, at: int, field: str
) -> None:
    engine = copy.engine(bytes=copy.least, io=io)
    starts = records(copy, LAYER)
    whole = copy.path.read_bytes()
    expected = copy.expected(copy.ids(10))
    for start in starts:
        write(copy.path, start + at, b"\x77\x77\x77\x77")
    with pytest.raises(ModelFormatError) as caught:
        logits(engine, copy.ids(10))
    message = str(caught.value)
    assert message.startswith(f"{copy.path}: record of expert ")
    number = int(message.split("expert ")[1].split()[0])
    assert f"at byte {starts[number]}, {field}: found" in message
    assert "convert the model again" in message
    write(copy.path, starts[0], whole[starts[0] : starts[-1] + 64])
    assert np.array_equal(logits(engine, copy.ids(10)), expected)


@pytest.mark.parametrize("io", BACK_ENDS)
def test_a_file_that_was_cut_after_opening_fails_what_lies_behind_the_cut(
    copy: Model, io: str
) -> None:
    ids = copy.ids(20)
    expected = copy.expected(ids)
    engine = copy.engine(bytes=copy.least, io=io)
    data = copy.path.read_bytes()
    os.truncate(copy.path, records(copy, LAYER)[1])
    with pytest.raises(StorageError, match="cut short") as caught:
        logits(engine, ids)
    assert str(caught.value).startswith(
        f"{copy.path}: " + ("byte " if io == "mmap" else "reading ")
    )
    write(copy.path, 0, data)
    assert np.array_equal(logits(engine, ids), expected)


@pytest.mark.parametrize("io", BACK_ENDS)
def test_a_plain_file_that_was_cut_after_opening_ends_the_step(
    nano: Model, tmp_path: Path, io: str
) -> None:
    path = tmp_path / "nano.gguf"
    path.write_bytes(nano.path.read_bytes())
    model = Model(path)
    engine = model.engine(bytes=model.least, io=io)
    last = max(model.file.tensors(), key=lambda tensor: tensor.offset)
    assert last.name.endswith("_exps.weight")
    # Not within what tensors before it have mapped.
    os.truncate(path, last.offset + 8192)
    with pytest.raises(StorageError, match="cut short"):
        logits(engine, model.ids(20))
