"""Traces of demands: what is written is read, after a kill too, and damage is named."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from zerostall.errors import InvalidRequestError, StorageError
from zerostall.lab.trace import TracedLayer, TraceError, TraceHeader, TraceWriter
from zerostall.lab.trace_reader import read_trace

HEADER = TraceHeader("nano β", (TracedLayer(8, 2, 4096), TracedLayer(6, 2, 8192)), 12345, 3.5e9)
EVENTS = [
    (1, 9, 0, [3, 7, 0], [9, 1, 8], "mmm"),
    (1, 9, 1, [5, 2], [4, 5], "ms"),
    (2, 1, 0, [7, 3], None, "hh"),
    (2, 1, 1, [2, 4], [1, 1], "hm"),
]


def write_events(file, events=EVENTS):
    with TraceWriter(file, HEADER) as writer:
        for event in events:
            writer.write(*event)
    return file


@pytest.mark.parametrize("name", ["run.jsonl", "run.jsonl.gz"])
def test_what_is_written_is_read(tmp_path, name):
    trace = read_trace(write_events(tmp_path / name))
    assert trace.header == HEADER
    assert trace.steps.tolist() == [1, 1, 2, 2]
    assert trace.tokens.tolist() == [9, 9, 1, 1]
    assert trace.layers.tolist() == [0, 1, 0, 1]
    assert trace.first.tolist() == [0, 3, 5, 7, 9]
    assert trace.experts.tolist() == [3, 7, 0, 5, 2, 7, 3, 2, 4]
    assert trace.counts.tolist() == [9, 1, 8, 4, 5, 1, 1, 1, 1]
    assert trace.outcomes.tolist() == [2, 2, 2, 2, 1, 0, 0, 0, 2]
    assert not trace.cut


def test_what_was_measured_in_the_run_is_the_last_line_and_replaces_the_header(tmp_path):
    with TraceWriter(tmp_path / "run", HEADER) as writer:
        for event in EVENTS:
            writer.write(*event)
        writer.finish(None, 0.25)
    trace = read_trace(tmp_path / "run")
    assert trace.header == replace(HEADER, drive_bytes_per_s=None, compute_ms=0.25)
    assert trace.steps.tolist() == [1, 1, 2, 2]
    last = (tmp_path / "run").read_text().splitlines()[-1]
    assert last == '{"end":2,"drive_bytes_per_s":null,"compute_ms":0.25}'


@pytest.mark.parametrize(
    ("last", "message"),
    [
        ('{"end":1,"compute_ms":1}', "line 6: end is 1; expected a whole number from 2 to 2"),
        ('{"end":2,"compute_ms":-1}', "line 6: compute_ms is -1; expected a positive number"),
        ('{"end":2}\n{"s":3,"t":1,"l":0,"e":[1],"o":"h"}', "line 7: there is something behind"),
    ],
)
def test_a_last_line_that_is_wrong_is_named(tmp_path, last, message):
    file = write_events(tmp_path / "run")
    file.write_text(file.read_text("utf-8") + last + "\n", "utf-8")
    with pytest.raises(TraceError, match=message):
        read_trace(file)


def test_the_lines_are_those_of_the_guide(tmp_path):
    lines = write_events(tmp_path / "run.jsonl").read_text("utf-8").splitlines()
    assert json.loads(lines[0]) == {
        "zerostall_trace": 1,
        "model": "nano β",
        "layers": [
            {"experts": 8, "used": 2, "bytes": 4096},
            {"experts": 6, "used": 2, "bytes": 8192},
        ],
        "other_bytes": 12345,
        "drive_bytes_per_s": 3.5e9,
        "compute_ms": None,
        "read_ahead": False,
    }
    assert lines[1] == '{"s":1,"t":9,"l":0,"e":[3,7,0],"n":[9,1,8],"o":"mmm"}'
    assert lines[4] == '{"s":2,"t":1,"l":1,"e":[2,4],"o":"hm"}'


def test_demands_as_the_engine_reports_them_are_written_too(tmp_path):
    with TraceWriter(tmp_path / "run.jsonl", HEADER) as writer:
        writer.add([(1, 0, [3, 7, 0], [9, 1, 8], "mmm"), (1, 1, [5, 2], [9, 9], "ms")])
        writer.add([(2, 0, [7, 3], [1, 1], "hh")])
    lines = (tmp_path / "run.jsonl").read_text("utf-8").splitlines()
    assert lines[1:] == [
        '{"s":1,"t":9,"l":0,"e":[3,7,0],"n":[9,1,8],"o":"mmm"}',
        '{"s":1,"t":9,"l":1,"e":[5,2],"n":[9,9],"o":"ms"}',
        '{"s":2,"t":1,"l":0,"e":[7,3],"o":"hh"}',
    ]


def test_numbers_may_be_those_of_numpy(tmp_path):
    event = (1, 2, 0, np.array([3, 1]), np.array([1, 2], np.uint32), "hm")
    trace = read_trace(write_events(tmp_path / "run.jsonl", [event]))
    assert (trace.experts.tolist(), trace.counts.tolist()) == ([3, 1], [1, 2])


@pytest.mark.parametrize("name", ["run.jsonl", "run.jsonl.gz"])
def test_finished_steps_are_in_the_file_before_it_is_closed(tmp_path, name):
    writer = TraceWriter(tmp_path / name, HEADER)
    for event in EVENTS:
        writer.write(*event)
    # As a killed process leaves it: step 2 may still be in the writer's buffers.
    assert read_trace(tmp_path / name).steps.tolist()[:2] == [1, 1]
    writer.close()
    writer.close()
    assert read_trace(tmp_path / name).steps.tolist() == [1, 1, 2, 2]


def test_a_last_line_cut_anywhere_is_left_out(tmp_path):
    file = write_events(tmp_path / "run.jsonl")
    whole = file.read_bytes()
    last = whole.rindex(b"\n", 0, -1) + 1
    for end in range(last + 1, len(whole) - 1):
        file.write_bytes(whole[:end])
        trace = read_trace(file)
        assert (len(trace.steps), trace.cut) == (3, True)
    file.write_bytes(whole[:-1])  # only the line's end is missing
    trace = read_trace(file)
    assert (len(trace.steps), trace.cut) == (4, False)


def test_a_compressed_trace_cut_anywhere_gives_the_lines_before(tmp_path):
    file = write_events(tmp_path / "run.jsonl.gz")
    whole, found, refused = file.read_bytes(), set(), []
    for end in range(len(whole)):
        file.write_bytes(whole[:end])
        try:
            trace = read_trace(file)
        except TraceError as error:
            refused.append(str(error))
            continue
        assert trace.cut
        found.add(len(trace.steps))
    assert all("run.jsonl.gz, line 1: " in error for error in refused)  # the header is cut
    assert found >= {0, 2}
    assert max(found) <= 4


def line(**changes):
    return json.dumps({"s": 3, "t": 1, "l": 0, "e": [1, 2], "o": "hm"} | changes)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "no JSON"),
        ("[" * 5000, "JSON|nested"),
        ("[1]", "no object"),
        (line(s=1), "s is 1; expected a whole number from 2"),
        (line(s=2, l=1), "l is 1; expected a whole number from 2"),
        (line(s=2.5), "s is 2.5"),
        (line(s=10**30), "s is 1000"),
        (line(t=0), "t is 0; expected a whole number from 1"),
        (line(t=True), "t is True"),
        (line(l=2), "l is 2; expected a whole number from 0 to 1"),
        (line(l=None), "l is None"),
        (line(e=[]), "e is .*expected a list of experts"),
        (line(e=[1, 8]), "an expert of e is 8; expected a whole number from 0 to 7"),
        (line(e=[1, -1]), "an expert of e is -1"),
        (line(e=[1, 1]), "e names an expert twice"),
        (line(n=[1]), "n is .*expected 2 numbers"),
        (line(n=[1, 2]), "a number of n is 2; expected a whole number from 1 to 1"),
        (line(o="h"), "o is 'h'; expected 2 letters"),
        (line(o="hx"), "o is 'hx'; its letters are h, s, m"),
        (line(o=7), "o is 7"),
    ],
)
def test_a_damaged_line_is_an_error_that_names_file_and_line(tmp_path, text, message):
    file = write_events(tmp_path / "run.jsonl")
    with file.open("a") as out:
        out.write(f"{text}\n{line(s=9)}\n")
    with pytest.raises(TraceError, match=rf"run.jsonl, line 6: .*{message}"):
        read_trace(file)


def test_the_tokens_of_a_step_are_the_same_in_all_its_layers(tmp_path):
    file = write_events(
        tmp_path / "run.jsonl", [(1, 2, 0, [1], None, "m"), (1, 3, 1, [1], None, "m")]
    )
    with pytest.raises(TraceError, match="line 3: t is 3, but the step has 2 tokens"):
        read_trace(file)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"zerostall_trace": None}, "this is no trace"),
        ({"zerostall_trace": 2}, "version 2 of the format; this zerostall reads 1"),
        ({"model": 3}, "model is 3"),
        ({"layers": []}, "layers is \\[\\]"),
        ({"layers": [5]}, "layer 0 is 5"),
        ({"layers": [{"experts": 0, "used": 1, "bytes": 1}]}, "layer 0: experts is 0"),
        ({"layers": [{"experts": 4, "used": 5, "bytes": 1}]}, "layer 0: used is 5"),
        ({"layers": [{"experts": 4, "used": 1}]}, "layer 0: bytes is None"),
        ({"layers": [{"experts": 1 << 24, "used": 1, "bytes": 1}] * 2}, "experts of all layers"),
        ({"other_bytes": -1}, "other_bytes is -1"),
        ({"read_ahead": 1}, "read_ahead is 1; expected true or false"),
        ({"drive_bytes_per_s": 0}, "drive_bytes_per_s is 0; expected a positive number or null"),
        ({"drive_bytes_per_s": float("nan")}, "drive_bytes_per_s is nan"),
        ({"compute_ms": "fast"}, "compute_ms is 'fast'"),
    ],
)
def test_a_damaged_header_is_an_error_that_names_the_first_line(tmp_path, changes, message):
    file = write_events(tmp_path / "run.jsonl")
    first, *rest = file.read_text("utf-8").splitlines()
    file.write_text("\n".join([json.dumps(json.loads(first) | changes), *rest]), "utf-8")
    with pytest.raises(TraceError, match=f"run.jsonl, line 1: .*{message}"):
        read_trace(file)


def test_files_that_are_no_trace_are_refused(tmp_path):
    with pytest.raises(InvalidRequestError, match="no such file"):
        read_trace(tmp_path / "absent.jsonl")
    with pytest.raises(StorageError, match="Is a directory"):
        read_trace(tmp_path)
    for name, content in (
        ("empty.jsonl", b""),
        ("binary.jsonl", b"GGUF\x03\xff\xfe"),
        ("text.gz", b"no gzip"),
        ("empty.gz", gzip.compress(b"")),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(TraceError, match=rf"{name}, line"):
            read_trace(tmp_path / name)


def test_damaged_compression_is_named(tmp_path):
    file = write_events(tmp_path / "run.jsonl.gz")
    data = bytearray(file.read_bytes())
    data[-6] ^= 1  # of the checksum
    file.write_bytes(data)
    with pytest.raises(TraceError, match="run.jsonl.gz, line 6: damaged gzip data"):
        read_trace(file)


def test_a_full_drive_is_a_storage_error(tmp_path):
    writer = TraceWriter(Path("/dev/full"), HEADER)
    with pytest.raises(StorageError, match="/dev/full: No space left"):
        writer.close()
    with pytest.raises(StorageError, match="No such file"):
        TraceWriter(tmp_path / "absent" / "run.jsonl", HEADER)
