"""The sampler agrees with closed forms: which tokens, how often, and the same every time."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from tests.sample import reference
from zerostall._core import Sampler
from zerostall.errors import InvalidRequestError, ModelFormatError

VOCAB = 50
RNG = np.random.default_rng(3)
LOGITS = (2 * RNG.standard_normal(VOCAB)).astype(np.float32)


def counts(logits: np.ndarray, draws: int, **settings: Any) -> np.ndarray:
    sampler = Sampler(len(logits), seed=11, **settings)
    tokens = [sampler.sample(logits) for _ in range(draws)]
    return np.bincount(tokens, minlength=len(logits))


def assert_frequencies(observed: np.ndarray, expected: np.ndarray) -> None:
    """Pearson's chi-square over tokens expected often enough, at about one in 10,000."""
    assert observed[expected == 0].sum() == 0
    draws = observed.sum()
    often = expected * draws >= 5
    parts = (observed[often] - expected[often] * draws) ** 2 / (expected[often] * draws)
    freedom = max(int(often.sum()) - 1, 1)
    # Wilson and Hilferty's normal approximation of the chi-square quantile, z = 3.7.
    limit = freedom * (1 - 2 / (9 * freedom) + 3.7 * math.sqrt(2 / (9 * freedom))) ** 3
    assert parts.sum() < limit


def test_greedy_takes_the_largest_logit_and_the_lowest_id_on_a_tie() -> None:
    sampler = Sampler(4, temperature=0)
    assert sampler.sample(np.array([0, 3, 2, 1], np.float32)) == 1
    assert sampler.sample(np.array([-5, -1, -1, -1], np.float32)) == 1
    assert sampler.sample(np.array([-np.inf, -np.inf, -1e30, -np.inf], np.float32)) == 2


def test_greedy_ignores_the_filters() -> None:
    # Typical sampling alone would drop the most likely token here.
    sampler = Sampler(VOCAB, temperature=0, typical_p=0.01, top_k=3, min_p=0.5)
    assert sampler.sample(LOGITS) == int(LOGITS.argmax())


def test_draws_follow_the_published_generator_exactly() -> None:
    for seed in (0, 1, 2**64 - 1):
        sampler = Sampler(VOCAB, seed=seed)
        generator = reference.Xoshiro(seed)
        cumulative = np.cumsum(reference.softmax(LOGITS.astype(np.float64)))
        for _ in range(200):
            expected = int(np.searchsorted(cumulative, generator.uniform(), side="right"))
            assert sampler.sample(LOGITS) == expected


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"top_k": 7},
        {"top_p": 0.8},
        {"min_p": 0.1},
        {"typical_p": 0.6},
        {"top_k": 20, "typical_p": 0.9, "top_p": 0.9, "min_p": 0.05},
    ],
    ids=lambda filters: "+".join(filters) or "none",
)
def test_tokens_come_as_often_as_their_probability_says(
    filters: dict[str, Any], temperature: float
) -> None:
    expected = reference.probabilities(LOGITS.astype(np.float64), temperature, filters)
    observed = counts(LOGITS, 20_000, temperature=temperature, **filters)
    assert_frequencies(observed, expected)


def test_filters_keep_what_their_definitions_keep() -> None:
    rng = np.random.default_rng(5)
    choices = {
        "top_k": [0, 1, 5, 40],
        "typical_p": [1.0, 0.0, 0.5, 0.95],
        "top_p": [1.0, 0.0, 0.3, 0.9],
        "min_p": [0.0, 0.02, 0.4, 1.0],
    }
    for values in itertools.product(*choices.values()):
        filters = dict(zip(choices, values, strict=True))
        logits = rng.standard_normal(30).astype(np.float32) * 2
        kept = reference.kept(logits.astype(np.float64), **filters)
        # At a huge temperature all that are kept are equally likely: 40 draws a token find all.
        seen = np.flatnonzero(counts(logits, 40 * len(kept), temperature=1e9, **filters))
        assert set(seen.tolist()) == kept, filters


def test_a_large_vocabulary_with_ties_keeps_the_lowest_ids() -> None:
    logits = np.zeros(150_000, np.float32)
    logits[[70_000, 140_000]] = 1
    sampler = Sampler(len(logits), top_k=5, temperature=1e9, seed=1)
    assert {sampler.sample(logits) for _ in range(60)} == {70_000, 140_000, 0, 1, 2}
    sampler = Sampler(len(logits), top_p=4e-5, temperature=1e9, seed=1)
    # All weigh 2e + 149998, 4e-5 of which is 6.0001: e + e is below it, e + e + 1 above.
    assert {sampler.sample(logits) for _ in range(60)} == {70_000, 140_000, 0}


@pytest.mark.parametrize("top_k", [1, 3, 1000, 40_000, 149_999, 150_000, 200_000])
def test_top_k_of_a_large_vocabulary_is_that_of_a_full_sort(top_k: int) -> None:
    logits = np.random.default_rng(1).standard_normal(150_000).astype(np.float32).round(3)
    expected = np.argsort(-logits, kind="stable")[:top_k]
    top = Sampler(len(logits)).logprobs(logits, top_k)
    assert [token for token, _ in top] == expected.tolist()


def test_a_seed_repeats_and_another_differs() -> None:
    def run(seed: int) -> list[int]:
        sampler = Sampler(VOCAB, seed=seed, top_p=0.95)
        return [sampler.sample(LOGITS) for _ in range(50)]

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_reset_returns_to_the_seed_and_forgets_the_history() -> None:
    sampler = Sampler(VOCAB, seed=4, presence_penalty=50.0)

    def run() -> list[int]:
        tokens = []
        for _ in range(20):
            tokens.append(sampler.sample(LOGITS))
            sampler.accept(tokens[-1])
        return tokens

    first = run()
    assert len(set(first)) == 20
    sampler.reset()
    assert run() == first


def test_greedy_draws_no_random_number_and_any_other_draw_takes_one() -> None:
    one = np.array([0, 5], np.float32)
    sampler = Sampler(2, top_k=1, seed=9)
    generator = reference.Xoshiro(9)
    for _ in range(10):
        sampler.sample(one)
        generator.uniform()
    even = np.zeros(2, np.float32)
    wide = Sampler(2, seed=9)
    for _ in range(10):
        wide.sample(even)
    assert [wide.sample(even) for _ in range(20)] == [
        int(generator.uniform() >= 0.5) for _ in range(20)
    ]


@pytest.mark.parametrize("last_n", [-1, 0, 1, 4, 64])
def test_penalties_are_those_of_llama_cpp(last_n: int) -> None:
    history = [3, 5, 3, 7, 3, 9, 5]
    window = history if last_n < 0 else history[len(history) - min(last_n, len(history)) :]
    settings = {"repetition": 1.7, "presence": 0.4, "frequency": 0.3}
    expected = reference.penalised(LOGITS, window, **settings)
    named = {f"{name}_penalty": value for name, value in settings.items()}
    sampler = Sampler(VOCAB, penalty_last_n=last_n, temperature=1.3, seed=8, **named)
    for token in history:
        sampler.accept(token)
    generator = reference.Xoshiro(8)
    cumulative = np.cumsum(reference.softmax(expected / 1.3))
    for _ in range(300):
        drawn = int(np.searchsorted(cumulative, generator.uniform(), side="right"))
        assert sampler.sample(LOGITS) == drawn


def test_penalties_change_the_greedy_choice() -> None:
    logits = np.array([2.0, 1.5, -1.0], np.float32)
    for settings in (
        {"repetition_penalty": 1.5},
        {"presence_penalty": 0.6},
        {"frequency_penalty": 0.6},
    ):
        sampler = Sampler(3, temperature=0, **settings)
        assert sampler.sample(logits) == 0
        sampler.accept(0)
        assert sampler.sample(logits) == 1


def test_bias_is_added_and_minus_infinity_bans() -> None:
    logits = np.array([1, 2, 3, 0], np.float32)
    assert Sampler(4, temperature=0, logit_bias={0: 2.5}).sample(logits) == 0
    assert Sampler(4, temperature=0, logit_bias={2: -math.inf}).sample(logits) == 1
    observed = counts(logits, 5000, logit_bias={2: -math.inf, 3: 1.0})
    assert_frequencies(observed, reference.softmax(np.array([1, 2, -np.inf, 1])))


def test_bias_comes_before_penalties() -> None:
    # (1 + 4) / 2 is below 3; the other order, 1 / 2 + 4, would be above it.
    sampler = Sampler(2, temperature=0, logit_bias={0: 4.0}, repetition_penalty=2.0)
    sampler.accept(0)
    assert sampler.sample(np.array([1, 3], np.float32)) == 1


def test_extreme_temperatures_are_greedy_and_uniform() -> None:
    for temperature in (5e-324, 1e-300, 1e-6):
        assert counts(LOGITS, 100, temperature=temperature)[LOGITS.argmax()] == 100
    for temperature in (1e9, 1e300):
        assert_frequencies(
            counts(LOGITS, 20_000, temperature=temperature), np.full(VOCAB, 1 / VOCAB)
        )


def test_extreme_logits_neither_overflow_nor_vanish() -> None:
    huge = np.array([3.4e38, -3.4e38, 3.4e38, -np.inf], np.float32)
    assert_frequencies(counts(huge, 2000), np.array([0.5, 0, 0.5, 0]))
    assert_frequencies(counts(huge, 2000, typical_p=0.9, min_p=0.1), np.array([0.5, 0, 0.5, 0]))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_not_numbers_are_a_damaged_model(bad: float, temperature: float) -> None:
    logits = LOGITS.copy()
    logits[17] = bad
    sampler = Sampler(VOCAB, temperature=temperature)
    with pytest.raises(ModelFormatError, match=r"logits: found (NaN|inf) for token 17, expected"):
        sampler.sample(logits)
    with pytest.raises(ModelFormatError, match="for token 17"):
        sampler.logprobs(logits, 1)
    with pytest.raises(ModelFormatError, match="-inf for every token"):
        sampler.sample(np.full(VOCAB, -np.inf, np.float32))


def test_banning_every_token_is_an_error() -> None:
    for temperature in (0.0, 1.0):
        sampler = Sampler(2, temperature=temperature, logit_bias={0: -math.inf, 1: -math.inf})
        with pytest.raises(InvalidRequestError, match="leave no token"):
            sampler.sample(np.zeros(2, np.float32))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"temperature": -0.5}, r"temperature is -0\.5; give 0 \(greedy\)"),
        ({"temperature": math.nan}, "temperature is nan"),
        ({"temperature": math.inf}, "temperature is inf"),
        ({"top_k": -1}, "top_k is -1; give 0"),
        ({"top_p": 1.5}, r"top_p is 1\.5; give a number from 0 to 1"),
        ({"min_p": -0.1}, r"min_p is -0\.1; give"),
        ({"typical_p": math.nan}, "typical_p is nan"),
        ({"repetition_penalty": 0.0}, "repetition_penalty is 0; give a positive number"),
        ({"presence_penalty": math.inf}, "presence_penalty is inf"),
        ({"frequency_penalty": math.nan}, "frequency_penalty is nan"),
        ({"penalty_last_n": -2}, "penalty_last_n is -2"),
        ({"logit_bias": {VOCAB: 1.0}}, "a token of logit_bias is 50; give ids of the vocab"),
        ({"logit_bias": {-1: 1.0}}, "a token of logit_bias is -1"),
        ({"logit_bias": {1: math.inf}}, "a value of logit_bias is inf"),
        ({"logit_bias": {1: math.nan}}, "a value of logit_bias is nan"),
    ],
)
def test_a_setting_out_of_its_range_is_named(settings: dict[str, Any], expected: str) -> None:
    with pytest.raises(InvalidRequestError, match=expected):
        Sampler(VOCAB, **settings)


def test_wrong_lengths_and_tokens_are_named() -> None:
    sampler = Sampler(VOCAB)
    short = np.zeros(VOCAB - 1, np.float32)
    with pytest.raises(InvalidRequestError, match=r"number of logits is 49; give .* 50"):
        sampler.sample(short)
    with pytest.raises(InvalidRequestError, match="number of logits is 49"):
        sampler.logprobs(short, 1)
    for token in (-1, VOCAB):
        with pytest.raises(InvalidRequestError, match=f"token is {token}; give an id"):
            sampler.accept(token)
        with pytest.raises(InvalidRequestError, match=f"token {token}: give an id below"):
            sampler.logprobs(LOGITS, 0, [token])


def test_overflowing_bias_or_penalty_is_named() -> None:
    high = np.full(2, 3e38, np.float32)
    with pytest.raises(InvalidRequestError, match="does not overflow"):
        Sampler(2, logit_bias={0: 3e38}).sample(high)
    sampler = Sampler(2, repetition_penalty=1e-10)
    sampler.accept(1)
    with pytest.raises(InvalidRequestError, match="the logit of token 1 overflows"):
        sampler.sample(high)
