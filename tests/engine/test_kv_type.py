"""Which precision the cache has where none is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from zerostall import LLM
from zerostall.engine.loader import Options, plan_load
from zerostall.errors import InvalidRequestError

MODELS = Path(__file__).parents[1] / "golden" / "arch"


@pytest.mark.parametrize(
    ("model", "kv_type"),
    [
        ("llama-mistral", "int8"),
        ("qwen3-head80", "int8"),
        ("qwen2-tied", "f16"),
        ("qwen2moe", "f16"),
        ("gpt-oss", "f16"),
    ],
)
def test_keys_with_a_bias_are_kept_in_f16(model, kv_type):
    planned = plan_load(MODELS / f"{model}.gguf", Options(threads=1))
    assert planned.options.kv_type == kv_type


@pytest.mark.parametrize("kv_type", ["f16", "f32", "int8"])
def test_what_is_asked_for_is_taken(kv_type):
    planned = plan_load(MODELS / "qwen2-yarn.gguf", Options(threads=1, kv_type=kv_type))
    assert planned.options.kv_type == kv_type


def logits(kv_type):
    with LLM("nano", threads=1, kv_type=kv_type) as llm:
        return llm.logits(llm.tokenize("def add(a, b):"))


def test_the_built_in_model_has_int8():
    default = logits("auto")
    assert (default == logits("int8")).all()
    assert (default != logits("f16")).any()


def test_another_is_refused():
    with pytest.raises(InvalidRequestError, match="auto, f16, f32, int8"):
        Options(kv_type="q4_0")
