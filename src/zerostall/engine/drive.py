"""How a drive is read best: measured once, then remembered in the user's cache folder."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from zerostall import _core
from zerostall.engine.cpus import ROOT, read_topology
from zerostall.errors import StorageError

FORMAT = 1  # of the cache file; also raised when the probe measures differently
BLOCK = 4096


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
    path: str | os.PathLike[str], *, cache: Path | None = None, fresh: bool = False
) -> DriveSettings:
    """The settings for the drive that holds `path`, probed (for about half a second) or recalled.

    A cache that is damaged, or cannot be read or written, only costs that time again.

    Args:
        path: a large file on the drive, usually the model.
        cache: the file to remember settings in; None: drives.json in the user's cache folder.
        fresh: probe even if settings are remembered.

    Raises:
        StorageError: the file cannot be read.
    """
    cache = cache or cache_file()
    known = _load(cache)
    key = _key(path)
    if not fresh and key in known:
        return known[key]
    probed = _core.probe_drive(path)
    settings = DriveSettings(**{field.name: probed[field.name] for field in fields(DriveSettings)})
    if settings.bytes_per_second > 0:
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


def cache_file() -> Path:
    """drives.json in zerostall's folder below XDG_CACHE_HOME, or ~/.cache."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "zerostall" / "drives.json"


def _key(path: str | os.PathLike[str]) -> str:
    """What the answer depends on; where io_uring is forbidden others must not learn from it."""
    try:
        device = os.stat(path).st_dev
    except OSError as error:
        raise StorageError(f"{os.fspath(path)}: cannot inspect: {error.strerror}") from error
    ring = "uring" if _core.uring_error() == 0 else "no-uring"
    kind = f"{_core.file_system_type(path):x}"
    return f"{os.major(device)}:{os.minor(device)} {kind} {platform.release()} {ring}"


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
    record = {"format": FORMAT, "drives": {key: asdict(each) for key, each in known.items()}}
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
