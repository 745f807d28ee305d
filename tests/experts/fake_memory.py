"""A machine whose free memory a test sets: the files of the kernel that tell of it."""

from __future__ import annotations

from pathlib import Path

USED = 1 << 40
PLENTY = 1 << 38


class FakeMemory:
    """One control group of version 1, in a machine with more memory than anybody needs."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._group = root / "sys/fs/cgroup/memory/group"
        self._group.mkdir(parents=True)
        (root / "proc/self").mkdir(parents=True)
        (root / "proc/pressure").mkdir()
        (root / "proc/self/cgroup").write_text("4:memory:/group\n")
        (self._group / "memory.usage_in_bytes").write_text(str(USED))
        (self._group / "memory.stat").write_text("total_inactive_file 0\n")

    def leave(self, room: int | None) -> None:
        """So many bytes are left, less than none where negative; None: the system does not say."""
        limit = self._group / "memory.limit_in_bytes"
        if room is None:
            limit.unlink(missing_ok=True)
        else:
            limit.write_text(str(USED + room))

    def press(self, percent: float) -> None:
        """In so much of the last ten seconds everybody waited for memory."""
        line = f"avg10={percent:.2f} avg60=0.00 avg300=0.00 total=0\n"
        (self.root / "proc/pressure/memory").write_text(f"some {line}full {line}")
