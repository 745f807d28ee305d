"""What suits a drive is measured once and remembered."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.cpu.recorded import machine
from zerostall import _core, hub
from zerostall.engine import drive, loader, streaming
from zerostall.engine.drive import (
    DrivePlace,
    DriveSettings,
    cache_file,
    drive_place,
    drive_settings,
    nearest_first,
)
from zerostall.errors import StorageError

FOUND = DriveSettings("pread", 8, 512 << 10, True, 2.5e9)


@pytest.fixture
def probes(monkeypatch):
    """Counts probes, each of which finds another rate."""
    counted = []

    def probe(path, seconds=0.5):
        counted.append(path)
        rate = FOUND.bytes_per_second + len(counted) - 1
        return asdict(FOUND) | {"bytes_per_second": rate, "trials": [], "why": ""}

    monkeypatch.setattr(_core, "probe_drive", probe)
    return counted


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache" / "drives.json"


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.gguf"
    path.write_bytes(b"x")
    return path


def test_a_drive_is_probed_once(probes, cache, model):
    assert drive_settings(model, cache=cache) == FOUND
    assert drive_settings(model, cache=cache) == FOUND
    assert len(probes) == 1
    assert os.listdir(cache.parent) == ["drives.json"]


def test_a_fresh_probe_replaces_what_was_remembered(probes, cache, model):
    drive_settings(model, cache=cache)
    assert drive_settings(model, cache=cache, fresh=True).bytes_per_second == 2.5e9 + 1
    assert drive_settings(model, cache=cache).bytes_per_second == 2.5e9 + 1


@pytest.mark.parametrize("what", ["device", "kernel", "file system", "permission"])
def test_another_drive_or_system_is_probed_anew(probes, cache, model, what, monkeypatch):
    drive_settings(model, cache=cache)
    if what == "device":
        monkeypatch.setattr(drive.os, "major", lambda device: 4711)
    elif what == "kernel":
        monkeypatch.setattr(drive.platform, "release", lambda: "99.0")
    elif what == "file system":
        monkeypatch.setattr(_core, "file_system_type", lambda path: 1)
    else:
        error = 1 if _core.uring_error() == 0 else 0
        monkeypatch.setattr(_core, "uring_error", lambda: error)
    assert drive_settings(model, cache=cache).bytes_per_second == 2.5e9 + 1
    assert drive_settings(model, cache=cache).bytes_per_second == 2.5e9 + 1
    monkeypatch.undo()
    assert len(json.loads(cache.read_text())["drives"]) == 2


def damages(text: str):
    record = json.loads(text)
    key = next(iter(record["drives"]))
    yield "cut short", text[: len(text) // 2]
    yield "no JSON", "\x00\xff"
    yield "deep", "[" * 100_000
    yield "a list", "[]"
    yield "other format", json.dumps(record | {"format": 99})
    yield "no drives", json.dumps({"format": record["format"], "drives": 3})
    for field, value in [
        ("kind", "mmap"),
        ("depth", 0),
        ("depth", True),
        ("depth", 10**9),
        ("request_bytes", 5000),
        ("request_bytes", 2**40),
        ("direct", 1),
        ("bytes_per_second", "fast"),
        ("bytes_per_second", float("nan")),
    ]:
        drives = {key: record["drives"][key] | {field: value}}
        yield f"{field} {value}", json.dumps(record | {"drives": drives})
    yield "extra", json.dumps(record | {"drives": {key: record["drives"][key] | {"x": 1}}})


def test_a_damaged_cache_is_ignored_and_written_anew(probes, cache, model):
    drive_settings(model, cache=cache)
    good = cache.read_text()
    for count, (name, text) in enumerate(damages(good)):
        cache.write_text(text, encoding="latin-1")
        expected = FOUND.bytes_per_second + count + 1
        assert drive_settings(model, cache=cache).bytes_per_second == expected, name
        assert drive_settings(model, cache=cache).bytes_per_second == expected, name


def test_a_cache_that_cannot_be_written_is_done_without(probes, cache, model):
    cache.parent.write_text("a file where the folder should be")
    assert drive_settings(model, cache=cache) == FOUND
    assert drive_settings(model, cache=cache).bytes_per_second == 2.5e9 + 1


def test_a_file_too_short_to_measure_gives_settings_that_are_not_remembered(cache, model):
    settings = drive_settings(model, cache=cache)
    assert (settings.depth, settings.request_bytes, settings.bytes_per_second) == (16, 1 << 20, 0)
    assert not cache.exists()


def test_a_real_drive_is_probed(cache, tmp_path):
    path = tmp_path / "large.bin"
    path.write_bytes(os.urandom(1 << 20) * 24)
    settings = drive_settings(path, cache=cache)
    assert settings.kind in ("uring", "pread")
    assert settings.depth in (4, 8, 16, 32)
    assert settings.request_bytes in (256 << 10, 512 << 10, 1 << 20, 2 << 20)
    assert settings.bytes_per_second > 1e5
    assert drive_settings(path, cache=cache) == settings


def test_a_missing_file_is_a_storage_error(cache, tmp_path):
    with pytest.raises(StorageError, match=r"absent: cannot inspect: No such file"):
        drive_settings(tmp_path / "absent", cache=cache)
    with pytest.raises(StorageError, match=r"absent: cannot open: No such file"):
        _core.probe_drive(tmp_path / "absent")


def test_the_cache_is_in_the_users_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_file() == tmp_path / "zerostall" / "drives.json"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_file() == tmp_path / "home" / ".cache" / "zerostall" / "drives.json"


def test_threads_that_read_run_next_to_the_drive(tmp_path):
    root = tmp_path / "root"
    machine(root, "threadripper_2990wx")
    file = tmp_path / "model.gguf"
    file.touch()
    number = os.stat(file).st_dev
    link = root / f"sys/dev/block/{os.major(number)}:{os.minor(number)}"
    link.unlink(missing_ok=True)
    link.symlink_to((root / "sys/class/block/nvme0n1").resolve())
    node = next(each for each in _core.read_topology(str(root)).nodes if each.id == 2)
    assert drive_place(file, root).cpus == list(node.cpus) != []
    assert drive_place(file, root).node == node.id
    link.unlink()
    link.symlink_to((root / "sys/class/block/md0").resolve())
    assert drive_place(file, root) == DrivePlace(None, [])


def test_with_one_memory_node_threads_run_anywhere(tmp_path):
    if len(_core.read_topology().nodes) > 1:
        pytest.skip("this machine has several")
    assert drive_place(Path(__file__)) == DrivePlace(None, [])


def test_the_thread_that_reads_is_the_first_one_on_the_drives_node(tmp_path):
    placement = machine(tmp_path, "xeon_6338_2s").place()
    cpus, nodes = nearest_first(placement.cpus, placement.nodes, 1)
    assert nodes == sorted(placement.nodes, reverse=True)
    assert sorted(cpus) == sorted(placement.cpus)
    assert dict(zip(cpus, nodes, strict=True)) == dict(
        zip(placement.cpus, placement.nodes, strict=True)
    )
    assert nearest_first(placement.cpus, placement.nodes, None)[0] == placement.cpus


def test_the_core_is_told_the_drives_node_and_reads_there(monkeypatch, tmp_path):
    placement = machine(tmp_path, "xeon_6338_2s").place()
    place = DrivePlace(1, [32, 33])
    for module in (loader, streaming):
        monkeypatch.setattr(module, "drive_place", lambda path: place)
    monkeypatch.setattr(_core, "Engine", lambda *positional, **named: named)
    options = SimpleNamespace(
        max_batch=8, kv_type="f16", isa=None, streaming=streaming.Streaming(io="pread")
    )
    plan = SimpleNamespace(expert_bytes=1 << 24, context=8, kv_tokens=8)
    model = SimpleNamespace(tape=None)
    file = _core.GgufFile(hub.resolve("nano"))
    told = loader.start_engine(file, model, options, placement, plan, None)
    assert (told["streaming"]["node"], told["streaming"]["cpus"]) == (1, [32, 33])
    # Thread 0 takes what has been read.
    assert (told["nodes"][0], told["cpus"][0]) == (1, 32)
    plan.expert_bytes = None
    told = loader.start_engine(file, model, options, placement, plan, None)
    assert (told["nodes"][0], told["streaming"]) == (0, None)
