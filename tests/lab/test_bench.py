"""`zerostall bench`: its record, the turns taken, the peer's command, the places results go."""

from __future__ import annotations

import functools
import json
import statistics
import sys
from itertools import count
from pathlib import Path

import pytest

from tests.cli.shell import run, run_json
from tests.lab import fake_peer
from zerostall import hub
from zerostall.errors import InvalidRequestError
from zerostall.lab import bench, limits, report, subjects
from zerostall.lab.subjects import LlamaCpp, Ours, PeerError, Test

MODEL = hub.resolve("nano")
TEST = Test(prompt=16, tokens=4, depth=3, threads=1, first_token=4)


@pytest.fixture(autouse=True)
def quick_limits(monkeypatch):
    quick = functools.partial(limits.measure_limits, seconds=0.01)
    monkeypatch.setattr(bench, "measure_limits", quick)
    monkeypatch.setattr(bench, "READ_SECONDS", 0.01)


@pytest.fixture(scope="module")
def peer(tmp_path_factory):
    return fake_peer.make(tmp_path_factory.mktemp("peer"))


@pytest.fixture(scope="module")
def measured(peer):
    """A record of two runs beside the fake peer, and what was reported on the way."""
    program, _ = peer
    lines = []
    with pytest.MonkeyPatch.context() as patch:
        quick = functools.partial(limits.measure_limits, seconds=0.01)
        patch.setattr(bench, "measure_limits", quick)
        patch.setattr(bench, "READ_SECONDS", 0.01)
        record = bench.run_bench(MODEL, TEST, 2, f"llama.cpp={program}", report=lines.append)
    return record, lines


def test_the_record_has_every_field_of_the_guide(measured):
    record, _ = measured
    assert set(record) >= {"zerostall", "peer", "ratio", "limit", "machine"}
    for engine in ("zerostall", "peer"):
        for part in ("prefill", "decode"):
            assert set(record[engine][part]["tokens_per_s"]) == {"median", "min", "max"}
        assert record[engine]["first_token_ms"] > 0
    assert set(record["ratio"]) == {"prefill", "decode"}
    machine = record["machine"]
    assert machine["threads"] == 1
    assert machine["isa"] in ("scalar", "avx2", "avx512", "amx")
    assert machine["compiler"].split()[0] in ("gcc", "clang")
    assert machine["cpu"]
    assert json.loads(json.dumps(record)) == record


def test_the_ratio_is_the_quotient_of_the_medians(measured):
    record, _ = measured
    for part in ("prefill", "decode"):
        ours = record["zerostall"][part]["tokens_per_s"]["median"]
        theirs = record["peer"][part]["tokens_per_s"]["median"]
        assert record["ratio"][part] == ours / theirs
    assert record["peer"]["prefill"]["tokens_per_s"]["median"] == fake_peer.PREFILL
    assert record["peer"]["decode"]["tokens_per_s"]["max"] == fake_peer.DECODE


def test_runs_take_turns_and_are_recorded_in_their_order(measured):
    record, lines = measured
    order = [(r["run"], r["engine"]) for r in record["runs"]]
    assert order == [(1, "zerostall"), (1, "peer"), (2, "zerostall"), (2, "peer")]
    for part in ("prefill", "decode"):
        rates = [r[part] for r in record["runs"] if r["engine"] == "zerostall"]
        shown = record["zerostall"][part]["tokens_per_s"]
        assert shown["median"] == statistics.median(rates)
        assert (shown["min"], shown["max"]) == (min(rates), max(rates))
        theirs = fake_peer.PREFILL if part == "prefill" else fake_peer.DECODE
        assert bench.ratios(record, part) == [rate / theirs for rate in rates]
    assert lines[0] == f"peer: {record['peer']['command']}"
    assert [line[:8] for line in lines[-2:]] == ["run 1/2:", "run 2/2:"]


def test_every_run_is_held_against_the_bandwidth_measured_beside_it(measured):
    record, _ = measured
    limit, runs = record["limit"], record["runs"]
    assert limit["int8_tops"] > 0
    read = [run["read_bandwidth_gb_per_s"] for run in runs]
    assert min(read) > 0
    assert limit["read_bandwidth_gb_per_s"] == statistics.median(read)
    assert limit["read_bandwidth_gb_per_s_range"] == [min(read), max(read)]
    needed = limit["decode"]["bytes_per_token"] / 1e9
    bound = statistics.median(rate / needed for rate in read)
    assert limit["decode"]["tokens_per_s"] <= bound * (1 + 1e-9)
    for engine in ("zerostall", "peer"):
        own = [run for run in runs if run["engine"] == engine]
        fraction = record[engine]["decode"]["fraction_of_limit"]
        of_memory = [run["decode"] * needed / run["read_bandwidth_gb_per_s"] for run in own]
        # The limit is the slower of memory and arithmetic, so no fraction is below memory's.
        assert fraction >= statistics.median(of_memory) * (1 - 1e-9)


def test_a_fraction_is_the_median_of_the_runs_own():
    limits_ = limits.Limits(read_bandwidth=100e9, int8=1e12, float32=1e12)
    bounds = limits.Bounds(limits_, {"decode": (limits.Work(1e9, 1e9, 0.0), 1)})
    runs = [
        {"engine": "zerostall", "decode": 30.0, "read_bandwidth_gb_per_s": 40.0},
        {"engine": "zerostall", "decode": 30.0, "read_bandwidth_gb_per_s": 60.0},
        {"engine": "zerostall", "decode": 57.0, "read_bandwidth_gb_per_s": 60.0},
        {"engine": "peer", "decode": 1.0, "read_bandwidth_gb_per_s": 60.0},
    ]
    found = bench.summary(runs, "zerostall", bounds)["decode"]
    assert found["fraction_of_limit"] == pytest.approx(0.75)
    assert found["tokens_per_s"] == {"median": 30.0, "min": 30.0, "max": 57.0}
    assert bounds.rate({}, "decode") == pytest.approx(100.0)


def test_the_peers_command_matches_threads_batch_cache_and_depth(measured, peer):
    record, _ = measured
    program, log = peer
    command = record["peer"]["command"].split()
    assert command == [str(program), *fake_peer.calls(log)[-1]]
    pairs = dict(zip(command[1::2], command[2::2], strict=True))
    assert pairs == {
        "-m": str(MODEL),
        "-p": "16",
        "-n": "4",
        "-d": "3",
        "-r": "1",
        "-t": "1",
        "-b": "512",
        "-ub": "512",
        "-ctk": "f16",
        "-ctv": "f16",
        "-o": "json",
    }
    assert record["peer"]["build"] == "abc1234"


def test_the_peers_cache_of_8_bits_is_q8_0(peer):
    test = Test(prompt=16, tokens=4, depth=3, threads=1, kv_type="int8")
    command = LlamaCpp(peer[0], MODEL, test).command()
    assert [command[command.index(key) + 1] for key in ("-ctk", "-ctv")] == ["q8_0", "q8_0"]
    assert command[command.index("-fa") + 1] == "1"


def test_tokens_a_second_times_the_time_are_the_tokens(monkeypatch):
    ours = Ours(MODEL, TEST)
    ours.load()
    clock = count(0, 0.5)
    monkeypatch.setattr(subjects.time, "perf_counter", lambda: next(clock))
    rates = ours.run()
    assert (rates.prefill, rates.decode) == (16 / 0.5, 4 / 0.5)


def test_a_run_leaves_no_sequence_behind_and_a_second_finds_the_model_loaded():
    ours = Ours(MODEL, TEST)
    loaded = ours.load()
    engine = loaded.scheduler.engine
    first = engine.open_sequence()
    engine.close_sequence(first)
    ours.run()
    assert engine.open_sequence() == first
    assert ours.load() is loaded
    ours.unload()
    assert ours.load() is not loaded


@pytest.mark.parametrize(("p", "n", "part"), [(8, 0, "prefill"), (0, 2, "decode")])
def test_a_part_not_asked_for_is_left_out(peer, p, n, part):
    test = Test(prompt=p, tokens=n, depth=0, threads=1, first_token=0)
    record = bench.run_bench(MODEL, test, 1, f"llama.cpp={peer[0]}")
    other = {"prefill": "decode", "decode": "prefill"}[part]
    for name in ("zerostall", "peer", "limit", "ratio"):
        assert part in record[name]
        assert other not in record[name]
    for name in ("zerostall", "peer"):
        assert "first_token_ms" not in record[name]
    assert all(part in r and other not in r for r in record["runs"])


def test_without_a_peer_there_is_none_in_the_record():
    test = Test(prompt=8, tokens=2, depth=0, threads=1, first_token=0)
    record = bench.run_bench(MODEL, test, 1)
    assert "peer" not in record
    assert "ratio" not in record
    assert len(report.bench_table(record)[0]) == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prompt": 0, "tokens": 0}, "nothing to measure"),
        ({"prompt": -1}, "-p is -1"),
        ({"depth": -2}, "-d is -2"),
        ({"prompt": 5000}, "up to 1024 tokens"),
        ({"threads": 0}, "threads is 0"),
    ],
)
def test_a_test_that_cannot_be_run_is_refused(changes, message):
    sizes = {"prompt": 8, "tokens": 2, "depth": 0, "threads": 1, "first_token": 0} | changes
    with pytest.raises(InvalidRequestError, match=message):
        bench.run_bench(MODEL, Test(**sizes), 1)


@pytest.mark.parametrize(
    ("name", "message"),
    [("vllm", "give llama.cpp"), ("llama.cpp=/no/where", "/no/where is no program")],
)
def test_a_peer_that_is_not_there_is_refused(name, message):
    with pytest.raises(InvalidRequestError, match=message):
        LlamaCpp.find(name, MODEL, TEST)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("echo loading failed >&2; exit 3", "exit code 3: loading failed"),
        ("echo not json", "no results that could be read"),
        ("echo '[]'", "no results that could be read"),
    ],
)
def test_a_peer_that_fails_says_why(tmp_path, body, message):
    program = tmp_path / "llama-bench"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
    with pytest.raises(PeerError, match=message):
        LlamaCpp.find(f"llama.cpp={tmp_path}", MODEL, TEST).run()


def test_results_go_to_the_checkout_that_the_command_runs_in(tmp_path, measured):
    record, _ = measured
    assert bench.checkout_results(tmp_path) is None
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "zerostall"\n')
    (tmp_path / "deep" / "down").mkdir(parents=True)
    folder = bench.checkout_results(tmp_path / "deep" / "down")
    assert folder == tmp_path / "bench" / "results"
    for _ in range(2):
        assert bench.append_result(record, folder) == folder / "nano.jsonl"
    lines = (folder / "nano.jsonl").read_text().splitlines()
    kept = json.loads(lines[0])
    assert json.loads(lines[1]) == kept == bench.without_folders(record)
    assert kept["peer"]["command"].startswith("llama-bench -m nano.gguf -p 16")


def test_tables_show_medians_ranges_and_ratios(measured):
    record, _ = measured
    table = report.bench_table(record)
    assert table[0] == [
        "tokens/s",
        "zerostall",
        "llama.cpp",
        "ratio (run by run)",
        "limit",
        "reached",
    ]
    assert [row[0] for row in table[1:]] == [
        "prefill 16 at 3",
        "decode 4 at 3",
        "first token, ms (4 in)",
    ]
    assert table[1][2] == "500 (500 to 500)"
    markdown = report.as_markdown(table).splitlines()
    assert markdown[1] == "| --- | --- | --- | --- | --- | --- |"
    assert len(markdown) == 5


def test_a_plot_without_matplotlib_is_refused_before_anything_runs(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(InvalidRequestError, match=r"pip install 'zerostall\[bench\]'"):
        report.check_plot(tmp_path / "roof.png")


def test_the_roofline_is_a_picture(measured, tmp_path):
    pytest.importorskip("matplotlib")
    file = tmp_path / "roof.png"
    report.plot_roofline(measured[0], file)
    assert file.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InvalidRequestError, match="ends in"):
        report.plot_roofline(measured[0], tmp_path / "roof.txt")


def test_the_command_prints_one_object_and_appends_where_it_is_told(tmp_path, peer):
    common = ["bench", "-p", "4", "-n", "1", "-r", "1", "-t", "1", "--first-token", "0"]
    code, record = run_json(*common, "--peer", f"llama.cpp={peer[0]}", "--save", str(tmp_path))
    assert code == 0
    assert record["peer"]["decode"]["tokens_per_s"]["median"] == fake_peer.DECODE
    assert json.loads((tmp_path / "nano.jsonl").read_text()) == bench.without_folders(record)
    code, answer = run_json(*common, "--peer", "llama.cpp=/no/where", "--no-save")
    assert (code, answer["error"]["type"]) == (2, "InvalidRequestError")


def test_the_command_prints_the_peers_command_for_people(peer):
    done = run(
        *("bench", "-p", "4", "-n", "0", "-r", "1", "-t", "1", "--first-token", "0", "--md"),
        *("--no-save", "--peer", f"llama.cpp={peer[0]}"),
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("| tokens/s | zerostall | llama.cpp |")
    assert f"- peer: {peer[0]} -m {MODEL} -p 4 -n 0" in done.stdout


def test_kernels_are_compared_by_the_command():
    isa_and_format = ["--isa", "scalar", "--format", "Q8_0"]
    code, record = run_json(
        *("bench", "kernels", "--seconds", "0", "--weight-mib", "1", "-p", "2", "-t", "1"),
        *isa_and_format,
    )
    assert code == 0
    (row,) = record["kernels"]
    assert (row["format"], row["isa"]) == ("Q8_0", "scalar")
    assert row["decode_gb_per_s"] > 0
    assert row["prefill_tops"] > 0


def test_the_commit_is_given_only_for_a_checkout_of_zerostall(tmp_path):
    from zerostall.lab.machine import PACKAGE, commit

    assert commit(tmp_path) is None
    here = commit(PACKAGE)
    assert here is None or len(here.removesuffix("-dirty")) == 12
    assert Path(PACKAGE).name == "zerostall"
