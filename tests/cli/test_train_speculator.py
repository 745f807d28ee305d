"""`zerostall train-speculator`, and running with its file."""

from __future__ import annotations

import pytest

from tests.cli.shell import run, run_json
from zerostall.lab.states import standard_library

STREAMED = ("--ram", "18M", "-c", "256", "--temp", "0", "-n", "24", "def f(")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("speculator")
    text, path = folder / "text.py", folder / "nano.gguf"
    text.write_text("\n".join(standard_library(8)), encoding="utf-8")
    args = ("-o", str(path), "--text", str(text), "--tokens", "4096", "--rank", "8", "-t", "1")
    return path, *run_json("train-speculator", *args)


def test_training_says_what_it_found(trained):
    path, code, answer = trained
    assert code == 0
    assert (answer["path"], answer["bytes"]) == (str(path), path.stat().st_size)
    assert (answer["fitted"], answer["held_out"]) == (3584, 512)
    assert [(g["layer"], g["late"]) for g in answer["guesses"][:3]] == [
        (0, True),
        (1, False),
        (1, True),
    ]
    assert {g["rank"] for g in answer["guesses"]} == {8}
    assert answer["guesses"][0]["trained"] > answer["guesses"][0]["untrained"]


def test_a_run_with_the_speculator_says_the_same_and_foresees_more(trained):
    path = str(trained[0])
    code, answer = run_json("run", *STREAMED)
    again, better = run_json("run", *STREAMED, "--speculator", path)
    assert (code, again) == (0, 0)
    assert better["token_ids"] == answer["token_ids"]
    foreseen, more = (a["timings"]["streaming"]["foreseen"] for a in (answer, better))
    assert more > foreseen


def test_the_report_has_a_line_for_each_guess(trained, tmp_path):
    text = trained[0].parent / "text.py"
    out = tmp_path / "s.gguf"
    done = run("train-speculator", "-o", str(out), "--text", str(text), "--tokens", "2560")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[0].startswith("experts named beforehand, of those that 512 held-out tokens used")
    assert lines[2].split() == ["layer", "guess", "untrained", "trained"]
    assert [line.split()[:2] for line in lines[3:6]] == [
        ["0", "late"],
        ["1", "early"],
        ["1", "late"],
    ]
    assert lines[-1] == str(out)


def test_a_file_that_is_there_is_replaced_only_when_forced(tmp_path):
    out = tmp_path / "mine.gguf"
    out.write_bytes(b"mine")
    code, answer = run_json("train-speculator", "-o", str(out))
    assert code == 2
    assert "exists; give another path, or --force" in answer["error"]["message"]
    assert out.read_bytes() == b"mine"


def test_a_model_without_experts_has_nothing_to_train(tmp_path):
    out = str(tmp_path / "draft.gguf")
    code, answer = run_json("train-speculator", "-m", "nano-draft", "-o", out)
    assert (code, answer["error"]["type"]) == (2, "InvalidRequestError")
    assert "has no experts" in answer["error"]["message"]


def test_a_file_that_is_no_speculator_is_refused(tmp_path):
    other = tmp_path / "other.gguf"
    other.write_bytes(b"GGUF")
    code, answer = run_json("run", *STREAMED, "--speculator", str(other))
    assert (code, answer["error"]["type"]) == (1, "ModelFormatError")
