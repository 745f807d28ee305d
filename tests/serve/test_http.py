"""Errors, limits, keys, headers and the routes beside completions."""

from __future__ import annotations

import json
import socket
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from openai import AuthenticationError, NotFoundError, RateLimitError

from tests.serve.process import JSON, LONG, serving
from tests.serve.scripted import ScriptedLLM, talk
from tests.tasks import eventually
from zerostall import __version__
from zerostall.serve.server import listen
from zerostall.serve.settings import Settings

SHORT = {"prompt": "x", "max_tokens": 2}


def error_of(answer):
    return answer.status_code, answer.json()["error"]


def test_the_model_is_listed(client, llm):
    (model,) = client.models.list().data
    assert (model.id, model.object, model.owned_by) == ("nano-chat", "model", "zerostall")
    assert model.model_extra["meta"] == {"n_vocab": 4096, "n_ctx": 1024, "n_ctx_train": 1024}
    assert model.model_extra["max_model_len"] == 1024
    assert client.models.retrieve("nano-chat") == model
    with pytest.raises(NotFoundError) as caught:
        client.models.retrieve("gpt-9")
    assert caught.value.code == "model_not_found"


def test_health_and_version_say_what_monitors_look_for(server):
    for path in ("/health", "/v1/health"):
        assert server.get(path).json() == {"status": "ok"}
    assert server.get("/version").json() == {"version": __version__}


@pytest.mark.parametrize(
    "path", ["/health", "/version", "/v1/models", "/metrics", "/props", "/slots"]
)
def test_head_is_answered_as_get_is_but_without_the_body(server, path):
    answer = httpx.head(server.url + path)
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-type"] == server.get(path).headers["content-type"]


def test_the_tokenizer_is_there_by_llama_cpps_names(server, llm):
    ids = llm.tokenize("def é", add_special=False)
    assert server.post("/tokenize", {"content": "def é"}).json() == {"tokens": ids}
    pieces = server.post("/tokenize", {"content": "def é", "with_pieces": True}).json()["tokens"]
    assert [piece["id"] for piece in pieces] == ids
    data = [p["piece"] for p in pieces]
    joined = b"".join(p.encode() if isinstance(p, str) else bytes(p) for p in data)
    assert joined.decode() == "def é"
    assert server.post("/detokenize", {"tokens": ids}).json() == {"content": "def é"}
    status, error = error_of(server.post("/detokenize", {"tokens": [99999]}))
    assert (status, error["param"]) == (400, "tokens")


def test_the_tokenizer_is_there_by_vllms_names_too(server, llm):
    ids = llm.tokenize("def é")
    answer = server.post("/tokenize", {"prompt": "def é", "return_token_strs": True}).json()
    strings = [llm.tokenizer.token(id) for id in ids]
    assert answer == {
        "count": len(ids),
        "max_model_len": 1024,
        "tokens": ids,
        "token_strs": strings,
    }
    for body in ({}, {"prompt": "a", "content": "b"}):
        status, error = error_of(server.post("/tokenize", body))
        assert (status, error["param"]) == (400, "content")


def test_a_slash_at_the_end_of_a_path_changes_nothing(server):
    assert server.post("/v1/completions/", SHORT).status_code == 200
    assert server.get("/v1/models/").json()["object"] == "list"


def test_no_connection_makes_an_answer_wait_for_a_delayed_acknowledgement():
    with (
        listen(Settings(port=0)) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0] as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


def test_props_tell_what_was_started(server, model, llm):
    props = server.get("/props").json()
    assert props["model_path"] == str(model)
    assert props["total_slots"] == 2
    assert props["default_generation_settings"]["n_ctx"] == 1024
    assert props["chat_template"] == llm.tokenizer.chat_template
    assert props["build_info"] == f"zerostall {__version__}"


def test_metrics_count_requests_and_tokens(server):
    labels = {"route": "/v1/completions", "status": "200"}
    names = ("zerostall_requests_total", "zerostall_generated_tokens_total")
    rates = "zerostall_decode_tokens_per_second_count"
    first = "zerostall_time_to_first_token_seconds_count"
    before = [server.metric(names[0], **labels), server.metric(names[1])]
    times = [server.metric(rates), server.metric(first)]
    server.post("/v1/completions", SHORT)
    # It is counted when the answer has gone.
    assert eventually(lambda: server.metric(names[0], **labels) == before[0] + 1)
    assert server.metric(names[1]) == before[1] + 2
    assert [server.metric(rates), server.metric(first)] == [times[0] + 1, times[1] + 1]
    server.wait_until("zerostall_running", 0)


@pytest.mark.parametrize(
    ("body", "words"),
    [(b"{", "not valid JSON"), (b"[]", "body"), (b"", "body"), (b"\xff", "body"), (b"1", "body")],
)
def test_a_body_that_is_no_json_object_is_a_400(server, body, words):
    answer = httpx.post(f"{server.url}/v1/completions", content=body, headers=JSON)
    status, error = error_of(answer)
    assert (status, error["type"]) == (400, "invalid_request_error")
    assert words in error["message"]


def test_unknown_routes_and_methods_have_the_same_form(server):
    assert error_of(server.get("/v2"))[0] == 404
    assert error_of(server.get("/v2"))[1]["code"] == "not_found"
    assert error_of(server.get("/v1/completions"))[0] == 405


def test_a_body_too_large_is_a_413_whether_or_not_it_says_so(server):
    large = {"prompt": "x" * 200_000}
    status, error = error_of(server.post("/v1/completions", large))
    assert (status, error["code"]) == (413, "request_too_large")
    chunks = (json.dumps(large)[i : i + 1000].encode() for i in range(0, 200_000, 1000))
    answer = httpx.post(f"{server.url}/v1/completions", content=chunks, headers=JSON)
    assert answer.status_code == 413


def test_answers_carry_the_id_of_the_request_as_does_the_log(server):
    answer = server.post("/v1/completions", SHORT, headers={"X-Request-Id": "mine-1"})
    assert answer.headers["X-Request-Id"] == "mine-1"

    def logged():
        *whole, _ = server.log.read_text().split("\n")
        lines = [json.loads(line) for line in whole]
        return [line for line in lines if line.get("request_id") == "mine-1"]

    # The second is written when the answer has gone.
    assert eventually(lambda: len(logged()) == 2), logged()
    generated, answered = logged()
    assert (generated["message"], generated["completion_tokens"]) == ("generated", 2)
    assert (answered["path"], answered["status"]) == ("/v1/completions", 200)
    made = server.get("/health", headers={"X-Request-Id": "no good"}).headers["X-Request-Id"]
    assert len(made) == 32


def test_pages_of_an_allowed_origin_may_call(server):
    ask = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    for origin, allowed in (("https://page.example", True), ("https://other.example", False)):
        headers = {"Origin": origin, **ask}
        answer = httpx.options(f"{server.url}/v1/completions", headers=headers)
        assert (answer.headers.get("Access-Control-Allow-Origin") == origin) is allowed


def test_one_of_the_keys_is_needed_for_all_but_health_and_a_full_queue_is_429(tmp_path):
    args = ("--api-key", "sesame", "--api-key", "other", "--parallel", "1", "--queue", "1")
    with serving(tmp_path / "log.jsonl", *args) as server:
        with pytest.raises(AuthenticationError) as caught, server.client() as client:
            client.models.list()
        assert caught.value.code == "invalid_api_key"
        assert server.get("/metrics").status_code == 401
        assert server.get("/v1/health").status_code == 200
        server.headers = {"Authorization": "Bearer sesame"}
        with server.client(api_key="other") as client, ThreadPoolExecutor() as pool:
            assert client.models.list().data[0].id == "nano"
            slow = {"prompt": "f", "max_tokens": 900, "n": 100, "extra_body": {"ignore_eos": True}}
            with client.completions.create(model="", **slow, stream=True) as runs:
                next(iter(runs))
                waits = pool.submit(client.completions.create, model="", **SHORT)
                server.wait_until("zerostall_queued", 1)
                with pytest.raises(RateLimitError) as full:
                    client.completions.create(model="", **SHORT)
            assert 1 <= int(full.value.response.headers["Retry-After"]) <= 60
            assert full.value.code == "queue_full"
            assert waits.result().usage.completion_tokens == 2
        assert "Traceback" not in server.log.read_text()


def test_until_the_model_is_loaded_every_answer_is_503():
    async def ask(client):
        return [
            await client.get("/health"),
            await client.post("/v1/completions", json=SHORT),
            await client.get("/metrics"),
        ]

    *loading, metrics = talk(None, ask)
    for answer in loading:
        status, error = error_of(answer)
        assert (status, error["code"], answer.headers["Retry-After"]) == (503, "model_loading", "1")
    assert metrics.status_code == 200


def test_a_silent_stream_shows_signs_of_life():
    async def ask(client):
        body = {"messages": [{"role": "user", "content": "x"}], "stream": True}
        return await client.post("/v1/chat/completions", json=body)

    text = talk(ScriptedLLM("a", silent_until="kept alive"), ask, keep_alive_s=0.1).text
    assert text.startswith(": keep-alive\n\n")
    assert text.endswith("data: [DONE]\n\n")


def test_a_request_that_takes_too_long_is_cancelled():
    body = {"messages": [{"role": "user", "content": "x"}]}

    async def ask(client):
        whole = await client.post("/v1/chat/completions", json=body)
        return whole, await client.post("/v1/chat/completions", json=body | {"stream": True})

    llm = ScriptedLLM("a", silent_until="cancelled")
    whole, stream = talk(llm, ask, timeout_s=0.1)
    status, error = error_of(whole)
    assert (status, error["code"]) == (504, "timeout")
    assert json.loads(stream.text.removeprefix("data: "))["error"] == error
    # On a slow machine the time may be over before there is a session.
    assert all(each.cancelled.is_set() for each in llm.sessions)


def test_a_fault_inside_is_a_500_that_tells_nothing():
    def broken(*_):
        raise RuntimeError("secret")

    llm = ScriptedLLM("a")
    llm.render_chat = broken

    async def ask(client):
        body = {"messages": [{"role": "user", "content": "x"}]}
        return await client.post("/v1/chat/completions", json=body)

    status, error = error_of(talk(llm, ask))
    assert (status, error["type"]) == (500, "server_error")
    assert "secret" not in error["message"]


def test_slots_tell_what_runs_in_each_place_and_how_far_it_is(server, llm):
    free = [{"id": id, "n_ctx": 1024, "is_processing": False} for id in range(2)]
    server.wait_until("zerostall_running", 0)
    assert server.get("/slots").json() == free
    url, headers = f"{server.url}/v1/completions", {"X-Request-Id": "mine-3"}
    prompt = len(llm.encode_prompt(LONG["prompt"]))

    def told():
        busy = server.get("/slots").json()
        if not all(slot["is_processing"] for slot in busy):
            return False
        assert all(
            slot.keys() - free[0].keys()
            == {
                "request_id",
                "n_prompt_tokens",
                "n_prompt_tokens_processed",
                "n_prompt_tokens_cache",
                "next_token",
            }
            for slot in busy
        )
        assert [slot["request_id"] for slot in busy] == ["mine-3"] * 2
        assert [slot["n_prompt_tokens"] for slot in busy] == [prompt] * 2
        tokens = [slot["next_token"][0] for slot in busy]
        return all(
            slot["n_prompt_tokens_processed"] + slot["n_prompt_tokens_cache"] == prompt
            and token["n_decoded"] > 1
            and sum(token.values()) == 900
            for slot, token in zip(busy, tokens, strict=True)
        )

    with httpx.stream("POST", url, json=LONG | {"stream": True}, headers=headers):
        server.wait_until("zerostall_running", 2)  # of its answers
        assert eventually(told)
    server.wait_until("zerostall_running", 0)
    assert server.get("/slots").json() == free
