"""Which experts were wanted is remembered, so that the next start is warm."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from pathlib import Path

import pytest

from zerostall import LLM, SamplingParams, hub
from zerostall.engine.model_key import model_key
from zerostall.engine.profile import Profile, read_profile, write_profile
from zerostall.engine.streaming import Streaming
from zerostall.errors import StorageError

GREEDY = SamplingParams(temperature=0, max_tokens=32, ignore_eos=True)
PROMPT = "def parse(text):"
RAM = 20_000_000


def run(profile: Path, model: str | Path = "nano") -> tuple[list[int], dict[str, int], int]:
    """Generates; the tokens, the counters, and how many experts were there before."""
    streaming = Streaming(io="pread", speculate=False, profile=profile)
    with LLM(model, threads=1, ctx=256, ram=RAM, streaming=streaming) as llm:
        before = llm.loaded.scheduler.stream_stats()["resident"]
        answer = llm.generate(PROMPT, GREEDY)
        return answer.token_ids, llm.loaded.scheduler.stream_stats(), before


@pytest.fixture(scope="module")
def cold(tmp_path_factory):
    profile = tmp_path_factory.mktemp("profile") / "nano.profile"
    return (profile, *run(profile))


def test_the_second_start_has_the_experts_that_the_first_wanted(cold):
    profile, tokens, stats, before = cold
    assert before == 0
    again, warm, there = run(profile)
    assert again == tokens
    assert there > 0
    assert warm["misses"] < 0.8 * stats["misses"]
    assert warm["hits"] > stats["hits"]


def test_experts_of_a_profile_are_hits_from_the_first_token(cold):
    profile = cold[0]
    streaming = Streaming(io="pread", speculate=False, profile=profile)
    with LLM("nano", threads=1, ctx=256, ram=RAM, streaming=streaming) as llm:
        loaded = llm.loaded.scheduler.stream_stats()
        assert loaded["demanded"] == loaded["hits"] == 0
        assert loaded["bytes_read"] > 0
        llm.generate(PROMPT, SamplingParams(temperature=0, max_tokens=1))
        stats = llm.loaded.scheduler.stream_stats()
    assert stats["hits"] > stats["demanded"] / 2


def test_the_profile_of_another_model_is_ignored_and_replaced(cold, tmp_path):
    _, tokens, stats, _ = cold
    other = tmp_path / "other.gguf"
    other.write_bytes(hub.resolve("nano").read_bytes() + bytes(4096))
    profile = tmp_path / "p"
    run(profile, other)
    foreign = json.loads(profile.read_text())["model"]
    again, same, there = run(profile)
    assert (again, there) == (tokens, 0)
    assert same["misses"] == stats["misses"]
    assert json.loads(profile.read_text())["model"] != foreign


WHOLE = {"zerostall_profile": 1, "model": None, "scores": [0.5] * 96}
DAMAGED = {
    "empty": b"",
    "cut": b'{"zerostall_profile": 1, "mod',
    "not text": bytes(range(128, 256)),
    "nested": b"[" * 100_000,
    "not an object": b"3",
    "another version": json.dumps(WHOLE | {"zerostall_profile": 99}).encode(),
    "scores missing": json.dumps({"zerostall_profile": 1, "model": None}).encode(),
    "scores are no list": json.dumps(WHOLE | {"scores": "high"}).encode(),
    "too few scores": json.dumps(WHOLE | {"scores": [1.0]}).encode(),
    "too many scores": json.dumps(WHOLE | {"scores": [0.9] * 1000}).encode(),
    "scores of other kinds": json.dumps(WHOLE | {"scores": [None, "a", {}] * 32}).encode(),
    "scores beyond every scale": json.dumps(WHOLE | {"scores": [1e38, -1e38] * 48}).encode(),
    "scores that are no numbers": json.dumps(
        WHOLE | {"scores": [float("nan"), float("inf"), float("-inf")] * 32}
    ).encode(),
    "habits are no text": json.dumps(WHOLE | {"habits": [1, 2]}).encode(),
    "habits are another text": json.dumps(WHOLE | {"habits": "no Base64!"}).encode(),
    "habits are cut": json.dumps(WHOLE | {"habits": "AwAAAAI="}).encode(),
    "scores too large for a float": json.dumps(WHOLE | {"scores": [10**400] * 96}).encode(),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_profile_changes_no_token_and_is_written_anew(cold, tmp_path, damage):
    from zerostall._core import GgufFile

    key = json.dumps(model_key(GgufFile(hub.resolve("nano")))).encode()
    profile = tmp_path / "profile"
    profile.write_bytes(DAMAGED[damage].replace(b'"model": null', b'"model": ' + key))
    assert run(profile)[0] == cold[1]
    record = json.loads(profile.read_text())
    assert record["zerostall_profile"] == 1
    assert len(record["scores"]) == 96
    assert all(0 <= score <= 1 for score in record["scores"])
    assert max(record["scores"]) == 1


def test_a_profile_that_could_not_be_written_is_an_error_at_load(tmp_path, monkeypatch):
    profile = tmp_path / "no such folder" / "profile"
    with pytest.raises(StorageError, match=r"no such folder/profile: cannot be written: No such"):
        run(profile)

    def refused(*_args, **_options):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    # Not by the folder's mode, which the superuser need not heed.
    monkeypatch.setattr(tempfile, "NamedTemporaryFile", refused)
    with pytest.raises(StorageError, match="profile: cannot be written: Permission denied"):
        run(tmp_path / "profile")


def test_a_profile_that_cannot_be_written_in_the_end_is_an_error_on_close(tmp_path):
    profile = tmp_path / "folder" / "profile"
    profile.parent.mkdir()
    streaming = Streaming(io="pread", profile=profile)
    llm = LLM("nano", threads=1, ctx=256, ram=RAM, streaming=streaming)
    assert os.listdir(profile.parent) == []
    profile.parent.rmdir()
    with pytest.raises(StorageError, match=r"folder/profile: cannot be written"):
        llm.close()
    llm.close()  # closed all the same


def test_two_models_of_one_process_may_write_one_profile_at_once(tmp_path, monkeypatch):
    path, sync = tmp_path / "profile", os.fsync
    ours, theirs = Profile([0.25], [1, 2]), Profile([0.5], [3])

    def meanwhile(descriptor):
        monkeypatch.setattr(os, "fsync", sync)
        write_profile(path, "key", theirs)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", meanwhile)
    write_profile(path, "key", ours)
    assert read_profile(path, "key") == ours  # the last one, and whole
    assert os.listdir(tmp_path) == ["profile"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_ends_the_writing_of_a_profile_leaves_the_old_one(tmp_path, monkeypatch):
    path, old = tmp_path / "profile", Profile([0.25], [1, 2])
    write_profile(path, "key", old)
    for error, raised in (
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), StorageError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ):

        def fails(_descriptor, error=error):
            raise error

        monkeypatch.setattr(os, "fsync", fails)
        with pytest.raises(raised):
            write_profile(path, "key", Profile([0.5], [3]))
    assert read_profile(path, "key") == old
    assert os.listdir(tmp_path) == ["profile"]


def test_a_profile_is_written_also_when_the_models_file_is_gone_by_then(cold, tmp_path):
    model, profile = tmp_path / "nano.gguf", tmp_path / "profile"
    model.write_bytes(hub.resolve("nano").read_bytes())
    streaming = Streaming(io="pread", speculate=False, profile=profile)
    with LLM(model, threads=1, ctx=256, ram=RAM, streaming=streaming) as llm:
        assert llm.generate(PROMPT, GREEDY).token_ids == cold[1]
        model.unlink()
    kept, expected = (json.loads(path.read_text()) for path in (profile, cold[0]))
    assert kept["model"] == expected["model"]


def test_a_profile_that_cannot_be_read_is_an_error_at_load(tmp_path):
    with pytest.raises(StorageError, match="cannot be read"):
        run(tmp_path)


def test_writing_leaves_nothing_but_the_profile(cold):
    assert [path.name for path in cold[0].parent.iterdir()] == [cold[0].name]
