"""`zerostall bench` of a model whose experts are streamed, beside a peer in an equal limit."""

from __future__ import annotations

import dataclasses
import functools
import json
from types import SimpleNamespace

import pytest

from tests.cli.shell import run_json
from tests.lab import fake_peer
from tests.lab.fake_cgroup import PEAK, FakeCgroups
from zerostall import convert, hub
from zerostall.engine.budget import parse_bytes
from zerostall.errors import InvalidRequestError, OutOfBudgetError
from zerostall.lab import bench, bench_child, limits, page_cache, report, streamed_bench
from zerostall.lab.memory_cgroup import MemoryCgroupError, check_permitted, run_contained
from zerostall.lab.streamed_bench import MeasurementError
from zerostall.lab.streamed_report import KILLED, streamed_table
from zerostall.lab.subjects import LlamaCpp, PeerError, Test

MODEL = hub.resolve("nano")
# Less than half of nano's experts find room.
TEST = Test(prompt=6, tokens=4, depth=2, threads=1, ram="8M", first_token=0, speculate=False)
EXPERTS = 6 * 16


@pytest.fixture(autouse=True)
def quick_limits(monkeypatch):
    quick = functools.partial(limits.measure_limits, seconds=0.01)
    monkeypatch.setattr(bench, "measure_limits", quick)


@pytest.fixture
def cgroups(tmp_path, monkeypatch):
    fake = FakeCgroups(tmp_path / "tree")
    fake.use(monkeypatch)
    return fake


@pytest.fixture(scope="module")
def peer(tmp_path_factory):
    return fake_peer.make(tmp_path_factory.mktemp("peer"))


@pytest.fixture(scope="module")
def measured(peer, tmp_path_factory):
    """A record beside the fake peer, what was reported, and the cgroups there were."""
    lines = []
    with pytest.MonkeyPatch.context() as patch:
        fake = FakeCgroups(tmp_path_factory.mktemp("tree"))
        fake.use(patch)
        quick = functools.partial(limits.measure_limits, seconds=0.01)
        patch.setattr(bench, "measure_limits", quick)
        record = bench.run_bench(MODEL, TEST, 1, f"llama.cpp={peer[0]}", report=lines.append)
    return record, lines, fake


def failing(folder, body):
    program = folder / "llama-bench"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
    return f"llama.cpp={folder}"


def test_each_part_of_each_engine_has_an_equal_cgroup_of_its_own(measured):
    record, lines, fake = measured
    # One to see whether it is permitted, then ours and the peer's prefill, ours and its decode.
    assert fake.limits[1:] == [parse_bytes("8M")] * 4
    assert len(set(fake.made)) == 5
    assert not any(folder.exists() for folder in fake.made)
    assert [run["engine"] for run in record["runs"]] == ["zerostall", "peer"]
    for run in record["runs"]:
        for part in ("prefill", "decode"):
            assert run[part] > 0
            assert run["process"][part]["peak_bytes"] == PEAK
    for engine in ("zerostall", "peer"):
        process = record[engine]["decode"]["process"]
        assert (process["peak_bytes"], process["oom_kills"]) == (PEAK, 0)
        assert process["killed_by_limit"] == 0
    assert "in a memory cgroup of 8 MiB, page cache included" in lines[1]
    assert "cold" in lines[1]
    assert lines[-1].startswith("run 1/1: zerostall prefill ")


def test_the_record_keeps_its_fields_and_says_how_it_was_measured(measured):
    record, _, _ = measured
    assert json.loads(json.dumps(record)) == record
    assert record["streaming"] == {
        "cgroup_bytes": 8 << 20,
        "page_cache": "dropped before each turn",
        "warm_up_tokens": 0,
        "expert_bytes": record["streaming"]["expert_bytes"],
    }
    assert 4 << 20 < record["streaming"]["expert_bytes"] < 8 << 20
    for part, theirs in (("prefill", fake_peer.PREFILL), ("decode", fake_peer.DECODE)):
        ours = record["zerostall"][part]["tokens_per_s"]["median"]
        assert record["peer"][part]["tokens_per_s"]["median"] == theirs
        assert record["ratio"][part] == ours / theirs
        assert record["limit"][part]["tokens_per_s"] > 0
        assert bench.ratios(record, part) == [ours / theirs]


def test_streaming_is_counted_during_the_measurement_alone(measured):
    record, _, _ = measured
    counted = record["zerostall"]["decode"]["streaming"]
    assert counted["demanded"] == 4 * 6 * 2  # tokens, layers, experts a token
    assert counted["hits"] + counted["shadow_hits"] + counted["misses"] == counted["demanded"]
    assert counted["hit_rate"] == counted["hits"] / counted["demanded"]
    assert counted["bytes_read_per_token"] == counted["bytes_read"] / 4
    assert counted["missed_bytes_per_token"] == counted["bytes_read_per_token"]  # none in vain
    assert 12 <= counted["slots"] < EXPERTS
    rate = record["zerostall"]["decode"]["tokens_per_s"]["median"]
    assert counted["ms_per_token"] == pytest.approx(1e3 / rate)
    assert counted["compute_ms_per_token"] == pytest.approx(
        counted["ms_per_token"] * (1 - counted["stall_share"])
    )


def test_the_limit_is_the_longer_of_computing_and_of_reading_what_was_missed(measured):
    record, _, _ = measured
    limit = record["limit"]["streaming"]
    for part in ("prefill", "decode"):
        bound, counted = limit[part], record["zerostall"][part]["streaming"]
        fastest = max(1e9 * counted["drive_gb_per_s"], counted["read_bandwidth"] or 0.0)
        assert bound["drive_gb_per_s"] == fastest / 1e9 > 0
        reading = counted["missed_bytes_per_token"] / bound["drive_gb_per_s"] / 1e6
        assert bound["read_ms_per_token"] == pytest.approx(reading)
        assert bound["ms_per_token"] == max(
            bound["compute_ms_per_token"], bound["read_ms_per_token"]
        )
        assert bound["time_over_bound"] * bound["ms_per_token"] == pytest.approx(
            counted["ms_per_token"]
        )


def test_decoded_tokens_are_also_held_to_a_bound_each(measured):
    record, _, _ = measured
    (run,) = (run for run in record["runs"] if run["engine"] == "zerostall")
    assert list(run["each_token"]) == ["prefill", "decode"]
    assert run["each_token"]["prefill"] == []
    each = run["each_token"]["decode"]
    counted = run["streaming"]["decode"]
    assert len(each) == TEST.tokens
    # Between tokens hardly any time passes, and nothing is read or waited for.
    assert sum(ms for ms, _, _ in each) <= counted["ms_per_token"] * TEST.tokens
    assert sum(stall for _, stall, _ in each) == pytest.approx(counted["stall_ms"])
    assert sum(missed for _, _, missed in each) == counted["bytes_read"] - counted["bytes_wasted"]
    limit = record["limit"]["streaming"]
    assert "time_over_token_bounds" not in limit["prefill"]
    assert limit["decode"]["time_over_token_bounds"] >= 1


def test_computing_is_also_measured_with_all_experts_in_memory(measured):
    record, _, _ = measured
    (run,) = (run for run in record["runs"] if run["engine"] == "zerostall")
    assert record["in_memory"]["prefill"]["each_ms"] == []
    alone = record["in_memory"]["decode"]
    assert len(alone["each_ms"]) == TEST.tokens
    assert 0 < sum(alone["each_ms"]) <= alone["ms_per_token"] * TEST.tokens
    limit = record["limit"]["streaming"]["decode"]
    derived = run["streaming"]["decode"]["compute_ms_per_token"]
    assert limit["compute_ms_per_token"] == min(derived, alone["ms_per_token"])
    assert "with all experts in memory" in "\n".join(report.bench_notes(record))


def test_a_model_that_finds_no_room_has_its_computing_derived(monkeypatch, cgroups):
    def plan(path, options):
        assert options.ram is None
        return SimpleNamespace(plan=SimpleNamespace(expert_bytes=1))

    monkeypatch.setattr(streamed_bench, "plan_load", plan)
    record = bench.run_bench(MODEL, dataclasses.replace(TEST, prompt=0), 1)
    assert "in_memory" not in record
    limit = record["limit"]["streaming"]["decode"]
    assert limit["compute_ms_per_token"] == limit["derived_compute_ms_per_token"]
    assert "time less stalls: all experts find no room" in "\n".join(report.bench_notes(record))


def test_the_first_of_several_passes_does_not_count(capsys):
    once, twice = (bench_child.measure(MODEL, TEST, "decode", passes) for passes in (1, 2))
    assert once.tokens == twice.tokens == len(twice.each) == TEST.tokens
    assert twice.streaming["demanded"] == once.streaming["demanded"]
    # What the first pass has read is there for the second.
    assert twice.streaming["misses"] < once.streaming["misses"]


def test_times_of_several_passes_are_medians(monkeypatch):
    # Of four passes over four tokens; the first does not count, nor what disturbs one of the rest.
    ms = iter([900.0] * 4 + [1, 2, 3, 4] + [1, 700.0, 3, 4] + [2, 2, 4, 800.0])
    monkeypatch.setattr(bench_child, "_decode_one", lambda *_: (next(ms), 0.0, 0.0))
    clock = iter([0.0, 9.0, 10.0, 11.0, 20.0, 28.0, 30.0, 32.0])
    monkeypatch.setattr(bench_child, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    monkeypatch.setattr(bench_child, "StreamMeter", lambda _: SimpleNamespace(read=lambda: None))
    found = bench_child.measure(MODEL, dataclasses.replace(TEST, ram=None), "decode", 4)
    assert [each[0] for each in found.each] == [1, 2, 3, 4]
    assert found.seconds == 2.0


def test_the_peer_maps_the_file_unpacked_and_runs_nothing_before(measured, peer):
    _, log = peer
    prefill, decode = fake_peer.calls(log)[:2]
    for call in (prefill, decode):
        assert " ".join(call).count("--repack 0 -lm mmap") == 1
        assert "--no-warmup" in call
    assert prefill[2:6] == ["-p", "6", "-n", "0"]
    assert decode[2:6] == ["-p", "0", "-n", "4"]
    assert measured[0]["peer"]["command"].count("llama-bench -m ") == 2


def test_a_warm_up_of_the_peer_is_a_test_before_the_one_that_counts(peer):
    other = LlamaCpp(peer[0], MODEL, Test(6, 4, 2, 1, ram="8M", warm_up=9))
    prefill, decode = other.part_command("prefill"), other.part_command("decode")
    assert decode[3:7] == ["-p", "0", "-n", "9,4"]
    assert prefill[3:7] == ["-p", "0", "-n", "9"]
    assert prefill[prefill.index("-pg") + 1] == "6,0"
    for command, part in ((prefill, "prefill"), (decode, "decode")):
        rates = other.read(command, run_contained(command, None).stdout)
        expected = fake_peer.PREFILL if part == "prefill" else fake_peer.DECODE
        assert other.rate_of(part, rates, command) == expected
    only_prefill = '[{"n_prompt": 6, "n_gen": 0, "avg_ts": 2}]'
    with pytest.raises(PeerError, match="decode is missing"):
        other.rate_of("decode", other.read(prefill, only_prefill), prefill)


def test_a_warm_up_of_ours_leaves_fewer_misses_and_is_not_counted(capsys):
    cold, warm = (
        bench_child.measure(MODEL, Test(0, 4, 0, 1, ram="12M", speculate=False, warm_up=w), part)
        for w, part in ((0, "decode"), (48, "decode"))
    )
    assert cold.streaming["demanded"] == warm.streaming["demanded"] == 4 * 6 * 2
    assert warm.streaming["misses"] < cold.streaming["misses"]
    assert [list(json.loads(line)) for line in capsys.readouterr().out.splitlines()] == [
        ["loaded"],
        ["loaded"],
    ]


def test_a_peer_that_the_limit_kills_is_reported_as_that(cgroups, tmp_path):
    cgroups.kills = 1
    lines = []
    record = bench.run_bench(MODEL, TEST, 2, failing(tmp_path, "kill -9 $$"), report=lines.append)
    assert record["ratio"] == {}
    assert record["peer"]["decode"]["process"]["killed_by_limit"] == 2
    assert record["peer"]["decode"]["process"]["oom_kills"] == 2
    assert "tokens_per_s" not in record["peer"]["decode"]
    assert record["zerostall"]["decode"]["tokens_per_s"]["median"] > 0
    assert lines[-1].endswith(f"peer prefill {KILLED}, decode {KILLED}")
    table = report.bench_table(record)
    assert [row[2] for row in table[1:]] == [KILLED, KILLED]
    assert [row[3] for row in table[1:]] == ["", ""]


def test_a_peer_that_fails_of_itself_is_an_error(cgroups, tmp_path):
    with pytest.raises(PeerError, match="exit code 3: loading failed"):
        bench.run_bench(MODEL, TEST, 1, failing(tmp_path, "echo loading failed >&2; exit 3"))


def test_without_a_cgroup_a_comparison_is_refused_and_ours_alone_is_not(monkeypatch, peer):
    def refuse():
        raise MemoryCgroupError("run as root")

    monkeypatch.setattr(bench, "check_permitted", refuse)
    with pytest.raises(MemoryCgroupError, match="run as root"):
        bench.run_bench(MODEL, TEST, 1, f"llama.cpp={peer[0]}")
    lines = []
    test = Test(0, 2, 0, 1, ram="8M", first_token=4)
    record = bench.run_bench(MODEL, test, 1, report=lines.append)
    assert lines[0] == "not held to its budget: run as root"
    assert record["streaming"]["cgroup_bytes"] is None
    assert "peak_bytes" not in record["zerostall"]["decode"]["process"]
    assert record["zerostall"]["first_token_ms"] > 0
    # It fits: nothing to contain.
    fits = Test(0, 1, 0, 1, ram="1G", first_token=0)
    assert "streaming" not in bench.run_bench(MODEL, fits, 1, f"llama.cpp={peer[0]}")


def test_a_budget_that_holds_no_token_names_the_smallest_that_works():
    with pytest.raises(OutOfBudgetError, match="the smallest ram that works is"):
        bench.run_bench(MODEL, Test(6, 4, 0, 1, ram="3M"), 1)
    with pytest.raises(InvalidRequestError, match="-w is -1"):
        bench.run_bench(MODEL, Test(6, 4, 0, 1, warm_up=-1), 1)


def test_errors_of_the_measuring_process_come_back_with_their_type(monkeypatch):
    asked = bench_child.request(MODEL, Test(6, 4, 0, 1, ram="3M"), "decode")
    with pytest.raises(OutOfBudgetError, match="the smallest ram that works is"):
        bench_child.answer(run_contained(bench_child.COMMAND, None, asked).stdout)
    monkeypatch.setattr(bench_child, "COMMAND", ["sh", "-c", "echo no luck >&2; exit 5"])
    arena = streamed_bench.Arena(TEST, None, ())
    with pytest.raises(MeasurementError, match="exit code 5: no luck"):
        arena.ours(MODEL, "decode")


def test_a_file_that_was_dropped_is_not_cached(tmp_path):
    file = tmp_path / "file"
    file.write_bytes(bytes(1 << 20))
    if page_cache.cached_bytes(file) is None:
        pytest.skip("the kernel has no cachestat (Linux 6.5)")
    assert page_cache.cached_bytes(file) == 1 << 20
    page_cache.drop_cached(file)
    if page_cache.cached_bytes(file):
        pytest.skip("the folder for temporary files is memory itself")
    file.read_bytes()
    assert page_cache.cached_bytes(file) == 1 << 20


def test_the_table_shows_streaming_beside_what_the_processes_took(measured):
    record, _, _ = measured
    table = streamed_table(record)
    assert table[0] == [
        "streamed",
        "zerostall prefill",
        "zerostall decode",
        "llama.cpp prefill",
        "llama.cpp decode",
    ]
    rows = {row[0]: row[1:] for row in table[1:]}
    counted = record["zerostall"]["decode"]["streaming"]
    assert rows["hit rate"] == [
        f"{record['zerostall']['prefill']['streaming']['hit_rate']:.1%}",
        f"{counted['hit_rate']:.1%}",
        "",
        "",
    ]
    assert rows["slots"][1] == str(counted["slots"])
    assert rows["peak of the cgroup"] == ["48.2 MiB"] * 4
    assert rows["OOM kills"] == ["0"] * 4
    assert {"shadow hits", "recall", "precision", "read a token", "stall share"} <= set(rows)
    assert {"bandwidth while reading", "major faults"} <= set(rows)
    notes = "\n".join(report.bench_notes(record))
    assert "in a memory cgroup of 8388608 bytes, page cache included" in notes
    assert "page cache dropped before each turn; cold" in notes
    limit, bound = record["limit"]["streaming"]["decode"], report.bench_table(record)[2]
    assert bound[-2:] == [f"{limit['tokens_per_s']:.4g}", f"{1 / limit['time_over_bound']:.0%}"]


def test_options_of_streaming_pass_through_to_the_model(cgroups):
    code, record = run_json(
        *("bench", "--ram", "8M", "-p", "0", "-n", "2", "-r", "1", "-t", "1", "--no-save"),
        *("--first-token", "0", "--io", "pread", "--policy", "lru", "--no-speculate"),
        *("--experts", "1", "-w", "3"),
    )
    assert code == 0
    test = record["test"]
    assert (test["io"], test["policy"], test["speculate"]) == ("pread", "lru", False)
    assert (test["experts"], test["warm_up"]) == (1, 3)
    assert record["zerostall"]["decode"]["streaming"]["demanded"] == 2 * 6
    assert cgroups.limits[1:] == [8 << 20]
    assert "lossy: 1 experts a token, zerostall only" in report.bench_notes(record)


def test_in_a_real_cgroup_ours_is_measured_or_known_to_be_killed():
    try:
        check_permitted()
    except MemoryCgroupError as error:
        pytest.skip(f"needs root or a delegated cgroup: {error}")
    files = [MODEL]
    turn = streamed_bench.Arena(TEST, 512 << 20, files).ours(MODEL, "decode")
    assert turn["tokens_per_s"] > 0
    assert 12 <= turn["streaming"]["slots"] < EXPERTS
    process = turn["process"]
    assert (process["oom_kills"], process["killed_by_limit"]) == (0, False)
    assert 8 << 20 < process.get("peak_bytes", 9 << 20) < 512 << 20
    # Python alone takes more than what nano streams in.
    turn = streamed_bench.Arena(TEST, 8 << 20, files).ours(MODEL, "decode")
    assert set(turn) == {"process"}
    assert turn["process"]["killed_by_limit"]
    assert turn["process"]["oom_kills"] >= 1


def test_bench_decodes_misses_with_low_copies_when_asked_and_says_so(cgroups, tmp_path):
    path = tmp_path / "low.gguf"
    convert.convert(hub.resolve("nano"), path, miss_copy="Q2_K")
    code, record = run_json(
        *("bench", "-m", str(path), "--ram", "12M", "-p", "0", "-n", "2", "-r", "1", "-t", "1"),
        *("--no-save", "--first-token", "2", "--no-speculate", "--miss-precision", "low"),
    )
    assert code == 0
    assert record["test"]["miss_precision"] == "low"
    assert record["zerostall"]["decode"]["streaming"]["low_used"] > 0
    assert record["zerostall"]["first_token_ms"] > 0
    note = "lossy: missed experts decoded with their low copies, zerostall only"
    assert note in report.bench_notes(record)
