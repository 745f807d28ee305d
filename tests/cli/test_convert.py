"""zerostall convert: what it writes, refuses and prints."""

from __future__ import annotations

from tests.cli.shell import run, run_json


def test_convert_writes_a_file_that_info_calls_packed(tmp_path):
    out = tmp_path / "nano.gguf"
    done = run("convert", "nano", str(out))
    assert (done.returncode, done.stdout) == (0, f"{out}\n")
    _, answer = run_json("info", "-m", str(out))
    _, plain = run_json("info")
    assert (answer["model"]["packed"], plain["model"]["packed"]) == (True, False)
    same = ("parameters", "formats", "architecture", "vocabulary", "experts")
    assert [answer["model"][key] for key in same] == [plain["model"][key] for key in same]
    args = ("--temp", "0", "-n", "8", "def f(")
    assert run("run", "-m", str(out), *args).stdout == run("run", *args).stdout


def test_convert_replaces_a_file_only_when_forced_and_verifies_one_that_is_there(tmp_path):
    out = tmp_path / "nano.gguf"
    out.write_bytes(b"mine")
    code, answer = run_json("convert", "nano", str(out))
    assert code == 2
    assert "exists; give another path, --force, or --verify" in answer["error"]["message"]
    assert out.read_bytes() == b"mine"
    code, answer = run_json("convert", "nano", str(out), "--force", "--verify")
    size = out.stat().st_size
    assert (code, answer) == (
        0,
        {"path": str(out), "bytes": size, "written": True, "verified": True},
    )
    for args in (("nano", str(out)), (str(out),)):
        code, answer = run_json("convert", *args, "--verify")
        assert (code, answer["written"], answer["verified"]) == (0, False, True)


def test_convert_without_a_file_to_write_says_so():
    code, answer = run_json("convert", "nano")
    assert code == 2
    assert "zerostall convert nano OUT.gguf" in answer["error"]["message"]


def test_convert_adds_low_copies_that_info_names_and_a_run_uses(tmp_path):
    out = tmp_path / "low.gguf"
    code, answer = run_json("convert", "nano", str(out), "--miss-copy", "Q2_K", "--verify")
    assert (code, answer["written"], answer["verified"]) == (0, True, True)
    _, shown = run_json("info", "-m", str(out))
    assert (shown["model"]["packed"], shown["model"]["miss_copy"]) == (True, "Q2_K")
    args = ("-m", str(out), "--ram", "20M", "-c", "256", "--temp", "0", "-n", "8", "def f(")
    code, answer = run_json("run", "--miss-precision", "low", *args)
    assert (code, answer["timings"]["streaming"]["low_used"] > 0) == (0, True)
    code, answer = run_json("run", *args)
    assert (code, answer["timings"]["streaming"]["low_used"]) == (0, 0)


def test_convert_says_why_there_are_no_such_copies(tmp_path):
    out = tmp_path / "nano.gguf"
    code, answer = run_json("convert", "nano", str(out), "--miss-copy", "Q9")
    assert (code, "give one of Q4_0, Q8_0, Q2_K, Q3_K" in answer["error"]["message"]) == (2, True)
    assert run_json("convert", "nano", str(out))[0] == 0
    code, answer = run_json("convert", "nano", str(out), "--verify", "--miss-copy", "Q2_K")
    assert (code, "has no miss copies, not Q2_K" in answer["error"]["message"]) == (2, True)
    code, answer = run_json("run", "-m", str(out), "--miss-precision", "low", "-n", "1", "x")
    assert (code, "--miss-copy Q2_K" in answer["error"]["message"]) == (2, True)


def test_perplexity_a_token_a_step_is_that_of_whole_chunks(tmp_path):
    text = tmp_path / "text"
    text.write_text("def f(x):\n    return x\n" * 60, encoding="utf-8")
    results = [
        run_json("eval", "ppl", str(text), "-c", "64", "--chunks", "2", *more)
        for more in ((), ("--batch", "1"))
    ]
    assert results[0] == results[1]
    assert results[0][0] == 0
