"""Errors name the field that the request has, and fields take what their origin's schema does."""

from __future__ import annotations

import pytest
from pydantic import BaseModel

from tests.serve.bodies import BODIES
from zerostall.serve import schema
from zerostall.serve.anthropic import schema as anthropic
from zerostall.serve.chat import _jobs as chat_jobs
from zerostall.serve.completions import _jobs as completion_jobs
from zerostall.serve.conversation import read
from zerostall.serve.embeddings import EmbeddingsRequest
from zerostall.serve.responses import schema as responses
from zerostall.serve.schema import ChatRequest, CompletionRequest

HUGE = 10**30
LIMITS = {"max_tokens", "max_completion_tokens", "max_output_tokens"}
ALIASES = [("repetition_penalty", -1), ("repeat_penalty", -1), ("repeat_last_n", -5)]
CASES = [(path, name, value) for path in BODIES for name, value in ALIASES]
CASES += [
    ("/v1/completions", "max_tokens", -5),
    ("/v1/completions", "n_predict", -7),
    ("/v1/chat/completions", "max_completion_tokens", -5),
    ("/v1/chat/completions", "max_tokens", HUGE),
    ("/v1/chat/completions", "n_predict", -7),
    ("/v1/responses", "max_output_tokens", HUGE),
    ("/v1/responses", "max_tokens", -5),
    ("/v1/responses", "n_predict", -7),
    ("/v1/messages", "max_tokens", HUGE),
    ("/v1/messages", "stop_sequences", [""]),
]


@pytest.mark.parametrize(("path", "name", "value"), CASES)
def test_an_error_names_the_field_as_it_was_given(server, path, name, value):
    least = {key: given for key, given in BODIES[path].items() if key not in LIMITS}
    body = (least if path != "/v1/messages" else BODIES[path]) | {name: value}
    answer = server.post(path, body)
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["message"].startswith(name)
    if path != "/v1/messages":
        assert error["param"] == name


def test_of_two_names_that_one_is_named_which_counts(server):
    body = {"prompt": "x", "max_tokens": 4, "n_predict": -7}
    assert server.post("/v1/completions", body).status_code == 200
    body = {"prompt": "x", "n_predict": 2, "min_tokens": 5}
    error = server.post("/v1/completions", body).json()["error"]
    assert (error["param"], error["message"]) == (
        "min_tokens",
        "min_tokens is 5, more than n_predict, 2",
    )


def test_a_negative_seed_is_the_one_of_the_same_64_bits(server, llm):
    def said(**fields):
        answer = server.post("/v1/completions", {"prompt": "x", "max_tokens": 8} | fields)
        assert answer.status_code == 200, answer.text
        return [choice["text"] for choice in answer.json()["choices"]]

    assert said(seed=-2) == said(seed=2**64 - 2)
    assert said(seed=-(2**63)) == said(seed=2**63)
    assert said(seed=2**64 - 1, n=2) == [said(seed=2**64 - 1)[0], said(seed=0)[0]]
    assert said(seed=-2, n=2)[1] == said(seed=2**64 - 1)[0]
    for seed in (-(2**63) - 1, 2**64):
        error = server.post("/v1/completions", {"prompt": "x", "seed": seed}).json()["error"]
        assert error["param"] == "seed"


def test_minus_one_is_any_seed():
    request = CompletionRequest(prompt="x", seed=-1)
    assert request.sampling(0, 1, None).seed is None
    assert request.sampling(1, 1, None).seed is None


MODELS = {
    each
    for module in (schema, anthropic, responses)
    for each in vars(module).values()
    if isinstance(each, type) and issubclass(each, BaseModel) and each is not BaseModel
} | {EmbeddingsRequest}


@pytest.mark.parametrize("model", sorted(MODELS, key=lambda each: each.__name__))
def test_every_field_that_may_be_left_out_may_be_null(model):
    for name, field in model.model_fields.items():
        if not field.is_required():
            model.__pydantic_validator__.validate_assignment(model.model_construct(), name, None)


def test_nulls_of_the_tokenizer_are_as_if_not_given(server):
    nulls = ("add_special", "add_special_tokens", "parse_special", "with_pieces")
    for body in ({"content": "<s>x"}, {"prompt": "<s>x"}):
        plain = server.post("/tokenize", body)
        assert server.post("/tokenize", body | dict.fromkeys(nulls)).json() == plain.json()
    body = {"messages": [{"role": "user", "content": "x"}]}
    nulls = ("tools", "chat_template_kwargs", "add_generation_prompt", "continue_final_message")
    plain = server.post("/apply-template", body)
    assert server.post("/apply-template", body | dict.fromkeys(nulls)).json() == plain.json()


@pytest.fixture
def checked(monkeypatch):
    """How many ids each check of a prompt looked at."""
    from zerostall import llm as module

    check, counts = module.checked_prompt, []

    def counted(ids, *args):
        counts.append(len(ids))
        return check(ids, *args)

    monkeypatch.setattr(module, "checked_prompt", counted)
    return counts


def test_the_ids_of_a_prompt_are_checked_once_however_many_answers_it_has(llm, checked):
    body = CompletionRequest(prompt=[[5] * 900, [6] * 800], n=128)
    assert len(completion_jobs(llm, body)) == 256
    assert sum(checked) <= 1701
    checked.clear()
    body = ChatRequest(messages=[{"role": "user", "content": "x = 1\n" * 100}], n=128)
    prompt = read(llm, body.messages, None)
    assert len(chat_jobs(llm, body, prompt)) == 128
    assert sum(checked) <= len(prompt.tokens) + 1
