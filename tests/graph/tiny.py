"""A tiny random decoder written to a GGUF, and its tape, for tests of the engine itself."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

from zerostall._core import Engine, GgufFile
from zerostall.tape import Tape

VOCAB, WIDTH, HEADS, KV_HEADS, HEAD_DIM, HIDDEN = 50, 64, 4, 2, 24, 80


def write_model(path: Path, layers: int = 2, seed: int = 0) -> Path:
    """Write random F32 weights named after their place in the tape."""
    rng = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(str(path), "tiny")

    def add(name: str, *shape: int, scale: float = 0.3) -> None:
        writer.add_tensor(name, (rng.standard_normal(shape) * scale).astype(np.float32))

    add("embed", VOCAB, WIDTH, scale=1.0)
    add("head", VOCAB, WIDTH)
    for i in range(layers):
        add(f"{i}.norm", WIDTH, scale=1.0)
        add(f"{i}.q", HEADS * HEAD_DIM, WIDTH)
        add(f"{i}.k", KV_HEADS * HEAD_DIM, WIDTH)
        add(f"{i}.v", KV_HEADS * HEAD_DIM, WIDTH)
        add(f"{i}.o", WIDTH, HEADS * HEAD_DIM)
        add(f"{i}.gate", HIDDEN, WIDTH)
        add(f"{i}.up", HIDDEN, WIDTH)
        add(f"{i}.down", WIDTH, HIDDEN)
    for i in range(layers):
        add(f"{i}.sinks", HEADS, scale=2.0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def build_tape(layers: int = 2, window: int = 0, softcap: float = 0.0, sinks: bool = False) -> Tape:
    """The tape of `write_model`'s weights: attention and a gated network a layer."""
    tape = Tape()
    (x,) = tape.add("embed", (), ["embed"], [WIDTH])
    inv_freq = [float(f) for f in 1.0 / 1e4 ** (np.arange(0, HEAD_DIM, 2) / HEAD_DIM)]
    (table,) = tape.add("rope_table", (), (), [HEAD_DIM], inv_freq=inv_freq)
    for i in range(layers):
        (h,) = tape.add("rms_norm", [x], [f"{i}.norm"], [WIDTH], eps=1e-5)
        kv = KV_HEADS * HEAD_DIM
        q, k, v = tape.add(
            "linear",
            [h],
            [f"{i}.q", None, f"{i}.k", None, f"{i}.v", None],
            [HEADS * HEAD_DIM, kv, kv],
        )
        (q,) = tape.add("rope", [q, table], (), [HEADS * HEAD_DIM], head_dim=HEAD_DIM)
        (k,) = tape.add("rope", [k, table], (), [kv], head_dim=HEAD_DIM)
        (a,) = tape.add(
            "attention",
            [q, k, v],
            [f"{i}.sinks"] if sinks else [],
            [HEADS * HEAD_DIM],
            layer=i,
            heads=HEADS,
            kv_heads=KV_HEADS,
            head_dim=HEAD_DIM,
            value_dim=HEAD_DIM,
            scale=HEAD_DIM**-0.5,
            window=window,
            softcap=softcap,
        )
        (o,) = tape.add("linear", [a], [f"{i}.o", None], [WIDTH])
        (x,) = tape.add("add", [x, o], (), [WIDTH])
        (f,) = tape.add("ffn", [x], [f"{i}.gate", f"{i}.up", f"{i}.down"], [WIDTH])
        (x,) = tape.add("add", [x, f], (), [WIDTH])
    tape.add("logits", [x], ["head", None])
    return tape


def engine(path: Path, tape: Tape, **options: object) -> Engine:
    """An engine over `path`, small enough for tests."""
    settings: dict[str, object] = {"threads": 2, "context": 256, "max_batch": 64, **options}
    return Engine(GgufFile(str(path)), tape, **settings)  # type: ignore[arg-type]


def forward(
    core: Engine, ids: list[int], chunk: int = 64, sequence: int | None = None
) -> np.ndarray:
    """Logits after every token, float32 [len(ids), vocab], fed in chunks of `chunk` tokens."""
    own = core.open_sequence() if sequence is None else sequence
    rows = []
    for at in range(0, len(ids), chunk):
        part = np.array(ids[at : at + chunk], np.int32)
        every = np.arange(len(part), dtype=np.int32)
        rows.append(core.step(part, np.full(len(part), own, np.int32), every))
    if sequence is None:
        core.close_sequence(own)
    return np.concatenate(rows)


def random_ids(count: int, seed: int = 1) -> list[int]:
    """Token ids within the vocabulary."""
    return [int(i) for i in np.random.default_rng(seed).integers(0, VOCAB, count)]
