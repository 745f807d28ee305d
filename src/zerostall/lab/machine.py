"""What a measurement was made on: processor, compiler, commit."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from zerostall import _core
from zerostall.engine import cpus

PACKAGE = Path(__file__).resolve().parents[1]


def describe_machine(isa: str, threads: int) -> dict[str, Any]:
    """The fields that make two results comparable; `commit` is None outside a git checkout."""
    topology = cpus.read_topology()
    return {
        "cpu": cpu_model(),
        "logical_cpus": len(topology.cpus),
        "physical_cores": len(topology.cores),
        "memory_bytes": _memory_bytes(),
        "compiler": _core.compiler(),
        "commit": commit(),
        "version": _version(),
        "isa": isa,
        "threads": threads,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def cpu_model(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name as the system gives it."""
    try:
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def commit(package: Path = PACKAGE) -> str | None:
    """The commit of the sources, with "-dirty" if tracked files differ from it.

    None unless the package is the `src/zerostall` of a checkout: an installed one may lie inside
    somebody else's repository.
    """
    top = _git(package, "rev-parse", "--show-toplevel")
    if top is None or Path(top) / "src" / "zerostall" != package:
        return None
    head = _git(package, "rev-parse", "--short=12", "HEAD")
    changed = _git(package, "status", "--porcelain", "--untracked-files=no")
    return f"{head}-dirty" if head and changed else head


def _git(folder: Path, *args: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *args], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        return None


def _version() -> str | None:
    try:
        return version("zerostall")
    except PackageNotFoundError:  # run from the sources
        return None
