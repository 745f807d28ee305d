"""Second records of experts in few bits: what they hold, who reads them, what has none."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
from pathlib import Path

import gguf
import numpy as np
import pytest
import xxhash

from tests.arch.running import FOLDER
from tests.tasks import HANG_S
from zerostall import convert, hub
from zerostall._core import GgufFile, decode, encode, pack
from zerostall.errors import InvalidRequestError, ModelFormatError, StorageError

NANO = hub.resolve("nano")
LOW = "blk.2.ffn_experts.low.packed"
SLOW = """
import os, signal, sys
from pathlib import Path
from zerostall import convert
def progress(done, total):
    if done > total * 2 // 3:
        os.kill(os.getpid(), signal.SIGKILL)
convert.convert(Path(sys.argv[1]), Path(sys.argv[2]), progress, miss_copy="Q2_K")
"""


@pytest.fixture(scope="module")
def low(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("low") / "nano.gguf"
    assert convert.convert(NANO, path, miss_copy="Q2_K") == path.stat().st_size
    return path


@pytest.fixture
def copy(low: Path, tmp_path: Path) -> Path:
    path = tmp_path / "copy.gguf"
    path.write_bytes(low.read_bytes())
    return path


def flip(path: Path, tensor: str, within: int) -> None:
    at = next(t.offset for t in GgufFile(path).stored_tensors() if t.name == tensor) + within
    with path.open("r+b") as stream:
        stream.seek(at)
        byte = stream.read(1)[0]
        stream.seek(at)
        stream.write(bytes([byte ^ 0x10]))


def test_a_low_copy_is_a_record_of_the_decoded_weights_encoded_again(low: Path) -> None:
    records = next(t for t in gguf.GGUFReader(low).tensors if t.name == LOW)
    assert records.data_offset % 4096 == 0
    model, expert = GgufFile(NANO), 5
    tensors = {t.name: t for t in model.tensors()}
    record = records.data.view(np.uint8)[expert].tobytes()
    fields = struct.unpack("<4s4H9I2Q", record[:64])
    assert len(record) % 4096 == 0
    q2_k = gguf.GGMLQuantizationType.Q2_K.value
    assert fields[:5] == (b"UTH1", 1, 1, q2_k, q2_k)
    assert fields[5:7] == (2, expert)
    up_offset, down_offset, _, _, payload, checksum = fields[10:]
    assert checksum == xxhash.xxh3_64_intdigest(record[64 : 64 + payload])
    for name, offset in (("gate", 64), ("up", up_offset), ("down", down_offset)):
        tensor = tensors[f"blk.2.ffn_{name}_exps.weight"]
        _, rows, columns = tensor.shape
        each = tensor.bytes // tensor.shape[0]
        data = model.tensor_bytes(tensor.name)[expert * each : (expert + 1) * each]
        again = encode("Q2_K", decode(tensor.type_name, data, rows * columns))
        panels = pack("Q2_K", again, rows, columns).tobytes()
        assert record[offset : offset + len(panels)] == panels


def test_every_expert_has_a_low_copy_of_about_the_bits_of_its_format(low: Path) -> None:
    file = GgufFile(low)
    shapes = {t.name: t.shape for t in file.stored_tensors()}
    listed = file.low_packed()
    assert {each["format"] for each in listed} == {"Q2_K"}
    assert {each["source"] for each in listed} == {
        t.name for t in file.tensors() if t.name.endswith("_exps.weight")
    }
    names = [name for name in shapes if name.endswith(".low.packed")]
    assert len(names) == 6
    for name in names:
        experts, record_bytes = shapes[name]
        weights = 3 * 256 * 256
        assert experts == shapes[name.replace(".low", "")][0]
        assert weights * 2.625 / 8 <= record_bytes < weights * 2.625 / 8 + 64 + 4096


def test_a_file_with_low_copies_has_a_version_that_older_readers_refuse(
    low: Path, tmp_path: Path
) -> None:
    convert.convert(NANO, tmp_path / "plain.gguf")
    plain, file = GgufFile(tmp_path / "plain.gguf"), GgufFile(low)
    assert (plain.container_version, file.container_version) == (1, 2)
    assert plain.low_packed() == []
    assert not any(key.startswith("zerostall.low") for key in plain.metadata_keys())
    both = {t.name: (t.type_name, t.shape) for t in file.tensors()}
    assert both == {t.name: (t.type_name, t.shape) for t in plain.tensors()}


def test_verify_compares_low_copies_with_and_without_the_model(copy: Path) -> None:
    seen: list[tuple[int, int]] = []
    convert.verify(copy)
    convert.verify(copy, NANO, lambda done, total: seen.append((done, total)))
    assert seen[-1] == (copy.stat().st_size,) * 2
    flip(copy, LOW, 500)
    with pytest.raises(ModelFormatError, match=rf"'{LOW}', record 0"):
        convert.verify(copy)
    with pytest.raises(ModelFormatError, match=LOW):
        convert.verify(copy, NANO)


def test_a_conversion_with_low_copies_goes_on_after_a_kill(low: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.gguf"
    done = subprocess.run(
        [sys.executable, "-c", SLOW, str(NANO), str(out)],
        capture_output=True, timeout=HANG_S, check=False,
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL
    (partial,) = tmp_path.glob(".out.gguf.*.partial")
    before = os.stat(partial).st_ino
    convert.convert(NANO, out, miss_copy="Q2_K")
    assert os.stat(out).st_ino == before
    assert out.read_bytes() == low.read_bytes()


def test_what_was_begun_without_low_copies_is_not_gone_on_with(low: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.gguf"
    subprocess.run(
        [sys.executable, "-c", SLOW.replace(', miss_copy="Q2_K"', ""), str(NANO), str(out)],
        capture_output=True, timeout=HANG_S, check=False,
    )  # fmt: skip
    assert list(tmp_path.glob(".out.gguf.*.partial"))
    convert.convert(NANO, out, miss_copy="Q2_K")
    assert out.read_bytes() == low.read_bytes()
    assert list(tmp_path.iterdir()) == [out]


def test_free_space_must_do_for_both_records(
    low: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = os.statvfs(tmp_path)
    fields = list(room)
    fields[4] = (low.stat().st_size - 1) // room.f_frsize  # f_bavail
    monkeypatch.setattr(os, "fstatvfs", lambda descriptor: os.statvfs_result(fields))
    convert.convert(NANO, tmp_path / "plain.gguf")
    with pytest.raises(StorageError, match="make room"):
        convert.convert(NANO, tmp_path / "low.gguf", miss_copy="Q2_K")


@pytest.mark.parametrize(
    ("model", "format", "match"),
    [
        (NANO, "Q6_K", "give one of Q4_0, Q8_0, Q2_K, Q3_K"),
        (NANO, "q2k", "give one of Q4_0, Q8_0, Q2_K, Q3_K"),
        (NANO, "Q4_0", r"takes 114688 bytes and the expert itself 114688 \(block 0\)"),
        (hub.resolve("nano-draft"), "Q2_K", "has no experts"),
        (FOLDER / "qwen3moe.gguf", "Q2_K", "rows of 72 values, which are no whole blocks of 256"),
    ],
)
def test_a_copy_that_cannot_be_made_is_refused_before_anything_is_written(
    model: Path, format: str, match: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidRequestError, match=match):
        convert.convert(model, tmp_path / "out.gguf", miss_copy=format)
    assert list(tmp_path.iterdir()) == []


def test_weights_that_are_no_numbers_have_no_low_copy(tmp_path: Path) -> None:
    """Found while writing; the message names the tensor, and nothing stays."""
    data = bytearray(NANO.read_bytes())
    tensor = next(t for t in GgufFile(NANO).tensors() if t.name == "blk.1.ffn_up_exps.weight")
    data[tensor.offset : tensor.offset + 2] = struct.pack("<H", 0x7C00)  # d of Q4_K: infinity
    path = tmp_path / "odd.gguf"
    path.write_bytes(data)
    with pytest.raises(ModelFormatError, match=r"'blk.1.ffn_up_exps.weight' can have no low copy"):
        convert.convert(path, tmp_path / "out.gguf", miss_copy="Q2_K")
    assert list(tmp_path.iterdir()) == [path]
