"""Random schemas through the official client: whatever is bounded ends, and is valid."""

from __future__ import annotations

import json
import random
from concurrent.futures import ThreadPoolExecutor

import jsonschema

SCALARS = ("string", "integer", "boolean", "null", "enum", "const", "pattern")


def bounded(draw, depth=0):
    """A schema whose every instance has less than a few hundred tokens."""
    kinds = (("object", "array"), ("object", "array", "anyOf", *SCALARS[:3]), SCALARS)[depth]
    kind = draw.choice(kinds)
    if kind == "object":
        names = draw.sample(["a", "b c", "é", "naïve", "$ref2", '"', "longer_name"], 3)
        required = draw.sample(names, draw.randint(1, 3))
        properties = {name: bounded(draw, depth + 1) for name in names}
        closed = {"properties": properties, "required": required, "additionalProperties": False}
        return {"type": "object", **closed}
    if kind == "array":
        low = draw.randint(0, 2)
        items = bounded(draw, depth + 1)
        return {"type": "array", "items": items, "minItems": low, "maxItems": low + 2}
    if kind == "anyOf":
        return {"anyOf": [bounded(draw, depth + 1) for _ in range(2)]}
    if kind == "integer":
        low = draw.randint(-1000, 1000)
        return {"type": "integer", "minimum": low, "maximum": low + draw.randint(0, 2000)}
    if kind == "string":
        low = draw.randint(0, 4)
        return {"type": "string", "minLength": low, "maxLength": low + draw.randint(0, 6)}
    return {
        "enum": {"enum": ["red", 7, None, ["a"], {"x": 1.5}]},
        "const": {"const": {"x": [1, "é"]}},
        "pattern": {"type": "string", "pattern": "^[a-f]{2,4}-[0-9]{1,4}$"},
    }.get(kind, {"type": kind})


def test_100_random_schemas_are_all_kept_to_the_end(client):
    def answer(seed):
        schema = bounded(random.Random(seed))
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
    for schema, reason, content in answers:
        assert reason == "stop", (schema, content)
        jsonschema.validate(json.loads(content), schema)
