"""A program in a memory limit of its own: entered, counted, killed, and nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.children import child
from tests.lab.fake_cgroup import PEAK, FakeCgroups
from tests.tasks import HANG_S
from zerostall.errors import StorageError
from zerostall.lab import memory_cgroup as lab
from zerostall.lab.memory_cgroup import MemoryCgroupError, check_permitted, run_contained

MIB = 1 << 20


@pytest.fixture
def permitted():
    """Folders in which this process's cgroups are made."""
    try:
        with lab.memory_cgroup(64 * MIB) as group:
            return group.folder.parent
    except MemoryCgroupError as error:
        pytest.skip(f"needs root or a delegated cgroup: {error}")


@pytest.fixture(params=["v1", "v2"])
def fake(request, tmp_path, monkeypatch):
    cgroups = FakeCgroups(tmp_path, request.param == "v2")
    cgroups.use(monkeypatch)
    return cgroups


def ours(parent):
    return list(parent.glob(f"{lab.PREFIX}{os.getpid()}-*"))


def python(code):
    return [sys.executable, "-S", "-c", code]


def test_a_program_runs_inside_and_the_cgroup_is_gone_afterwards(permitted):
    done = run_contained(
        python("print(open('/proc/self/cgroup').read(), input(), bytearray(40 << 20)[-1])"),
        128 * MIB,
        "said",
    )
    assert (done.returncode, done.stderr, done.oom_kills) == (0, "", 0)
    assert f"/{lab.PREFIX}{os.getpid()}-" in done.stdout
    assert done.stdout.endswith("said 0\n")
    assert done.limit_bytes == 128 * MIB
    assert done.peak_bytes is None or 40 * MIB < done.peak_bytes < 128 * MIB
    assert not done.killed_by_limit
    assert ours(permitted) == []


def test_a_program_that_takes_more_is_known_to_be_killed_by_the_limit(permitted):
    done = run_contained(python("bytearray(200 << 20)"), 64 * MIB)
    assert (done.returncode, done.oom_kills) == (-signal.SIGKILL, 1)
    assert done.killed_by_limit
    assert ours(permitted) == []


def test_the_page_cache_counts_and_is_given_up_first(permitted, tmp_path):
    file = tmp_path / "file"
    file.write_bytes(bytes(96 * MIB))
    with file.open("rb") as stream:
        os.fsync(stream.fileno())
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    done = run_contained(["cat", str(file)], 32 * MIB)
    assert (done.returncode, len(done.stdout), done.oom_kills) == (0, 96 * MIB, 0)
    assert done.peak_bytes is None or 16 * MIB < done.peak_bytes <= 32 * MIB


def test_what_still_runs_inside_ends_with_the_cgroup(permitted):
    with lab.memory_cgroup(64 * MIB) as group:
        sleeper = subprocess.Popen(group.enter(["sleep", "infinity"]))
        while str(sleeper.pid) not in (group.folder / "cgroup.procs").read_text().split():
            time.sleep(0.001)
    assert sleeper.wait(HANG_S) == -signal.SIGKILL
    assert not group.folder.exists()


def test_a_process_that_is_told_to_end_leaves_no_cgroup(permitted):
    code = (
        "import time; from zerostall.lab.memory_cgroup import memory_cgroup\n"
        "with memory_cgroup(64 << 20) as group: print(group.folder, flush=True); time.sleep(10**6)"
    )
    with child([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        folder = process.stdout.readline().strip()
        assert os.path.isdir(folder)
        process.terminate()
        assert process.wait(HANG_S) == 128 + signal.SIGTERM
    assert not os.path.exists(folder)


def test_a_fake_cgroup_is_limited_entered_read_and_removed(fake):
    done = run_contained(python("print('ran')"), 77 * MIB)
    assert (done.returncode, done.stdout) == (0, "ran\n")
    assert (done.limit_bytes, done.peak_bytes, done.oom_kills) == (77 * MIB, PEAK, 0)
    (folder,) = fake.made
    assert folder.parent == fake.parent
    assert not folder.exists()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_swap_is_no_way_out(fake):
    with lab.memory_cgroup(77 * MIB) as group:
        assert (group.folder / "cgroup.procs").read_text() != ""
        name = "memory.max" if group.unified else "memory.limit_in_bytes"
        assert (group.folder / name).read_text() == str(77 * MIB)
        swap = "memory.swap.max" if group.unified else "memory.memsw.limit_in_bytes"
        assert (group.folder / swap).read_text() == ("0" if group.unified else str(77 * MIB))


def test_only_a_program_that_failed_was_killed_by_its_limit(fake):
    fake.kills = 2
    done = run_contained(["sh", "-c", "kill -9 $$"], MIB)
    assert (done.returncode, done.oom_kills, done.killed_by_limit) == (-9, 2, True)
    assert not run_contained(["true"], MIB).killed_by_limit
    fake.kills = 0
    assert not run_contained(["sh", "-c", "exit 3"], MIB).killed_by_limit


def test_a_cgroup_goes_with_an_error_too(fake):
    with pytest.raises(ZeroDivisionError), lab.memory_cgroup(MIB):
        raise ZeroDivisionError
    assert not fake.made[0].exists()


def test_what_a_killed_process_left_is_removed(fake):
    gone = 1 << 22  # no process of Linux has so large an id
    left, living = (fake.parent / f"{lab.PREFIX}{pid}-0" for pid in (gone, os.getppid()))
    left.mkdir()
    living.mkdir()
    check_permitted()
    assert (left.exists(), living.exists()) == (False, True)


def test_where_no_cgroup_can_be_made_the_error_says_what_is_needed(tmp_path):
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/\n")
    with pytest.raises(MemoryCgroupError, match="no memory controller is mounted.*run as root"):
        run_contained(["true"], MIB, root=tmp_path)


def test_a_refusal_of_the_kernel_is_in_the_error(fake, monkeypatch):
    def refuse(group, limit):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(lab.MemoryCgroup, "set_limit", refuse)
    with pytest.raises(MemoryCgroupError, match="Operation not permitted.*Delegate=yes"):
        check_permitted()
    assert ours(fake.parent) == []


def test_a_program_without_a_limit_is_measured_all_the_same():
    done = run_contained(["sh", "-c", "echo out; echo err >&2; exit 4"], None)
    assert (done.returncode, done.stdout, done.stderr) == (4, "out\n", "err\n")
    assert (done.limit_bytes, done.peak_bytes, done.oom_kills) == (None, None, None)
    assert 0 < done.seconds < 60
    with pytest.raises(StorageError, match="/no/where: cannot be run"):
        run_contained(["/no/where"], None)
