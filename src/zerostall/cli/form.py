"""Schemas and grammars of the command line: a file, or the text itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from zerostall.errors import InvalidRequestError


def read_schema(given: str) -> dict[str, Any]:
    """A JSON schema: JSON if it begins with a brace, else a file of it.

    Raises:
        InvalidRequestError: there is no such file, or it is not a JSON object.
    """
    text = given if given.lstrip().startswith("{") else _read("--json-schema", given)
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError(f"--json-schema is not JSON: {error}") from error
    if not isinstance(schema, dict):
        raise InvalidRequestError("--json-schema is not a JSON object")
    return schema


def read_grammar(given: str) -> str:
    """A grammar: the text if it has a rule, else a file of it.

    Raises:
        InvalidRequestError: there is no such file.
    """
    return given if ":" in given and not Path(given).is_file() else _read("--grammar", given)


def _read(option: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise InvalidRequestError(f"{option} {path}: cannot read it: {error}") from error
