"""Default threads, from files laid out like Linux's."""

from __future__ import annotations

import pytest

from zerostall.engine import cpus


def write(root, files):
    for path, text in files.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


def test_hardware_threads_of_one_core_count_once(tmp_path):
    siblings = {0: "0,4", 1: "1,5", 2: "2", 4: "0,4", 5: "1,5"}
    write(
        tmp_path,
        {f"cpu{c}/topology/thread_siblings_list": f"{s}\n" for c, s in siblings.items()},
    )
    assert cpus.physical_cores([0, 1, 2, 4, 5], tmp_path) == 3
    assert cpus.physical_cores([0, 4], tmp_path) == 1


def test_without_sysfs_every_logical_cpu_is_a_core(tmp_path):
    assert cpus.physical_cores([0, 3, 7], tmp_path) == 3


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"sys/fs/cgroup/a/b/cpu.max": "150000 100000\n"}, 1.5),
        ({"sys/fs/cgroup/a/b/cpu.max": "max 100000\n"}, None),
        (
            {
                "sys/fs/cgroup/a/b/cpu.max": "400000 100000\n",
                "sys/fs/cgroup/a/cpu.max": "200000 100000\n",
            },
            2.0,
        ),
        ({"sys/fs/cgroup/cpu.max": "300000 100000\n"}, 3.0),
    ],
)
def test_a_version_2_quota_of_any_ancestor_holds(tmp_path, files, quota):
    (tmp_path / "sys/fs/cgroup/a/b").mkdir(parents=True)
    write(tmp_path, {"proc/self/cgroup": "0::/a/b\n", **files})
    assert cpus.cpu_quota(tmp_path) == quota


def test_a_version_1_quota_is_read_from_the_cpu_controller(tmp_path):
    group = "sys/fs/cgroup/cpu,cpuacct/job/"
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / group).mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/cpu").symlink_to("cpu,cpuacct")
    write(
        tmp_path,
        {
            "proc/self/cgroup": "5:memory:/other\n3:cpu,cpuacct:/job\n",
            group + "cpu.cfs_quota_us": "250000\n",
            group + "cpu.cfs_period_us": "100000\n",
        },
    )
    assert cpus.cpu_quota(tmp_path) == 2.5


def test_a_version_1_quota_of_minus_one_is_no_limit(tmp_path):
    group = "sys/fs/cgroup/cpu/"
    write(
        tmp_path,
        {
            "proc/self/cgroup": "1:cpu:/\n",
            group + "cpu.cfs_quota_us": "-1\n",
            group + "cpu.cfs_period_us": "100000\n",
        },
    )
    assert cpus.cpu_quota(tmp_path) is None


def test_default_threads_are_cores_capped_by_the_quota_rounded_down(monkeypatch):
    monkeypatch.setattr(cpus, "allowed_cpus", lambda: list(range(8)))
    monkeypatch.setattr(cpus, "physical_cores", lambda _: 8)
    for quota, threads in ((None, 8), (2.9, 2), (0.5, 1), (64.0, 8)):
        monkeypatch.setattr(cpus, "cpu_quota", lambda quota=quota: quota)
        assert cpus.default_threads() == threads
