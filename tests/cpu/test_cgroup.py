"""The limits of control groups, from files laid out like Linux's."""

from __future__ import annotations

import pytest

from tests.cpu.recorded import write
from zerostall._core import cgroup_folders, read_topology


def quota(root):
    return read_topology(str(root)).quota


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"sys/fs/cgroup/a/b/cpu.max": "150000 100000"}, 1.5),
        ({"sys/fs/cgroup/a/b/cpu.max": "max 100000"}, None),
        (
            {
                "sys/fs/cgroup/a/b/cpu.max": "400000 100000",
                "sys/fs/cgroup/a/cpu.max": "200000 100000",
            },
            2.0,
        ),
        ({"sys/fs/cgroup/cpu.max": "300000 100000"}, 3.0),
        ({"sys/fs/cgroup/cpu.max": "300000 0"}, None),
        ({"sys/fs/cgroup/cpu.max": "nonsense"}, None),
    ],
)
def test_a_version_2_quota_of_any_ancestor_holds(tmp_path, files, expected):
    (tmp_path / "sys/fs/cgroup/a/b").mkdir(parents=True)
    write(tmp_path, {"proc/self/cgroup": "0::/a/b", **files})
    assert quota(tmp_path) == expected


@pytest.mark.parametrize("link", [True, False])
def test_a_version_1_quota_is_read_from_the_cpu_controller(tmp_path, link):
    group = "sys/fs/cgroup/cpu,cpuacct/job/"
    write(
        tmp_path,
        {
            "proc/self/cgroup": "5:memory:/other\n3:cpu,cpuacct:/job",
            group + "cpu.cfs_quota_us": "250000",
            group + "cpu.cfs_period_us": "100000",
        },
    )
    if link:
        (tmp_path / "sys/fs/cgroup/cpu").symlink_to("cpu,cpuacct")
    assert quota(tmp_path) == 2.5


def test_a_version_1_quota_of_minus_one_is_no_limit(tmp_path):
    group = "sys/fs/cgroup/cpu/"
    write(
        tmp_path,
        {
            "proc/self/cgroup": "1:cpu:/",
            group + "cpu.cfs_quota_us": "-1",
            group + "cpu.cfs_period_us": "100000",
        },
    )
    assert quota(tmp_path) is None


@pytest.mark.parametrize("group", ["/../outside", "/docker/absent"])
def test_a_group_outside_of_what_a_container_sees_leaves_the_top(tmp_path, group):
    write(
        tmp_path,
        {"proc/self/cgroup": f"0::{group}", "sys/fs/cgroup/cpu.max": "200000 100000"},
    )
    assert quota(tmp_path) == 2.0
    assert cgroup_folders("memory", str(tmp_path)) == [str(tmp_path / "sys/fs/cgroup")]


def test_folders_of_both_versions_come_innermost_first(tmp_path):
    base = tmp_path / "sys/fs/cgroup"
    for folder in ("unified/a/b", "memory/job"):
        (base / folder).mkdir(parents=True)
    write(tmp_path, {"proc/self/cgroup": "7:memory:/job\n0::/a/b"})
    assert cgroup_folders("memory", str(tmp_path)) == [
        str(base / folder)
        for folder in ("memory/job", "memory", "unified/a/b", "unified/a", "unified")
    ]


@pytest.mark.parametrize(
    ("name", "text", "cpus"),
    [("cpuset.cpus", "1-2", [1, 2]), ("cpuset.effective_cpus", "0,3", [0, 3])],
)
def test_a_version_1_cpuset_holds(tmp_path, name, text, cpus):
    write(
        tmp_path,
        {
            "proc/self/cgroup": "3:cpuset:/job",
            f"sys/fs/cgroup/cpuset/job/{name}": text,
            "sys/devices/system/cpu/online": "0-3",
        },
    )
    assert read_topology(str(tmp_path)).cpus == cpus


def test_nothing_is_known_without_control_groups(tmp_path):
    assert quota(tmp_path) is None
    assert cgroup_folders("cpu", str(tmp_path)) == []
