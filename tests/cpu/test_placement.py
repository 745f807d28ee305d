"""How many threads compute, and on which CPUs, on machines of every kind."""

from __future__ import annotations

import pytest

from tests.cpu.recorded import machine
from zerostall._core import read_topology, split_by_node
from zerostall.errors import InvalidRequestError


def choice(placement):
    return placement.threads, placement.cpus, placement.pinned


def test_an_alder_lake_uses_one_thread_of_each_performance_core(tmp_path):
    t = machine(tmp_path, "i7_12700")
    assert choice(t.place()) == (8, list(range(0, 16, 2)), True)


def test_all_adds_the_efficiency_cores_last(tmp_path):
    t = machine(tmp_path, "i7_12700")
    expected = [*range(0, 16, 2), 16, 17, 18, 19]
    assert choice(t.place(efficiency=True)) == (12, expected, True)
    assert choice(t.place(12)) == (12, expected, True)


def test_efficiency_cores_are_used_where_there_are_no_others(tmp_path):
    t = machine(tmp_path, "i7_12700", affinity=[17, 18, 19])
    assert choice(t.place()) == (3, [17, 18, 19], True)


def test_big_cores_of_arm_are_the_default(tmp_path):
    t = machine(tmp_path, "rk3588")
    assert choice(t.place()) == (4, [4, 5, 6, 7], True)
    assert t.place(efficiency=True).cpus == [4, 5, 6, 7, 0, 1, 2, 3]


def test_two_sockets_are_filled_one_after_the_other(tmp_path):
    t = machine(tmp_path, "xeon_6338_2s")
    assert choice(t.place()) == (64, list(range(64)), True)
    assert t.place(16).cpus == list(range(16))


def test_the_rows_of_a_weight_are_split_by_node(tmp_path):
    t = machine(tmp_path, "xeon_6338_2s")
    nodes = t.place().nodes
    assert nodes == [0] * 32 + [1] * 32
    assert split_by_node(256, nodes) == [(0, 0, 128), (1, 128, 256)]
    assert split_by_node(3, nodes) == [(0, 0, 1), (1, 1, 3)]
    five = machine(tmp_path / "five", "xeon_6338_2s", affinity=[0, 1, 40, 41, 42]).place()
    assert five.nodes == [1, 1, 1, 0, 0]
    assert split_by_node(100, five.nodes) == [(1, 0, 60), (0, 60, 100)]


def test_memory_of_a_threadripper_follows_its_four_nodes(tmp_path):
    nodes = machine(tmp_path, "threadripper_2990wx").place().nodes
    parts = split_by_node(64, nodes)
    assert parts == [(0, 0, 16), (1, 16, 32), (2, 32, 48), (3, 48, 64)]


@pytest.mark.parametrize(
    ("name", "efficiency", "uneven"),
    [("i7_12700", False, False), ("i7_12700", True, True), ("xeon_6338_2s", True, False)],
)
def test_cores_of_two_kinds_share_work_as_they_finish(tmp_path, name, efficiency, uneven):
    assert machine(tmp_path, name).place(efficiency=efficiency).uneven is uneven


def test_the_node_with_more_cores_allowed_is_filled_first(tmp_path):
    t = machine(tmp_path, "xeon_6338_2s", affinity=[0, 1, 64, 40, 41, 42, 106])
    assert [core.cpus for core in t.cores] == [[0, 64], [1], [40], [41], [42, 106]]
    assert t.place().cpus == [40, 41, 42, 0, 1]


def test_a_node_and_in_it_a_cache_is_filled_before_the_next(tmp_path):
    t = machine(tmp_path, "threadripper_2990wx")
    # Node 1 has cores 16 to 23, node 2 has 8 to 15.
    expected = [*range(8), *range(16, 24), *range(8, 16), *range(24, 32)]
    assert choice(t.place()) == (32, expected, True)


def test_the_cache_with_more_cores_allowed_is_filled_first(tmp_path):
    t = machine(tmp_path, "threadripper_3970x", affinity=[0, 1, 4, 5, 6, 7, 8])
    assert t.place().cpus == [4, 5, 6, 7, 0, 1, 8]
    assert t.place(4).cpus == [4, 5, 6, 7]


def test_a_quota_is_rounded_down_and_leaves_threads_free_to_move(tmp_path):
    t = machine(tmp_path, "container_quota")
    assert choice(t.place()) == (2, [4, 6], False)
    assert choice(t.place(4)) == (4, [4, 6, 8, 10], False)
    assert t.place(4).reason == "the quota is smaller than the threads"


@pytest.mark.parametrize(("limit", "threads"), [("40000", 1), ("100000", 1), ("900000", 4)])
def test_a_quota_leaves_at_least_one_thread_and_adds_none(tmp_path, limit, threads):
    machine(tmp_path, "container_quota")
    (tmp_path / "sys/fs/cgroup/cpu.max").write_text(f"{limit} 100000\n")
    assert read_topology(str(tmp_path)).place().threads == threads


def test_more_threads_than_cores_are_not_pinned(tmp_path):
    t = machine(tmp_path, "i7_12700")
    assert choice(t.place(13)) == (13, [], False)
    assert t.place(13).reason == "13 threads are more than the 12 cores allowed"


def test_threads_that_leave_cores_to_others_are_pinned_only_when_asked(tmp_path):
    t = machine(tmp_path, "i7_12700")
    assert choice(t.place(4)) == (4, [0, 2, 4, 6], False)
    assert choice(t.place(4, pin=True)) == (4, [0, 2, 4, 6], True)
    assert choice(t.place(8, pin=False)) == (8, list(range(0, 16, 2)), False)


def test_pinning_that_cannot_be_done_is_an_error(tmp_path):
    t = machine(tmp_path / "known", "i7_12700")
    with pytest.raises(InvalidRequestError, match="13 threads are more than the 12 cores allowed"):
        t.place(13, pin=True)
    with pytest.raises(InvalidRequestError, match="does not describe its cores"):
        read_topology(str(tmp_path / "unknown"), [0, 1]).place(pin=True)


def test_without_sysfs_every_cpu_gets_a_thread_that_may_move(tmp_path):
    assert choice(read_topology(str(tmp_path), [0, 1, 2]).place()) == (3, [0, 1, 2], False)


def test_no_threads_are_an_error(tmp_path):
    with pytest.raises(InvalidRequestError, match="threads is 0"):
        read_topology(str(tmp_path), [0]).place(0)
