"""A tree like that of cgroups, in which making one gives it the files that a kernel would."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from zerostall.lab import memory_cgroup
from zerostall.lab.memory_cgroup import MemoryCgroup

PEAK = 12345 * 4096

_folders = memory_cgroup.cgroup_folders


class FakeCgroups:
    """Where they are (`root`), those made (`made`), and whether their limit kills (`kills`)."""

    def __init__(self, root: Path, unified: bool = False) -> None:
        self.root = root
        self.kills = 0
        self.made: list[Path] = []
        self.limits: list[int] = []
        (root / "proc/self").mkdir(parents=True)
        line, top = ("0::/ours", "") if unified else ("4:memory:/ours", "memory")
        (root / "proc/self/cgroup").write_text(f"{line}\n")
        self.parent = root / "sys/fs/cgroup" / top / "ours"
        self.parent.mkdir(parents=True)
        if unified:
            (self.parent / "cgroup.controllers").write_text("memory\n")
            # Where processes are no cgroups can be: those are made beside.
            (self.parent / "cgroup.subtree_control").write_text("\n")
            (self.parent.parent / "cgroup.subtree_control").write_text("cpu memory\n")
            self.parent = self.parent.parent
        else:
            (self.parent / "memory.limit_in_bytes").write_text("9223372036854771712\n")

    def use(self, patch: pytest.MonkeyPatch) -> None:
        """Let cgroups be made here."""
        set_limit = MemoryCgroup.set_limit

        def fill(group: MemoryCgroup, limit: int) -> None:
            peak, events = ("memory.max_usage_in_bytes", "memory.oom_control")
            swap = "memory.memsw.limit_in_bytes"
            if group.unified:
                peak, events, swap = "memory.peak", "memory.events", "memory.swap.max"
            (group.folder / peak).write_text(f"{PEAK}\n")
            (group.folder / events).write_text(f"under_oom 0\noom_kill {self.kills}\n")
            (group.folder / swap).touch()
            self.made.append(group.folder)
            self.limits.append(limit)
            set_limit(group, limit)

        patch.setattr(MemoryCgroup, "set_limit", fill)
        patch.setattr(memory_cgroup, "_remove", shutil.rmtree)
        patch.setattr(memory_cgroup, "cgroup_folders", lambda name, _: _folders(name, self.root))
