"""Activations: their values in float64, and the same bits on every instruction set."""

from __future__ import annotations

import numpy as np
import pytest

from tests.arch.interpreter import ACTIVATIONS, gated
from zerostall import _core
from zerostall.errors import InvalidRequestError

ISAS = _core.isas() + _core.isa_models()
SIZES = (1, 15, 16, 17, 48, 77)


def values(n: int, seed: int) -> np.ndarray:
    """From far below every limit to far above, with the limits themselves and zeros."""
    x = (np.random.default_rng(seed).standard_normal(n) * 8).astype(np.float32)
    special = np.array([7.0, -7.0, 0.0, -0.0, 100.0, -100.0, 1e-30], np.float32)
    x[: special.size] = special[:n]
    return np.random.default_rng(seed + 1).permutation(x)


@pytest.mark.parametrize("kind", ACTIVATIONS)
@pytest.mark.parametrize("n", SIZES)
def test_an_activation_has_its_value_alone_and_times_up(kind: str, n: int) -> None:
    gate, up = values(n, 1), values(n, 2)
    wide = gate.astype(np.float64)
    alone = ACTIVATIONS[kind](wide)
    np.testing.assert_allclose(_core.activate("scalar", kind, gate), alone, rtol=1e-5, atol=2e-6)
    both = gated(kind, wide, up.astype(np.float64))
    got = _core.activate("scalar", kind, gate, up)
    np.testing.assert_allclose(got, both, rtol=1e-5, atol=2e-4)


@pytest.mark.parametrize("kind", ACTIVATIONS)
@pytest.mark.parametrize("isa", ISAS)
def test_every_instruction_set_gives_the_bits_of_scalar(kind: str, isa: str) -> None:
    for n in SIZES:
        gate, up = values(n, n), values(n, n + 7)
        for factor in (None, up):
            expected = _core.activate("scalar", kind, gate, factor)
            assert np.array_equal(_core.activate(isa, kind, gate, factor), expected)


@pytest.mark.parametrize("isa", ISAS)
def test_the_limits_of_swiglu_oai_hold_and_let_nan_through(isa: str) -> None:
    def one(gate: float, up: float) -> float:
        pair = (np.full(16, gate, np.float32), np.full(16, up, np.float32))
        return float(_core.activate(isa, "swiglu_oai", *pair)[0])

    assert one(1e6, 1e6) == one(7.0, 7.0) == pytest.approx(7 / (1 + np.exp(-1.702 * 7)) * 8)
    assert one(7.0, -1e6) == one(7.0, -7.0) == pytest.approx(-6 * 7 / (1 + np.exp(-1.702 * 7)))
    assert one(-1e6, 3.0) == pytest.approx(0.0, abs=1e-30)  # there is no limit below
    assert one(3.0, -1.0) == 0.0
    assert np.isnan(one(np.nan, 1.0)) and np.isnan(one(1.0, np.nan))


def test_an_unknown_activation_is_an_error_naming_the_known_ones() -> None:
    with pytest.raises(InvalidRequestError, match="silu, gelu, gelu_tanh, swiglu_oai"):
        _core.activate("scalar", "relu", values(4, 0))
