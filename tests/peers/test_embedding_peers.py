"""Embeddings of tiny models beside the pooled hidden states of transformers."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.arch.running import relative_difference
from tests.golden.specs import SPECS
from zerostall import LLM

pytestmark = pytest.mark.peers
TOLERANCE = 1e-4  # of the largest value, as for logits


def hidden_states(model: Any, ids: np.ndarray) -> np.ndarray:
    """What transformers' head reads, float32 [tokens, width]."""
    import torch

    torch.set_num_threads(1)
    with torch.inference_mode():
        batch = torch.from_numpy(ids.astype(np.int64))[None]
        out = model.base_model(batch, use_cache=False)
    return out.last_hidden_state[0].float().numpy()


@pytest.mark.parametrize("name", sorted(SPECS))
def test_embeddings_agree_with_transformers(name: str, tmp_path: Path) -> None:
    from tests.golden.convert import make_model, prompt_ids, save_gguf

    spec = SPECS[name]
    seed = zlib.crc32(name.encode())
    model = make_model(spec, seed)
    save_gguf(model, spec, tmp_path / name, tmp_path / "model.gguf")
    longest = spec.arguments["max_position_embeddings"]
    for prompt in spec.prompts:
        ids = prompt_ids(spec, prompt, seed)
        states = hidden_states(model, ids)
        context = min(prompt.context, longest)
        with LLM(tmp_path / "model.gguf", threads=1, ctx=context, kv_type="f32") as llm:
            for pooling, pooled in (("mean", states.mean(0)), ("last", states[-1])):
                (plain,) = llm.embed(ids, pooling=pooling, normalize=False)
                assert relative_difference(plain, pooled) <= TOLERANCE
                (unit,) = llm.embed(ids, pooling=pooling)
                expected = pooled / np.linalg.norm(pooled)
                assert relative_difference(unit, expected) <= TOLERANCE
