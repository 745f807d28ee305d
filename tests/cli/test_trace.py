"""`zerostall trace`: its table, its object, its picture, and what it refuses."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from tests.cli.shell import run_json
from zerostall import convert, hub
from zerostall.cli import app
from zerostall.engine.streaming import with_reserve
from zerostall.lab.slots import size_classes
from zerostall.lab.trace import TracedLayer, TraceHeader, TraceWriter
from zerostall.lab.trace_reader import read_trace

MB = 1_000_000
RAM = with_reserve(5 * MB)
SIX = [0, 1, 0, 2, 1, 0]  # two places: 1 hit under lru, 2 under lfu and lrfu, 3 at best


def write_trace(file, prompt=False, **known):
    header = TraceHeader("tiny", (TracedLayer(3, 1, MB),), 2 * MB, **known)
    with TraceWriter(file, header) as writer:
        for step, expert in enumerate(SIX, 1):
            writer.write(step, 1, 0, [expert], None, "hsmmmm"[step - 1])
        if prompt:
            writer.write(9, 30, 0, [0, 1, 2], [30, 10, 20], "hhm")
    return str(file)


@pytest.fixture
def trace(tmp_path):
    return write_trace(tmp_path / "run.jsonl")


def text(*args):
    done = CliRunner().invoke(app.build(), ["trace", *args])
    assert (done.exit_code, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_the_object_has_every_budget_and_policy(trace):
    code, answer = run_json("trace", trace, "--ram", f"{RAM},1G", "--policy", "lru,belady")
    assert code == 0
    assert answer["trace"] == {
        "model": "tiny",
        "experts": 3,
        "steps": 6,
        "demands": 6,
        "first_uses": 3,
        "recorded": {"hit": 1 / 6, "shadow": 1 / 6, "miss": 4 / 6},
        "cut": False,
    }
    assert answer["assumed"] == {
        "drive_bytes_per_s": None,
        "compute_ms": None,
        "half_life_steps": 256,
    }
    found = answer["replays"]
    order = [(row["ram_bytes"], row["policy"], row["experts_held"], row["hits"]) for row in found]
    assert order == [
        (RAM, "lru", 2, 1),
        (RAM, "belady", 2, 3),
        (2**30, "lru", 3, 3),
        (2**30, "belady", 3, 3),
    ]
    assert found[0] == {
        "ram_bytes": RAM,
        "policy": "lru",
        "experts_held": 2,
        "tokens": 6,
        "demands": 6,
        "hits": 1,
        "bytes_missed": 5 * MB,
        "hit_rate": 1 / 6,
        "bytes_per_token": 5 * MB / 6,
        "tokens_per_s": None,
    }


def test_speeds_of_the_trace_give_a_forecast_and_options_override_them(tmp_path):
    trace = write_trace(tmp_path / "run.jsonl.gz", drive_bytes_per_s=1e9, compute_ms=0.5)

    def forecast(*options):
        args = ["--ram", str(RAM), "--policy", "lru", *options]
        return run_json("trace", trace, *args)[1]["replays"][0]["tokens_per_s"]

    assert forecast() == pytest.approx(1e9 / (5 * MB / 6))
    assert forecast("--compute", "2") == pytest.approx(500)
    assert forecast("--drive", "0.1") == pytest.approx(0.1e9 / (5 * MB / 6))


def test_the_table_says_what_it_assumes(tmp_path):
    trace = write_trace(tmp_path / "run.jsonl", prompt=True)
    lines = text(trace, "--ram", str(RAM), "--policy", "lfu,belady", "--drive", "2")
    assert [line.split() for line in lines[:3]] == [
        ["RAM", "policy", "experts", "held", "hit", "rate", "MB", "a", "token", "tokens/s"],
        ["5.45", "MiB", "lfu", "2", "33.3%", "0.6667", "3,000"],
        ["5.45", "MiB", "belady", "2", "50.0%", "0.5", "4,000"],
    ]
    assert lines[3] == ""
    assert "tiny: 6 tokens, 6 demands, of which 3 are the first" in lines[4]
    assert "recorded with 16.7% hits and 16.7% shadow hits" in lines[4]
    assert "prompts are replayed, but not counted: 30 tokens in steps of more than 8" in lines[5]
    assert lines[6].startswith("belady: the optimum")
    assert "the drive's bound alone, 2 GB/s / bytes; give --compute MS" in lines[7]
    assert len(lines) == 8
    lines = text(trace, "--ram", "1G", "--drive", "2", "--compute", "4")
    assert "1 / max(compute 4 ms, bytes / 2 GB/s), if every read overlaps" in lines[-1]
    lines = text(trace, "--ram", "1G")
    assert "tokens/s" not in lines[0]
    assert "give --drive GB/s" in lines[-1]
    assert any("lrfu: a demand counts half after 256 steps" in line for line in lines)


def test_a_trace_of_a_killed_run_is_replayed_and_says_so(tmp_path):
    file = tmp_path / "run.jsonl"
    write_trace(file)
    file.write_bytes(file.read_bytes()[:-5])
    lines = text(str(file), "--ram", "1G")
    assert "5 tokens, 5 demands" in lines[6]
    assert lines[-1] == "the end of the trace is cut off and left out"


def test_the_picture_has_a_line_for_each_policy(trace, tmp_path):
    pytest.importorskip("matplotlib")
    file = tmp_path / "hits.svg"
    args = ["trace", trace, "--ram", f"1G,{RAM}", "--plot", str(file)]
    assert run_json(*args)[0] == 0
    picture = file.read_text("utf-8")
    assert all(f"<!-- {policy} -->" in picture for policy in ("lrfu", "lru", "lfu", "belady"))
    code, answer = run_json("trace", trace, "--ram", "1G", "--plot", str(tmp_path / "hits.txt"))
    assert (code, answer["error"]["type"]) == (2, "InvalidRequestError")


@pytest.mark.parametrize(
    ("args", "code", "kind", "message"),
    [
        (["--ram", "1G", "--policy", "lru,fifo"], 2, "InvalidRequestError", "policy is 'fifo'"),
        (["--ram", "1G,,2G"], 2, "InvalidRequestError", "ram is ''"),
        (["--ram", "3M"], 1, "OutOfBudgetError", f"works is {with_reserve(4 * MB)} bytes"),
        (["--ram", "1G", "--drive", "0"], 2, "InvalidRequestError", "--drive is 0.0"),
        (["--ram", "1G", "--compute", "nan"], 2, "InvalidRequestError", "--compute is nan"),
        (["--ram", "1G", "--half-life", "0"], 2, "InvalidRequestError", "half-life is 0.0"),
    ],
)
def test_a_request_that_cannot_be_met(trace, args, code, kind, message):
    found, answer = run_json("trace", trace, *args)
    assert (found, answer["error"]["type"]) == (code, kind)
    assert message in answer["error"]["message"]


def test_a_file_that_is_no_trace(tmp_path):
    found, answer = run_json("trace", str(tmp_path / "absent"), "--ram", "1G")
    assert (found, answer["error"]["type"]) == (2, "InvalidRequestError")
    (tmp_path / "text").write_text("Once upon a time\n")
    found, answer = run_json("trace", str(tmp_path / "text"), "--ram", "1G")
    assert (found, answer["error"]["type"]) == (1, "TraceError")
    assert "line 1: no JSON" in answer["error"]["message"]


GENERATE = ("run", "def read(path):", "-c", "256", "-t", "1", "--temp", "0", "-n", "24")


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """Of a converted file memory for experts is slots only, as in a replay."""
    path = tmp_path_factory.mktemp("packed") / "nano.gguf"
    convert.convert(hub.resolve("nano"), path)
    return str(path)


def test_a_run_that_was_recorded_is_forecast(tmp_path, packed, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))  # the drive's speed is kept there
    file = tmp_path / "run.jsonl"
    how = ("--ram", "22M", "--trace", str(file))
    code, answer = run_json(*GENERATE, "-m", packed, *how)
    assert code == 0
    streaming = answer["timings"]["streaming"]
    known = read_trace(file).header
    assert known.read_ahead
    assert known.drive_bytes_per_s > 0
    decoded = answer["usage"]["completion_tokens"] - 1
    assert 0 < known.compute_ms <= streaming["compute_ms"] / decoded
    code, answer = run_json("trace", str(file), "--ram", "22M", "--policy", "lrfu,belady")
    assert code == 0
    assert answer["assumed"]["compute_ms"] == known.compute_ms
    for row in answer["replays"]:
        bound_s = max(row["bytes_per_token"] / known.drive_bytes_per_s, known.compute_ms / 1e3)
        assert row["tokens_per_s"] == pytest.approx(1 / bound_s)
        # As many as the engine held: its slots, less those for reads under way, of which each
        # size has as few here as one layer needs.
        shadow = sum(pool.most_used for pool in size_classes(known))
        assert row["experts_held"] == streaming["slots"] - shadow
    assert "if every read overlaps" in text(str(file), "--ram", "22M")[-1]


def test_a_trace_that_cannot_be_written_costs_no_word_of_the_answer(packed, caplog):
    plain = CliRunner().invoke(app.build(), [*GENERATE, "-m", packed, "--ram", "22M"])
    args = [*GENERATE, "-m", packed, "--ram", "22M", "--trace", "/dev/full"]
    done = CliRunner().invoke(app.build(), args)
    assert (plain.exit_code, done.exit_code) == (0, 1)
    assert done.stdout == plain.stdout
    assert "/dev/full: No space left on device" in done.stderr
    assert [r.message for r in caplog.records] == [
        "nothing more is traced: /dev/full: No space left on device; give a writable path with "
        "free space"
    ]
