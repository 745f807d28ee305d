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
