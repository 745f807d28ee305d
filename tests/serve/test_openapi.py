"""No request that the OpenAPI document allows, or nearly allows, makes the server fail."""

from __future__ import annotations

import os

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

from zerostall.serve import app
from zerostall.serve.service import Service
from zerostall.serve.settings import Settings

EXAMPLES = 10  # of a route and of each mode
MANY = int(os.environ.get("ZEROSTALL_EXAMPLES", "200"))  # of make soak
SHORT = 2  # tokens: most requests that are let through ask for as many as there are
LIMITS = {
    "/v1/chat/completions": "max_completion_tokens",
    "/v1/completions": "max_tokens",
    "/v1/messages": "max_tokens",
    "/v1/responses": "max_output_tokens",
}


def operations():
    document = app.document(Service("any", Settings()))
    schema = schemathesis.openapi.from_dict(document)
    found = [result.ok() for result in schema.get_all_operations()]
    return {f"{each.method.upper()} {each.path}": each for each in found}


OPERATIONS = operations()


def test_every_route_is_in_the_document():
    assert {f"POST {path}" for path in LIMITS} < set(OPERATIONS)
    assert {"GET /slots", "POST /v1/messages/count_tokens", "GET /v1/models"} < set(OPERATIONS)


NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=6,
)
TEXTS = st.text(max_size=9) | st.just(None)
PARTS = st.lists(st.fixed_dictionaries({"type": st.just("text"), "text": st.text(max_size=9)}))
FUNCTIONS = st.fixed_dictionaries({"name": st.text(max_size=9), "arguments": st.just("{}") | JSON})
CALLS = st.lists(st.fixed_dictionaries({"id": JSON, "function": FUNCTIONS}) | JSON, max_size=2)
# With a role and a content, which the document leaves open, and without which no template sees
# them. Anything else may be in them.
MESSAGES = st.lists(
    st.fixed_dictionaries(
        {
            "role": st.sampled_from(["user", "assistant", "system", "tool", "developer"]),
            "content": TEXTS | PARTS,
        },
        optional={
            "tool_calls": CALLS,
            "reasoning_content": JSON,
            "name": JSON,
            "tool_call_id": JSON,
        },
    ),
    min_size=1,
    max_size=3,
)


def sharpened(case, mode, messages):
    """The body with few tokens to generate, where it is an object that asks for more.

    Of what fits the document the messages that are objects get a role and content from others
    where they have none: else most requests end too early for their other fields to count.
    """
    body = case.body
    if mode == GenerationMode.POSITIVE and isinstance(body, dict) and "messages" in body:
        given = body["messages"][: len(messages)]
        shaped = [made | drawn for made, drawn in zip(messages, given, strict=False)]
        body = {**body, "messages": shaped or messages}
    field = LIMITS.get(case.path)
    if field is not None and isinstance(body, dict):
        asked = body.get(field)
        if asked is None or (isinstance(asked, (int, float)) and asked > SHORT):
            body = {**body, field: SHORT}
        if isinstance(body.get("n"), int) and body["n"] > SHORT:
            body = {**body, "n": SHORT}
    return body


def asked():
    """Each route with what fits its document and, where it has a body, with what does not."""
    for name, operation in OPERATIONS.items():
        yield name, GenerationMode.POSITIVE
        if operation.body:
            yield name, GenerationMode.NEGATIVE


def answers(server, name, mode, **how):
    """Ask the route for examples, each of which must be answered or refused."""

    @settings(
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
        **how,
    )
    @given(case=OPERATIONS[name].as_strategy(generation_mode=mode), messages=MESSAGES)
    def ask(case, messages):
        case.body = sharpened(case, mode, messages)
        answer = case.call(base_url=server.url)
        assert answer.status_code < 500, answer.text

    ask()


@pytest.mark.parametrize(("name", "mode"), list(asked()))
def test_no_request_is_answered_with_a_500(server, name, mode):
    answers(server, name, mode, max_examples=EXAMPLES, derandomize=True)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "mode"), list(asked()))
def test_nor_is_any_of_many_that_differ_each_time(server, name, mode):
    answers(server, name, mode, max_examples=MANY, print_blob=True)
