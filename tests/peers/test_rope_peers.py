"""Rope tables of released models' settings against transformers' own functions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.nn.fake_file import FakeFile, builder
from zerostall.nn import Rope

pytestmark = pytest.mark.peers


def transformers_rope(kind: str, head_dim: int, seq_len: int, **parameters: Any) -> Rope:
    """inv_freq and attention scaling by transformers for one rope_parameters dictionary."""
    import transformers
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    config = transformers.LlamaConfig(
        hidden_size=2 * head_dim,
        num_attention_heads=2,
        head_dim=head_dim,
        max_position_embeddings=131072,
        rope_parameters={"rope_type": kind, **parameters},
    )
    frequencies, magnitude = ROPE_INIT_FUNCTIONS[kind](config, "cpu", seq_len=seq_len)
    return Rope(frequencies.numpy(), float(magnitude))


def assert_same(got: Rope, expected: Rope) -> None:
    np.testing.assert_allclose(got.inverse_frequencies, expected.inverse_frequencies, rtol=2e-6)
    assert got.magnitude == pytest.approx(expected.magnitude, rel=1e-6)


@pytest.mark.parametrize(
    ("head_dim", "base", "factor", "original"),
    [
        (128, 1e6, 4.0, 32768),  # Qwen 2.5, Qwen 3
        (64, 1e4, 16.0, 4096),
        (128, 1.5e5, 32.0, 4096),
        (80, 500.0, 2.0, 1024),
    ],
)
def test_yarn_is_transformers_yarn(
    head_dim: int, base: float, factor: float, original: int
) -> None:
    expected = transformers_rope(
        "yarn",
        head_dim,
        0,
        rope_theta=base,
        factor=factor,
        original_max_position_embeddings=original,
    )
    assert_same(Rope.yarn(head_dim, base, factor, original), expected)


def test_yarn_with_stated_betas_and_magnitude_is_transformers_yarn() -> None:
    expected = transformers_rope(
        "yarn",
        128,
        0,
        rope_theta=1e6,
        factor=8.0,
        original_max_position_embeddings=16384,
        beta_fast=24.0,
        beta_slow=2.0,
        attention_factor=1.2,
    )
    assert_same(Rope.yarn(128, 1e6, 8.0, 16384, 24.0, 2.0, magnitude=1.2), expected)


def test_linear_is_transformers_linear() -> None:
    expected = transformers_rope("linear", 256, 0, rope_theta=1e6, factor=8.0)  # Gemma 3
    metadata = {"llama.rope.scaling.type": "linear", "llama.rope.scaling.factor": 8.0}
    assert_same(Rope.from_file(builder(FakeFile(metadata, {})), 256, 1e6), expected)


@pytest.mark.parametrize("context", [4096, 8192])
def test_longrope_is_transformers_longrope(context: int) -> None:
    short, long = (np.linspace(1.0, top, 48, dtype=np.float32) for top in (1.3, 64.0))
    expected = transformers_rope(
        "longrope",
        96,
        context,
        rope_theta=1e4,
        factor=32.0,
        original_max_position_embeddings=4096,  # Phi 3 mini 128k
        short_factor=short.tolist(),
        long_factor=long.tolist(),
    )
    file = FakeFile(
        {
            "llama.rope.scaling.original_context_length": 4096,
            "llama.rope.scaling.attn_factor": expected.magnitude,
        },
        {"rope_factors_short.weight": (48,), "rope_factors_long.weight": (48,)},
        {"rope_factors_short.weight": short, "rope_factors_long.weight": long},
    )
    assert_same(Rope.from_file(builder(file, context=context), 96, 1e4), expected)
