"""With mmap experts of a converted file are computed where the file is mapped."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.experts.streamed import Model, logits
from zerostall import _core, convert, hub
from zerostall.engine.streaming import Streaming
from zerostall.errors import InvalidRequestError, ModelFormatError, StorageError

PAGE = resource.getpagesize()


@pytest.fixture
def model(tmp_path: Path) -> Model:
    """For a test of its own, which may damage the file."""
    path = tmp_path / "nano.gguf"
    convert.convert(hub.resolve("nano"), path)
    return Model(path)


def cached(path: Path) -> int:
    """Pages of a file in the page cache."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
    memory = np.memmap(path, np.uint8, "r")
    pages = (ctypes.c_ubyte * -(-memory.size // PAGE))()
    address, size = ctypes.c_void_p(memory.ctypes.data), ctypes.c_size_t(memory.size)
    assert ctypes.CDLL(None).mincore(address, size, pages) == 0
    return sum(page & 1 for page in pages)


def forget(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def test_the_page_cache_holds_the_experts_that_have_a_slot_and_no_others(
    model: Model, tmp_path: Path
) -> None:
    path = tmp_path / "copy.gguf"  # which nobody has touched
    path.write_bytes(model.path.read_bytes())
    options = {"bytes": model.quarter, "io": "mmap", "direct": False, "speculate": False}
    file = _core.GgufFile(path)
    engine = _core.Engine(file, model.tape, context=model.context, streaming=options)
    forget(path)
    before = cached(path)
    if before > cached(model.path) // 4:
        pytest.skip("this file system keeps its pages")
    ids = model.ids(40)
    assert np.array_equal(logits(engine, ids, 5), model.expected(ids))
    stats = engine.stream_stats()
    assert stats["evictions"] > 0
    sizes = [size // PAGE for _, _, size in engine.expert_layers]
    least, most = stats["resident"] * min(sizes), stats["resident"] * max(sizes)
    # File systems with large folios may keep the neighbours of what is in use.
    assert least <= cached(path) - before <= most + cached(model.path) // 4
    forget(path)  # what is in use stays
    assert cached(path) - before >= least
    del engine
    forget(path)
    assert cached(path) <= before


def test_mirrors_are_not_asked_for_what_is_used_in_place(model: Model, tmp_path: Path) -> None:
    mirror = tmp_path / "mirror.gguf"
    mirror.write_bytes(model.path.read_bytes())
    engine = model.engine(bytes=model.quarter, io="mmap", mirrors=[[str(mirror)]])
    os.truncate(mirror, 4096)
    ids = model.ids(16)
    assert np.array_equal(logits(engine, ids, 4), model.expected(ids))
    assert engine.take_warnings() == []
    with pytest.raises(InvalidRequestError, match="mirrors are not read"):
        Streaming(io="mmap", mirrors=[mirror]).check_file(model.file)


LOST = "is not there any more; the file was cut"


def cuts(model: Model) -> dict[str, int]:
    """Where to cut: pages are missing, or a part of one."""
    last = max(model.file.stored_tensors(), key=lambda tensor: tensor.offset)
    end = last.offset + last.shape[0] * last.shape[1]
    return {"whole pages": last.offset // 2 // PAGE * PAGE, "within a page": end - 512}


@pytest.mark.parametrize("cut", ["whole pages", "within a page"])
@pytest.mark.parametrize("streaming", [False, True])
def test_a_file_that_is_cut_while_it_is_used_in_place_fails_the_step(
    model: Model, streaming: bool, cut: str
) -> None:
    ids = model.ids(24)
    options = {"bytes": model.all, "io": "mmap"} if streaming else {}
    # Two of one file, of which each learns of it.
    engines = [model.engine(**options) for _ in range(2)]
    expected = [logits(engine, ids) for engine in engines]
    whole = model.path.read_bytes()
    at = cuts(model)[cut]
    os.truncate(model.path, at)
    for engine in engines * 2:
        with pytest.raises(StorageError, match=LOST) as caught:
            logits(engine, ids)
        assert str(caught.value).startswith(f"{model.path}: byte ")
    with model.path.open("r+b") as file:
        file.write(whole)
    for engine in engines:
        assert np.array_equal(logits(engine, ids), expected[0])


def test_what_comes_back_is_checked_as_what_is_read(model: Model) -> None:
    ids = model.ids(24)
    engine = model.engine(bytes=model.all, io="mmap", check_records=True)
    expected = logits(engine, ids)
    whole = bytearray(model.path.read_bytes())
    os.truncate(model.path, 4096)
    with pytest.raises(StorageError, match=LOST):
        logits(engine, ids)
    other = bytearray(whole)
    for tensor in model.file.stored_tensors():
        if "ffn_experts" in tensor.name:
            for expert in range(tensor.shape[0]):
                other[tensor.offset + expert * tensor.shape[1] + 1000] ^= 0xFF
    model.path.write_bytes(other)
    with pytest.raises(ModelFormatError, match="checksum"):
        logits(engine, ids)
    model.path.write_bytes(whole)
    assert np.array_equal(logits(engine, ids), expected)


def test_a_cut_plain_file_read_with_mmap_leaves_no_zeros(tmp_path: Path) -> None:
    path = tmp_path / "plain.gguf"
    path.write_bytes(hub.resolve("nano").read_bytes())
    model = Model(path)
    ids = model.ids(24)
    expected = model.expected(ids)
    engine = model.engine(bytes=model.quarter, io="mmap")
    whole = path.read_bytes()
    os.truncate(path, len(whole) // 2)
    with pytest.raises(StorageError):
        logits(engine, ids)
    path.write_bytes(whole)
    assert np.array_equal(logits(engine, ids), expected)


BROKEN = """
import mmap, os, sys
{first}
from zerostall import LLM
llm = LLM("nano", threads=1, ctx=64)
with open(sys.argv[1], "w+b") as file:
    file.truncate(8192)
    memory = mmap.mmap(file.fileno(), 8192)
    file.truncate(0)
    memory[5000]
print("read")
"""


@pytest.mark.parametrize("first", ["", "import faulthandler; faulthandler.enable()"])
def test_memory_of_others_that_is_lost_still_ends_the_process(tmp_path: Path, first: str) -> None:
    script = [sys.executable, "-c", BROKEN.format(first=first), str(tmp_path / "file")]
    done = subprocess.run(script, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == -signal.SIGBUS
    assert "read" not in done.stdout
    assert ("Fatal Python error: Bus error" in done.stderr) == bool(first)
