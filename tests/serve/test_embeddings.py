"""/v1/embeddings through the official client, beside what the LLM itself gives."""

from __future__ import annotations

import base64
import socket
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from openai import BadRequestError

from tests.llm.models import nano, with_number
from tests.serve.process import Server, serving
from tests.serve.scripted import ScriptedLLM, talk
from tests.tasks import HANG_S
from zerostall.errors import ClosedError

TEXTS = ["import os\n", "def f(x):\n    return x", "class A:\n    pass\n" * 20]


def vectors(answer) -> np.ndarray:
    return np.array([entry.embedding for entry in answer.data], np.float32)


def test_vectors_are_the_llms_to_the_last_bit(client, llm):
    answer = client.embeddings.create(model="any", input=TEXTS)
    assert np.array_equal(vectors(answer), llm.embed(TEXTS))
    assert [entry.index for entry in answer.data] == [0, 1, 2]
    assert (answer.object, answer.data[0].object) == ("list", "embedding")
    assert answer.model == "nano-chat"
    tokens = sum(len(llm.encode_prompt(text)) for text in TEXTS)
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (tokens, tokens)


def test_an_input_is_a_text_or_ids_or_several(client, llm):
    ids = [llm.encode_prompt(text) for text in TEXTS]
    expected = llm.embed(TEXTS)
    for given, rows in (
        (TEXTS[0], 1),
        (ids[0], 1),
        (ids[:1], 1),
        (ids, 3),
        ([TEXTS[0], ids[1]], 2),
    ):
        answer = client.embeddings.create(model="any", input=given)
        assert np.array_equal(vectors(answer), expected[:rows])


def test_numbers_and_base64_say_the_same(server, llm):
    expected = llm.embed(TEXTS[0])[0]
    ask = {"model": "any", "input": TEXTS[0]}
    for form in ({}, {"encoding_format": "float"}, {"encoding_format": None}):
        (entry,) = server.post("/v1/embeddings", ask | form).json()["data"]
        assert np.array_equal(np.array(entry["embedding"], np.float32), expected)
    answer = server.post("/v1/embeddings", ask | {"encoding_format": "base64", "user": "x"}).json()
    data = base64.b64decode(answer["data"][0]["embedding"], validate=True)
    assert np.array_equal(np.frombuffer(data, "<f4"), expected)


def test_fewer_dimensions_are_the_first_ones_at_length_one(client, llm):
    (whole,) = llm.embed(TEXTS[1]).astype(np.float64)
    for count in (1, 7, len(whole)):
        answer = client.embeddings.create(model="any", input=TEXTS[1], dimensions=count)
        expected = whole[:count] / np.linalg.norm(whole[:count])
        assert answer.data[0].embedding == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("fields", "param", "message"),
    [
        ({"input": ""}, "input", "input is empty"),
        ({"input": []}, "input", "input is empty; give at least one text"),
        ({"input": ["a", ""]}, "input", "text 1: the prompt is empty"),
        ({"input": [[]]}, "input", "text 0: the prompt has no tokens"),
        ({"input": [[1], [99999]]}, "input", "text 1: token 99999"),
        ({"input": [1, "a"]}, "input", ""),
        ({"input": {"text": "a"}}, "input", ""),
        ({"input": ["a"] * 2049}, "input", "input has 2049 texts; give at most 2048"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format", "'float' or 'base64'"),
        ({"input": "a", "dimensions": 0}, "dimensions", ""),
        ({"input": "a", "dimensions": 257}, "dimensions", "this model's vectors have 256"),
        ({}, "input", "required"),
    ],
)
def test_what_is_wrong_is_a_400_that_names_the_field(server, fields, param, message):
    answer = server.post("/v1/embeddings", {"model": "any"} | fields)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert message in error["message"]


def test_a_text_longer_than_the_context_is_told_so(client):
    with pytest.raises(BadRequestError) as caught:
        client.embeddings.create(model="any", input=[[1], [1] * 1025])
    assert caught.value.code == "context_length_exceeded"
    assert caught.value.param == "input"
    assert "text 1: the prompt has 1025 tokens, the context 1024" in str(caught.value)


def test_requests_at_once_get_what_they_get_alone(server, llm):
    expected = llm.embed(TEXTS)
    found = {}

    def ask(name: int) -> None:
        with server.client() as client:
            client.completions.create(model="any", prompt="x = ", max_tokens=20)
            found[name] = vectors(client.embeddings.create(model="any", input=TEXTS))

    threads = [threading.Thread(target=ask, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HANG_S)
    assert all(np.array_equal(found[name], expected) for name in range(4))


def test_tokens_that_were_computed_are_counted(server, client):
    before = server.metric("zerostall_prompt_tokens_total")
    client.embeddings.create(model="any", input=[[901, 902, 903], [904, 905]])
    assert server.metric("zerostall_prompt_tokens_total") == before + 5


@pytest.fixture(scope="module")
def averaging(tmp_path_factory) -> Server:
    """A server of a model that ranks texts, told to take the mean."""
    folder = tmp_path_factory.mktemp("ranks")
    (folder / "ranks.gguf").write_bytes(with_number(nano(), "qwen3moe.pooling_type", 4))
    args = ("-m", str(folder / "ranks.gguf"), "--pooling", "mean")
    with serving(folder / "log", *args) as server:
        yield server


def test_the_option_says_how_to_pool(averaging, llm):
    with averaging.client() as client:
        answer = client.embeddings.create(model="any", input=TEXTS)
    assert np.array_equal(vectors(answer), llm.embed(TEXTS, pooling="mean"))


def test_a_client_that_goes_away_cancels_its_embeddings(averaging):
    # A mean computes every token: minutes of work for the built-in model.
    text = b"[" + b",".join([b"7"] * 1000) + b"]"
    body = b'{"input": [' + b",".join([text] * 2000) + b"]}"
    head = b"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    host, port = averaging.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
        averaging.wait_until("zerostall_running", 1)
    averaging.wait_until("zerostall_running", 0)
    assert averaging.metric("zerostall_cancelled_total") == 1


def test_embeddings_that_take_too_long_are_cancelled_and_told_so():
    class Stuck:
        def __init__(self) -> None:
            self.cancelled = threading.Event()
            self.cancel = self.cancelled.set

        def run(self, prompts):
            assert self.cancelled.wait(HANG_S)
            raise ClosedError("cancelled")

    llm, stuck = ScriptedLLM("a"), Stuck()
    llm.architecture = SimpleNamespace(width=4)
    llm.encode_texts = lambda texts: [[1]]
    llm.embedder = lambda pooling: stuck

    async def ask(client):
        return await client.post("/v1/embeddings", json={"input": "x"})

    answer = talk(llm, ask, timeout_s=0.1)
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "timeout")


def test_a_model_that_ranks_texts_says_so(tmp_path):
    (tmp_path / "ranks.gguf").write_bytes(with_number(nano(), "qwen3moe.pooling_type", 4))
    with serving(tmp_path / "log", "-m", str(tmp_path / "ranks.gguf")) as server:
        answer = server.post("/v1/embeddings", {"input": "x"})
    assert answer.status_code == 400
    assert "made to rank texts" in answer.json()["error"]["message"]
    assert str(tmp_path) not in answer.text
