"""Converted models with damaged headers and records, through the whole load; run by
test_mutations.py.

python -m tests.convert.damage SEED CASES FOLDER
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tests.arch.running import FOLDER, step
from tests.gguf.mutate import HOSTILE, Case, flip_bits, outcome, try_cases
from zerostall import _core, arch, convert

MODELS = ("qwen3moe", "phi3-window", "qwen2-tied")
KEYS = [f"zerostall.packed.{k}" for k in ("tensor", "source", "format", "dims", "rows", "offset")]
NAMED = ("header", "metadata", "tensor", "operator", "architecture", "logits", "heads")


def cases(rng: random.Random) -> Iterator[Case]:
    """Damaged files with what was done to each, without end."""
    models = [converted(name) for name in MODELS]
    while True:
        data, first, records = rng.choice(models)
        yield "nothing", data
        for key in KEYS:
            at = data.index(key.encode()) + len(key)
            for _ in range(8):
                # Numbers and texts of the key lie within the next few hundred bytes.
                where = at + rng.randrange(200) * 4
                size = rng.choice([4, 8])
                value = rng.choice([*HOSTILE, rng.randrange(200)]) % 2 ** (8 * size)
                changed = data[:where] + value.to_bytes(size, "little") + data[where + size :]
                yield f"{key}: {value} at {where}", changed
        for _ in range(10):
            yield flip_bits(rng, data, first)
        for _ in range(10 if records else 0):
            where = rng.choice(records) + rng.randrange(64)
            changed = data[:where] + rng.randbytes(1) + data[where + 1 :]
            yield f"record byte {where}", changed
        cut = rng.randrange(len(data))
        yield f"cut at {cut}", data[:cut]


def converted(name: str) -> tuple[bytes, int, list[int]]:
    """A golden model converted, the end of its header, and where its records begin."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.gguf"
        convert.convert(FOLDER / f"{name}.gguf", path)
        stored = _core.GgufFile(path).stored_tensors()
        records = [
            tensor.offset + expert * tensor.shape[1]
            for tensor in stored
            if "experts" in tensor.name
            for expert in range(tensor.shape[0])
        ]
        return path.read_bytes(), min(tensor.offset for tensor in stored), records


def use(path: Path) -> None:
    """Load a converted file and run a few tokens."""
    file = _core.GgufFile(path)
    engine = _core.Engine(file, arch.load(file, 32).tape, context=32, max_batch=8)
    step(engine, engine.open_sequence(), np.arange(4, dtype=np.int32))


def check(path: Path) -> str:
    """What became of one case; raises for anything but a clean run or a typed error."""
    return outcome(use, path, NAMED)


if __name__ == "__main__":
    try_cases(cases, check)
