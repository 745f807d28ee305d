"""Downloads, through the command line and huggingface_hub, from a hub on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hub.fake_hub import COMMIT, FakeHub
from tests.tasks import HANG_S

SHARDS = {f"big-Q8_0-0000{i}-of-00002.gguf": bytes([i]) * 5000 for i in (1, 2)}
FILES = {
    "o/r": {"m-Q4_K_M.gguf": b"fake" * 1000, "m-Q5_0.gguf": b"q5" * 10, "README.md": b"x"},
    "o/split": {**SHARDS, "big-Q4_0.gguf": b"q4"},
    "o/secret": {"m.gguf": b"s"},
}


class Shell:
    """Runs the command with a cache and a hub of its own."""

    def __init__(self, home: Path, hub: FakeHub) -> None:
        self.home = home
        self.env = dict(os.environ)
        for name in [name for name in self.env if name.startswith("HF_")]:
            del self.env[name]
        self.env |= {
            "HF_HOME": str(home),
            "HF_ENDPOINT": hub.url,
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }

    def command(self, *args: str) -> list[str]:
        return [sys.executable, "-m", "zerostall", *args]

    def json(self, *args: str, **env: str) -> tuple[int, dict]:
        done = subprocess.run(
            self.command(*args, "--json"),
            env=self.env | env,
            capture_output=True,
            text=True,
            timeout=HANG_S,
            check=False,
        )
        return done.returncode, json.loads(done.stdout)

    def snapshot(self, repo: str, file: str) -> str:
        folder = f"models--{repo.replace('/', '--')}"
        return str(self.home / "hub" / folder / "snapshots" / COMMIT / file)

    def error(self, *args: str, **env: str) -> tuple[str, str]:
        code, answer = self.json(*args, **env)
        assert code == 1
        return answer["error"]["type"], answer["error"]["message"]


@pytest.fixture
def hub():
    with FakeHub(dict(FILES), gated={"o/secret"}) as hub:
        yield hub


@pytest.fixture
def shell(tmp_path, hub):
    return Shell(tmp_path, hub)


def test_pull_stores_the_default_quant_and_prints_its_path(shell):
    code, answer = shell.json("pull", "hf:o/r")
    assert (code, answer["path"]) == (0, shell.snapshot("o/r", "m-Q4_K_M.gguf"))
    assert Path(answer["path"]).read_bytes() == b"fake" * 1000


def test_pull_brings_every_shard_and_nothing_else(shell, hub):
    code, answer = shell.json("pull", "hf:o/split:Q8_0")
    first, second = SHARDS
    assert (code, answer["path"]) == (0, shell.snapshot("o/split", first))
    assert Path(shell.snapshot("o/split", second)).read_bytes() == SHARDS[second]
    assert not Path(shell.snapshot("o/split", "big-Q4_0.gguf")).exists()


def test_an_interrupted_download_resumes_where_it_stopped(shell, hub):
    # huggingface_hub writes in chunks of 10 MiB: the first half must hold one.
    content = bytes(range(256)) * (24 << 12)
    hub.files["o/large"] = {"m.gguf": content}
    hub.stalled.add("m.gguf")
    with subprocess.Popen(
        shell.command("pull", "hf:o/large"), env=shell.env, stderr=subprocess.DEVNULL
    ) as pull:
        assert hub.half_sent.wait(HANG_S)
        blobs = shell.home / "hub" / "models--o--large" / "blobs"
        while not any(path.stat().st_size for path in blobs.glob("*.zerostall-part")):
            assert pull.poll() is None
        pull.kill()
    stored = sum(path.stat().st_size for path in blobs.glob("*.zerostall-part"))
    hub.stalled.clear()
    code, answer = shell.json("pull", "hf:o/large")
    assert code == 0
    assert hub.ranges() == [f"bytes={stored}-"]
    assert Path(answer["path"]).read_bytes() == content


def test_ls_lists_what_was_pulled_by_the_name_that_runs_it(shell):
    shell.json("pull", "hf:o/split:Q8_0")
    code, answer = shell.json("ls")
    listed = {model["name"]: (model["path"], model["bytes"]) for model in answer["models"]}
    assert code == 0
    assert listed["hf:o/split:Q8_0"] == (shell.snapshot("o/split", min(SHARDS)), 10000)
    assert "nano" in listed


def test_a_cached_model_is_found_without_asking_the_hub(shell, hub):
    shell.json("pull", "hf:o/r")
    asked = len(hub.requests)
    kind, message = shell.error("info", "-m", "hf:o/r")
    assert kind == "ModelFormatError"  # the fake file was opened
    assert shell.snapshot("o/r", "m-Q4_K_M.gguf") in message
    assert [path for _, path, _ in hub.requests[asked:] if "o/r" in path] == []


def test_offline_mode_uses_the_cache_and_names_itself_when_that_is_empty(shell):
    kind, message = shell.error("info", "-m", "hf:o/r:Q5_0", HF_HUB_OFFLINE="1")
    assert kind == "HubUnreachableError"
    assert "HF_HUB_OFFLINE is set" in message
    shell.json("pull", "hf:o/r:Q5_0")
    kind, message = shell.error("info", "-m", "hf:o/r", HF_HUB_OFFLINE="1")
    assert (kind, "m-Q5_0.gguf" in message) == ("ModelFormatError", True)


def test_no_network_is_an_error_that_says_where_it_tried(shell):
    endpoint = "http://127.0.0.1:9"  # the discard port: nothing listens
    kind, message = shell.error("pull", "hf:o/r", HF_ENDPOINT=endpoint)
    assert kind == "HubUnreachableError"
    assert f"cannot reach {endpoint}" in message
    assert "resumes" in message


def test_a_missing_repository_suggests_spelling_and_token(shell):
    kind, message = shell.error("pull", "hf:o/absent")
    assert kind == "ModelNotFoundError"
    assert "HF_TOKEN" in message


def test_a_missing_revision_is_named(shell):
    kind, message = shell.error("pull", "hf:o/r@v9")
    assert (kind, "'v9'" in message) == ("ModelNotFoundError", True)


def test_a_gated_repository_says_where_to_accept_its_terms(shell, hub):
    kind, message = shell.error("pull", "hf:o/secret")
    assert kind == "GatedModelError"
    assert f"{hub.url}/o/secret" in message


def test_a_quant_that_is_not_there_lists_those_that_are(shell):
    kind, message = shell.error("pull", "hf:o/split")
    assert (kind, message.split(": ")[-1]) == ("AmbiguousModelError", "Q4_0, Q8_0")
