from __future__ import annotations

import numpy as np
import pytest

from tests.nn.fake_file import FakeFile, builder, tiny_llama
from zerostall.arch import llama
from zerostall.errors import ModelFormatError
from zerostall.tape import Weight


def test_a_weight_of_the_expected_shape_is_referred_to_by_name() -> None:
    b = builder(tiny_llama())
    assert b.weight("blk.0.attn_q.weight", (8, 8)) == Weight("blk.0.attn_q.weight")
    assert b.weight("blk.0.attn_q.weight", (8, 8), (2, 6)) == Weight("blk.0.attn_q.weight", 2, 6)


def test_a_weight_of_another_shape_is_an_error_naming_both_shapes() -> None:
    with pytest.raises(ModelFormatError, match=r"attn_q\.weight.*\[8, 8\], expected \[16, 8\]"):
        builder(tiny_llama()).weight("blk.0.attn_q.weight", (16, 8))


def test_an_absent_optional_weight_is_none() -> None:
    assert builder(tiny_llama()).optional("output.weight", (10, 8)) is None


@pytest.mark.parametrize("name", sorted(tiny_llama(2).shapes))
def test_each_missing_tensor_is_an_error_naming_it(name: str) -> None:
    file = tiny_llama(2)
    del file.shapes[name]
    with pytest.raises(ModelFormatError, match=f"'{name}' is missing"):
        llama.Model(builder(file)).build()


@pytest.mark.parametrize("name", sorted(tiny_llama().shapes))
def test_each_tensor_of_a_wrong_shape_is_an_error_naming_one(name: str) -> None:
    file = tiny_llama()
    file.shapes[name] = (*file.shapes[name][:-1], file.shapes[name][-1] + 1)
    with pytest.raises(ModelFormatError, match="has shape"):
        llama.Model(builder(file)).build()


@pytest.mark.parametrize("name", ["blk.0.attn_sinks.weight", "blk.1.attn_q.weight", "extra"])
def test_a_tensor_without_a_place_is_an_error_naming_it(name: str) -> None:
    file = tiny_llama()
    file.shapes[name] = (8, 8)
    with pytest.raises(ModelFormatError, match=f"no place for the tensors {name}"):
        llama.Model(builder(file)).build()


def test_many_tensors_without_a_place_are_counted() -> None:
    file = tiny_llama()
    for i in range(9):
        file.shapes[f"extra{i}"] = (8,)
    with pytest.raises(ModelFormatError, match="extra4 and 4 more"):
        llama.Model(builder(file)).build()


def test_factors_are_read_as_numbers() -> None:
    values = np.array([1.0, 2.5], dtype=np.float32)
    file = FakeFile({}, {"rope_freqs.weight": (2,)}, {"rope_freqs.weight": values})
    assert builder(file).factors("rope_freqs.weight", 2).tolist() == [1.0, 2.5]


@pytest.mark.parametrize("bad", [0.0, 1e-45, -1e-7, np.inf, np.nan])
def test_factors_that_cannot_divide_are_an_error(bad: float) -> None:
    values = np.array([1.0, bad], dtype=np.float32)
    file = FakeFile({}, {"rope_freqs.weight": (2,)}, {"rope_freqs.weight": values})
    with pytest.raises(ModelFormatError, match=r"rope_freqs\.weight.*NaN, an infinity or a number"):
        builder(file).factors("rope_freqs.weight", 2)
