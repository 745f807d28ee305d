"""One server for all tests that leave it as it was, and the same model beside it."""

from __future__ import annotations

import pytest

from tests.llm.models import nano, with_template
from tests.serve.process import serving
from zerostall import LLM


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "nano-chat.gguf"
    path.write_bytes(with_template(nano()))
    return path


@pytest.fixture(scope="session")
def llm(model):
    with LLM(model, threads=1) as llm:
        yield llm


@pytest.fixture(scope="session")
def server(model, tmp_path_factory):
    log = tmp_path_factory.mktemp("logs") / "server.jsonl"
    args = ("--cors", "https://page.example", "--parallel", "2", "--max-body", "100000")
    with serving(log, "-m", str(model), *args) as server:
        yield server


@pytest.fixture(scope="session")
def client(server):
    with server.client() as client:
        yield client
