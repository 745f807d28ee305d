"""Damaged converted files are found, and a conversion that fails leaves nothing half done."""

from __future__ import annotations

import os
import resource
import signal
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tasks import HANG_S
from zerostall import LLM, convert, hub
from zerostall._core import GgufFile
from zerostall.errors import (
    InvalidRequestError,
    ModelFormatError,
    StorageError,
    UnsupportedModelError,
)

NANO = hub.resolve("nano")
# Stops itself after a third of the file, as a kill would find it.
SLOW = """
import os, signal, sys
from pathlib import Path
from zerostall import convert
def progress(done, total):
    if done > total // 3:
        os.kill(os.getpid(), signal.SIGKILL)
convert.convert(Path(sys.argv[1]), Path(sys.argv[2]), progress)
"""
LIMITED = """
import sys
from pathlib import Path
from zerostall import convert
convert.convert(Path(sys.argv[1]), Path(sys.argv[2]))
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "nano.gguf"
    convert.convert(NANO, path)
    return path.read_bytes()


@pytest.fixture
def file(whole: bytes, tmp_path: Path) -> Path:
    path = tmp_path / "nano.gguf"
    path.write_bytes(whole)
    return path


def change(path: Path, at: int, data: bytes) -> None:
    with path.open("r+b") as stream:
        stream.seek(at)
        stream.write(data)


def flip(path: Path, at: int) -> None:
    byte = path.read_bytes()[at]
    change(path, at, bytes([byte ^ 0x10]))


def stored(path: Path, name: str) -> int:
    return next(t.offset for t in GgufFile(path).stored_tensors() if t.name == name)


def test_a_whole_file_verifies_with_and_without_its_model(file: Path) -> None:
    seen: list[tuple[int, int]] = []
    convert.verify(file)
    convert.verify(file, NANO, lambda done, total: seen.append((done, total)))
    assert seen[-1] == (file.stat().st_size,) * 2


@pytest.mark.parametrize(
    ("tensor", "within", "named"),
    [
        ("blk.1.attn_k.weight.packed", 77, r"tensor 'blk.1.attn_k.weight.packed'"),
        ("blk.1.ffn_experts.packed", 500, r"'blk.1.ffn_experts.packed', record 0"),
        ("token_embd.weight", 9, r"tensor 'token_embd.weight'"),
    ],
)
def test_verify_names_where_a_bit_flipped(file: Path, tensor: str, within: int, named: str) -> None:
    flip(file, stored(file, tensor) + within)
    with pytest.raises(ModelFormatError, match=named):
        convert.verify(file)
    with pytest.raises(ModelFormatError, match=tensor):
        convert.verify(file, NANO)


def test_verify_tells_another_model_from_its_own(file: Path) -> None:
    with pytest.raises(ModelFormatError, match="header: differs from that of a conversion"):
        convert.verify(file, hub.resolve("nano-draft"))
    with pytest.raises(InvalidRequestError, match="is not a converted file"):
        convert.verify(NANO)


def test_another_version_of_the_layout_is_refused_with_what_to_do(file: Path) -> None:
    key = b"zerostall.container.version" + struct.pack("<I", 4)
    change(file, file.read_bytes().index(key) + len(key), struct.pack("<I", 3))
    with pytest.raises(
        UnsupportedModelError, match=r"found 3, expected 1 or 2; convert the original"
    ):
        LLM(file)


@pytest.mark.parametrize(
    ("at", "field"),
    [(0, "magic"), (4, "version"), (8, "dtype_id"), (16, "expert"), (24, "d_ff"),
     (32, "up_offset"), (55, "payload_bytes")],
)  # fmt: skip
def test_a_damaged_record_header_fails_the_load(file: Path, at: int, field: str) -> None:
    flip(file, stored(file, "blk.3.ffn_experts.packed") + at)
    with pytest.raises(ModelFormatError, match=rf"ffn_experts.packed', record 0, {field}"):
        LLM(file)


def test_a_truncated_file_is_refused(file: Path, whole: bytes) -> None:
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelFormatError, match="truncated"):
        LLM(file)


def run(code: str, out: Path, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, str(NANO), str(out)],
        capture_output=True, text=True, timeout=HANG_S, check=False, **options,  # type: ignore[call-overload]
    )  # fmt: skip


def test_a_kill_leaves_the_old_file_and_the_next_run_goes_on(tmp_path: Path, whole: bytes) -> None:
    out = tmp_path / "out.gguf"
    out.write_bytes(b"old")
    assert run(SLOW, out).returncode == -signal.SIGKILL
    assert out.read_bytes() == b"old"
    (partial,) = tmp_path.glob(".out.gguf.*.partial")
    before = os.stat(partial).st_ino
    steps: list[int] = []
    convert.convert(NANO, out, lambda done, total: steps.append(done))
    assert os.stat(out).st_ino == before
    assert out.read_bytes() == whole
    assert list(tmp_path.iterdir()) == [out]


def test_what_a_kill_left_is_checked_before_it_is_used(tmp_path: Path, whole: bytes) -> None:
    out = tmp_path / "out.gguf"
    run(SLOW, out)
    (partial,) = tmp_path.glob(".out.gguf.*.partial")
    flip(partial, stored(partial_whole(tmp_path, whole), "token_embd.weight") + 5)
    convert.convert(NANO, out)
    assert out.read_bytes() == whole


def partial_whole(folder: Path, whole: bytes) -> Path:
    path = folder / "reference"
    path.write_bytes(whole)
    return path


def test_a_full_drive_is_a_storage_error_and_leaves_nothing(tmp_path: Path, whole: bytes) -> None:
    out = tmp_path / "out.gguf"
    out.write_bytes(b"old")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) // 2,) * 2)

    done = run(LIMITED, out, preexec_fn=limit)
    assert "StorageError" in done.stderr and "make room, or choose another drive" in done.stderr
    assert out.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [out]


def test_free_space_is_checked_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = os.statvfs(tmp_path)
    fields = list(room)
    fields[4] = 1  # f_bavail
    monkeypatch.setattr(os, "fstatvfs", lambda descriptor: os.statvfs_result(fields))
    with pytest.raises(StorageError, match=r"needs 0.01 GB, the drive has 0.00 GB left"):
        convert.convert(NANO, tmp_path / "out.gguf")


def test_two_conversions_to_one_file_do_not_mix(tmp_path: Path, whole: bytes) -> None:
    out = tmp_path / "out.gguf"
    refused: list[str] = []

    def again(done: int, total: int) -> None:
        if not refused:
            with pytest.raises(StorageError, match="another process is converting") as error:
                convert.convert(NANO, out)
            refused.append(str(error.value))

    convert.convert(NANO, out, again)
    assert refused and out.read_bytes() == whole


def test_a_missing_folder_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be written"):
        convert.convert(NANO, tmp_path / "missing" / "out.gguf")
