"""Random schemas through the official client: whatever is bounded ends, and is valid."""

from __future__ import annotations

import json
import random
from concurrent.futures import ThreadPoolExecutor

import jsonschema
import pytest
from openai import BadRequestError

SCALARS = ("string", "integer", "number", "boolean", "null", "enum", "const", "pattern", "$ref")
SHARED = {"point": "point", "a~0~1b%25": "a~/b%"}  # definitions by how a pointer writes them
KINDS = (
    ("object", "array"),
    ("object", "array", "anyOf", *SCALARS[:4], "$ref"),
    ("object", "anyOf", *SCALARS),
    SCALARS,
    SCALARS[:-1],  # of a definition, which would else refer to itself
)


def bounded(draw, depth=0):
    """A schema whose every instance has less than a few hundred tokens, but for open objects."""
    kind = draw.choice(KINDS[depth])
    if kind == "object":
        return {"type": "object", **members(draw, depth)}
    if kind == "array":
        low = draw.randint(0, 1)
        items = bounded(draw, depth + 1)
        return {"type": "array", "items": items, "minItems": low, "maxItems": low + 2 - depth}
    if kind == "anyOf":
        inner = {"type": "object", **members(draw, depth)}
        return {"anyOf": [inner, bounded(draw, depth + 1)]}
    if kind in ("integer", "number"):
        low, unit = draw.randint(-1000, 1000), 1 if kind == "integer" else 0.25
        return {"type": kind, "minimum": low * unit, "maximum": low * unit + draw.randint(0, 2000)}
    if kind == "string":
        low = draw.randint(0, 4)
        return {"type": "string", "minLength": low, "maxLength": low + draw.randint(0, 6)}
    return {
        "enum": {"enum": ["red", 7, None, ["a"], {"x": 1.5}]},
        "const": {"const": {"x": [1, "é"]}},
        "pattern": {"type": "string", "pattern": "^[a-f]{2,4}-[0-9]{1,4}$"},
        "$ref": {"$ref": "#/$defs/" + draw.choice(list(SHARED))},
    }.get(kind, {"type": kind})


def members(draw, depth):
    """Those of an object. One in four takes another beside them, whose name has any length."""
    names = draw.sample(["a", "b c", "é", "naïve", "$ref2", '"', "longer_name"], 3 - depth // 2)
    given = {"properties": {name: bounded(draw, depth + 1) for name in names}}
    if draw.randint(0, 3):
        required = draw.sample(names, draw.randint(1, len(names)))
        return {**given, "required": required, "additionalProperties": False}
    # llguidance counts members only where all that have names are required.
    others = {"additionalProperties": {"type": "boolean"}, "maxProperties": len(names) + 1}
    return {**given, "required": names, **others}


def rooted(draw):
    """A schema with the definitions that its parts refer to, one of which refers on."""
    members = {"x": {"$ref": "#/$defs/a~0~1b%25"}}
    point = {"type": "object", "properties": members, "required": ["x"]}
    shared = (point | {"additionalProperties": False}, bounded(draw, 4))
    return {**bounded(draw), "$defs": dict(zip(SHARED.values(), shared, strict=True))}


def test_100_random_schemas_are_all_kept_to_the_end(client):
    def answer(seed):
        schema = rooted(random.Random(seed))
        form = {"name": "any", "strict": True, "schema": schema}
        done = client.chat.completions.create(
            model="",
            messages=[{"role": "user", "content": "Give me an example."}],
            response_format={"type": "json_schema", "json_schema": form},
            temperature=1.0,
            seed=seed,
            max_tokens=900,
        )
        (choice,) = done.choices
        return schema, choice.finish_reason, choice.message.content

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(answer, range(100)))
    assert len({json.dumps(schema) for schema, _, _ in answers}) > 90
    endless = 0
    for schema, reason, content in answers:
        if reason == "length" and "maxProperties" in json.dumps(schema):
            endless += 1
            continue
        assert reason == "stop", (schema, content)
        jsonschema.validate(json.loads(content), schema)
    assert endless < 5


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"not": {"type": "null"}}, "not"),
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"if": {"type": "null"}, "then": {}}, "if"),
        ({"oneOf": [{"type": "boolean"}, {"enum": [True]}]}, "oneOf"),
        ({"properties": {"a": {}}, "maxProperties": 2}, "maxProperties"),
        ({"$ref": "#/$defs/a"}, "does not exist"),
        ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}, ""),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_kept_is_refused(client, schema, reason):
    with pytest.raises(BadRequestError, match=f"json_schema: .*{reason}"):
        client.completions.create(model="", prompt="x", extra_body={"json_schema": schema})
