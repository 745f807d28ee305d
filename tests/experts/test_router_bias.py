"""A router's own bias counts in every guess of what its layer will want."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.arch.lies import read
from tests.arch.running import FOLDER
from tests.experts.streamed import Model, check_counters, logits


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
