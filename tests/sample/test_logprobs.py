"""Log-probabilities are those of numpy's log-softmax."""

from __future__ import annotations

import math

import numpy as np

from zerostall._core import Sampler


def log_softmax(logits: np.ndarray) -> np.ndarray:
    x = logits.astype(np.float64)
    return x - x.max() - np.log(np.exp(x - x.max()).sum())


def test_the_top_and_the_chosen_tokens_have_the_log_softmax_of_the_logits() -> None:
    rng = np.random.default_rng(2)
    for scale in (0.1, 3.0, 100.0):
        logits = (scale * rng.standard_normal(32_000)).astype(np.float32)
        expected = log_softmax(logits)
        got = Sampler(len(logits)).logprobs(logits, 5, [0, 31_999, 7])
        order = np.argsort(-logits, kind="stable")[:5].tolist()
        assert [token for token, _ in got] == [*order, 0, 31_999, 7]
        values = np.array([value for _, value in got])
        assert np.allclose(values, expected[[*order, 0, 31_999, 7]], rtol=1e-14, atol=1e-13)


def test_settings_of_the_sampler_do_not_change_log_probabilities() -> None:
    logits = np.array([0, 1, 2, 3], np.float32)
    sampler = Sampler(4, temperature=0.1, top_k=1, logit_bias={0: 9.0}, presence_penalty=3.0)
    sampler.accept(3)
    values = [value for _, value in sampler.logprobs(logits, 0, [0, 1, 2, 3])]
    assert np.allclose(values, log_softmax(logits), rtol=0, atol=1e-15)
    assert math.isclose(sum(map(math.exp, values)), 1, rel_tol=1e-15)


def test_a_forbidden_token_has_log_probability_minus_infinity() -> None:
    logits = np.array([0, -np.inf, 0], np.float32)
    got = Sampler(3).logprobs(logits, 3, [1])
    assert got == [(0, -math.log(2)), (2, -math.log(2)), (1, -math.inf)]


def test_no_top_tokens_gives_only_the_chosen() -> None:
    assert Sampler(1).logprobs(np.zeros(1, np.float32), 0, [0]) == [(0, 0.0)]
    assert Sampler(1).logprobs(np.zeros(1, np.float32), 0) == []
