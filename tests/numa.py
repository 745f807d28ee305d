"""What the kernel was told about NUMA nodes."""

from __future__ import annotations

import ctypes
import mmap
import platform
from pathlib import Path

MBIND = {"x86_64": 237, "aarch64": 235}  # system calls
PREFERRED = 1  # linux/mempolicy.h


def mbind_is_allowed() -> bool:
    """Containers forbid it as a rule."""
    call = MBIND.get(platform.machine())
    if call is None or not Path("/proc/self/numa_maps").exists():
        return False
    page = mmap.mmap(-1, mmap.PAGESIZE)
    at = ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(page)))
    node_0 = ctypes.byref(ctypes.c_ulong(1))
    size = ctypes.c_ulong(mmap.PAGESIZE)
    return ctypes.CDLL(None).syscall(call, at, size, PREFERRED, node_0, 64, 0) == 0


def preferred_bytes() -> int:
    """Of the mappings of this process that the kernel puts on node 0."""
    sizes = {}
    for line in Path("/proc/self/maps").read_text().splitlines():
        begin, end = line.split()[0].split("-")
        sizes[int(begin, 16)] = int(end, 16) - int(begin, 16)
    policies = map(str.split, Path("/proc/self/numa_maps").read_text().splitlines())
    return sum(sizes.get(int(start, 16), 0) for start, policy, *_ in policies if "prefer" in policy)
