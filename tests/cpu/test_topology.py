"""What is read from the descriptions of other machines."""

from __future__ import annotations

import os

import pytest

from tests.cpu.recorded import machine, write
from zerostall._core import read_topology

KIB, MIB = 1 << 10, 1 << 20


def kinds(topology):
    return [core.kind[0] for core in topology.cores]


def sharing(topology, level):
    return [(cache.bytes, cache.cpus) for cache in topology.caches if cache.level == level]


@pytest.mark.parametrize("leaf", [True, False])
def test_an_alder_lake_has_eight_performance_and_four_efficiency_cores(tmp_path, leaf):
    t = machine(tmp_path, "i7_12700", leaf=leaf)
    assert [core.cpus for core in t.cores[:8]] == [[i, i + 1] for i in range(0, 16, 2)]
    assert [core.cpus for core in t.cores[8:]] == [[16], [17], [18], [19]]
    assert kinds(t) == ["p"] * 8 + ["e"] * 4
    assert sharing(t, 2)[0] == (1280 * KIB, [0, 1])
    assert sharing(t, 2)[-1] == (2 * MIB, [16, 17, 18, 19])
    assert sharing(t, 3) == [(25 * MIB, list(range(20)))]
    assert [(node.id, node.memory_bytes) for node in t.nodes] == [(0, 32681412 << 10)]
    assert (t.described, t.source, t.packages, t.quota) == (True, "sysfs", 1, None)


def test_cpuid_alone_tells_the_kinds_of_cores(tmp_path):
    machine(tmp_path, "i7_12700")
    for unit in ("cpu_core", "cpu_atom"):
        (tmp_path / f"sys/devices/{unit}/cpus").unlink()
    leaves = dict.fromkeys(range(16), 0x40000001) | dict.fromkeys(range(16, 20), 0x20000001)
    assert kinds(read_topology(str(tmp_path), None, leaves)) == ["p"] * 8 + ["e"] * 4
    assert kinds(read_topology(str(tmp_path))) == ["p"] * 12


def test_cores_much_weaker_than_the_strongest_are_efficiency_cores(tmp_path):
    t = machine(tmp_path, "rk3588")
    assert kinds(t) == ["e"] * 4 + ["p"] * 4
    assert sharing(t, 2) == [(128 * KIB, [i]) for i in range(4)] + [
        (512 * KIB, [i]) for i in range(4, 8)
    ]


def test_two_sockets_are_two_nodes_with_a_cache_each(tmp_path):
    t = machine(tmp_path, "xeon_6338_2s")
    assert (t.packages, len(t.cores), len(t.cpus)) == (2, 64, 128)
    assert t.cores[33].cpus == [33, 97]
    assert (t.cores[33].package, t.cores[33].node, t.cores[33].last_cache) == (1, 1, 32)
    assert [(n.id, len(n.cpus)) for n in t.nodes] == [(0, 64), (1, 64)]
    assert [(size, cpus[0], len(cpus)) for size, cpus in sharing(t, 3)] == [
        (48 * MIB, 0, 64),
        (48 * MIB, 32, 64),
    ]


def test_a_threadripper_has_several_last_level_caches_in_a_node(tmp_path):
    t = machine(tmp_path, "threadripper_2990wx")
    assert [len(cpus) for _, cpus in sharing(t, 3)] == [8] * 8
    assert [node.memory_bytes >> 30 for node in t.nodes] == [31, 0, 31, 0]
    assert [core.node for core in t.cores[::8]] == [0, 2, 1, 3]
    assert [core.last_cache for core in t.cores[::4]] == list(range(0, 32, 4))


def test_a_cpuset_and_a_quota_limit_a_container(tmp_path):
    t = machine(tmp_path, "container_quota")
    assert t.cpus == list(range(4, 12))
    assert [core.cpus for core in t.cores] == [[4, 5], [6, 7], [8, 9], [10, 11]]
    assert t.nodes[0].cpus == t.cpus
    assert t.quota == 2.5


def test_an_affinity_mask_leaves_cores_and_threads_out(tmp_path):
    t = machine(tmp_path, "i7_12700", affinity=[17, 3, 2, 5])
    assert [core.cpus for core in t.cores] == [[2, 3], [5], [17]]
    assert kinds(t) == ["p", "p", "e"]
    assert sharing(t, 3) == [(25 * MIB, [2, 3, 5, 17])]


def test_an_offline_cpu_is_not_there(tmp_path):
    machine(tmp_path, "rk3588")
    write(tmp_path, {"sys/devices/system/cpu/online": "0-2,4-7"})
    assert read_topology(str(tmp_path)).cpus == [0, 1, 2, 4, 5, 6, 7]


def test_a_system_without_sysfs_counts_logical_cpus_and_says_so(tmp_path):
    t = read_topology(str(tmp_path))
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    assert [core.cpus for core in t.cores] == [[i] for i in range(allowed)]
    assert not t.described
    assert t.source.startswith("std::thread::hardware_concurrency: no /sys/devices/system/cpu")


def test_without_sysfs_a_known_mask_is_kept(tmp_path):
    t = read_topology(str(tmp_path), [5, 2])
    assert [core.cpus for core in t.cores] == [[2], [5]]
    assert t.source.startswith("affinity mask")


@pytest.mark.parametrize("online", ["", "nonsense", "3-1", "-4", "0-99999999999"])
def test_a_list_of_cpus_that_makes_no_sense_counts_as_none(tmp_path, online):
    write(tmp_path, {"sys/devices/system/cpu/online": online})
    assert not read_topology(str(tmp_path), [0]).described


def test_this_machine_has_the_cpus_of_the_mask():
    t = read_topology()
    assert t.cpus == sorted(os.sched_getaffinity(0))
    assert sorted(cpu for core in t.cores for cpu in core.cpus) == t.cpus
    assert sorted(cpu for node in t.nodes for cpu in node.cpus) == t.cpus
