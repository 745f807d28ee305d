"""The rows of tokens, which are looked up in the file, are in the page cache after a load."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tasks import eventually
from zerostall import LLM
from zerostall.lab.page_cache import cached_bytes, drop_cached
from zerostall.lab.shapes import Shape
from zerostall.lab.synth import write_model

ROWS = Shape(*("rows", "llama", 1, 256, 4, 2, 64, 256, 32768, 256))  # most of it is the embedding


def test_a_load_brings_the_rows_of_all_tokens(tmp_path: Path) -> None:
    path = tmp_path / "rows.gguf"
    write_model(path, "rows", ROWS)
    drop_cached(path)
    size, left = path.stat().st_size, cached_bytes(path)
    if left is None:
        pytest.skip("the kernel has no cachestat (Linux 6.5)")
    if left > size // 10:
        pytest.skip("the folder for temporary files is memory itself")
    with LLM(path):
        assert eventually(lambda: (cached_bytes(path) or 0) > 0.99 * size)
