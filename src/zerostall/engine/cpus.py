"""How many threads a forward pass should use: the physical cores this process may run on."""

from __future__ import annotations

import os
from pathlib import Path

SYSFS_CPU = Path("/sys/devices/system/cpu")


def default_threads() -> int:
    """Physical cores allowed by the affinity mask, capped by the cgroup's CPU quota.

    Two hardware threads of one core share its vector units and its path to memory, so a
    second thread there adds waiting at every barrier and no speed.
    """
    cores = physical_cores(allowed_cpus())
    quota = cpu_quota()
    # Rounded down: a pool that spins past its quota is stopped for the rest of the period.
    return cores if quota is None else max(1, min(cores, int(quota)))


def allowed_cpus() -> list[int]:
    """Logical CPUs of this process's affinity mask."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def physical_cores(cpus: list[int], sysfs: Path = SYSFS_CPU) -> int:
    """How many distinct cores the logical CPUs belong to; without sysfs, all of them."""
    cores = set()
    for cpu in cpus:
        try:
            siblings = (sysfs / f"cpu{cpu}/topology/thread_siblings_list").read_text().strip()
        except OSError:
            siblings = str(cpu)
        cores.add(siblings)
    return max(1, len(cores))


def cpu_quota(root: Path = Path("/")) -> float | None:
    """CPUs that the tightest cgroup above this process may use, or None without a limit.

    Reads cgroup v2 (`cpu.max`) and v1 (`cpu.cfs_quota_us`), each from this process's group
    up to the top, because a limit on any ancestor holds.
    """
    limits = [limit for group in cgroup_folders("cpu", root) for limit in _limits(group)]
    return min(limits, default=None)


def cgroup_folders(controller: str, root: Path = Path("/")) -> list[Path]:
    """Folders of this process's cgroups that hold `controller`, innermost first."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    folders = []
    base = root / "sys/fs/cgroup"
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            top = base / "unified" if (base / "unified").is_dir() else base
        elif controller in controllers.split(","):
            top = base / controller
        else:
            continue
        inner = top / path.lstrip("/")
        # A container may see its own group as the root: then `path` is absent under it.
        folders += [inner, *(p for p in inner.parents if p == top or top in p.parents)]
    return [folder for folder in folders if folder.is_dir()]


def _limits(group: Path) -> list[float]:
    try:
        quota, period = (group / "cpu.max").read_text().split()
    except (OSError, ValueError):
        try:
            quota = (group / "cpu.cfs_quota_us").read_text().strip()
            period = (group / "cpu.cfs_period_us").read_text().strip()
        except OSError:
            return []
    if quota == "max" or int(quota) <= 0:
        return []
    return [int(quota) / int(period)]
