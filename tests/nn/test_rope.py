"""Expected numbers: transformers' modeling_rope_utils.py for the same configuration."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from tests.nn.fake_file import FakeFile, builder
from zerostall.errors import ModelFormatError, UnsupportedModelError
from zerostall.nn import Rope
from zerostall.nn.rope import longest_context


def from_file(
    metadata: dict[str, Any],
    tensors: dict[str, list[float]] | None = None,
    context: int = 128,
    base: float = 10000.0,
) -> Rope:
    values = {name: np.array(v, dtype=np.float32) for name, v in (tensors or {}).items()}
    file = FakeFile(
        {"llama." + key: value for key, value in metadata.items()},
        {name: v.shape for name, v in values.items()},
        values,
    )
    return Rope.from_file(builder(file, context=context), 8, base)


PLAIN = [1.0, 0.1, 0.01, 0.001]


def test_plain_frequencies_fall_geometrically_from_one() -> None:
    rope = Rope.plain(8, 10000.0)
    np.testing.assert_allclose(rope.inverse_frequencies, PLAIN, rtol=1e-7)
    assert rope.inverse_frequencies.dtype == np.float32
    assert rope.magnitude == 1.0


def test_no_scaling_metadata_means_plain() -> None:
    assert from_file({}).inverse_frequencies.tolist() == pytest.approx(PLAIN)


def test_linear_divides_every_frequency() -> None:
    for metadata in (
        {"rope.scaling.type": "linear", "rope.scaling.factor": 4.0},
        {"rope.scaling.factor": 4.0},
        {"rope.scale_linear": 4.0},
    ):
        rope = from_file(metadata)
        np.testing.assert_allclose(rope.inverse_frequencies, np.array(PLAIN) / 4.0, rtol=1e-6)


def test_type_none_ignores_the_factor() -> None:
    rope = from_file({"rope.scaling.type": "none", "rope.scaling.factor": 4.0})
    np.testing.assert_allclose(rope.inverse_frequencies, PLAIN, rtol=1e-6)


def test_llama3_factors_divide_each_frequency() -> None:
    rope = from_file({}, {"rope_freqs.weight": [1.0, 1.0, 5.0, 8.0]})
    np.testing.assert_allclose(rope.inverse_frequencies, [1.0, 0.1, 0.01 / 5, 0.001 / 8], rtol=1e-6)


@pytest.mark.parametrize(("context", "factor"), [(40, 1.5), (41, 3.0), (128, 3.0)])
def test_longrope_takes_the_long_factors_beyond_the_original_context(
    context: int, factor: float
) -> None:
    rope = from_file(
        {"rope.scaling.original_context_length": 40, "rope.scaling.attn_factor": 1.19},
        {"rope_factors_short.weight": [1.5] * 4, "rope_factors_long.weight": [3.0] * 4},
        context,
    )
    np.testing.assert_allclose(rope.inverse_frequencies, np.array(PLAIN) / factor, rtol=1e-6)
    assert rope.magnitude == 1.19


def test_longrope_with_one_of_its_two_tensors_is_an_error() -> None:
    with pytest.raises(ModelFormatError, match="rope_factors_short"):
        from_file(
            {"rope.scaling.original_context_length": 40},
            {"rope_factors_long.weight": [3.0] * 4},
        )


def test_yarn_keeps_fast_pairs_and_interpolates_slow_ones() -> None:
    rope = Rope.yarn(64, 1000000.0, 4.0, 32768)  # Qwen 2.5's long-context setting
    ratio = rope.inverse_frequencies / Rope.plain(64, 1000000.0).inverse_frequencies
    # low = floor(32 ln(32768 / (32 * 2 pi)) / ln 1e6) = 11, high = ceil(... / (2 pi)) = 20
    np.testing.assert_allclose(ratio[:12], 1.0, rtol=1e-6)
    np.testing.assert_allclose(ratio[20:], 0.25, rtol=1e-6)
    np.testing.assert_allclose(ratio[14], 1.0 - 0.75 * 3 / 9, rtol=1e-6)
    assert rope.magnitude == pytest.approx(1.0 + 0.1 * math.log(4.0))


def test_a_yarn_ramp_may_begin_and_end_between_pairs() -> None:
    rope = Rope.yarn(64, 150000.0, 32.0, 4096, whole_pairs=False)  # gpt-oss
    ratio = rope.inverse_frequencies / Rope.plain(64, 150000.0).inverse_frequencies
    low, high = (
        32 * math.log(4096 / (turns * 2 * math.pi)) / math.log(150000) for turns in (32, 1)
    )
    assert (low, high) == pytest.approx((8.09, 17.40), abs=0.01)
    np.testing.assert_allclose(ratio[:9], 1.0, rtol=1e-6)
    np.testing.assert_allclose(ratio[18:], 1 / 32, rtol=1e-6)
    for pair in (9, 13, 17):
        share = (pair - low) / (high - low)
        np.testing.assert_allclose(ratio[pair], 1 - share * (1 - 1 / 32), rtol=1e-5)


def yarn_file(**more: Any) -> Rope:
    keys = {name.replace("__", "."): value for name, value in more.items()}
    return from_file(
        {
            "context_length": 128,
            "rope.scaling.type": "yarn",
            "rope.scaling.factor": 4.0,
            "rope.scaling.original_context_length": 32,
            **{f"rope.scaling.{name}": value for name, value in keys.items()},
        }
    )


def test_yarn_metadata_gives_the_yarn_formula() -> None:
    expected = Rope.yarn(8, 10000.0, 4.0, 32)
    got = yarn_file()
    assert got.inverse_frequencies.tolist() == expected.inverse_frequencies.tolist()
    assert got.magnitude == pytest.approx(expected.magnitude)


def test_yarn_magnitude_follows_the_keys_that_state_it() -> None:
    paper = 1.0 + 0.1 * math.log(4.0)
    assert yarn_file(attn_factor=1.5).magnitude == pytest.approx(1.5 * paper)
    assert yarn_file(yarn_attn_factor=1.25).magnitude == 1.25
    assert yarn_file(yarn_log_multiplier=1.0).magnitude == pytest.approx(1.0)
    assert yarn_file(yarn_log_multiplier=0.5).magnitude == pytest.approx(
        paper / (1.0 + 0.05 * math.log(4.0))
    )


def test_yarn_betas_move_the_ramp() -> None:
    expected = Rope.yarn(8, 10000.0, 4.0, 32, beta_fast=4.0, beta_slow=0.01)
    got = yarn_file(yarn_beta_fast=4.0, yarn_beta_slow=0.01)
    assert got.inverse_frequencies.tolist() == expected.inverse_frequencies.tolist()
    assert got.inverse_frequencies.tolist() != yarn_file().inverse_frequencies.tolist()


def test_an_unknown_scaling_is_an_error_naming_it_and_the_known_ones() -> None:
    with pytest.raises(UnsupportedModelError, match=r"'dynamic'.*none, linear, yarn and longrope"):
        from_file({"rope.scaling.type": "dynamic"})


@pytest.mark.parametrize("key", ["yarn_beta_fast", "yarn_beta_slow", "attn_factor", "factor"])
@pytest.mark.parametrize("value", [math.nan, -1.0, "four"])
def test_hostile_scaling_values_are_errors_naming_the_key(key: str, value: Any) -> None:
    with pytest.raises(ModelFormatError, match=rf"llama\.rope\.scaling\.{key}"):
        yarn_file(**{key: value})


@pytest.mark.parametrize(
    ("metadata", "longest"),
    [
        ({}, 32768),
        ({"scaling.type": "yarn", "scaling.factor": 4.0}, 131072),
        (
            {
                "scaling.type": "yarn",
                "scaling.factor": 4.0,
                "scaling.original_context_length": 32768,
            },
            131072,
        ),
        # What is stated is the context after scaling.
        (
            {
                "scaling.type": "yarn",
                "scaling.factor": 4.0,
                "scaling.original_context_length": 4096,
            },
            32768,
        ),
        # Nobody says whether the factor is counted in it already.
        ({"scaling.type": "linear", "scaling.factor": 8.0}, 32768),
        (
            {
                "scaling.type": "linear",
                "scaling.factor": 8.0,
                "scaling.original_context_length": 8192,
            },
            65536,
        ),
        ({"scaling.type": "none", "scaling.factor": 8.0}, 32768),
        ({"scaling.type": "yarn", "scaling.factor": 1e6}, 1 << 31),
    ],
)
def test_a_scaling_that_the_file_states_lengthens_its_context(
    metadata: dict[str, Any], longest: int
) -> None:
    keys = {"llama.context_length": 32768, **{f"llama.rope.{k}": v for k, v in metadata.items()}}
    assert longest_context(builder(FakeFile(keys, {}, {}))) == longest
