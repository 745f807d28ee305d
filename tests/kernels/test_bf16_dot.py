"""The BF16 dot instructions: only by name, with roundings of their own."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from zerostall import _core
from zerostall.errors import InvalidRequestError

Floats = npt.NDArray[np.float32]
ROWS = 37
HAS_IT: bool = _core.cpu_features()["avx512_bf16"]
needs_it = pytest.mark.skipif(not HAS_IT, reason="this CPU has no BF16 dot instructions")


def rounded(x: Floats) -> Floats:
    """To bfloat16, nearest even, and back."""
    bits = x.view(np.uint32)
    bits = (bits + 0x7FFF + (bits >> 16 & 1)) & np.uint32(0xFFFF0000)
    return bits.view(np.float32)


def weights(columns: int) -> tuple[Floats, npt.NDArray[np.uint8]]:
    values = rounded(np.random.default_rng(1).standard_normal((ROWS, columns)).astype(np.float32))
    halves = (values.view(np.uint32) >> 16).astype(np.uint16)
    return values, _core.pack("BF16", halves.view(np.uint8).reshape(-1), ROWS, columns)


def test_it_is_never_chosen_by_itself() -> None:
    assert "bf16_dot" not in _core.isas()


def test_it_runs_by_name_where_the_cpu_has_it_and_is_refused_elsewhere() -> None:
    values = np.zeros(256, np.float32)
    if HAS_IT:
        _core.quantize("Q8_K", values, "bf16_dot")
        return
    with pytest.raises(InvalidRequestError, match='"bf16_dot" is unknown or missing'):
        _core.quantize("Q8_K", values, "bf16_dot")


@needs_it
@pytest.mark.parametrize("columns", [1, 64, 131, 200])
def test_products_are_those_of_rounded_activations(columns: int) -> None:
    w, packed = weights(columns)
    x = np.random.default_rng(2).standard_normal((17, columns)).astype(np.float32)
    got = _core.matmul("BF16", packed, ROWS, columns, x, "bf16_dot")
    exact = rounded(x).astype(np.float64) @ w.T.astype(np.float64)
    size = np.abs(rounded(x)).astype(np.float64) @ np.abs(w).T.astype(np.float64)
    assert np.abs(got - exact).max() <= 3e-7 * size.max()
    alone = [_core.matmul("BF16", packed, ROWS, columns, x[t : t + 1], "bf16_dot") for t in (0, 9)]
    assert got[[0, 9]].tobytes() == np.concatenate(alone).tobytes()


@needs_it
def test_other_formats_keep_their_bits() -> None:
    data = np.random.default_rng(3).integers(0, 100, 34 * 8 * ROWS, dtype=np.uint8)
    packed = _core.pack("Q8_0", data, ROWS, 256)
    x = np.random.default_rng(2).standard_normal((9, 256)).astype(np.float32)
    plain = _core.matmul("Q8_0", packed, ROWS, 256, x, "scalar")
    assert np.array_equal(
        _core.matmul("Q8_0", packed, ROWS, 256, x, "bf16_dot"), plain, equal_nan=True
    )
