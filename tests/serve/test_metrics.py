"""What /metrics tells of the cache and of streamed experts."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.serve.process import serving
from tests.tasks import eventually

TEXT = "".join(f"x{i} = {i}\n" for i in range(25))  # between 2 and 4 pages of 64 tokens
ASK = {"prompt": TEXT, "max_tokens": 24, "temperature": 0, "ignore_eos": True}
PREFIX = "zerostall_"


@pytest.fixture(scope="module")
def streamed(tmp_path_factory):
    """A server of the built-in model whose experts do not fit."""
    log = tmp_path_factory.mktemp("logs") / "streamed.jsonl"
    args = ("-m", "nano", "--ram", "24M", "--ctx", "512", "--parallel", "2")
    with serving(log, *args) as server:
        yield server


def samples(server):
    """Every sample without labels but the state of pages, by its name."""
    found = {}
    for family in text_string_to_metric_families(server.get("/metrics").text):
        for sample in family.samples:
            name = sample.name.removeprefix(PREFIX).removesuffix("_total")
            found[".".join((name, *sample.labels.values()))] = sample.value
    return found


def test_a_prompt_that_comes_again_is_found_in_the_cache(server):
    text = "# a text that no other test sends\n" + TEXT
    before = samples(server)
    for _ in range(2):
        usage = server.post("/v1/completions", ASK | {"prompt": text}).json()["usage"]
    server.wait_until("zerostall_running", 0)
    now = samples(server)
    grown = {name: now[name] - before[name] for name in now if name in before}
    prompt, cached = usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"]
    assert cached > 100
    assert cached % 64 == 0
    assert grown["cached_prompt_tokens"] == grown["cache_hit_tokens"] == cached
    assert grown["prompt_tokens"] == 2 * prompt - cached
    assert (grown["cache_lookups"], grown["cache_hits"]) == (2, 1)
    assert grown["cache_lookup_tokens"] >= 2 * cached
    assert now["cache_pages.cached"] >= cached / 64
    # The first page has tokens of the prompt only; both answers are the same, so both are merged.
    assert grown["cache_merged_pages"] > 0


def test_what_is_scored_for_an_echo_is_computed_and_not_cached(server):
    before = samples(server)
    body = ASK | {"prompt": "y" + TEXT, "echo": True, "logprobs": 1}
    usage = server.post("/v1/completions", body).json()["usage"]
    now = samples(server)
    assert now["cached_prompt_tokens"] == before["cached_prompt_tokens"]
    assert now["prompt_tokens"] - before["prompt_tokens"] == usage["prompt_tokens"]


def test_what_streaming_experts_takes_is_told_in_full(streamed):
    timings = streamed.post("/v1/completions", ASK).json()["timings"]["streaming"]
    now = samples(streamed)
    assert timings["demanded"] > 0
    assert now["expert_demanded"] >= timings["demanded"]
    kinds = ("hits", "shadow_hits", "misses")
    assert now["expert_demanded"] == sum(now[f"expert_{kind}"] for kind in kinds)
    for name in ("hits", "misses", "evictions", "read_bytes", "read_seconds", "stall_seconds"):
        assert now[f"expert_{name}"] > 0, name
    for name in ("speculated", "predicted", "foreseen"):
        assert now[f"expert_{name}"] > 0, name
    assert now["expert_wasted"] <= now["expert_speculated"]
    assert now["expert_foreseen"] <= now["expert_predicted"]
    assert now["expert_wasted_bytes"] <= now["expert_read_bytes"]
    assert (now["expert_low_used"], now["expert_upgrades"], now["expert_low_read_bytes"]) == (
        0,
    ) * 3
    assert 0 < now["expert_resident"] <= now["expert_slots"]
    assert now["major_faults"] >= 0


def test_pages_taken_for_others_and_requests_that_lost_theirs_are_counted(streamed):
    bodies = [ASK | {"prompt": f"{i}{TEXT}", "max_tokens": 200} for i in range(2)]

    def told():
        with ThreadPoolExecutor() as pool:
            answers = list(pool.map(lambda body: streamed.post("/v1/completions", body), bodies))
        assert all(answer.json()["usage"]["completion_tokens"] == 200 for answer in answers)
        now = samples(streamed)
        return now["preempted"] > 0 and now["cache_evicted_pages"] > 0

    # Both are to run at the same time, which a busy machine may put off.
    assert eventually(told)


def test_a_model_that_fits_has_no_counters_of_experts(server):
    assert not any(name.startswith("expert_") for name in samples(server))
