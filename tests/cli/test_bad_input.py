"""Bad input to the command: a typed error, its exit code, and a message that says what to do."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.cli.shell import run, run_json
from tests.llm.models import nano


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Files and folders that are no model."""
    folder = tmp_path_factory.mktemp("bad")
    model = nano()
    (folder / "empty.gguf").touch()
    (folder / "header.gguf").write_bytes(model[:1000])
    (folder / "tensors.gguf").write_bytes(model[: len(model) // 2])
    (folder / "text.gguf").write_text("Once upon a time\n")
    (folder / "folder").mkdir()
    return folder


@pytest.mark.parametrize(
    ("file", "code", "kind", "message"),
    [
        ("absent.gguf", 1, "ModelNotFoundError", "there is no such file"),
        ("folder", 1, "ModelNotFoundError", "is a folder"),
        ("empty.gguf", 1, "ModelFormatError", "the file is empty"),
        ("header.gguf", 1, "ModelFormatError", "header.gguf"),
        ("tensors.gguf", 1, "ModelFormatError", "tensors.gguf"),
        ("text.gguf", 1, "ModelFormatError", "begins with b'Once'"),
    ],
)
@pytest.mark.parametrize("verb", ["run", "info", "tokenize"])
def test_a_file_that_is_no_model(models, verb, file, code, kind, message):
    text = [] if verb == "info" else ["x"]
    found, answer = run_json(verb, "-m", str(models / file), *text)
    assert (found, answer["error"]["type"]) == (code, kind)
    assert message in answer["error"]["message"]


@pytest.mark.parametrize(
    ("args", "code", "kind", "message"),
    [
        (["run", ""], 2, "InvalidRequestError", "the prompt is empty"),
        (["run", "x" * 20000], 2, "ContextLengthError", "the context 1024: shorten"),
        (["run", "x", "--ctx", "4096"], 2, "InvalidRequestError", "up to 1024 tokens"),
        (["run", "x", "--temp", "-1"], 2, "InvalidRequestError", "temperature is -1.0"),
        (["run", "x", "--threads", "0"], 2, "InvalidRequestError", "threads is 0"),
        (["run", "x", "--isa", "sse9"], 2, "InvalidRequestError", "sse9"),
        (["run", "x", "--ram", "1M"], 1, "OutOfBudgetError", "the smallest ram that works"),
        (["run", "--tokens", "1,b"], 2, "InvalidRequestError", "--tokens is '1,b'"),
        (["run", "--tokens", "99999"], 2, "InvalidRequestError", "ids go from 0 to 4095"),
        (["run", "x", "--tokens", "1"], 2, "InvalidRequestError", "not both"),
        (["run", "-m", "hf:x", "y"], 2, "InvalidRequestError", "write hf:owner/repo"),
        (["run", "-m", "owner/repo", "y"], 1, "ModelNotFoundError", "write hf:owner/repo"),
        (["tokenize", "--decode", "5000"], 2, "InvalidRequestError", "token 5000"),
        (["eval", "ppl", "/absent"], 2, "InvalidRequestError", "no such file"),
    ],
)
def test_a_request_that_cannot_be_met(args, code, kind, message):
    found, answer = run_json(*args)
    assert (found, answer["error"]["type"]) == (code, kind)
    assert message in answer["error"]["message"]


def test_without_json_the_error_is_one_line_on_stderr(models):
    done = run("run", "-m", str(models / "empty.gguf"), "x")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("zerostall: ")
    assert done.stderr.count("\n") == 1


def test_a_chat_template_that_is_none_is_refused_before_the_model_is_read(tmp_path):
    path = tmp_path / "chat.jinja"
    path.write_text("{{ messages }}\n{% if %}")
    done = run("serve", "--port", "0", "-m", "absent.gguf", "--chat-template", str(path))
    assert (done.returncode, done.stdout) == (2, "")
    assert f"--chat-template {path}: no chat template: line 2: " in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_prompt_from_stdin_that_is_no_text_is_refused():
    done = subprocess.run(
        [sys.executable, "-m", "zerostall", "run"],
        input=b"\xff\xfe\x00",
        capture_output=True,
        check=False,
    )
    assert done.returncode == 2
    assert b"not UTF-8" in done.stderr


def test_a_file_without_permission_is_a_storage_error(models):
    path = models / "secret.gguf"
    path.write_bytes(nano())
    path.chmod(0)
    # Root may read anything: load everything that is needed, then become nobody.
    script = (
        "import os, sys\n"
        "from zerostall import LLM, StorageError\n"
        "LLM('nano', threads=1).close()\n"
        "if os.getuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "try: LLM(sys.argv[1])\n"
        "except StorageError as error: print(error)\n"
    )
    for folder in (models, *models.parents[:2]):
        if folder.owner() == os.environ.get("USER", "root"):
            folder.chmod(folder.stat().st_mode | 0o055)
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=False
    )
    assert f"{path}: permission to read it was denied" in done.stdout, done
