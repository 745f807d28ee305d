"""SamplingParams: defaults and ranges."""

from __future__ import annotations

import math

import numpy as np
import pytest

from zerostall import InvalidRequestError, SamplingParams


def test_the_defaults_are_those_of_llama_cpp():
    p = SamplingParams()
    assert (p.temperature, p.top_k, p.top_p, p.min_p) == (0.8, 40, 0.95, 0.05)
    assert (p.repetition_penalty, p.presence_penalty, p.frequency_penalty) == (1.0, 0.0, 0.0)
    assert p.penalty_last_n == 64


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_tokens", -1),
        ("max_tokens", 1.5),
        ("temperature", -0.1),
        ("temperature", math.nan),
        ("temperature", math.inf),
        ("temperature", "hot"),
        ("top_k", -1),
        ("top_k", True),
        ("top_p", 1.01),
        ("min_p", -0.5),
        ("typical_p", 2),
        ("repetition_penalty", 0),
        ("presence_penalty", math.inf),
        ("frequency_penalty", None),
        ("penalty_last_n", -2),
        ("seed", -1),
        ("seed", 2**64),
        ("logprobs", -1),
        ("stop", [""]),
        ("stop", [3]),
        ("stop_token_ids", [-1]),
        ("shown_tokens", [-1]),
        ("min_tokens", -1),
        ("logit_bias", {"a": 1.0}),
        ("logit_bias", {1: math.nan}),
        ("logit_bias", {1: math.inf}),
    ],
)
def test_a_value_out_of_range_is_refused_by_the_name_of_its_field(field, value):
    with pytest.raises(InvalidRequestError, match=f"^{field} "):
        SamplingParams(**{field: value})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_tokens", 0),
        ("temperature", 0),
        ("temperature", np.float32(0.5)),
        ("top_k", np.int64(7)),
        ("top_p", 1),
        ("seed", 2**64 - 1),
        ("logit_bias", {5: -math.inf}),
        ("penalty_last_n", -1),
    ],
)
def test_the_ends_of_each_range_and_numpy_scalars_are_accepted(field, value):
    assert getattr(SamplingParams(**{field: value}), field) == value


def test_one_stop_string_may_be_given_without_a_list():
    assert SamplingParams(stop="END").stop == ("END",)
