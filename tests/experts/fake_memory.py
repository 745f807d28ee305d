"""A machine whose free memory a test sets: the files of the kernel that tell of it."""

from __future__ import annotations

from pathlib import Path

USED = 1 << 40
PLENTY = 1 << 38


# Files of a control group, by version and which of its limits is set: its folder, its line in
# /proc/self/cgroup, the limit, what is used, page cache in memory.stat, and who waited for memory.
GROUPS = {
    "v1": (
        "memory/group",
        "4:memory:/group\n",
        "memory.limit_in_bytes",
        "memory.usage_in_bytes",
        "total_inactive_file",
        "proc/pressure/memory",
    ),
    "v2 max": (
        "group",
        "0::/group\n",
        "memory.max",
        "memory.current",
        "inactive_file",
        "sys/fs/cgroup/group/memory.pressure",
    ),
}
GROUPS["v2 high"] = (*GROUPS["v2 max"][:2], "memory.high", *GROUPS["v2 max"][3:])


class FakeMemory:
    """One control group, in a machine with more memory than anybody needs."""

    def __init__(self, root: Path, kind: str = "v1") -> None:
        self.root = root
        folder, line, limit, used, cache, pressure = GROUPS[kind]
        group = root / "sys/fs/cgroup" / folder
        group.mkdir(parents=True)
        (root / "proc/self").mkdir(parents=True)
        (root / "proc/pressure").mkdir()
        (root / "proc/self/cgroup").write_text(line)
        (group / used).write_text(str(USED))
        (group / "memory.stat").write_text(f"{cache} 0\n")
        if kind == "v2 high":
            (group / "memory.max").write_text("max\n")
        self._limit = group / limit
        self._pressure = root / pressure
        self._waited = 0
        self.wait(0)

    def leave(self, room: int | None) -> None:
        """So many bytes are left, less than none where negative; None: the system does not say."""
        if room is None:
            self._limit.unlink(missing_ok=True)
        else:
            self._limit.write_text(str(USED + room))

    def wait(self, microseconds: int) -> None:
        """For so long everybody waited for memory; the kernel's averages are still high."""
        self._waited += microseconds
        line = f"avg10=90.00 avg60=90.00 avg300=90.00 total={self._waited}\n"
        self._pressure.write_text(f"some {line}full {line}")
