from __future__ import annotations

import numpy as np
import pytest

from tests.nn.fake_file import tiny_llama
from zerostall import arch
from zerostall.errors import ModelFormatError, UnsupportedModelError

REQUIRED = {
    "llama", "phi3", "qwen2", "qwen2moe", "qwen3", "qwen3moe", "olmoe", "gemma3", "gpt-oss",
}  # fmt: skip


def test_there_is_a_file_for_every_promised_architecture() -> None:
    assert set(arch.names()) >= REQUIRED


def test_a_model_is_described_by_the_file_of_its_architecture() -> None:
    model = arch.load(tiny_llama(2), 64)  # type: ignore[arg-type]
    assert model.name == "llama"
    assert (model.vocab_size, model.context_length) == (10, 64)
    assert (model.layers, model.width) == (2, 8)
    assert model.tape.ops[-1].kind == "logits"


@pytest.mark.parametrize("name", ["mamba", "../nn", "os", ""])
def test_an_unknown_architecture_is_an_error_naming_the_known_ones(name: str) -> None:
    file = tiny_llama()
    file.metadata["general.architecture"] = name
    with pytest.raises(UnsupportedModelError, match=r"supported are .*llama.*qwen3moe"):
        arch.load(file, 64)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", [3, ["llama"], np.array([1, 2]), np.zeros(0)])
def test_an_architecture_that_is_no_string_is_an_error(name: object) -> None:
    file = tiny_llama()
    file.metadata["general.architecture"] = name
    with pytest.raises(ModelFormatError, match=r"general\.architecture' is no string"):
        arch.load(file, 64)  # type: ignore[arg-type]


def test_a_file_without_architecture_is_an_error() -> None:
    file = tiny_llama()
    del file.metadata["general.architecture"]
    with pytest.raises(ModelFormatError, match=r"general\.architecture"):
        arch.load(file, 64)  # type: ignore[arg-type]
