"""Machines as Linux describes them: trees/*.json, expanded into files below a folder.

A group such as "0-15/2" is every two neighbours of CPUs 0 to 15; in "0-31/4+32" each CPU brings
the one 32 higher, as hardware threads are numbered on most servers.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from zerostall._core import Topology, read_topology

TREES = Path(__file__).parent / "trees"


def machine(
    root: Path, name: str, *, affinity: list[int] | None = None, leaf: bool = True
) -> Topology:
    """The topology of a recorded machine, expanded below `root`."""
    record = json.loads((TREES / f"{name}.json").read_text())
    expand(record, root)
    leaves = {
        cpu: int(eax, 16)
        for group, eax in record.get("hybrid_leaf", {}).items()
        for cpu in numbers(group)
    }
    return read_topology(str(root), affinity, leaves if leaf else None)


def expand(record: dict[str, Any], root: Path) -> None:
    """Write the files that Linux would show."""
    cpus = root / "sys/devices/system/cpu"
    files = dict(record.get("files", {}))
    files["sys/devices/system/cpu/online"] = record["online"]
    for spec in record["cores"]:
        for group in groups(spec):
            for cpu in group:
                folder = f"{cpus.relative_to(root)}/cpu{cpu}/topology"
                files[f"{folder}/thread_siblings_list"] = text(group)
    for package, spec in enumerate(record["packages"]):
        for cpu in numbers(spec):
            folder = f"{cpus.relative_to(root)}/cpu{cpu}/topology"
            files[f"{folder}/physical_package_id"] = str(package)
    for group, value in record.get("capacity", {}).items():
        for cpu in numbers(group):
            files[f"{cpus.relative_to(root)}/cpu{cpu}/cpu_capacity"] = str(value)
    files |= caches(record["caches"], str(cpus.relative_to(root)))
    files |= nodes(record["nodes"], "sys/devices/system/node")
    write(root, files)
    for drive in record.get("drives", []):
        add_drive(root, **drive)


def caches(specs: list[dict[str, Any]], folder: str) -> dict[str, str]:
    """The caches' files; Linux numbers the caches of each CPU from 0."""
    files: dict[str, str] = {}
    index: dict[int, int] = {}
    for spec in specs:
        for group in groups(spec["shared"]):
            for cpu in group:
                number = index.setdefault(cpu, 0)
                index[cpu] += 1
                here = f"{folder}/cpu{cpu}/cache/index{number}"
                files[f"{here}/level"] = str(spec["level"])
                files[f"{here}/type"] = spec["type"]
                files[f"{here}/size"] = spec["size"]
                files[f"{here}/shared_cpu_list"] = text(group)
    return files


def nodes(specs: list[dict[str, Any]], folder: str) -> dict[str, str]:
    """The NUMA nodes' files."""
    files = {f"{folder}/online": text([node["id"] for node in specs])}
    for node in specs:
        here = f"{folder}/node{node['id']}"
        files[f"{here}/cpulist"] = node["cpus"]
        kib = node["memory_kib"]
        files[f"{here}/meminfo"] = f"Node {node['id']} MemTotal:       {kib} kB"
    return files


def add_drive(root: Path, name: str, number: str, below: str, slaves: tuple[str, ...] = ()) -> None:
    """A block device and the links that lead to it."""
    device = root / "sys/devices" / below / name
    device.mkdir(parents=True, exist_ok=True)
    for link in (root / "sys/dev/block" / number, root / "sys/class/block" / name):
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(device)
    for slave in slaves:
        (device / "slaves").mkdir(exist_ok=True)
        (device / "slaves" / slave).symlink_to(root / "sys/class/block" / slave)


def write(root: Path, files: dict[str, str]) -> Path:
    """Files with a newline at their end, as the kernel's have."""
    for path, content in files.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content + "\n")
    return root


def groups(spec: str) -> list[list[int]]:
    """The groups of "0-31/4+32"."""
    cpus, _, rule = spec.partition("/")
    size, _, offset = rule.partition("+")
    listed = numbers(cpus)
    lots = [listed[i : i + int(size)] for i in range(0, len(listed), int(size))]
    return [sorted(lot + ([c + int(offset) for c in lot] if offset else [])) for lot in lots]


def numbers(spec: str) -> list[int]:
    """The CPUs of "0-3,8"."""
    found: list[int] = []
    for part in spec.split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def text(cpus: list[int]) -> str:
    """CPUs as Linux lists them, though without ranges."""
    return ",".join(map(str, cpus))
