"""How fast streaming could be: the drives' speed, computing, and each token's bound."""

from __future__ import annotations

import dataclasses
import statistics

import pytest

from zerostall import hub
from zerostall.engine.drive import DriveSettings
from zerostall.lab.streamed_limit import DriveLimit, drive_limit, streaming_limit

MODEL = hub.resolve("nano")
SETTINGS = DriveSettings("pread", 8, 1 << 20, True, 2e9)


def counted(ms, compute_ms, missed, speed=2.0):
    return {
        "ms_per_token": ms,
        "compute_ms_per_token": compute_ms,
        "missed_bytes_per_token": missed,
        "drive_gb_per_s": speed,
        "read_bandwidth": 0.5e9,
    }


def test_limits_are_medians_of_each_runs_own():
    runs = [
        {"streaming": {"decode": counted(30.0, 10.0, 40e6)}},  # 20 ms of reads
        {"streaming": {"decode": counted(30.0, 25.0, 20e6, 1.0)}},  # 20 ms of reads
        {"streaming": {"decode": counted(33.0, 20.0, 60e6)}},  # 30 ms
        {"process": {}},  # the peer's, or killed
    ]
    drive = DriveLimit(((MODEL, SETTINGS),))
    limit = streaming_limit(runs, drive, {})
    assert limit["drive_settings"]["request_bytes"] == 1 << 20
    assert "prefill" not in limit
    bound = limit["decode"]
    assert bound["drive_gb_per_s"] == 2.0
    assert (bound["read_ms_per_token"], bound["ms_per_token"]) == (20.0, 25.0)
    assert bound["time_over_bound"] == statistics.median([30 / 20, 30 / 25, 33 / 30])
    assert "decode" not in streaming_limit(
        [{"streaming": {"decode": counted(30.0, 10.0, 40e6, 0.0)}}], drive, {}
    )


def test_a_drive_is_as_fast_as_it_was_in_the_run():
    found = counted(30.0, 10.0, 40e6, 1.0) | {"read_bandwidth": 2e9}
    drive = DriveLimit(((MODEL, SETTINGS),))
    bound = streaming_limit([{"streaming": {"decode": found}}], drive, {})
    assert bound["decode"]["drive_gb_per_s"] == 2.0
    assert bound["decode"]["time_over_bound"] == 1.5


def test_tokens_have_bounds_of_their_own():
    # 40 ms of reads, then 20 of computing: together a bound of 60, where means allow 50.
    each = [(50.0, 45.0, 80e6), (30.0, 10.0, 0.0)]
    runs = [{"streaming": {"decode": counted(40.0, 12.5, 40e6)}, "each_token": {"decode": each}}]
    bound = streaming_limit(runs, DriveLimit(((MODEL, SETTINGS),)), {})["decode"]
    assert bound["time_over_bound"] == 2.0
    assert bound["time_over_token_bounds"] == pytest.approx(80 / 60)


def test_of_tokens_their_medians_over_the_runs_count():
    quiet = [(50.0, 45.0, 80e6), (30.0, 10.0, 0.0)]  # bounds of 40 and 20 ms
    runs = [
        {"streaming": {"decode": counted(ms, 12.5, 40e6)}, "each_token": {"decode": each}}
        for ms, each in (
            (40.0, quiet),
            (540.0, [(1050.0, 1045.0, 80e6), quiet[1]]),  # something else ran in its first token
            (540.0, [quiet[0], (1030.0, 1010.0, 0.0)]),  # and here in its second
        )
    ]
    bound = streaming_limit(runs, DriveLimit(((MODEL, SETTINGS),)), {})["decode"]
    assert bound["time_over_token_bounds"] == pytest.approx(80 / 60)


@pytest.mark.parametrize(("in_memory", "computing"), [(10.0, [6.0, 14.0]), (13.0, [5.0, 20.0])])
def test_computing_is_what_it_takes_in_memory_unless_that_is_more(in_memory, computing):
    each = [(50.0, 45.0, 80e6), (30.0, 10.0, 0.0)]
    run = {
        "streaming": {"decode": counted(40.0, 12.5, 20e6)},  # 10 ms of reads
        "each_token": {"decode": each},
    }
    found = {"decode": {"ms_per_token": in_memory, "each_ms": [6.0, 14.0]}}
    bound = streaming_limit([run], DriveLimit(((MODEL, SETTINGS),)), found)["decode"]
    assert bound["derived_compute_ms_per_token"] == 12.5
    assert bound["compute_ms_per_token"] == min(12.5, in_memory)
    assert bound["time_over_bound"] == 40 / min(12.5, in_memory)
    longer = max(computing[0], 40.0) + computing[1]
    assert bound["time_over_token_bounds"] == pytest.approx(80 / longer)


def test_drives_of_mirrors_add_up_and_the_same_drive_counts_once(tmp_path, monkeypatch):
    from zerostall.lab import streamed_limit

    model, copy = tmp_path / "model.gguf", tmp_path / "copies" / "model.gguf"
    copy.parent.mkdir()
    for file in (model, copy):
        file.write_bytes(b"x")
    asked = []

    def settings(path, *, fresh):
        asked.append((path, fresh))
        return SETTINGS

    monkeypatch.setattr(streamed_limit, "drive_settings", settings)
    rates = {str(model): 2.5e9, str(copy): 1e9}
    measured = []

    def bandwidth(path, *options):
        measured.append(options[-1])
        return rates[path]

    monkeypatch.setattr("zerostall._core.drive_bandwidth", bandwidth)
    limit = drive_limit(model, [str(copy.parent)])
    assert (limit.bytes_per_second, limit.measure()) == (2e9, 2.5e9)
    assert asked == [(model, True)]
    devices = iter([1, 2])
    monkeypatch.setattr(streamed_limit, "device_of", lambda path: next(devices))
    limit = drive_limit(model, [str(copy.parent)])
    assert (limit.bytes_per_second, limit.measure()) == (4e9, 3.5e9)
    assert asked[-1] == (copy, True)
    assert len(set(measured)) == 3  # other places each time


def test_a_drive_that_was_not_probed_or_cannot_be_measured_has_what_is_known(tmp_path):
    unknown = dataclasses.replace(SETTINGS, bytes_per_second=0.0)
    absent = tmp_path / "absent"
    assert DriveLimit(((absent, unknown),)).measure() == 0.0
    assert DriveLimit(((absent, SETTINGS),)).measure() == 2e9
