"""The built-in model, loaded once for all tests of this folder."""

from __future__ import annotations

import pytest

from zerostall import LLM


@pytest.fixture(scope="session")
def llm():
    with LLM("nano", threads=1) as llm:
        yield llm
