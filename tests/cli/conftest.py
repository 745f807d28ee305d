"""Models that the tests of the command share."""

from __future__ import annotations

import pytest

from tests.llm.models import nano, with_template
from zerostall import LLM


@pytest.fixture(scope="session")
def llm():
    with LLM("nano", threads=1) as llm:
        yield llm


@pytest.fixture(scope="session")
def chat_model(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "nano-chat.gguf"
    path.write_bytes(with_template(nano()))
    return str(path)
