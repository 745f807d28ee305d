"""Reduced-rank regression, against maps that are known."""

from __future__ import annotations

import numpy as np

from zerostall.lab.low_rank import Moments

ROWS, INPUTS, OUTPUTS, RANK = 4000, 24, 10, 3


def planted(rng, noise):
    """Inputs of unlike scale and mean, and outputs of a map of rank 3."""
    spread = np.exp(rng.standard_normal(INPUTS))
    x = (rng.standard_normal((ROWS, INPUTS)) * spread + 2 * rng.standard_normal(INPUTS)).astype("f")
    weights = rng.standard_normal((INPUTS, RANK)) @ rng.standard_normal((RANK, OUTPUTS))
    bias = rng.standard_normal(OUTPUTS)
    y = x @ weights + bias + noise * rng.standard_normal((ROWS, OUTPUTS))
    return x, y.astype("f"), weights, bias


def fitted(x, y, rank, ridge=0.0, parts=1):
    moments = Moments(x.shape[1], y.shape[1])
    for some, of_them in zip(np.array_split(x, parts), np.array_split(y, parts), strict=True):
        moments.add(some, of_them)
    return moments.fit(rank, ridge)


def test_a_planted_map_of_low_rank_is_recovered():
    x, y, weights, bias = planted(np.random.default_rng(0), noise=0)
    found = fitted(x, y, RANK, parts=7)
    assert (found.a.shape, found.b.shape) == ((RANK, INPUTS), (OUTPUTS, RANK))
    np.testing.assert_allclose(found.b @ found.a, weights.T, atol=1e-3)
    np.testing.assert_allclose(found.bias, bias, atol=1e-2)
    np.testing.assert_allclose(found(x), y, atol=1e-2)


def test_the_true_rank_predicts_new_rows_better_than_more_or_fewer():
    rng = np.random.default_rng(1)
    x, y, weights, bias = planted(rng, noise=20.0)
    new = rng.standard_normal((ROWS, INPUTS)).astype("f")
    truth = new @ weights + bias
    errors = {
        rank: float(np.square(fitted(x, y, rank)(new) - truth).mean()) for rank in (2, RANK, 10)
    }
    assert errors[RANK] < 0.8 * errors[10]
    assert errors[RANK] < 0.8 * errors[2]


def test_full_rank_without_a_penalty_is_least_squares():
    x, y, _, _ = planted(np.random.default_rng(2), noise=1.0)
    with_one = np.hstack([x, np.ones((ROWS, 1), "f")]).astype(np.float64)
    solution = np.linalg.lstsq(with_one, y.astype(np.float64), rcond=None)[0]
    found = fitted(x, y, 99)
    assert len(found.a) == OUTPUTS
    np.testing.assert_allclose(found.b @ found.a, solution[:-1].T, atol=1e-3)
    np.testing.assert_allclose(found.bias, solution[-1], atol=1e-2)


def test_a_penalty_as_large_as_the_variance_halves_the_weight_of_an_input():
    x = np.array([[1.0], [-1.0], [1.0], [-1.0]], "f")
    found = fitted(x, 3 * x, 1, ridge=1.0)
    np.testing.assert_allclose(found.b @ found.a, [[1.5]], rtol=1e-6)


def test_an_input_that_never_varies_gets_no_weight():
    x, y, _, _ = planted(np.random.default_rng(3), noise=0)
    x[:, 5] = 0
    found = fitted(x, y, RANK, ridge=0.01)
    assert np.isfinite(found.bias).all()
    assert (found.a[:, 5] == 0).all()
