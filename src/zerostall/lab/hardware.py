"""This machine as zerostall sees it: cores, caches, memory, and measured limits."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zerostall import _core
from zerostall.engine import budget, cpus
from zerostall.engine.work import compute_unit
from zerostall.errors import StorageError
from zerostall.lab.limits import measure_limits
from zerostall.lab.machine import cpu_model

if TYPE_CHECKING:
    from zerostall._core import Topology

DRIVE_DEPTHS = (1, 2, 4, 8, 16, 32)
DRIVE_REQUEST = 1 << 20
SECONDS = 0.2  # for each limit


def describe_hardware(path: Path | None = None, threads: int | None = None) -> dict[str, Any]:
    """The machine, where threads go, and limits measured for about a second.

    Args:
        path: a file whose drive is measured too.
        threads: how many threads; None: the default.

    Raises:
        InvalidRequestError: the environment asks for pinning that cannot be done.
    """
    topology = cpus.read_topology()
    placement = cpus.place_threads(threads)
    kinds = [core.kind for core in topology.cores]
    record: dict[str, Any] = {
        "cpu": cpu_model(),
        "instruction_sets": list(_core.isas()),
        "features": _core.cpu_features(),
        "topology": topology.source,
        "sockets": topology.packages,
        "logical_cpus": len(topology.cpus),
        "physical_cores": len(kinds),
        "performance_cores": kinds.count("performance"),
        "efficiency_cores": kinds.count("efficiency"),
        "caches": describe_caches(topology),
        "numa_nodes": [
            {"node": node.id, "cpus": node.cpus, "memory": node.memory_bytes or None}
            for node in topology.nodes
        ],
        "cpu_quota": topology.quota,
        "available_memory": budget.available_bytes(),
        "threads": placement.threads,
        "cpus": placement.cpus,
        "pinned": placement.pinned,
        "pinning": placement.reason,
        "limits": describe_limits(placement.threads),
    }
    if path is not None:
        record["drive"] = describe_drive(path)
    return record


def describe_caches(topology: Topology) -> list[dict[str, int]]:
    """How many caches there are of each level, size and number of CPUs that share one."""
    keys = [(cache.level, cache.bytes, len(cache.cpus)) for cache in topology.caches]
    return [
        {"level": level, "bytes": size, "cpus": shared, "count": len(list(same))}
        for (level, size, shared), same in groupby(sorted(keys))
    ]


def describe_limits(threads: int) -> dict[str, Any]:
    """What no kernel can exceed: measured bytes and operations a second."""
    isa = _core.isas()[-1]
    limits = measure_limits(isa, threads, seconds=SECONDS)
    return {"unit": compute_unit(isa)} | limits.to_dict()


def describe_drive(path: Path) -> dict[str, Any]:
    """The drive a file lies on: its NUMA node, and GB/s by requests under way at once.

    No rates are given for a file too small, and for file systems that cannot read past the page
    cache.
    """
    record: dict[str, Any] = {"path": str(path), "numa_node": _core.drive_node(str(path))}
    if path.stat().st_size < DRIVE_REQUEST:
        return record
    try:
        record["gb_per_s_by_depth"] = {
            str(depth): _core.drive_bandwidth(str(path), depth, DRIVE_REQUEST, SECONDS) / 1e9
            for depth in DRIVE_DEPTHS
        }
    except StorageError as error:
        record["not_measured"] = str(error)
    return record
