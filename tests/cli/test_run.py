"""zerostall run: prompts in, text or JSON out, Ctrl-C and closed pipes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import fields

import pytest

from tests.children import child
from tests.cli.shell import COMMAND, PAUSING, run, run_json
from tests.tasks import HANG_S
from zerostall import LLM, SamplingParams
from zerostall.cli.run import describe
from zerostall.engine.completion import StreamTimings, Timings

PROMPT = "def read_lines(path):"
GREEDY = ("--temp", "0", "-n", "16", "-t", "1")
ENDLESS = ("--temp", "0", "-n", "100000", "--ignore-eos", "-t", "1")


@pytest.fixture(scope="module")
def reference(llm):
    return llm.generate(PROMPT, SamplingParams(temperature=0, max_tokens=16))


def test_the_text_goes_to_stdout_and_nothing_else_anywhere(reference):
    done = run("run", PROMPT, *GREEDY)
    assert (done.returncode, done.stdout, done.stderr) == (0, reference.text + "\n", "")


def test_json_is_one_object_with_text_ids_reason_and_timings(llm, reference):
    code, answer = run_json("run", PROMPT, *GREEDY, "--seed", "7")
    assert code == 0
    assert answer["text"] == reference.text
    assert answer["token_ids"] == reference.token_ids
    assert answer["finish_reason"] == "length"
    assert answer["seed"] == 7
    prompt = len(llm.tokenize(PROMPT))
    assert answer["usage"] == {
        "prompt_tokens": prompt,
        "completion_tokens": 16,
        "total_tokens": prompt + 16,
    }
    timings = answer["timings"]
    assert set(timings) == {
        "load_ms",
        "prompt_tokens",
        "prompt_ms",
        "prompt_per_second",
        "predicted_tokens",
        "predicted_ms",
        "predicted_per_second",
    }
    assert (timings["prompt_tokens"], timings["predicted_tokens"]) == (prompt, 16)
    assert timings["predicted_per_second"] == pytest.approx(16e3 / timings["predicted_ms"])
    assert timings["load_ms"] > 0


@pytest.mark.parametrize("args", [(), ("-",)])
def test_a_prompt_may_come_from_stdin_less_its_last_newline(reference, args):
    assert run("run", *args, *GREEDY, stdin=PROMPT + "\n").stdout == reference.text + "\n"


def test_tokens_are_taken_as_they_are(llm, reference):
    ids = ",".join(map(str, llm.tokenize(PROMPT)))
    assert run("run", "--tokens", ids, *GREEDY).stdout == reference.text + "\n"


def test_echo_and_stats_add_the_prompt_and_a_line_on_stderr(llm, reference):
    done = run("run", PROMPT, *GREEDY, "--echo", "--stats")
    assert done.stdout == PROMPT + reference.text + "\n"
    assert f"prompt {len(llm.tokenize(PROMPT))} tokens" in done.stderr
    assert "predicted 16 tokens" in done.stderr
    assert done.stderr.count("tokens/s") == 2


def test_stats_of_streamed_experts_tell_what_a_token_took():
    counts = dict.fromkeys((field.name for field in fields(StreamTimings)), 0)
    counts |= {"demanded": 200, "hits": 150, "misses": 50, "bytes_read": 40 << 20}
    counts |= {"bytes_wasted": 5_000_000, "read_ms": 20.0, "compute_ms": 60.0, "stall_ms": 20.0}
    counts |= {"evictions": 7, "slots": 30, "resident": 29, "given": 3 << 20}
    lines = describe(Timings(1.0, 11, 30.0, 10, 50.0, StreamTimings(**counts))).splitlines()
    assert len(lines) == 3
    assert "75.0% in memory" in lines[1]
    assert "read 0.04 GB at 2.10 GB/s, 0.01 GB of it in vain" in lines[1]
    assert lines[2] == (
        "a token 4.00 ms (3.00 computing, 1.00 stalled), 2 MiB read | "
        "29 experts in 30 slots, 7 evicted, 3 MiB given back to the system"
    )
    counts |= {"prefetched_bytes": 9 << 20, "released_bytes": 5 << 20}
    mapped = describe(Timings(1.0, 11, 30.0, 10, 50.0, StreamTimings(**counts))).splitlines()
    assert mapped[2] == f"{lines[2]} | page cache: 9 MiB asked for ahead, 5 MiB given back"


def test_the_size_of_the_cache_is_an_option(reference):
    _, answer = run_json("run", PROMPT, *GREEDY, "-c", "256", "--kv-tokens", "256")
    assert answer["text"] == reference.text
    code, answer = run_json("run", PROMPT, *GREEDY, "-c", "256", "--kv-tokens", "255")
    assert (code, "kv_tokens is 255" in answer["error"]["message"]) == (2, True)


def test_stop_ends_the_text(reference):
    stop = reference.text[5:8]
    _, answer = run_json("run", PROMPT, *GREEDY, "--stop", stop, "--stop", "never")
    assert answer["text"] == reference.text[: reference.text.index(stop)]
    assert answer["finish_reason"] == "stop"


def test_with_ctx_shift_a_full_context_does_not_end_the_text():
    args = ("run", PROMPT, "--temp", "0", "-n", "100", "-t", "1", "-c", "32", "--ignore-eos")
    _, answer = run_json(*args, "--ctx-shift", "--keep", "3")
    assert answer["usage"]["completion_tokens"] == 100
    with LLM("nano", threads=1, ctx=32, context_shift=True, keep=3) as shifting:
        params = SamplingParams(temperature=0, max_tokens=100, ignore_eos=True)
        assert shifting.generate(PROMPT, params).text == answer["text"]
    _, answer = run_json(*args)
    assert answer["usage"]["completion_tokens"] < 32
    _, answer = run_json(*args, "--keep", "3")
    assert "keep is 3 without context_shift" in answer["error"]["message"]


def test_a_chat_model_is_asked_unless_raw(llm, chat_model, reference):
    greedy = SamplingParams(temperature=0, max_tokens=16)
    asked = llm.generate(f"# system: Be brief\n# user: {PROMPT}\n# assistant:", greedy)
    args = ("run", "-m", chat_model, PROMPT, *GREEDY)
    assert run(*args, "--system", "Be brief").stdout == asked.text + "\n"
    assert run(*args, "--raw").stdout == reference.text + "\n"


def test_ctrl_c_keeps_what_was_written_and_exits_130():
    with child(
        [sys.executable, "-c", PAUSING, "run", "x", *ENDLESS],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        first = process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=HANG_S)
    assert (process.returncode, errors) == (130, b"")
    assert (first + rest).endswith(b"\n")


def test_ctrl_c_with_json_gives_the_part_that_there_is():
    script = (
        "import os, signal, sys, zerostall.cli.run as run\n"
        "from zerostall.cli import main\n"
        "stream = run.begin\n"
        "def begin(*args):\n"
        "    for i, chunk in enumerate(stream(*args)):\n"
        "        if i == 5: os.kill(os.getpid(), signal.SIGINT)\n"
        "        yield chunk\n"
        "run.begin = begin\n"
        "main()"
    )
    done = subprocess.run(
        [COMMAND[0], "-c", script, "run", "x", *ENDLESS, "--json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=HANG_S,
    )
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["finish_reason"]) == (130, "interrupted")
    assert len(answer["token_ids"]) == 5
    assert answer["text"] != ""


def test_a_closed_pipe_ends_the_command_quietly_with_141():
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [*COMMAND, "run", "x", *ENDLESS],
            stdout=writing,
            stderr=subprocess.PIPE,
            check=False,
            timeout=HANG_S,
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("as_file", [False, True])
@pytest.mark.parametrize(
    ("option", "form"),
    [("--json-schema", '{"const": [1]}'), ("--grammar", 'root ::= "[" "1" "]"')],
)
def test_a_form_is_given_as_text_or_as_a_file(tmp_path, option, form, as_file):
    if as_file:
        (tmp_path / "form").write_text(form)
        form = str(tmp_path / "form")
    code, answer = run_json("run", PROMPT, *GREEDY, option, form)
    assert (code, answer["finish_reason"]) == (0, "stop")
    assert json.loads(answer["text"]) == [1]


@pytest.mark.parametrize(
    ("option", "form", "words"),
    [
        ("--json-schema", "{", "--json-schema is not JSON"),
        ("--json-schema", "none.json", "--json-schema none.json: cannot read it"),
        ("--json-schema", '{"type": "objct"}', "json_schema: Invalid type: objct"),
        ("--grammar", "none.lark", "--grammar none.lark: cannot read it"),
        ("--regex", "(", "regex: "),
    ],
)
def test_a_form_that_is_wrong_is_told(option, form, words):
    code, answer = run_json("run", PROMPT, *GREEDY, option, form)
    assert code != 0
    assert words in answer["error"]["message"]
