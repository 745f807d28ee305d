"""The file of a trained speculator: what is written is read, and nothing else is taken."""

from __future__ import annotations

import numpy as np
import pytest

from zerostall import gguf, hub
from zerostall.engine.speculator import TrainedGuess, read_speculator
from zerostall.engine.streaming import Streaming
from zerostall.errors import InvalidRequestError, ModelFormatError, ModelNotFoundError
from zerostall.lab.gguf_writer import TensorSpec, write_gguf
from zerostall.lab.speculator import write_speculator

WIDTH, EXPERTS, RANK = 40, 6, 3


@pytest.fixture(scope="module")
def model():
    return gguf.open_model(hub.resolve("nano"))


def guess(layer, late, seed=0):
    rng = np.random.default_rng(seed)
    shapes = (RANK, WIDTH), (EXPERTS, RANK), (EXPERTS,)
    return TrainedGuess(layer, late, *(rng.standard_normal(s).astype(np.float32) for s in shapes))


@pytest.fixture
def written(tmp_path, model):
    path = tmp_path / "speculator.gguf"
    write_speculator(path, model, [guess(0, True), guess(1, False, 1), guess(1, True, 2)])
    return path


def test_what_is_written_is_read(written, model):
    read = read_speculator(written, model)
    assert [(g.layer, g.late, g.stage) for g in read] == [
        (0, True, "late"),
        (1, False, "early"),
        (1, True, "late"),
    ]
    for found, layer_and_stage in zip(
        read, [(0, True, 0), (1, False, 1), (1, True, 2)], strict=True
    ):
        expected = guess(*layer_and_stage)
        for name in ("a", "b", "bias"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert read[0].bytes == 4 * (RANK * WIDTH + EXPERTS * RANK + EXPERTS)
    assert [path.name for path in written.parent.iterdir()] == [written.name]


def test_a_speculator_of_another_model_is_refused(written):
    other = gguf.open_model(hub.resolve("nano-draft"))
    with pytest.raises(InvalidRequestError, match="was trained for another model"):
        read_speculator(written, other)


def test_one_of_another_version_is_refused(tmp_path, model):
    path = tmp_path / "later.gguf"
    keys = {"general.type": "speculator", "zerostall.speculator.version": 3}
    write_gguf(path, keys, [TensorSpec("x", (32,), "F32")], lambda index: [bytes(128)])
    with pytest.raises(InvalidRequestError, match="version 3, expected 2"):
        read_speculator(path, model)


def test_a_model_is_no_speculator_and_a_missing_file_is_missing(tmp_path, model):
    with pytest.raises(InvalidRequestError, match="is no speculator"):
        read_speculator(hub.resolve("nano"), model)
    with pytest.raises(ModelNotFoundError, match="no such file"):
        read_speculator(tmp_path / "none.gguf", model)


@pytest.mark.parametrize("part", [0.3, 0.6, 0.99])
def test_a_changed_byte_is_found(written, model, part):
    data = bytearray(written.read_bytes())
    at = int(len(data) * part)
    data[at] ^= 0x40
    written.write_bytes(data)
    with pytest.raises((ModelFormatError, InvalidRequestError)):
        read_speculator(written, model)


def test_a_file_cut_short_is_refused(written, model):
    written.write_bytes(written.read_bytes()[:-64])
    with pytest.raises(ModelFormatError):
        read_speculator(written, model)


@pytest.mark.parametrize("options", [{"speculator": "gone.gguf"}, {"mirrors": ["gone.gguf"]}])
def test_a_file_that_is_not_there_is_refused_even_if_it_would_not_be_read(tmp_path, options):
    paths = {
        name: tmp_path / value if isinstance(value, str) else [tmp_path / each for each in value]
        for name, value in options.items()
    }
    with pytest.raises(InvalidRequestError, match=r"there is no .*gone\.gguf"):
        Streaming(**paths)
