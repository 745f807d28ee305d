"""Copies of the model on other drives that fail, or hold other bytes than the model."""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path

import numpy as np
import pytest

from tests.experts.streamed import Model, logits
from tests.experts.test_damage import records, write
from zerostall import LLM, SamplingParams
from zerostall.engine.streaming import Streaming
from zerostall.errors import ModelFormatError, StorageError

GREEDY = SamplingParams(temperature=0, max_tokens=16, ignore_eos=True)
RAM = 20_000_000
SAMPLE = 64 << 10


@pytest.fixture
def copies(converted: Model, tmp_path: Path) -> list[Path]:
    """Two copies of the converted model that a test may damage."""
    paths = [tmp_path / "model.gguf", tmp_path / "mirror.gguf"]
    for path in paths:
        path.write_bytes(converted.path.read_bytes())
    return paths


def damage_payloads(model: Model, path: Path) -> None:
    """Change a byte behind the header of every record."""
    for layer in range(6):
        for start in records(model, layer):
            write(path, start + 64 + 1000, b"\x5a\xa5\x5a\xa5")


def test_a_mirror_that_fails_is_told_of_once_and_changes_no_token(
    copies: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    model, mirror = copies
    options = {"threads": 1, "ctx": 256, "ram": RAM}
    with LLM(model, **options, streaming=Streaming(io="pread")) as llm:
        expected = llm.generate("def f(x):", GREEDY).token_ids
    streaming = Streaming(io="pread", mirrors=[mirror], faults={"failing_files": [1]})
    with caplog.at_level(logging.WARNING), LLM(model, **options, streaming=streaming) as llm:
        for _ in range(2):
            assert llm.generate("def f(x):", GREEDY).token_ids == expected
    assert [record.getMessage() for record in caplog.records] == [
        f"{mirror}: the mirror failed (Input/output error); reading goes on without it"
    ]


@pytest.mark.parametrize("fault", ["payload", "header"])
@pytest.mark.parametrize("speculate", [True, False])
def test_a_record_that_is_damaged_in_a_mirror_is_read_from_the_model(
    copies: list[Path], fault: str, speculate: bool
) -> None:
    model, ids = Model(copies[0]), Model(copies[0]).ids(40)
    options = {"check_records": True, "io": "pread", "speculate": speculate}
    engine = model.engine(2, bytes=model.least, mirrors=[[str(copies[1])]], **options)
    if fault == "payload":
        damage_payloads(model, copies[1])
    else:
        for start in records(model, 1):
            write(copies[1], start, b"none")
    for chunk in (1, 16):
        assert np.array_equal(logits(engine, ids, chunk), model.expected(ids))
    (warning,) = engine.take_warnings()
    assert warning.startswith(f"{copies[1]}: the mirror failed (record of expert ")
    what = "checksum: that of other bytes" if fault == "payload" else "magic: found other bytes"
    assert what in warning
    assert warning.endswith("; reading goes on without it")
    assert engine.take_warnings() == []


def test_a_record_that_is_damaged_in_the_model_too_is_an_error_that_names_the_model(
    copies: list[Path],
) -> None:
    model = Model(copies[0])
    ids = model.ids(12)
    expected, whole = model.expected(ids), copies[0].read_bytes()
    engine = model.engine(
        bytes=model.least, io="pread", mirrors=[[str(copies[1])]], check_records=True
    )
    for path in copies:
        damage_payloads(model, path)
    with pytest.raises(ModelFormatError) as caught:
        logits(engine, ids)
    assert str(caught.value).startswith(f"{copies[0]}: record of expert ")
    assert "checksum: that of other bytes; the file is damaged" in str(caught.value)
    write(copies[0], 0, whole)
    for _ in range(20):  # what had been read before is damaged still
        with contextlib.suppress(ModelFormatError):
            logits(engine, ids)
    assert np.array_equal(logits(engine, ids), expected)


def test_a_mirror_of_a_model_with_other_metadata_is_refused(copies: list[Path]) -> None:
    model = Model(copies[0])
    at = copies[1].read_bytes().index(b"tokenizer.ggml.merges")
    # A byte that no sample has.
    assert at % (copies[1].stat().st_size // 128) > 64 << 10
    write(copies[1], at, b"T")
    with pytest.raises(StorageError, match=r"mirror\.gguf: is no copy of .*model\.gguf"):
        model.engine(bytes=model.least, mirrors=[[str(copies[1])]])


def test_weights_without_checksums_are_read_from_the_model_alone(copies: list[Path]) -> None:
    model, mirror = copies
    last = mirror.stat().st_size - SAMPLE  # where the last sample begins

    def compared(at: int) -> bool:
        """Whether a sample has it; mirrors are compared by samples when they are opened."""
        return at - last * (at * 128 // last) // 128 < SAMPLE

    dense = [t for t in Model(model).file.stored_tensors() if len(t.shape) == 1]
    places = [
        at
        for tensor in dense
        for at in range(tensor.offset, tensor.offset + tensor.bytes - 4, 4096)
        if not compared(at) and not compared(at + 4)
    ]
    assert len(places) > 100
    for at in places:
        write(mirror, at, b"\x5a\xa5\x5a\xa5")
    ids = Model(model).ids(12)
    engine = Model(model).engine(bytes=Model(model).least, io="pread", mirrors=[[str(mirror)]])
    assert np.array_equal(logits(engine, ids), Model(model).expected(ids))
