"""Damaged model files, and the loop that tries thousands of them under a memory limit.

python -m tests.gguf.mutate SEED CASES FOLDER

Every case must open and then read whole, or raise ModelFormatError or UnsupportedModelError with
a message that names the file and a field.
"""

from __future__ import annotations

import json
import random
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from tests.gguf import builder as b
from tests.tasks import HANG_S
from zerostall import _core
from zerostall.errors import (
    InvalidRequestError,
    ModelFormatError,
    OutOfBudgetError,
    UnsupportedModelError,
)

MEMORY_BYTES = 2 << 30  # above what the process has when it starts
CASE_SECONDS = 20.0
HOSTILE = [0, 1, 2, 3, 255, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**61, 2**62 + 1]
HOSTILE += [2**63 - 1, 2**63, 2**64 - 32, 2**64 - 16, 2**64 - 1]
FIELD_WORDS = ("header", "metadata", "tensor", "file name")

Case = tuple[str, bytes]  # what was done, and the file


def sample_model(rng: random.Random) -> b.Builder:
    """A small valid model with every value type, nested arrays and several tensors."""
    file = b.Builder(version=rng.choice([2, 3]), alignment=rng.choice([8, 32, 64]))
    file.add("general.architecture", b.STRING, "llama")
    file.add("general.alignment", b.U32, file.alignment)
    kinds = [b.U8, b.I8, b.U16, b.I16, b.U32, b.I32, b.F32, b.BOOL, b.U64, b.I64, b.F64]
    for kind in kinds:
        file.add(f"one.{kind}", kind, 1)
        file.add(f"array.{kind}", b.ARRAY, (kind, [rng.randrange(2) for _ in range(5)]))
    file.add("tokens", b.ARRAY, (b.STRING, [f"token{i}é" for i in range(20)]))
    file.add("nested", b.ARRAY, (b.ARRAY, [(b.STRING, ["a", "b"]), (b.I32, [1, 2, 3])]))
    if rng.random() < 0.3:
        file.add("split.no", b.U16, 0).add("split.count", b.U16, 1)
    rng.shuffle(file.entries)
    for i, (dims, type_id, size) in enumerate(
        [((8, 4), 0, 128), ((256, 2), 12, 288), ((32,), 2, 18), ((2, 2, 2, 2), 1, 32), ((), 0, 4)]
    ):
        file.tensor(f"blk.{i}.weight", dims, type_id, rng.randbytes(size))
    return file


def change_number(rng: random.Random, data: bytes, field: tuple[str, int, int]) -> Case:
    """The file with a hostile value in one of its numbers."""
    name, at, size = field
    value = rng.choice(HOSTILE) % 2 ** (8 * size)
    changed = data[:at] + value.to_bytes(size, "little") + data[at + size :]
    return f"{name} at {at} = {value}", changed


def flip_bits(rng: random.Random, data: bytes, end: int) -> Case:
    """The file with a few bits before byte `end` the other way round."""
    damaged = bytearray(data)
    flips = [rng.randrange(end * 8) for _ in range(rng.choice([1, 1, 2, 8, 64]))]
    for bit in flips:
        damaged[bit // 8] ^= 1 << bit % 8
    return f"flip bits {flips}", bytes(damaged)


def mutations(rng: random.Random) -> Iterator[Case]:
    """Damaged files with what was done to each, without end."""
    while True:
        file = sample_model(rng)
        data = file.build()
        yield "nothing", data
        for name, at, size in file.fields:
            yield f"cut before {name} at {at}", data[:at]
            yield f"cut inside {name} at {at}", data[: at + rng.randrange(size + 1)]
        numbers = [f for f in file.fields if f[2] in (4, 8)]
        for field in rng.sample(numbers, len(numbers) // 2):
            yield change_number(rng, data, field)
        for _ in range(150):
            yield flip_bits(rng, data, len(data))
        for _ in range(30):
            a, c = sorted(rng.randrange(len(data)) for _ in range(2))
            yield f"remove {a}:{c}", data[:a] + data[c:]
            yield f"repeat {a}:{c}", data[:c] + data[a:c] + data[c:]
        yield "noise", b"GGUF\3\0\0\0" + rng.randbytes(rng.randrange(400))


def read_whole(path: Path) -> None:
    """Reads every value and every tensor byte, as its user would."""
    file = _core.GgufFile(path)
    for key in file.metadata_keys():
        file.get(key)
    for info in file.tensors():
        view = file.tensor_bytes(info.name)
        assert view.size == info.bytes
        int(view.sum())


def check(path: Path) -> str:
    """What became of one case; raises for anything but a clean run or a typed error."""
    try:
        read_whole(path)
    except (ModelFormatError, UnsupportedModelError) as error:
        text = str(error)
        if not text.startswith(f"{path}: ") or not any(w in text for w in FIELD_WORDS):
            raise AssertionError(f"a message without file or field: {text}") from error
        return type(error).__name__
    return "opened"


def outcome(use: Callable[[Path], object], path: Path, named: Iterable[str]) -> str:
    """What became of a model that was loaded and run; raises for an error that names nothing."""
    try:
        use(path)
    except (ModelFormatError, UnsupportedModelError, OutOfBudgetError, InvalidRequestError) as e:
        text = str(e)
        if not any(name in text for name in named) or len(text) > 2000:
            raise AssertionError(f"a message that names no field: {text}") from e
        return type(e).__name__
    return "ran"


def try_cases(
    cases: Callable[[random.Random], Iterator[Case]], check_one: Callable[[Path], str]
) -> None:
    """The child's part: SEED, CASES and FOLDER come from the command line.

    Prints the seed and each case before it is tried, and a JSON summary at the end; a failure
    leaves the file in FOLDER.
    """
    seed, count, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES,) * 2)
    outcomes: Counter[str] = Counter()
    resident_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for case, (what, data) in zip(range(count), cases(random.Random(seed)), strict=False):
        path = folder / "case.gguf"
        path.unlink(missing_ok=True)  # truncating it instead makes ext4 flush: 3 ms a case
        path.write_bytes(data)
        # Before the attempt, so that it is known after a crash.
        print(f"seed {seed}, case {case}: {what}", flush=True)
        started = time.process_time()
        outcomes[check_one(path)] += 1
        if time.process_time() - started > CASE_SECONDS:
            raise AssertionError("slow case")
    grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - resident_kb
    print(json.dumps({"outcomes": outcomes, "grown_kb": grown_kb}))


def run(module: str, seed: int, cases: int, folder: Path) -> dict[str, Any]:
    """The parent's part: the summary of a module's cases, tried in a process of their own."""
    command = [sys.executable, "-W", "error", "-X", "faulthandler", "-m", module]
    child = subprocess.run(
        [*command, str(seed), str(cases), str(folder)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=4 * HANG_S,
        check=False,
    )
    last = child.stdout.splitlines()[-1] if child.stdout else "no case"
    assert child.returncode == 0, f"{last}, file {folder / 'case.gguf'}:\n{child.stderr}"
    summary: dict[str, Any] = json.loads(last)
    assert sum(summary["outcomes"].values()) == cases
    return summary


if __name__ == "__main__":
    try_cases(mutations, check)
