"""The BF16 dot instructions: only by name, with roundings of their own."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import numpy.typing as npt
import pytest

from zerostall import _core
from zerostall.errors import InvalidRequestError

Floats = npt.NDArray[np.float32]
ROWS = 37
MODEL = "bf16_dot_model"
HAS_IT: bool = _core.cpu_features()["avx512_bf16"]
needs_it = pytest.mark.skipif(not HAS_IT, reason="this CPU has no BF16 dot instructions")
both = pytest.mark.parametrize("isa", [MODEL, pytest.param("bf16_dot", marks=needs_it)])
# Not only whole steps of 32 and chunks of 128.
COLUMNS = [1, 30, 64, 131, 200]
TOKENS = [1, 2, 3, 8, 16, 17, 33]


def rounded(x: Floats) -> Floats:
    """To bfloat16, nearest even, and back."""
    bits = x.view(np.uint32)
    bits = (bits + 0x7FFF + (bits >> 16 & 1)) & np.uint32(0xFFFF0000)
    return bits.view(np.float32)


def packed(values: Floats) -> npt.NDArray[np.uint8]:
    halves = (values.view(np.uint32) >> 16).astype(np.uint16)
    return _core.pack("BF16", halves.view(np.uint8).reshape(-1), *values.shape)


def weights(columns: int) -> tuple[Floats, npt.NDArray[np.uint8]]:
    values = rounded(np.random.default_rng(1).standard_normal((ROWS, columns)).astype(np.float32))
    return values, packed(values)


def scattered(rows: int, columns: int, seed: int, middle: int, spread: int) -> Floats:
    """BF16 values whose exponents of two are up to `spread` away from `middle`."""
    rng = np.random.default_rng(seed)
    exponents = rng.integers(middle - spread, middle + spread + 1, (rows, columns))
    return rounded(np.ldexp(rng.uniform(-2, 2, (rows, columns)), exponents).astype(np.float32))


def product(w: Floats, x: Floats, isa: str) -> Floats:
    return _core.matmul("BF16", packed(w), *w.shape, x, isa)


def test_it_is_never_chosen_by_itself() -> None:
    assert not {"bf16_dot", MODEL} & {*_core.isas(), *_core.isa_models()}


def test_it_runs_by_name_where_the_cpu_has_it_and_is_refused_elsewhere() -> None:
    values = np.zeros(256, np.float32)
    if HAS_IT:
        _core.quantize("Q8_K", values, "bf16_dot")
        return
    with pytest.raises(InvalidRequestError, match='"bf16_dot" is unknown or missing'):
        _core.quantize("Q8_K", values, "bf16_dot")


@both
@pytest.mark.parametrize("columns", COLUMNS)
def test_products_are_those_of_rounded_activations(columns: int, isa: str) -> None:
    w, of_w = weights(columns)
    x = np.random.default_rng(2).standard_normal((17, columns)).astype(np.float32)
    got = _core.matmul("BF16", of_w, ROWS, columns, x, isa)
    exact = rounded(x).astype(np.float64) @ w.T.astype(np.float64)
    size = np.abs(rounded(x)).astype(np.float64) @ np.abs(w).T.astype(np.float64)
    assert np.abs(got - exact).max() <= 3e-7 * size.max()


@both
@pytest.mark.parametrize("columns", COLUMNS)
def test_a_token_has_the_same_bits_alone_and_in_any_batch(columns: int, isa: str) -> None:
    # Few tokens are multiplied by VDPBF16PS, many, where there are tiles, by TDPBF16PS.
    w = scattered(ROWS, columns, seed=3, middle=0, spread=6)
    x = scattered(max(TOKENS), columns, seed=4, middle=0, spread=6)
    alone = np.concatenate([product(w, x[t : t + 1], isa) for t in range(max(TOKENS))])
    for tokens in TOKENS:
        assert product(w, x[:tokens], isa).tobytes() == alone[:tokens].tobytes(), tokens
    index = np.array([8, 0, 3, 3, 7, 32, 1, 2, 9], np.int32)
    got = _core.matmul("BF16", packed(w), *w.shape, x, isa, row_index=index)
    assert got.tobytes() == alone[index].tobytes()


@needs_it
@pytest.mark.parametrize(("middle", "spread"), [(0, 2), (0, 40), (-63, 6), (-120, 12)])
def test_the_units_give_the_bits_of_their_model(middle: int, spread: int) -> None:
    # Far from zero, and where sums and values become denormal.
    for columns in COLUMNS:
        w = scattered(ROWS, columns, 5, middle, spread)
        x = scattered(max(TOKENS), columns, 6, min(middle, -63) if middle else 0, spread)
        for tokens in (1, max(TOKENS)):
            got, expected = (product(w, x[:tokens], isa) for isa in ("bf16_dot", MODEL))
            assert got.tobytes() == expected.tobytes(), (columns, tokens)


def test_activations_are_rounded_as_the_unit_rounds_them() -> None:
    x = np.array([[1 + 2.0**-8, 1 + 3 * 2.0**-8, 1e-39, -1.004, np.inf]], np.float32)
    for i, expected in enumerate([1, 1 + 2.0**-6, 0, -1.0078125, np.inf]):
        w = np.eye(1, 5, i, np.float32)[:, : i + 1]
        for isa in (MODEL, "bf16_dot") if HAS_IT else (MODEL,):
            assert product(w, x[:, : i + 1].copy(), isa) == expected, (i, isa)
            w_nan = np.where(w == 1, np.float32(np.nan), w)
            assert np.isnan(product(w_nan, np.ones_like(w), isa)).all()


def nearest(x: Fraction) -> Fraction:
    """To 24 bits, nearest even; zero below the normal floats."""
    size = abs(x)
    exponent = size.numerator.bit_length() - size.denominator.bit_length()
    if size < Fraction(2) ** exponent:
        exponent -= 1
    unit = Fraction(2) ** (exponent - 23)
    x = round(x / unit) * unit
    return x if abs(x) >= Fraction(2) ** -126 else Fraction(0)


def in_order(w: Floats, x: Floats) -> float:
    """One value as the manual's TDPBF16PS gives it, in exact arithmetic."""
    total = Fraction(0)
    for begin in range(0, len(w), 32):
        part = [Fraction(0)] * 2
        for k in range(begin, min(begin + 32, len(w))):
            part[k % 2] = nearest(part[k % 2] + Fraction(float(w[k])) * Fraction(float(x[k])))
        total = nearest(total + nearest(part[0] + part[1]))
    return float(total)


@both
@pytest.mark.parametrize(("middle", "spread"), [(0, 3), (-63, 1)])
def test_the_order_is_that_of_the_manual(middle: int, spread: int, isa: str) -> None:
    w, x = (scattered(5, 75, seed, middle, spread) for seed in (7, 8))
    # 2^-126 - 2^-150 is denormal, though it would round to 2^-126 with denormals.
    w[0, :3], x[0, :3] = [2.0**-63, 1, 2.0**-75], [2.0**-63, 0, -(2.0**-75)]
    w[0, 3:] = 0
    got = product(w, x, isa)
    assert got.tolist() == [[in_order(row, token) for row in w] for token in x]
    assert got[0, 0] == 0


@needs_it
def test_other_formats_keep_their_bits() -> None:
    data = np.random.default_rng(3).integers(0, 100, 34 * 8 * ROWS, dtype=np.uint8)
    of_w = _core.pack("Q8_0", data, ROWS, 256)
    x = np.random.default_rng(2).standard_normal((9, 256)).astype(np.float32)
    plain = _core.matmul("Q8_0", of_w, ROWS, 256, x, "scalar")
    assert np.array_equal(
        _core.matmul("Q8_0", of_w, ROWS, 256, x, "bf16_dot"), plain, equal_nan=True
    )
