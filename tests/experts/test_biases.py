"""Biases of streamed experts stay in memory, and a router's own counts in every guess."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from tests.arch.lies import read
from tests.arch.running import FOLDER
from tests.experts.streamed import Model, check_counters, logits
from zerostall import _core


def biased(folder: Path) -> Model:
    """gpt-oss whose routers' biases alone choose experts 1, 3 and 4, and of which 2 comes last."""
    file = read(FOLDER / "gpt-oss.gguf")
    for tensor in file.tensors:
        if tensor.name.endswith(b"ffn_gate_inp.bias"):
            tensor.data = np.array([0, 300, -300, 200, 100], np.float32).tobytes()
    path = folder / "biased.gguf"
    path.write_bytes(file.build())
    return Model(path)


def test_guesses_name_what_a_router_with_a_bias_chooses(tmp_path: Path) -> None:
    model = biased(tmp_path)
    engine = model.engine(2, bytes=model.quarter, io="pread")
    ids = model.ids(20)
    assert np.array_equal(logits(engine, ids, 1), model.expected(ids))
    stats = check_counters(engine)
    # 3 layers; every token wants the same 3 experts of each.
    assert stats["demanded"] == stats["foreseen"] == 20 * 3 * 3


def test_the_biases_of_streamed_experts_are_planned_for_beside_the_other_weights() -> None:
    model = Model(FOLDER / "gpt-oss.gguf")

    def weights() -> int:
        plan = _core.plan_memory(model.file, model.tape, context=model.context, streaming=True)
        return plan["weights"]

    whole = weights()
    for i, op in enumerate(model.tape.ops):
        if op.kind == "moe":
            without = (*op.weights[:6], None, None, None, *op.weights[9:])
            model.tape.ops[i] = replace(op, weights=without)
    # 3 layers of 5 experts with biases of gate, up and down.
    assert whole - weights() == 3 * 5 * (24 + 24 + 56) * 4
