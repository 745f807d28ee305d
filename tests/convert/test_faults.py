"""Damaged converted files are found, and a conversion that fails leaves nothing half done."""

from __future__ import annotations

import errno
import os
import resource
import signal
import struct
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.tasks import HANG_S
from zerostall import LLM, convert, hub
from zerostall._core import GgufFile
from zerostall.convert import conversion
from zerostall.convert.layout import HEADER_CHECKSUM
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


def test_verify_without_the_model_finds_any_byte_of_the_header_that_changed(
    file: Path, whole: bytes
) -> None:
    header = min(tensor.offset for tensor in GgufFile(file).stored_tensors())
    behind = whole.index(b"zerostall.header_checksum") - 40  # the last keys and all behind them
    checked = [*range(behind, behind + 120), *range(0, header, header // 150)]
    for at in checked:
        change(file, at, bytes([whole[at] ^ 0x10]))
        with pytest.raises((ModelFormatError, UnsupportedModelError, InvalidRequestError)):
            convert.verify(file)
        change(file, at, whole[at : at + 1])
    convert.verify(file)


def test_verify_says_that_it_is_the_metadata_that_changed(file: Path, whole: bytes) -> None:
    flip(file, whole.index(b"general.name") + len(b"general.name") + 12)  # its first letter
    with pytest.raises(
        ModelFormatError, match=r"header \(metadata and tensor directory\): differs"
    ):
        convert.verify(file)
    LLM(file).close()  # it is not compared at load


def test_a_file_from_before_headers_had_checksums_verifies_and_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = tmp_path / "old.gguf"
    make = partial(conversion.plan, header_checksum=False)
    monkeypatch.setattr(conversion, "plan", make)
    convert.convert(NANO, old)
    assert HEADER_CHECKSUM not in GgufFile(old)
    convert.verify(old)
    convert.verify(old, NANO)
    with LLM(old) as llm, LLM(NANO) as plain:
        assert llm.logits([5, 6, 7]).tobytes() == plain.logits([5, 6, 7]).tobytes()


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
    (part,) = tmp_path.glob(".out.gguf.*.partial")
    before = os.stat(part).st_ino
    steps: list[int] = []
    convert.convert(NANO, out, lambda done, total: steps.append(done))
    assert os.stat(out).st_ino == before
    assert out.read_bytes() == whole
    assert list(tmp_path.iterdir()) == [out]


def test_what_a_kill_left_is_checked_before_it_is_used(tmp_path: Path, whole: bytes) -> None:
    out = tmp_path / "out.gguf"
    run(SLOW, out)
    (part,) = tmp_path.glob(".out.gguf.*.partial")
    flip(part, stored(partial_whole(tmp_path, whole), "token_embd.weight") + 5)
    convert.convert(NANO, out)
    assert out.read_bytes() == whole


def partial_whole(folder: Path, whole: bytes) -> Path:
    path = folder / "reference"
    path.write_bytes(whole)
    return path


def test_a_full_drive_is_a_storage_error_and_the_next_run_goes_on(
    tmp_path: Path, whole: bytes
) -> None:
    out = tmp_path / "out.gguf"
    out.write_bytes(b"old")

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) // 2,) * 2)

    done = run(LIMITED, out, preexec_fn=limit)
    assert "StorageError" in done.stderr and "make room, or choose another drive" in done.stderr
    assert out.read_bytes() == b"old"
    (part,) = tmp_path.glob(".out.gguf.*.partial")
    assert f"stays in {part}: the same call goes on from there" in done.stderr
    assert part.stat().st_size == len(whole) // 2
    before = part.stat().st_ino
    convert.convert(NANO, out)
    assert (out.read_bytes(), out.stat().st_ino) == (whole, before)
    assert list(tmp_path.iterdir()) == [out]


def test_a_drive_that_fails_keeps_what_was_written(
    tmp_path: Path, whole: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, write, left = tmp_path / "out.gguf", os.pwrite, [30]

    def failing(descriptor: int, data: memoryview, at: int) -> int:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.EIO, "Input/output error")
        return write(descriptor, data, at)

    def writes(out: Path) -> int:
        left[0] = 10**6
        convert.convert(NANO, out)
        return 10**6 - left[0]

    monkeypatch.setattr(os, "pwrite", failing)
    with pytest.raises(StorageError, match=r"Input/output error; check the drive\. What was"):
        convert.convert(NANO, out)
    assert writes(out) <= writes(tmp_path / "another") - 28  # the first tensors were there
    assert out.read_bytes() == whole


def test_a_drive_that_fails_at_once_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(descriptor: int, data: memoryview, at: int) -> int:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "pwrite", failing)
    with pytest.raises(StorageError, match=r"Input/output error; check the drive$"):
        convert.convert(NANO, tmp_path / "out.gguf")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("verifying", [False, True])
def test_a_model_that_is_cut_while_it_is_read_is_a_storage_error(
    file: Path, tmp_path: Path, verifying: bool
) -> None:
    model, out = tmp_path / "model.gguf", tmp_path / "out.gguf"
    model.write_bytes(NANO.read_bytes())

    def cut(done: int, total: int) -> None:
        if done > total // 4:
            os.truncate(model, 1 << 20)

    call = partial(convert.verify, file) if verifying else partial(convert.convert, out=out)
    with pytest.raises(StorageError, match=rf"{model}: reading at byte \d+ failed: the file ends"):
        call(model=model, progress=cut)
    assert not out.exists()


def test_a_converted_file_that_is_cut_while_it_is_verified_is_a_storage_error(file: Path) -> None:
    with pytest.raises(StorageError, match=rf"{file}: reading at byte \d+ failed: the file ends"):
        convert.verify(file, progress=lambda done, total: os.truncate(file, 1 << 20))


def test_free_space_is_checked_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = os.statvfs(tmp_path)
    fields = list(room)
    fields[4] = 1  # f_bavail
    monkeypatch.setattr(os, "fstatvfs", lambda descriptor: os.statvfs_result(fields))
    with pytest.raises(StorageError, match=r"needs 0.01 GB, the drive has 0.00 GB left"):
        convert.convert(NANO, tmp_path / "out.gguf")
    assert list(tmp_path.iterdir()) == []


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
