"""What suits a drive is measured once and remembered."""

from __future__ import annotations

import json
import os
import pwd
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.cpu.recorded import add_drive, machine, write
from zerostall import _core, hub
from zerostall.engine import drive, loader, streaming
from zerostall.engine.drive import (
    DrivePlace,
    DriveSettings,
    cache_file,
    drive_identity,
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


def system(
    root: Path,
    *,
    boot: str = "b1",
    number: str = "",
    drives: tuple[tuple[str, str, str], ...] = (),
    mounts: tuple[str, ...] = (),
    files: dict[str, str] | None = None,
    uuids: dict[str, str] | None = None,
) -> Path:
    """A machine's drives (name, device number, place), mounts, and UUIDs of their file systems.

    The drive whose number is `number` is said to hold the temporary files.
    """
    here = os.stat(root.parent).st_dev
    for name, its, below in drives:
        add_drive(root, name, f"{os.major(here)}:{os.minor(here)}" if its == number else its, below)
    lines = "\n".join(mounts)
    told = {"proc/sys/kernel/random/boot_id": boot, "proc/self/mountinfo": lines}
    write(root, told | (files or {}))
    for uuid, name in (uuids or {}).items():
        link = root / "dev/disk/by-uuid" / uuid
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(f"../../{name}")
    return root


PCI = "pci0000:00/0000:01:00.0/nvme"
DISK = f"sys/devices/{PCI}/nvme0n1"
NVME = {f"{DISK}/wwid": "eui.0025385b21404321", f"{DISK}/size": "3907029168"}
PARTITION = {f"{DISK}/nvme0n1p2/partition": "2"}
BOTH = (("nvme0n1", "259:0", PCI), ("nvme0n1p2", "259:2", f"{PCI}/nvme0n1"))


def test_a_drive_is_known_by_its_own_number_whatever_the_system_calls_it(tmp_path, model):
    names = []
    for boot, number in (("b1", "259:2"), ("b2", "259:7")):
        drives = (BOTH[0], ("nvme0n1p2", number, BOTH[1][2]))
        root = system(
            tmp_path / boot,
            boot=boot,
            number=number,
            drives=drives,
            files=NVME | PARTITION,
            uuids={"0f3a-77": "nvme0n1p2", "1b2c-88": "nvme0n1p1"},
        )
        names.append(drive_identity(model, root))
    assert names == ["eui.0025385b21404321 3907029168 sectors part2 0f3a-77"] * 2


def test_another_drive_under_the_same_number_is_another(tmp_path, model):
    names = [
        drive_identity(
            model,
            system(
                tmp_path / wwid,
                number="259:0",
                drives=BOTH[:1],
                files=NVME | {f"{DISK}/wwid": wwid},
            ),
        )
        for wwid in ("eui.01", "eui.02")
    ]
    assert names == [f"eui.0{number} 3907029168 sectors" for number in (1, 2)]


@pytest.mark.parametrize(
    ("name", "below", "file", "text"),
    [
        ("dm-0", "virtual/block", "dm/uuid", "LVM-c0ffee"),
        ("md0", "virtual/block", "md/uuid", "9b0b7c5d"),
        ("sda", "pci0000:00/ata1/block", "device/wwid", "naa.5002538e40b1c7f5"),
        ("vda", "pci0000:00/virtio2/block", "serial", "vol0a1b2c3d"),
        ("mmcblk0", "platform/mmc0:0001/block", "device/cid", "1501004d4d43"),
    ],
)
def test_each_kind_of_drive_has_its_number_elsewhere(tmp_path, model, name, below, file, text):
    folder = f"sys/devices/{below}/{name}"
    files = {f"{folder}/{file}": text, f"{folder}/size": "8"}
    root = system(tmp_path / "r", number="8:0", drives=((name, "8:0", below),), files=files)
    assert drive_identity(model, root) == f"{text} 8 sectors"


def test_a_drive_without_a_number_is_known_by_its_file_system(tmp_path, model):
    drives = (("vda", "254:0", "pci0000:00/virtio2/block"),)
    root = system(tmp_path / "r", number="254:0", drives=drives, uuids={"0f3a-77": "vda"})
    assert drive_identity(model, root) == "0f3a-77"


def test_a_file_system_with_device_numbers_of_its_own_is_found_by_its_mount(tmp_path):
    model = tmp_path / "my models" / "model.gguf"
    model.parent.mkdir()
    model.touch()
    point = str(model.parent).replace(" ", r"\040")
    mounts = (
        "22 1 8:1 / / rw - ext4 /dev/sda1 rw",
        f"36 22 0:31 /sub {point} rw shared:1 - btrfs /dev/mapper/data rw,subvol=/sub",
        f"37 22 0:32 / {point}s rw - btrfs /dev/sdb rw",
    )
    drives = (("dm-3", "253:3", "virtual/block"),)
    folder = "sys/devices/virtual/block/dm-3"
    files = {f"{folder}/dm/uuid": "LVM-c0ffee", f"{folder}/size": "8"}
    root = system(tmp_path / "r", drives=drives, mounts=mounts, files=files)
    (root / "dev/mapper").mkdir(parents=True)
    (root / "dev/mapper/data").symlink_to("../dm-3")
    assert drive_identity(model, root) == "LVM-c0ffee 8 sectors"


def test_what_has_no_number_is_known_until_the_machine_starts_again(tmp_path, probes, cache, model):
    mounts = ("22 1 0:40 / / rw - overlay overlay rw,upperdir=/var/lib/x",)
    roots = [system(tmp_path / boot, boot=boot, mounts=mounts) for boot in ("b1", "b2")]
    number = os.stat(model).st_dev
    expected = f"{os.major(number)}:{os.minor(number)} overlay on / b1"
    assert drive_identity(model, roots[0]) == expected
    rates = [drive_settings(model, cache=cache, root=root).bytes_per_second for root in roots * 2]
    assert rates == [2.5e9, 2.5e9 + 1] * 2


def test_where_nothing_is_told_a_device_number_must_do(tmp_path, model):
    number = os.stat(model).st_dev
    name = f"{os.major(number)}:{os.minor(number)}"
    assert drive_identity(model, tmp_path / "empty").split() == [name, "on"]


def test_the_newest_drives_are_remembered(tmp_path, probes, cache, model):
    roots = [system(tmp_path / f"b{i}", boot=f"b{i}") for i in range(drive.MOST_DRIVES + 2)]
    for root in roots:
        drive_settings(model, cache=cache, root=root)
    drives = json.loads(cache.read_text())["drives"]
    assert len(drives) == drive.MOST_DRIVES
    assert drive_settings(model, cache=cache, root=roots[2]).bytes_per_second == 2.5e9 + 2


@pytest.mark.parametrize("what", ["kernel", "file system", "permission"])
def test_another_drive_or_system_is_probed_anew(probes, cache, model, what, monkeypatch):
    drive_settings(model, cache=cache)
    if what == "kernel":
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


def test_without_a_home_nothing_is_remembered(monkeypatch, probes, model):
    for name in ("XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)

    def nobody(user):
        raise KeyError(user)

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    assert cache_file() is None
    assert [drive_settings(model).bytes_per_second for _ in range(2)] == [2.5e9, 2.5e9 + 1]


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
