"""No request that the OpenAPI document allows, or nearly allows, makes the server fail."""

from __future__ import annotations

import os

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
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


def sharpened(case, mode):
    """The body with few tokens to generate, where it is an object that asks for more.

    Of what fits the document the messages are real ones: others end most requests too early for
    their other fields to count.
    """
    body = case.body
    if mode == GenerationMode.POSITIVE and isinstance(body, dict) and "messages" in body:
        body = {**body, "messages": [{"role": "user", "content": "x"}]}
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
    @given(case=OPERATIONS[name].as_strategy(generation_mode=mode))
    def ask(case):
        case.body = sharpened(case, mode)
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
