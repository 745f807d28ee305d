"""Quantisation of activations, against the same formula in numpy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from zerostall import _core
from zerostall.errors import InvalidRequestError

Floats = npt.NDArray[np.float32]
ISAS: list[str] = _core.isas()
GROUPS = {"Q8_K": 256, "Q8_32": 32}


def blocks(group: int) -> Floats:
    """Blocks of many sizes, with ties of rounding, zeros and a subnormal block."""
    rng = np.random.default_rng(6)
    x = rng.standard_normal((40, group)) * 10.0 ** rng.integers(-20, 20, (40, 1))
    x[3] = 0
    x[4] = 1e-40
    x[5] = rng.integers(-254, 255, group) / 2
    x[5, 0] = 127
    x[6, 1:] = 0
    return x.astype(np.float32)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kind", GROUPS)
def test_values_scales_and_sums_follow_the_formula_to_the_bit(kind: str, isa: str) -> None:
    x = blocks(GROUPS[kind])
    amax = np.abs(x).max(axis=1, keepdims=True)
    small = amax <= np.float32(2.0**-120)
    inverse = np.where(small, 0, np.float32(127) / np.where(small, 1, amax)).astype(np.float32)
    expected = np.rint(x * inverse).astype(np.int8)
    expected_scales = np.where(small, 0, amax / np.float32(127)).astype(np.float32)

    q, scales, sums16, sums32 = _core.quantize(kind, x.reshape(-1), isa)
    assert np.array_equal(q.reshape(x.shape), expected)
    assert scales.tobytes() == expected_scales.tobytes()
    assert np.array_equal(sums32, expected.reshape(-1, 32).sum(axis=1))
    if kind == "Q8_K":
        assert np.array_equal(sums16, expected.reshape(-1, 16).sum(axis=1))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kind", GROUPS)
def test_the_largest_magnitude_becomes_127_and_none_becomes_minus_128(kind: str, isa: str) -> None:
    rng = np.random.default_rng(7)
    x = (rng.standard_normal((500, GROUPS[kind])) * 3).astype(np.float32)
    q = _core.quantize(kind, x.reshape(-1), isa)[0].reshape(x.shape)
    assert (np.abs(q.astype(int)).max(axis=1) == 127).all()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kind", GROUPS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_block_with_nan_or_infinity_has_such_a_scale(kind: str, isa: str, bad: float) -> None:
    x = np.ones((3, GROUPS[kind]), np.float32)
    x[1, 17] = bad
    scales = _core.quantize(kind, x.reshape(-1), isa)[1]
    assert list(np.isfinite(scales)) == [True, False, True]


@pytest.mark.parametrize("kind", GROUPS)
def test_a_length_that_is_no_whole_number_of_blocks_is_refused(kind: str) -> None:
    with pytest.raises(InvalidRequestError, match=f"expected a multiple of {GROUPS[kind]}"):
        _core.quantize(kind, np.zeros(33, np.float32), "scalar")
