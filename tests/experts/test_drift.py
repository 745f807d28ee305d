"""Guesses are corrected by what routers turned out to say of the tokens before."""

from __future__ import annotations

from pathlib import Path

import gguf as gguf_package
import numpy as np
import pytest

from zerostall import _core, arch, gguf, hub
from zerostall.engine.loader import load_tokenizer

TEXT = Path(__file__).parents[1] / "data" / "nano_heldout.txt"
USED = 2
NEW = 0.1  # weight of the latest step
ONES = [1] * 150
MIXED = [1] * 20 + [3] * 20 + [9, 1, 1, 40, *[2] * 20]


@pytest.fixture(scope="module")
def model():
    file = gguf.open_model(hub.resolve("nano"))
    tape = arch.load(file, 256).tape
    ids = load_tokenizer(file).encode(TEXT.read_text(encoding="utf-8"))
    return file, tape, ids


def engine_of(model, **streaming):
    """With the least memory there is no room for what tokens chose before: only routers guess."""
    file, tape, _ = model
    memory = _core.plan_memory(file, tape, context=256, streaming=True)
    options = {"bytes": memory["least_experts"], "io": "pread", "direct": False}
    return _core.Engine(file, tape, context=256, threads=2, streaming=options | streaming)


def walk(engine, ids, steps):
    """Of each step, what guesses were made of, and how many demanded experts had been named."""
    sequence = engine.open_sequence()
    at, found = 0, []
    for count in steps:
        before = engine.stream_stats()["foreseen"]
        part = np.array(ids[at : at + count], np.int32)
        engine.step(part, np.full(count, sequence, np.int32), np.zeros(0, np.int32))
        found.append((engine.take_states(), engine.stream_stats()["foreseen"] - before))
        at += count
    engine.close_sequence(sequence)
    return found


def chosen(logits):
    """Of all rows together."""
    return set(np.argsort(-logits, axis=1, kind="stable")[:, :USED].ravel().tolist())


class Drift:
    """What core/experts/drift.h keeps of a layer's guess."""

    def __init__(self):
        self.value, self.steps = np.float32(0), 0

    def learn(self, guess, logits):
        self.steps += 1
        off = (logits - guess - self.value).mean(axis=0)
        self.value = self.value + max(NEW, 1 / self.steps) * off


def named(found):
    """How many a reference names, with drift and without, in each step."""
    drifts = {}
    for states, _ in found:
        with_drift = without = 0
        for layer, kinds in enumerate(states):
            drift = drifts.setdefault(layer, Drift())
            guess, logits = kinds["late_guess"], kinds["logits"]
            wanted = chosen(logits)
            with_drift += len(wanted & chosen(guess + drift.value))
            without += len(wanted & chosen(guess))
            drift.learn(guess, logits)
        yield with_drift, without


@pytest.mark.parametrize("steps", [ONES, MIXED], ids=["a token a step", "several"])
def test_what_is_named_is_the_guess_and_its_mean_error_so_far(model, steps):
    found = walk(engine_of(model, record_states=64 << 20), model[2], steps)
    reference = list(named(found))
    got = [foreseen for _, foreseen in found]
    off = [abs(a - b) for a, (b, _) in zip(got, reference, strict=True)]
    # Sums in another order may tell two equal logits apart otherwise.
    assert sum(off) <= 0.002 * sum(got)
    assert sum(got) > 1.02 * sum(without for _, without in reference)


def test_a_token_that_overflows_spoils_no_later_guess(model, tmp_path):
    whole = Path(hub.resolve("nano"))
    bad = 7
    (embeddings,) = (
        t for t in gguf_package.GGUFReader(whole).tensors if t.name == "token_embd.weight"
    )
    rows, row_bytes = embeddings.shape[1], embeddings.n_bytes // embeddings.shape[1]
    assert bad < rows
    broken = bytearray(whole.read_bytes())
    begin = embeddings.data_offset + bad * row_bytes
    broken[begin : begin + row_bytes] = b"\x7e" * row_bytes  # float16: no number
    path = tmp_path / "broken.gguf"
    path.write_bytes(broken)
    file = gguf.open_model(path)
    other = (file, arch.load(file, 256).tape, model[2])
    ids = [i for i in model[2] if i != bad][:100]
    clean = walk(engine_of(other, record_states=64 << 20), ids, [1] * 100)
    engine = engine_of(other, record_states=64 << 20)
    ((states, _),) = walk(engine, [bad], [1])
    assert not np.isfinite(states[0]["logits"]).any()
    after = walk(engine, ids, [1] * 100)
    assert sum(n for _, n in after) > 0.97 * sum(n for _, n in clean)


def test_no_bit_of_what_is_computed_depends_on_it(model):
    ids = np.array(model[2][:40], np.int32)
    rows = []
    for ahead in (False, True):
        engine = engine_of(model, speculate=ahead)
        sequence = np.array([engine.open_sequence()], np.int32)
        rows.append(
            [engine.step(ids[i : i + 1], sequence, np.zeros(1, np.int32))[0] for i in range(40)]
        )
    assert np.array_equal(*rows)
