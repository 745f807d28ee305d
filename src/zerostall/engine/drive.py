"""How a drive is read best: measured once, then remembered in the user's cache folder."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from zerostall import _core
from zerostall.engine.cpus import ROOT, read_topology
from zerostall.errors import StorageError

FORMAT = 2  # of the cache file; also raised when the probe measures differently
BLOCK = 4096
MOST_DRIVES = 64  # that are remembered, the newest: those without a number of their own add up
# What names a drive for good, below its folder in sysfs: volumes (LVM, RAID), NVMe, SCSI and SATA,
# virtio, memory cards.
NUMBERS = ("dm/uuid", "md/uuid", "wwid", "device/wwid", "serial", "device/serial", "device/cid")


@dataclass(frozen=True)
class DriveSettings:
    """How to read from a drive, and how fast that is.

    Attributes:
        kind: "uring" or "pread".
        depth: requests under way at once.
        request_bytes: size of a request, a multiple of 4096.
        direct: past the page cache.
        bytes_per_second: measured with these; 0 if the file was too short to measure.
    """

    kind: str
    depth: int
    request_bytes: int
    direct: bool
    bytes_per_second: float


def drive_settings(
    path: str | os.PathLike[str],
    *,
    cache: Path | None = None,
    fresh: bool = False,
    root: Path = ROOT,
) -> DriveSettings:
    """The settings for the drive that holds `path`, probed (for about half a second) or recalled.

    A cache that is damaged, or cannot be read or written, only costs that time again, and so does
    a user without a home.

    Args:
        path: a large file on the drive, usually the model.
        cache: the file to remember settings in; None: drives.json in the user's cache folder.
        fresh: probe even if settings are remembered.
        root: where the system describes its drives.

    Raises:
        StorageError: the file cannot be read.
    """
    cache = cache or cache_file()
    known = {} if cache is None else _load(cache)
    key = _key(path, root)
    if not fresh and key in known:
        return known[key]
    probed = _core.probe_drive(path)
    settings = DriveSettings(**{field.name: probed[field.name] for field in fields(DriveSettings)})
    if cache is not None and settings.bytes_per_second > 0:
        with contextlib.suppress(OSError):  # a read-only home
            _store(cache, known | {key: settings})
    return settings


@dataclass(frozen=True)
class DrivePlace:
    """Where a drive is on a machine of several NUMA nodes.

    Attributes:
        node: the NUMA node it hangs on; None if that does not matter or is not known.
        cpus: those of the node that this process may use.
    """

    node: int | None
    cpus: list[int]


def drive_place(path: str | os.PathLike[str], root: Path = ROOT) -> DrivePlace:
    """The node that a file's drive hangs on; reads and their memory are best kept there."""
    topology = read_topology() if root == ROOT else _core.read_topology(str(root))
    node = _core.drive_node(os.fspath(path), str(root))
    if len(topology.nodes) < 2 or node is None:
        return DrivePlace(None, [])
    cpus = next((list(each.cpus) for each in topology.nodes if each.id == node), [])
    return DrivePlace(node, cpus)


def nearest_first(
    cpus: Sequence[int], nodes: Sequence[int], node: int | None
) -> tuple[list[int], list[int]]:
    """Threads' CPUs and their nodes, turned so that the first thread, which reads, is on `node`.

    Threads of one node still follow each other. As given where `node` is None or has no thread.
    """
    first = next((i for i, each in enumerate(nodes) if each == node), 0)
    return [*cpus[first:], *cpus[:first]], [*nodes[first:], *nodes[:first]]


def cache_file() -> Path | None:
    """drives.json in zerostall's folder below XDG_CACHE_HOME, or ~/.cache.

    None without a home: HOME is not set and the user, as in many containers, not listed.
    """
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        folder = Path(base) if base else Path.home() / ".cache"
    except RuntimeError:
        return None
    return folder / "zerostall" / "drives.json"


def drive_identity(path: str | os.PathLike[str], root: Path = ROOT) -> str:
    """What tells the drive that holds a file from all others, now and later.

    The drive's number and size, the partition, and the UUID of the file system, as far as the
    system tells them. If it tells none, device number and mount, which hold until it starts again.

    Raises:
        StorageError: there is no such file.
    """
    try:
        number = os.stat(path).st_dev
    except OSError as error:
        raise StorageError(f"{os.fspath(path)}: cannot inspect: {error.strerror}") from error
    device = root / "sys/dev/block" / f"{os.major(number)}:{os.minor(number)}"
    point, source = _mount(path, root)
    if not device.exists() and source.startswith("/dev/"):  # btrfs has numbers of its own
        device = root / "sys/class/block" / (root / source[1:]).resolve().name
    if device.exists() and (names := _names(device.resolve(), root)):
        return " ".join(names)
    boot = _text(root / "proc/sys/kernel/random/boot_id")
    return f"{os.major(number)}:{os.minor(number)} {source} on {point} {boot}"


def _names(device: Path, root: Path) -> list[str]:
    """Of a block device's folder in sysfs; empty if neither drive nor file system has one."""
    partition = _text(device / "partition")
    disk = device.parent if partition else device
    found = [text for name in NUMBERS if (text := _text(disk / name))][:1]
    if found:  # some virtual drives all have one serial number
        found.append(f"{_text(disk / 'size')} sectors")
    if found and partition:
        found.append(f"part{partition}")
    with contextlib.suppress(OSError):
        links = sorted((root / "dev/disk/by-uuid").iterdir())
        found += [link.name for link in links if Path(os.readlink(link)).name == device.name]
    return found


def _mount(path: str | os.PathLike[str], root: Path) -> tuple[str, str]:
    """Where the file's file system is mounted, and from what; both empty if that is not told.

    A line is "36 35 0:31 / /data rw - btrfs /dev/nvme0n1p2 rw"; of mounts at one place the last
    is seen.
    """
    file = Path(path).resolve()
    best = ("", "")
    for line in _text(root / "proc/self/mountinfo").splitlines():
        fields, _, rest = line.partition(" - ")
        # Spaces and the like are written in octal.
        places = [
            re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), part)
            for part in (*fields.split(" ")[4:5], *rest.split(" ")[1:2])
        ]
        if len(places) == 2 and len(places[0]) >= len(best[0]) and file.is_relative_to(places[0]):
            best = (places[0], places[1])
    return best


def _text(file: Path) -> str:
    """What a file of the kernel says, without spaces around it; nothing if it cannot be read."""
    try:
        return file.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _key(path: str | os.PathLike[str], root: Path) -> str:
    """What the answer depends on; where io_uring is forbidden others must not learn from it."""
    ring = "uring" if _core.uring_error() == 0 else "no-uring"
    drive = drive_identity(path, root)
    return f"{drive} {_core.file_system_type(path):x} {platform.release()} {ring}"


def _load(cache: Path) -> dict[str, DriveSettings]:
    try:
        record = json.loads(cache.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        return {}
    drives = record.get("drives")
    if not isinstance(drives, dict):
        return {}
    read = {key: _parse(entry) for key, entry in drives.items()}
    return {key: settings for key, settings in read.items() if settings is not None}


def _parse(entry: Any) -> DriveSettings | None:
    if not isinstance(entry, dict) or set(entry) != {each.name for each in fields(DriveSettings)}:
        return None
    settings = DriveSettings(**entry)
    # bool is an int: exact types.
    types = [type(value) for value in asdict(settings).values()]
    if types != [str, int, int, bool, float] or settings.kind not in ("uring", "pread"):
        return None
    size = settings.request_bytes
    in_range = 1 <= settings.depth <= 256 and 0 < size <= 2**30 and size % BLOCK == 0
    return settings if in_range and 0 < settings.bytes_per_second < 1e15 else None


def _store(cache: Path, known: dict[str, DriveSettings]) -> None:
    """Replace the file at once: another process may read or write it meanwhile."""
    cache.parent.mkdir(parents=True, exist_ok=True)
    newest = list(known.items())[-MOST_DRIVES:]
    record = {"format": FORMAT, "drives": {key: asdict(each) for key, each in newest}}
    descriptor, name = tempfile.mkstemp(dir=cache.parent, prefix=cache.name, suffix=".part")
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            json.dump(record, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        os.replace(name, cache)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
