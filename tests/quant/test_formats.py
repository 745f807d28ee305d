"""Weight formats against the gguf package, which converters use."""

from __future__ import annotations

import gguf
import numpy as np
import pytest

from tests.quant.weights import FORMATS, block_sizes, decoded, random_rows
from zerostall import _core
from zerostall.errors import InvalidRequestError


@pytest.mark.parametrize("name", FORMATS)
def test_identifier_and_block_sizes_are_those_of_gguf(name: str) -> None:
    traits = _core.format_traits(name)
    values, size = block_sizes(name)
    assert traits["gguf_id"] == gguf.GGMLQuantizationType[name].value
    assert (traits["block_values"], traits["block_bytes"]) == (values, size)


@pytest.mark.parametrize("name", FORMATS)
def test_activations_are_quantised_per_256_for_super_blocks_and_per_32_for_blocks(
    name: str,
) -> None:
    kind = {1: "F32", 32: "Q8_32", 256: "Q8_K"}[block_sizes(name)[0]]
    assert _core.format_traits(name)["activations"] == kind


@pytest.mark.parametrize("extreme", [False, True])
@pytest.mark.parametrize("name", FORMATS)
def test_decoding_gives_the_bits_of_the_gguf_package(name: str, extreme: bool) -> None:
    columns = 512 * block_sizes(name)[0]
    data = random_rows(name, 1, columns, seed=1, extreme=extreme)
    got = _core.decode(name, data[0], columns)
    expected = decoded(name, data)[0]
    finite = np.isfinite(expected)
    assert finite.mean() > 0.95
    assert got[finite].tobytes() == expected[finite].tobytes()


@pytest.mark.parametrize("name", ["MXFP4"])
def test_every_exponent_of_the_block_scale_decodes_like_the_gguf_package(name: str) -> None:
    data = np.zeros((256, 17), np.uint8)
    data[:, 0] = np.arange(256)
    data[:, 1:] = np.arange(16) * 17
    got = _core.decode(name, data.reshape(-1), 256 * 32)
    assert got.tobytes() == decoded(name, data).tobytes()


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("rows", [1, 16, 37])
def test_packing_keeps_the_size_of_whole_panels(name: str, rows: int) -> None:
    values, size = block_sizes(name)
    columns = 3 * values
    packed = _core.pack(name, random_rows(name, rows, columns, seed=2).reshape(-1), rows, columns)
    assert packed.size == -(-rows // 16) * 16 * 3 * size


@pytest.mark.parametrize("name", FORMATS)
def test_packing_moves_bits_and_loses_none(name: str) -> None:
    values, _ = block_sizes(name)
    data = random_rows(name, 16, 4 * values, seed=3)
    packed = _core.pack(name, data.reshape(-1), 16, 4 * values)
    assert np.unpackbits(packed).sum() == np.unpackbits(data).sum()
    for row in (0, 7, 15):
        other = data.copy()
        other[row] ^= 0xFF
        changed = np.unpackbits(_core.pack(name, other.reshape(-1), 16, 4 * values) ^ packed)
        assert changed.sum() == 8 * data.shape[1]


def test_a_wrong_size_or_name_is_refused_with_what_was_expected() -> None:
    with pytest.raises(InvalidRequestError, match=r"Q4_K: data has 143 bytes, expected 144\."):
        _core.decode("Q4_K", np.zeros(143, np.uint8), 256)
    with pytest.raises(InvalidRequestError, match=r"Q4_K: 255 columns are not a multiple of 256"):
        _core.pack("Q4_K", np.zeros(143, np.uint8), 1, 255)
    with pytest.raises(InvalidRequestError, match=r'"Q9_K" is unknown; expected one of F32, F16'):
        _core.decode("Q9_K", np.zeros(1, np.uint8), 1)
