"""Which precision the cache has where none is asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from zerostall import LLM
from zerostall.engine.loader import Options, plan_load
from zerostall.errors import InvalidRequestError
from zerostall.lab.eval import perplexity, read_text

MODELS = Path(__file__).parents[1] / "golden" / "arch"
HELD_OUT = Path(__file__).parents[1] / "data" / "nano_heldout.txt"


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


def test_int8_moves_the_perplexity_of_held_out_text_by_less_than_a_thousandth():
    found = {}
    for kv_type in ("f16", "int8"):
        with LLM("nano", kv_type=kv_type) as llm:
            found[kv_type] = perplexity(llm, read_text(HELD_OUT), 1024).perplexity
    assert abs(found["int8"] / found["f16"] - 1) < 1e-3  # the rule of docs/adr/0009-int8-kv.md
    assert found["int8"] != found["f16"]


def test_another_is_refused():
    with pytest.raises(InvalidRequestError, match="auto, f16, f32, int8"):
        Options(kv_type="q4_0")
