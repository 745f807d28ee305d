"""A program inside a memory limit of its own, which counts the page cache too (Linux cgroups)."""

from __future__ import annotations

import contextlib
import itertools
import os
import resource
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from zerostall.engine.cpus import cgroup_folders
from zerostall.errors import StorageError, ZerostallError

# The shell becomes the program, so that all of it is counted, from its first page.
ENTER = 'echo $$ > "$0/cgroup.procs" || exit 126; exec "$@"'
PREFIX = "zerostall-"
EMPTIES_WITHIN_S = 10.0  # a killed process of many gigabytes takes seconds to go
BLOCK = 512  # bytes that getrusage counts reads in

_numbers = itertools.count()


class MemoryCgroupError(ZerostallError):
    """No memory cgroup can be made here; the message says what is needed."""


@dataclass(frozen=True)
class Finished:
    """A program that has ended.

    Attributes:
        returncode: as of subprocess: negative if a signal ended it.
        stdout, stderr: what it printed.
        seconds: from its start to its end.
        major_faults: pages that had to be read from a drive.
        bytes_read: from drives, by it and the children it waited for; None if not counted here.
        limit_bytes: of its cgroup; None: there was none, and so are the rest.
        peak_bytes: the most memory it took, page cache included; None on kernels before 5.19
            with cgroup v2.
        oom_kills: processes that the limit killed.
    """

    returncode: int
    stdout: str
    stderr: str
    seconds: float
    major_faults: int
    bytes_read: int | None
    limit_bytes: int | None = None
    peak_bytes: int | None = None
    oom_kills: int | None = None

    @property
    def killed_by_limit(self) -> bool:
        """It failed, and the limit had killed something of it."""
        return self.returncode != 0 and bool(self.oom_kills)


@dataclass(frozen=True)
class MemoryCgroup:
    """A cgroup that exists: its folder, and whether it is one of version 2."""

    folder: Path
    unified: bool

    def enter(self, command: Sequence[str]) -> list[str]:
        """The command that runs `command` inside."""
        return ["/bin/sh", "-c", ENTER, str(self.folder), *command]

    def peak_bytes(self) -> int | None:
        """The most memory taken so far, page cache included; None if the kernel does not say."""
        name = "memory.peak" if self.unified else "memory.max_usage_in_bytes"
        try:
            return int((self.folder / name).read_text())
        except (OSError, ValueError):
            return None

    def oom_kills(self) -> int:
        """Processes that the limit killed so far."""
        name = "memory.events" if self.unified else "memory.oom_control"
        try:
            lines = (self.folder / name).read_text().splitlines()
            return int(dict(line.split() for line in lines).get("oom_kill", 0))
        except (OSError, ValueError):
            return 0

    def set_limit(self, limit_bytes: int) -> None:
        """Limit memory, and leave no swap to escape to; OSError if the kernel refuses."""
        if self.unified:
            (self.folder / "memory.max").write_text(str(limit_bytes))
            swap, most = self.folder / "memory.swap.max", 0
        else:
            (self.folder / "memory.limit_in_bytes").write_text(str(limit_bytes))
            swap, most = self.folder / "memory.memsw.limit_in_bytes", limit_bytes
        if swap.exists():  # absent where the kernel accounts no swap
            swap.write_text(str(most))


@contextlib.contextmanager
def memory_cgroup(limit_bytes: int, root: Path = Path("/")) -> Iterator[MemoryCgroup]:
    """A memory cgroup below this process's own, gone afterwards with all that runs in it.

    Whatever limits this process also limits what is in there. SIGTERM ends the process as
    SystemExit meanwhile, so that the cgroup goes then too; what a SIGKILL left is removed by the
    next call.

    Args:
        limit_bytes: page cache included; swap is forbidden.
        root: below which /proc and /sys are, for tests.

    Raises:
        MemoryCgroupError: there is none to be had.
    """
    with _ending_on_sigterm():
        group = _make(limit_bytes, root)
        try:
            yield group
        finally:
            _remove(group.folder)


def check_permitted(root: Path = Path("/")) -> None:
    """Raise MemoryCgroupError unless a memory cgroup can be made and entered."""
    with memory_cgroup(64 << 20, root):
        pass


def run_contained(
    command: Sequence[str], limit_bytes: int | None, stdin: str = "", root: Path = Path("/")
) -> Finished:
    """Run a program to its end, inside a memory cgroup of its own if there is a limit.

    Args:
        command: the program and its arguments.
        limit_bytes: None: no cgroup.
        stdin: text for the program.
        root: as of memory_cgroup().

    Raises:
        MemoryCgroupError: no cgroup can be made.
        StorageError: the program cannot be started.
    """
    if limit_bytes is None:
        return _run(command, stdin, None, None)
    with memory_cgroup(limit_bytes, root) as group:
        return _run(group.enter(command), stdin, group, limit_bytes)


def _run(
    command: Sequence[str], stdin: str, group: MemoryCgroup | None, limit_bytes: int | None
) -> Finished:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    except OSError as error:
        raise StorageError(f"{command[0]}: cannot be run: {error.strerror}") from error
    seconds = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    blocks = after.ru_inblock - before.ru_inblock
    return Finished(
        done.returncode,
        done.stdout,
        done.stderr,
        seconds,
        after.ru_majflt - before.ru_majflt,
        # Sandboxes that count nothing say 0.
        blocks * BLOCK if after.ru_inblock else None,
        limit_bytes,
        None if group is None else group.peak_bytes(),
        None if group is None else group.oom_kills(),
    )


def _make(limit_bytes: int, root: Path) -> MemoryCgroup:
    refused = []
    for parent in cgroup_folders("memory", root):
        unified = _delegates_memory(parent)
        if not unified and not (parent / "memory.limit_in_bytes").exists():
            continue
        _sweep(parent)
        group = MemoryCgroup(parent / f"{PREFIX}{os.getpid()}-{next(_numbers)}", unified)
        try:
            group.folder.mkdir()
        except OSError as error:
            refused.append(f"{parent}: {error.strerror}")
            continue
        try:
            group.set_limit(limit_bytes)
            subprocess.run(group.enter(["true"]), capture_output=True, check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            _remove(group.folder)
            why = error.strerror if isinstance(error, OSError) else "no process may be moved there"
            refused.append(f"{group.folder}: {why}")
        except BaseException:
            _remove(group.folder)
            raise
        else:
            return group
    raise MemoryCgroupError(
        "a memory limit that counts the page cache needs a memory cgroup, and none can be made "
        f"({'; '.join(refused) or 'no memory controller is mounted'}); run as root, or in a "
        "delegated cgroup: systemd-run --user --scope -p Delegate=yes COMMAND"
    )


def _delegates_memory(folder: Path) -> bool:
    """Whether a cgroup of version 2 lets cgroups below it limit memory."""
    try:
        return "memory" in (folder / "cgroup.subtree_control").read_text().split()
    except OSError:
        return False


def _sweep(parent: Path) -> None:
    """Remove cgroups of processes that were killed before they could."""
    for folder in parent.glob(f"{PREFIX}[0-9]*-[0-9]*"):
        owner = folder.name.removeprefix(PREFIX).partition("-")[0]
        if not Path("/proc", owner).exists():
            with contextlib.suppress(OSError):
                folder.rmdir()


def _remove(folder: Path) -> None:
    """Kill what is in a cgroup and remove it; StorageError if something will not end."""
    deadline = time.monotonic() + EMPTIES_WITHIN_S
    while True:
        try:
            folder.rmdir()
        except FileNotFoundError:
            return
        except OSError as error:
            if time.monotonic() > deadline:
                raise StorageError(
                    f"{folder}: cannot be removed ({error.strerror}); remove it with rmdir"
                ) from error
            _kill_all(folder)
            time.sleep(0.01)
        else:
            return


def _kill_all(folder: Path) -> None:
    with contextlib.suppress(OSError):
        for process in (folder / "cgroup.procs").read_text().split():
            with contextlib.suppress(OSError):
                os.kill(int(process), signal.SIGKILL)


@contextlib.contextmanager
def _ending_on_sigterm() -> Iterator[None]:
    """Unwind on SIGTERM, unless the program handles it or this is not its main thread."""
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _end(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
