"""Text held to a form: what ends by itself has it, for any schema."""

from __future__ import annotations

import json
import random
import re
import string
from concurrent.futures import ThreadPoolExecutor

import jsonschema
import numpy as np
import pytest

from tests.llm.models import nano, without_vocabulary
from zerostall import LLM, SamplingParams
from zerostall.errors import InvalidRequestError

PROMPT = "config = "
PAIR = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 8}, "on": {"type": "boolean"}},
    "required": ["name", "on"],
    "additionalProperties": False,
}


def random_schema(draw, depth=0):
    kinds = ["string", "integer", "number", "boolean", "null", "enum", "const", "pattern"]
    kinds += ["object", "array", "anyOf"] * (2 if depth < 3 else 0)
    kind = draw.choice(kinds)
    if kind == "object":
        names = ["".join(draw.choices(string.ascii_letters + " é", k=3)) for _ in range(3)]
        properties = {name: random_schema(draw, depth + 1) for name in names}
        required = draw.sample(sorted(properties), draw.randint(0, len(properties)))
        closed = {"properties": properties, "required": required, "additionalProperties": False}
        return {"type": "object", **closed}
    if kind == "array":
        low = draw.randint(0, 2)
        items = random_schema(draw, depth + 1)
        return {"type": "array", "items": items, "minItems": low, "maxItems": low + 2}
    if kind == "anyOf":
        return {"anyOf": [random_schema(draw, depth + 1) for _ in range(2)]}
    if kind in ("integer", "number"):
        low = draw.randint(-1000, 1000)
        return {"type": kind, "minimum": low, "maximum": low + draw.randint(0, 2000)}
    if kind == "string":
        low = draw.randint(0, 4)
        return {"type": "string", "minLength": low, "maxLength": low + draw.randint(0, 8)}
    return {
        "enum": {"enum": ["red", 7, None, ["a"]]},
        "const": {"const": {"x": [1, "é"]}},
        "pattern": {"type": "string", "pattern": "^[a-f]{2,4}-[0-9]{1,4}$"},
    }.get(kind, {"type": kind})


@pytest.fixture(scope="module")
def llm():
    with LLM("nano", threads=1) as llm:
        yield llm


def test_what_ends_by_itself_satisfies_each_of_100_random_schemas(llm):
    ended = 0
    for seed in range(100):
        schema = random_schema(random.Random(seed))
        params = SamplingParams(max_tokens=300, seed=seed, temperature=1.0, json_schema=schema)
        done = llm.generate(PROMPT, params)
        if done.finish_reason == "stop":
            ended += 1
            jsonschema.validate(json.loads(done.text), schema)
    assert ended >= 80  # numbers may go on for long


def test_a_grammar_of_larks_form_and_one_of_llama_cpps_hold_a_text(llm):
    for grammar in ('start: ("ab" | "c") /[0-9]{2}/', 'root ::= ("ab" | "c") [0-9] [0-9]'):
        done = llm.generate(PROMPT, SamplingParams(grammar=grammar, seed=1, max_tokens=50))
        assert re.fullmatch(r"(ab|c)[0-9]{2}", done.text)
        assert done.finish_reason == "stop"


def test_nothing_more_is_written_when_nothing_can_follow(llm):
    params = SamplingParams(regex="[a-f]{5}", seed=3, max_tokens=50, ignore_eos=True)
    done = llm.generate(PROMPT, params)
    assert re.fullmatch("[a-f]{5}", done.text)
    assert done.usage.completion_tokens < 6  # no end-of-text token, and none after it


def test_the_end_of_text_comes_only_where_a_text_may_end(llm):
    end = llm.tokenizer.eos_id
    bias = {end: 50.0}  # wants to end at once
    done = llm.generate(
        PROMPT, SamplingParams(regex="(ab){2,9}", seed=3, max_tokens=50, logit_bias=bias)
    )
    assert done.text == "abab"
    assert done.token_ids[-1] == end


def test_logprobs_are_still_the_models_own(llm):
    params = SamplingParams(regex="zq[0-9]", temperature=0, max_tokens=9, logprobs=1)
    done = llm.generate(PROMPT, params)
    prompt = llm.encode_prompt(PROMPT)
    rows = llm.logits([*prompt, *done.token_ids])[len(prompt) - 1 : -1].astype(np.float64)
    for row, entry in zip(rows, done.logprobs, strict=True):
        own = row[entry.token_id] - row.max() - np.log(np.exp(row - row.max()).sum())
        assert entry.logprob == pytest.approx(own, abs=1e-4)


def test_threads_with_one_grammar_do_not_disturb_each_other(llm):
    params = [SamplingParams(json_schema=PAIR, seed=seed, max_tokens=99) for seed in range(8)]
    alone = [llm.generate(PROMPT, each).token_ids for each in params]
    with ThreadPoolExecutor(4) as pool:
        together = pool.map(lambda each: llm.generate(PROMPT, each).token_ids, params)
        assert list(together) == alone


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"json_schema": {"type": "objct"}}, "json_schema: Invalid type: objct"),
        ({"json_schema": {"not": {"type": "null"}}}, "json_schema: .*not"),
        ({"json_schema": "x"}, "json_schema is 'x'"),
        ({"json_schema": {"const": float("nan")}}, "json_schema: "),
        ({"grammar": "start: ["}, "grammar: "),
        ({"grammar": "root := x"}, "grammar: "),
        ({"grammar": ""}, "grammar is ''"),
        ({"regex": "("}, "regex: .*unclosed group"),
        ({"regex": "\ud800"}, "regex has a lone surrogate"),
        ({"regex": "x", "grammar": "start: x"}, "regex is given beside grammar"),
    ],
)
def test_a_form_that_is_wrong_is_refused_before_anything_is_computed(llm, form, words):
    with pytest.raises(InvalidRequestError, match=f"(?s){words}"):
        llm.stream(PROMPT, SamplingParams(**form))


def test_a_bias_that_bans_all_that_the_grammar_allows_ends_with_the_reason(llm):
    banned = dict.fromkeys(range(llm.vocab_size), float("-inf"))
    with pytest.raises(InvalidRequestError):
        llm.generate(PROMPT, SamplingParams(regex="a", logit_bias=banned))


def test_a_model_without_a_vocabulary_says_so(tmp_path):
    path = tmp_path / "none.gguf"
    path.write_bytes(without_vocabulary(nano()))
    with LLM(path, threads=1) as llm, pytest.raises(InvalidRequestError, match="no vocabulary"):
        llm.stream([1], SamplingParams(regex="a"))
