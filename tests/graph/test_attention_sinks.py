"""Attention sinks: a score of each head that takes its share of the softmax and has no value."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt
import pytest

from tests.graph.tiny import build_tape, engine, forward, random_ids, write_model
from zerostall import _core
from zerostall.errors import InvalidRequestError, ModelFormatError
from zerostall.tape import Tape

HEADS, KV_HEADS, HEAD_DIM, VOCAB, SCALE = 6, 2, 12, 41, 0.4
KV = KV_HEADS * HEAD_DIM
Floats = npt.NDArray[np.float32]


def write(path: Path, sinks: npt.ArrayLike) -> dict[str, Floats]:
    """Queries, keys and values of each token as they are, and a head that shows the output."""
    rng = np.random.default_rng(3)
    width = HEADS * HEAD_DIM
    q, k, v = (rng.standard_normal((n, width), np.float32) * 0.1 for n in (width, KV, KV))
    tensors = {
        "embed": rng.standard_normal((VOCAB, width), np.float32),
        "q": q,
        "k": k,
        "v": v,
        "head": np.eye(width, dtype=np.float32),
        "sinks": np.asarray(sinks, np.float32),
    }
    writer = gguf.GGUFWriter(path, "sinks")
    for name, values in tensors.items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return tensors


def tape_of(sinks: bool, window: int = 0) -> Tape:
    """Attention of a token's embedding over those before it; logits are its output."""
    tape = Tape()
    width = HEADS * HEAD_DIM
    (x,) = tape.add("embed", weights=["embed"], widths=[width], scale=1.0)
    q, k, v = tape.add("linear", [x], ["q", None, "k", None, "v", None], [width, KV, KV])
    (o,) = tape.add(
        "attention",
        [q, k, v],
        ["sinks"] if sinks else [],
        [width],
        layer=0,
        heads=HEADS,
        kv_heads=KV_HEADS,
        head_dim=HEAD_DIM,
        value_dim=HEAD_DIM,
        scale=SCALE,
        window=window,
    )
    tape.add("logits", [o], ["head", None])
    return tape


def ids_of(count: int) -> list[int]:
    return [i % VOCAB for i in random_ids(count)]


def closed_form(tensors: dict[str, Floats], ids: list[int], window: int) -> npt.NDArray[np.float64]:
    """exp(s) v summed over the keys, by the sum of exp(s) over the keys and the sink."""
    x = tensors["embed"][ids].astype(np.float64)
    q, k, v = ((x @ tensors[name].T).reshape(len(ids), -1, HEAD_DIM) for name in "qkv")
    out = np.zeros_like(q)
    for t in range(len(ids)):
        seen = slice(max(0, t + 1 - window) if window else 0, t + 1)
        for head in range(HEADS):
            own = head // (HEADS // KV_HEADS)
            e = np.exp(k[seen, own] @ q[t, head] * SCALE)
            out[t, head] = e @ v[seen, own] / (e.sum() + np.exp(float(tensors["sinks"][head])))
    return out.reshape(len(ids), -1)


@pytest.mark.parametrize("window", [0, 9])
@pytest.mark.parametrize(("kv_type", "most"), [("f32", 2e-6), ("f16", 1e-3), ("int8", 1e-2)])
def test_a_sink_joins_the_denominator_alone(
    tmp_path: Path, window: int, kv_type: str, most: float
) -> None:
    tensors = write(tmp_path / "m.gguf", [-4.0, -1.0, 0.0, 1.5, 3.0, 30.0])
    ids = ids_of(80)
    core = engine(tmp_path / "m.gguf", tape_of(True, window), kv_type=kv_type)
    got, expected = forward(core, ids), closed_form(tensors, ids, window)
    assert np.abs(got - expected).max() <= most * np.abs(expected).max()


def test_a_sink_far_below_the_scores_changes_no_bit_and_one_far_above_leaves_nothing(
    tmp_path: Path,
) -> None:
    ids = ids_of(70)
    write(tmp_path / "m.gguf", [-1e30, -200.0, -np.inf, 1e30, 500.0, -1e30])
    path = tmp_path / "m.gguf"
    with_sinks = forward(engine(path, tape_of(True)), ids).reshape(len(ids), HEADS, -1)
    without = forward(engine(path, tape_of(False)), ids).reshape(len(ids), HEADS, -1)
    for head in (0, 1, 2, 5):
        assert np.array_equal(with_sinks[:, head], without[:, head])
    assert not with_sinks[:, 3:5].any()


@pytest.mark.parametrize("kv_type", ["f16", "f32", "int8"])
@pytest.mark.parametrize("window", [0, 70])
def test_chunks_threads_and_isas_give_the_same_bits_with_sinks(
    tmp_path: Path, window: int, kv_type: str
) -> None:
    path = write_model(tmp_path / "tiny.gguf")
    tape = build_tape(window=window, sinks=True)
    ids = random_ids(150)
    expected = forward(engine(path, tape, kv_type=kv_type), ids)
    assert not np.allclose(expected, forward(engine(path, build_tape(window=window)), ids))
    for threads in (1, 2, 3):
        for chunk in (1, 7, 32):
            core = engine(path, tape, kv_type=kv_type, threads=threads)
            assert np.array_equal(forward(core, ids, chunk), expected)
    for isa in _core.isas() + _core.isa_models():
        core = engine(path, tape, kv_type=kv_type, isa=isa)
        assert np.array_equal(forward(core, ids), expected)


@pytest.mark.parametrize("kv_type", ["f16", "int8"])
@pytest.mark.parametrize("threads", [1, 3])
def test_decode_past_a_chunk_of_keys_gives_the_bits_of_prefill_with_sinks(
    tmp_path: Path, threads: int, kv_type: str
) -> None:
    path = write_model(tmp_path / "tiny.gguf")
    tape = build_tape(layers=1, sinks=True)
    settings = {"context": 2600, "max_batch": 300, "kv_type": kv_type}
    ids = random_ids(2230)
    expected = forward(engine(path, tape, **settings), ids, 300)
    core = engine(path, tape, threads=threads, **settings)
    one = core.open_sequence()
    forward(core, ids[:2200], 256, one)
    rows = [forward(core, [token], 1, one)[0] for token in ids[2200:2220]]
    assert np.array_equal(np.stack(rows), expected[2200:2220])
    assert np.array_equal(forward(core, ids[2220:], 5, one), expected[2220:])


def test_another_number_of_sinks_than_heads_is_an_error(tmp_path: Path) -> None:
    write(tmp_path / "m.gguf", np.zeros(HEADS + 1))
    with pytest.raises(ModelFormatError, match=r"'sinks' has shape \[7\], expected \[6\]"):
        engine(tmp_path / "m.gguf", tape_of(True))
    tape = tape_of(True)
    tape.ops[2] = replace(tape.ops[2], weights=tape.ops[2].weights * 2)
    with pytest.raises(InvalidRequestError, match="has 2 weights, expected 0 to 1"):
        engine(tmp_path / "m.gguf", tape)
