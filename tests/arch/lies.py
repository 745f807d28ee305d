"""Models that parse but lie, through the whole path; run by test_lies.py.

python -m tests.arch.lies SEED CASES FOLDER

Takes the golden models, changes metadata, vocabulary, tensors and bytes, and then opens, builds,
plans, loads, steps, samples and tokenizes. Every case must run or raise a typed error that names
what is wrong.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np

from tests.arch.running import FOLDER, NAMES
from tests.gguf import builder as b
from tests.gguf.mutate import Case, change_number, flip_bits, outcome, try_cases
from tests.nn.hostile import NUMBERS, OPTIONAL, REALS, REQUIRED, TEXTS
from zerostall import _core, arch, gguf
from zerostall.engine.loader import check_vocabulary, load_tokenizer

CONTEXT = 64
TEXT = "the fastest <|begin|>\n\tcode ▁ \U0001f600 the"
NAMED = ("header", "metadata", "tensor", "tokenizer.", "token ", "operator", "rope", "architecture")
NAMED += ("heads", "logits", ".weight", "expert_gating_func", "general.", "begins with")
MODELS = ["gpt2", "gpt2", "gpt2", "llama", "t5", "gemma4", "none"]  # tokenizer.ggml.model
# Bytes of a block and its values, by type id: F32, F16, Q4_0, Q4_1, Q8_0, Q4_K, Q6_K, I8, BF16,
# MXFP4.
BLOCKS = {0: (4, 1), 1: (2, 1), 2: (18, 32), 3: (20, 32), 8: (34, 32), 12: (144, 256)}
BLOCKS |= {14: (210, 256), 24: (1, 1), 30: (2, 1), 39: (17, 32)}
BITS = [0x7FC00000, 0x7F800000, 0xFF800000, 0x7F7FFFFF, 0xFF7FFFFF, 1, 0x80000000, 0]


def read(path: Path) -> b.Builder:
    """A model file taken apart, so that it can be built with changes."""
    file, copied = _core.GgufFile(path), b.Builder()
    for key in file.metadata_keys():
        copied.add(key, *guess_kind(file.get(key)))
    for tensor in file.tensors():
        data = bytes(file.tensor_bytes(tensor.name))
        copied.tensor(tensor.name, tuple(reversed(tensor.shape)), tensor.type_id, data)
    return copied


def guess_kind(value: Any) -> tuple[int, Any]:
    """The GGUF type, and the value as the builder wants it."""
    if isinstance(value, bool):
        return b.BOOL, value
    if isinstance(value, int):
        if value < 0:
            return b.I64, value
        return (b.U32 if value < 2**32 else b.U64), value
    if isinstance(value, float):
        return b.F64, value
    if isinstance(value, str):
        return b.STRING, value
    if isinstance(value, list):
        return b.ARRAY, (b.STRING, value)
    kind = b.F32 if value.dtype.kind == "f" else b.I32
    return b.ARRAY, (kind, value.tolist())


def any_value(rng: random.Random) -> tuple[int, Any]:
    """A hostile value of any type."""
    simple = rng.choice([*NUMBERS, *NUMBERS, *REALS, *TEXTS, True, False])
    if rng.random() < 0.9:
        return guess_kind(simple)
    return rng.choice(
        [
            (b.ARRAY, (b.I32, [rng.choice([0, 1, 2, -1])] * rng.randrange(5))),
            (b.ARRAY, (b.BOOL, [True, False] * rng.randrange(4))),
            (b.ARRAY, (b.F32, [math.nan])),
            (b.ARRAY, (b.STRING, ["a", ""])),
            (b.ARRAY, (b.ARRAY, [(b.I32, [1])])),
        ]
    )


def near(rng: random.Random, value: int) -> int:
    """A number that could be mistaken for `value`."""
    close = [value - 1, value + 1, value * 2, value // 2, value + 16, 0]
    return min(max(0, rng.choice(close)), 2**32 - 1)


# -- lies: each changes the model in place and says how ------------------------------------------


def change_value(rng: random.Random, file: b.Builder) -> str:
    prefix = architecture(file) + "."
    places = [i for i, entry in enumerate(file.entries) if entry[0].startswith(prefix.encode())]
    everywhere = range(len(file.entries))
    place = rng.choice(places if places and rng.random() < 0.9 else everywhere)
    key, kind, value = file.entries[place]
    if kind == b.U32 and rng.random() < 0.5:
        kind, value = b.U32, near(rng, value)
    else:
        kind, value = any_value(rng)
    file.entries[place] = (key, kind, value)
    return f"{key!r} = {shorten(value)}"


def add_key(rng: random.Random, file: b.Builder) -> str:
    key = f"{architecture(file)}.{rng.choice([*REQUIRED, *OPTIONAL])}"
    value = (b.STRING, "yarn") if key.endswith("type") and rng.random() < 0.5 else any_value(rng)
    drop(file, key)
    file.add(key, *value)
    return f"{key} = {shorten(value[1])}"


def drop_entry(rng: random.Random, file: b.Builder) -> str:
    return f"without {file.entries.pop(rng.randrange(len(file.entries)))[0]!r}"


def change_architecture(rng: random.Random, file: b.Builder) -> str:
    old, new = architecture(file), rng.choice(arch.names())
    file.entries = [
        (new.encode() + key[len(old) :] if key.startswith(old.encode() + b".") else key, kind, v)
        for key, kind, v in file.entries
    ]
    drop(file, "general.architecture")
    file.add("general.architecture", b.STRING, new)
    return f"{old} calls itself {new}"


def change_tokenizer(rng: random.Random, file: b.Builder) -> str:
    model = rng.choice(MODELS)
    drop(file, "tokenizer.ggml.model")
    file.add("tokenizer.ggml.model", b.STRING, model)
    scores = [rng.choice([*REALS[:3], -5.0, -1e30, math.inf, -math.inf]) for _ in range(300)]
    if rng.random() < 0.5:
        scores = [float(-i) for i in range(300)]
    key, lists = b"tokenizer.ggml.tokens", [e for e in file.entries if e[1] == b.ARRAY]
    count = next((len(values) for name, _, (_, values) in lists if name == key), 0)
    file.add("tokenizer.ggml.scores", b.ARRAY, (b.F32, (scores * 4)[:count]))
    file.add("tokenizer.ggml.unknown_token_id", b.U32, rng.choice([0, 1, 5, count]))
    if rng.random() < 0.3:
        values = [rng.choice([0, 1, 4, 255, -1, rng.randrange(256)]) for _ in range(40)]
        values[:4] = [rng.choice([4, 8, 32, 36, 255]), 0, 0, rng.choice([0, 0, 255])]
        blob = (rng.choice([b.I32, b.I8, b.I64]), [value % 128 for value in values])
        file.add("tokenizer.ggml.precompiled_charsmap", b.ARRAY, blob)
    return f"tokenizer {model}"


def change_list(rng: random.Random, file: b.Builder) -> str:
    places = [i for i, (_, kind, v) in enumerate(file.entries) if kind == b.ARRAY and v[1]]
    if not places:
        return "no list"
    place = rng.choice(places)
    key, _, (kind, values) = file.entries[place]
    values = list(values)
    at = rng.randrange(len(values))
    match rng.randrange(6):
        case 0:
            del values[at]
        case 1:
            values = values[:at]
        case 2:
            values.append(values[at])
        case 3:
            values[at] = values[rng.randrange(len(values))]
        case 4 if kind == b.STRING:
            values[at] = rng.choice(["", " ", "a b c", "zz zz", "\0", "é" * 999, "<0x41>", "Ġ "])
        case _ if kind == b.I32:
            values[at] = rng.choice([-1, 0, 2, 3, 4, 5, 6, 7, 255, -(2**31)])
        case _:
            rng.shuffle(values)
    file.entries[place] = (key, b.ARRAY, (kind, values))
    return f"{key!r} changed at {at}"


def reshape(rng: random.Random, file: b.Builder) -> str:
    place, tensor = pick(rng, file)
    dims = list(tensor.dims)
    match rng.randrange(4):
        case 0:
            rng.shuffle(dims)
        case 1 if dims:
            at = rng.randrange(len(dims))
            dims[at] = max(1, near(rng, dims[at]))
        case 2:
            dims = [math.prod(dims), *[1] * rng.randrange(4)]
        case _:
            dims = [*dims, rng.choice([1, 1, 2])][:4] if rng.random() < 0.7 else []
    tensor.dims = tuple(dims)
    fit(rng, tensor)
    file.tensors[place] = tensor
    return f"{tensor.name!r} has dims {dims}"


def retype(rng: random.Random, file: b.Builder) -> str:
    place, tensor = pick(rng, file)
    tensor.type_id = rng.choice(list(BLOCKS))
    tensor.data = rng.randbytes(64) if rng.random() < 0.5 else b"\xff"
    fit(rng, tensor)
    file.tensors[place] = tensor
    return f"{tensor.name!r} has type {tensor.type_id}"


def rename(rng: random.Random, file: b.Builder) -> str:
    place, tensor = pick(rng, file)
    other = rng.randrange(len(file.tensors))
    match rng.randrange(4):
        case 0:
            del file.tensors[place]
            return f"without {tensor.name!r}"
        case 1:
            tensor.name, name = file.tensors[other].name, tensor.name
            file.tensors[other] = copy(file.tensors[other])
            file.tensors[other].name = name
        case 2:
            tensor.name = rng.choice([b"rope_freqs.weight", b"output.bias", b"x", tensor.name])
        case _:
            tensor.name = tensor.name.replace(b"q", b"qkv").replace(b"0", b"7")
    file.tensors[place] = tensor
    return f"{file.tensors[place].name!r} is another"


def poison(rng: random.Random, file: b.Builder) -> str:
    place, tensor = pick(rng, file)
    bits = rng.choice(BITS)
    data = np.frombuffer(tensor.data, np.uint8).copy()
    numbers = data[: data.size // 4 * 4].view(np.uint32)
    if numbers.size:
        share = rng.choice([1, 1, numbers.size])
        numbers[rng.randrange(numbers.size) :][:share] = bits
    tensor.data = data.tobytes()
    file.tensors[place] = tensor
    return f"{tensor.name!r} holds {bits:#x}"


LIES: list[Callable[[random.Random, b.Builder], str]] = [
    *[change_value] * 6,
    *[add_key] * 4,
    *[reshape] * 4,
    *[retype] * 3,
    *[poison] * 3,
    *[change_list] * 3,
    rename,
    drop_entry,
    change_architecture,
    change_tokenizer,
    change_tokenizer,
]


def architecture(file: b.Builder) -> str:
    names = [value for key, _, value in file.entries if key == b"general.architecture"]
    return names[0] if names and isinstance(names[0], str) else "llama"


def drop(file: b.Builder, key: str) -> None:
    file.entries = [entry for entry in file.entries if entry[0] != key.encode()]


def pick(rng: random.Random, file: b.Builder) -> tuple[int, b.Tensor]:
    place = rng.randrange(len(file.tensors))
    return place, copy(file.tensors[place])


def fit(rng: random.Random, tensor: b.Tensor) -> None:
    """Gives the tensor as many bytes as its shape and type ask for, so that the file parses."""
    bytes_, values = BLOCKS.get(tensor.type_id, (4, 1))
    size = min(math.prod(tensor.dims) // values * bytes_, 1 << 21)
    tensor.data = (tensor.data * (size // max(1, len(tensor.data)) + 1))[:size]


def shorten(value: Any) -> str:
    text = ascii(value)
    return text if len(text) < 80 else text[:77] + "..."


def cases(rng: random.Random) -> Iterator[Case]:
    """Golden models with one to three lies each, some with damaged bytes on top, without end."""
    goldens: dict[str, b.Builder] = {}
    while True:
        name = rng.choice(NAMES)
        if name not in goldens:
            goldens[name] = read(FOLDER / f"{name}.gguf")
        file = copy(goldens[name])
        file.entries, file.tensors = list(file.entries), list(file.tensors)
        told = [rng.choice(LIES)(rng, file) for _ in range(rng.choice([0, 1, 1, 1, 2, 3]))]
        data = file.build()
        what = f"{name}: {'; '.join(told) or 'nothing'}"
        if rng.random() < 0.2:
            numbers = [field for field in file.fields if field[2] in (4, 8)]
            header = next(at for field, at, _ in reversed(file.fields) if field == "offset")
            change, data = rng.choice(
                [
                    lambda d=data, n=numbers: change_number(rng, d, rng.choice(n)),
                    lambda d=data, end=header: flip_bits(rng, d, end),
                    lambda d=data: flip_bits(rng, d, len(d)),
                ]
            )()
            what += f"; {change}"
        yield what, data


# -- the path ------------------------------------------------------------------------------------


def use(path: Path) -> None:
    """All that happens to a model file between its path and a token."""
    file = gguf.open_model(path)
    model = arch.load(file, CONTEXT)
    tokenizer = load_tokenizer(file)
    if tokenizer is not None:
        check_vocabulary(str(path), tokenizer.vocab_size, model.vocab_size)
        ids = tokenizer.encode(TEXT, parse_special=True)
        assert all(0 <= id < model.vocab_size for id in ids)
        assert isinstance(tokenizer.decode(ids), str)
    size = path.stat().st_size
    settings: dict[str, Any] = {"threads": 1 + size % 2, "context": CONTEXT, "max_batch": 8}
    plan = _core.plan_memory(file, model.tape, **settings)
    engine = _core.Engine(file, model.tape, **settings)
    assert plan == engine.memory()
    assert engine.vocab_size == model.vocab_size
    sequence = engine.open_sequence()
    last = model.vocab_size - 1
    tokens = np.array([0, last // 2, last], np.int32)
    logits = engine.step(tokens, np.full(3, sequence, np.int32), np.array([0, 2], np.int32))
    assert logits.shape == (2, model.vocab_size)
    engine.close_sequence(sequence)
    assert 0 <= _core.Sampler(model.vocab_size, top_k=5, top_p=0.9).sample(logits[1]) <= last


def check(path: Path) -> str:
    """What became of one case; raises for anything but a clean run or a typed error."""
    return outcome(use, path, NAMED)


if __name__ == "__main__":
    try_cases(cases, check)
