"""Where io_uring is forbidden, as in containers, reading goes on with threads and says so."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from tests.tasks import HANG_S
from zerostall._core import uring_error

# A seccomp filter that lets every system call pass but one, which gets an errno.
FORBID = r"""
import ctypes, struct, sys

def forbid(call, errno):
    LOAD, EQUAL, RETURN = 0x20, 0x15, 0x06  # BPF_LD|W|ABS, BPF_JMP|JEQ|K, BPF_RET|K
    ALLOW, ERRNO = 0x7FFF0000, 0x00050000
    steps = [(LOAD, 0, 0, 0), (EQUAL, 0, 1, call)]
    steps += [(RETURN, 0, 0, ERRNO | errno), (RETURN, 0, 0, ALLOW)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
    address = ctypes.addressof(code)
    program = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(steps), address))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 1, 0, 0, 0) == 0  # PR_SET_NO_NEW_PRIVS
    assert libc.prctl(22, 2, program, 0, 0) == 0  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER

forbid(int(sys.argv[1]), int(sys.argv[2]))
"""
READ = r"""
import sys
from zerostall._core import ReadQueue
kind, path = sys.argv[3:]
queue = ReadQueue([path], kind=kind)
queue.read(0, 0, 0, 1 << 20)
assert queue.collect(300_000) == [(0, open(path, "rb").read(1 << 20), None)]
print(queue.name, queue.direct, queue.why, sep="|")
"""
SETUP, ENTER = 425, 426  # the same on every architecture

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="seccomp is Linux's"),
    pytest.mark.skipif(
        platform.machine() not in ("x86_64", "aarch64"), reason="the filter is for these"
    ),
]


def run(script: str, *arguments: object) -> str:
    command = [sys.executable, "-c", FORBID + script, *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=HANG_S)
    if "PR_SET_SECCOMP" in ended.stderr:
        pytest.skip("seccomp filters are forbidden here")
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


@pytest.mark.parametrize("kind", ["auto", "uring"])
@pytest.mark.parametrize("call", [SETUP, ENTER])
def test_reading_falls_back_to_pread_and_says_why(files, kind, call):
    if uring_error() != 0:
        pytest.skip("io_uring is forbidden without our doing")
    name, _, why = run(READ, call, 1, kind, files[0]).split("|")
    assert name == "pread"
    assert why == "io_uring is not permitted here (EPERM): reading with pread"


def test_a_kernel_without_it_is_told_apart(files):
    name, _, why = run(READ, SETUP, 38, "auto", files[0]).split("|")
    assert (name, why) == ("pread", "this system has no io_uring (ENOSYS): reading with pread")


def test_pread_that_was_asked_for_needs_no_explanation(files):
    name, _, why = run(READ, SETUP, 1, "pread", files[0]).split("|")
    assert (name, why) == ("pread", "")


def test_a_probe_without_it_chooses_pread(tmp_path):
    path = tmp_path / "large.bin"
    path.write_bytes(bytes(20 << 20))
    probe = """
import sys
from zerostall._core import probe_drive, uring_error
found = probe_drive(sys.argv[3], 0.0)
print(found["kind"], found["why"], uring_error(), {t["kind"] for t in found["trials"]}, sep="|")
"""
    assert run(probe, SETUP, 1, path) == (
        "pread|io_uring is not permitted here (EPERM): reading with pread|1|{'pread'}"
    )
