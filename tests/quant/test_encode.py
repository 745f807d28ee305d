"""Formats that conversions write: the nearest values that a block can say, the same every time."""

from __future__ import annotations

import gguf
import numpy as np
import numpy.typing as npt
import pytest

from tests.quant.weights import block_sizes
from zerostall import _core
from zerostall.errors import InvalidRequestError

Floats = npt.NDArray[np.float32]
ENCODED: list[str] = _core.encodable_formats()
# Root mean square of the error over that of normal weights. The best uniform quantiser of one scale
# loses 0.345 with 4 values, 0.193 with 8 and 0.107 with 16 (Max, 1960); scales of 16 values, each
# with a minimum or a sign, must do better, and a scale of 32 about as well.
MOST_LOST = {"Q2_K": 0.29, "Q3_K": 0.16, "Q4_0": 0.107, "Q8_0": 0.0065}
GROUP = {"Q2_K": 16, "Q3_K": 16, "Q4_0": 32, "Q8_0": 32}


def there_and_back(name: str, values: Floats) -> Floats:
    return _core.decode(name, _core.encode(name, values), values.size)


def normal(count: int, seed: int = 1) -> Floats:
    return np.random.default_rng(seed).standard_normal(count).astype(np.float32)


def rms(values: Floats) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))


def test_formats_of_two_three_four_and_eight_bits_can_be_written() -> None:
    assert set(ENCODED) == set(MOST_LOST)


@pytest.mark.parametrize("name", ["Q4_0", "Q8_0"])
def test_formats_of_one_scale_have_the_bits_of_the_gguf_package(name: str) -> None:
    values = normal(32 * 1000) * np.repeat(np.geomspace(1e-6, 1e4, 1000), 32).astype(np.float32)
    expected = gguf.quants.quantize(values.reshape(1, -1), gguf.GGMLQuantizationType[name])
    assert _core.encode(name, values).tobytes() == expected.tobytes()


@pytest.mark.parametrize("name", ENCODED)
def test_normal_weights_lose_what_such_scales_must_lose(name: str) -> None:
    values = normal(256 * 2000)
    assert rms(there_and_back(name, values) - values) < MOST_LOST[name] * rms(values)


@pytest.mark.parametrize("name", ENCODED)
@pytest.mark.parametrize("size", [1e-6, 1.0, 3e3])
def test_no_value_is_off_by_more_than_the_largest_of_its_block(name: str, size: float) -> None:
    if name == "Q8_0":  # float16 has no scale that is a 127th of such small values
        size = max(size, 1e-4)
    rng = np.random.default_rng(2)
    columns = block_sizes(name)[0]
    blocks = (rng.standard_normal((500, columns)) ** 3 * size).astype(np.float32)
    off = np.abs(there_and_back(name, blocks.reshape(-1)).reshape(blocks.shape) - blocks)
    assert (off.max(axis=1) <= 0.6 * np.abs(blocks).max(axis=1)).all()


@pytest.mark.parametrize("name", ENCODED)
def test_every_value_becomes_the_nearest_that_its_scale_can_say(name: str) -> None:
    """No other value that the group of a weight holds lies nearer to it."""
    values = normal(256 * 40, seed=3)
    got = there_and_back(name, values).reshape(-1, GROUP[name])
    wanted = values.reshape(-1, GROUP[name])
    for said, meant in zip(got, wanted, strict=True):
        nearest = np.abs(np.unique(said)[None, :] - meant[:, None]).min(axis=1)
        # Those of one scale round before it is rounded to float16, like the gguf package.
        assert (np.abs(said - meant) <= nearest * (1 + 1e-3) + 1e-3 * np.abs(said).max()).all()


@pytest.mark.parametrize("name", ENCODED)
def test_what_a_block_can_say_exactly_stays_exact(name: str) -> None:
    assert not there_and_back(name, np.zeros(256, np.float32)).any()
    codes = np.tile(np.array([-1, 0, 1, 2] * 8, np.float32), 8)
    if name == "Q4_0":
        codes[::32] = -8  # the value that its scale is made of
    if name == "Q3_K":
        codes[::16] = -4
    assert np.allclose(there_and_back(name, codes * 0.5), codes * 0.5, rtol=0, atol=0.02)


@pytest.mark.parametrize("name", ENCODED)
def test_a_block_depends_on_its_own_values_only(name: str) -> None:
    values = normal(256 * 8, seed=4)
    whole = _core.encode(name, values)
    halves = [_core.encode(name, half).tobytes() for half in np.split(values, 2)]
    assert whole.tobytes() == b"".join(halves)


@pytest.mark.parametrize("name", ENCODED)
def test_values_at_the_ends_of_float_give_finite_blocks(name: str) -> None:
    values = normal(256, seed=5)
    for extreme in (3.4e38, -3.4e38, 1e-45, 1e-38):
        values[17] = extreme
        assert np.isfinite(there_and_back(name, values)).all()
        assert np.isfinite(there_and_back(name, np.full(256, extreme, np.float32))).all()


def test_what_cannot_be_encoded_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="Q6_K is a format that is only read"):
        _core.encode("Q6_K", np.zeros(256, np.float32))
    with pytest.raises(InvalidRequestError, match="255 columns are not a multiple of 256"):
        _core.encode("Q2_K", np.zeros(255, np.float32))
    for odd in (np.nan, np.inf):
        values = np.zeros(256, np.float32)
        values[200] = odd
        with pytest.raises(InvalidRequestError, match="Q2_K: value 200 is not finite"):
            _core.encode("Q2_K", values)
