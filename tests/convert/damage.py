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
from zerostall.lab.shapes import Shape
from zerostall.lab.synth import write_model

MOST_BYTES = 1 << 24
MODELS = ("qwen3moe", "phi3-window", "qwen2-tied")
FIELDS = ("tensor", "source", "format", "dims", "rows", "offset")
PACKED, LOW = ([f"zerostall.{name}.{field}" for field in FIELDS] for name in ("packed", "low"))
NAMED = ("header", "metadata", "tensor", "operator", "architecture", "logits", "heads", "expert")
# Experts of 8 bits, so that copies of 4 save something.
SMALL = Shape(
    *("small", "qwen3moe", 1, 64, 2, 1, 32, 0, 256, 64),
    query_key_norm="head",
    experts=4,
    used=2,
    expert_hidden=64,
    mixture="Q8_0",
)


def cases(rng: random.Random) -> Iterator[Case]:
    """Damaged files with what was done to each, without end."""
    models = [converted(FOLDER / f"{name}.gguf") for name in MODELS]
    with tempfile.TemporaryDirectory() as folder:
        write_model(Path(folder) / "small.gguf", "small", SMALL)
        models.append(converted(Path(folder) / "small.gguf", "Q4_0"))
    while True:
        data, first, records = rng.choice(models)
        yield "nothing", data
        for key in PACKED + (LOW if LOW[0].encode() in data else []):
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


def converted(model: Path, miss_copy: str | None = None) -> tuple[bytes, int, list[int]]:
    """A model converted, the end of its header, and where its records begin."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.gguf"
        convert.convert(model, path, miss_copy=miss_copy)
        stored = _core.GgufFile(path).stored_tensors()
        records = [
            tensor.offset + expert * tensor.shape[1]
            for tensor in stored
            if "experts" in tensor.name
            for expert in range(tensor.shape[0])
        ]
        return path.read_bytes(), min(tensor.offset for tensor in stored), records


def use(path: Path) -> None:
    """Load a converted file and run a few tokens, also with low copies if it has them."""
    file = _core.GgufFile(path)
    tape = arch.load(file, 32).tape
    engine = _core.Engine(file, tape, context=32, max_batch=8)
    step(engine, engine.open_sequence(), np.arange(4, dtype=np.int32))
    if not file.low_packed():
        return
    memory = _core.plan_memory(file, tape, context=32, streaming=True, low_copies=True)
    # A header may claim any size of what is streamed.
    streaming = {"bytes": min(memory["least_experts"], MOST_BYTES), "io": "pread", "direct": False}
    engine = _core.Engine(
        file, tape, context=32, max_batch=8, streaming=streaming | {"low_copies": True}
    )
    sequence = engine.open_sequence()
    for token in range(4):
        step(engine, sequence, np.array([token], dtype=np.int32))


def check(path: Path) -> str:
    """What became of one case; raises for anything but a clean run or a typed error."""
    return outcome(use, path, NAMED)


if __name__ == "__main__":
    try_cases(cases, check)
