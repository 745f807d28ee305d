"""Which model a file holds: the same for copies, another for every other."""

from __future__ import annotations

import os

import pytest

from zerostall import _core, convert, hub
from zerostall.engine.model_key import SAMPLES, model_key
from zerostall.errors import StorageError
from zerostall.lab.gguf_writer import TensorSpec, write_gguf


def make(path, weights, name="m", vocabulary=0):
    """A model whose tensors, of 64 KiB each, hold one number each."""
    metadata = {"general.architecture": "llama", "vocabulary": "x" * vocabulary, "name": name}
    specs = [TensorSpec(f"blk.{i}.w", (128, 128), "F32") for i in range(len(weights))]
    write_gguf(path, metadata, specs, lambda index: [bytes([weights[index]]) * 65536])
    return key(path)


def key(path):
    return model_key(_core.GgufFile(path))


def test_copies_are_the_same_model_wherever_they_are(tmp_path):
    weights = list(range(100))
    assert make(tmp_path / "a", weights) == make(tmp_path / "b", weights)


def test_models_of_one_size_differ_by_their_weights_however_long_their_vocabulary(tmp_path):
    weights = list(range(10))
    keys = {make(tmp_path / "a", weights, vocabulary=2 << 20)}
    for tensor in range(10):
        other = [255 if i == tensor else weight for i, weight in enumerate(weights)]
        keys.add(make(tmp_path / "b", other, vocabulary=2 << 20))
    assert len(keys) == 11


def test_models_differ_by_metadata_behind_their_vocabulary(tmp_path):
    found = [make(tmp_path / name, [1], name, vocabulary=2 << 20) for name in "ab"]
    assert found[0] != found[1]


def test_many_tensors_cost_no_more_reads_than_few(tmp_path, monkeypatch):
    make(tmp_path / "many", [1] * 300)
    read, sizes = os.pread, []

    def counting(descriptor, size, at):
        sizes.append(size)
        return read(descriptor, size, at)

    monkeypatch.setattr(os, "pread", counting)
    key(tmp_path / "many")
    assert len(sizes) == 1 + SAMPLES
    assert sum(sizes[1:]) == SAMPLES * 4096


def test_a_converted_model_is_another_than_its_original(tmp_path):
    convert.convert(hub.resolve("nano"), tmp_path / "nano.gguf")
    assert key(tmp_path / "nano.gguf") != key(hub.resolve("nano"))


def test_a_file_that_is_gone_is_a_storage_error_that_names_it(tmp_path):
    make(tmp_path / "gone", [1])
    file = _core.GgufFile(tmp_path / "gone")
    (tmp_path / "gone").unlink()
    with pytest.raises(StorageError, match=r"/gone: cannot be read, to tell which model"):
        model_key(file)
