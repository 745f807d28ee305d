"""Whatever a file's metadata says, building its tape works or raises a typed error, soon."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.nn.fake_file import FakeFile, tiny_llama
from zerostall import arch
from zerostall.errors import ZerostallError
from zerostall.tape import Tape

OPTIONAL = [
    "attention.key_length",
    "attention.value_length",
    "attention.scale",
    "attention.sliding_window",
    "attention.sliding_window_pattern",
    "attn_logit_softcapping",
    "final_logit_softcapping",
    "expert_count",
    "expert_used_count",
    "expert_weights_scale",
    "expert_weights_norm",
    "expert_gating_func",
    "embedding_scale",
    "logit_scale",
    "residual_scale",
    "rope.dimension_count",
    "rope.freq_base",
    "rope.freq_base_swa",
    "rope.scale_linear",
    "rope.scaling.type",
    "rope.scaling.factor",
    "rope.scaling.attn_factor",
    "rope.scaling.finetuned",
    "rope.scaling.original_context_length",
    "rope.scaling.yarn_attn_factor",
    "rope.scaling.yarn_beta_fast",
    "rope.scaling.yarn_beta_slow",
    "rope.scaling.yarn_ext_factor",
    "rope.scaling.yarn_log_multiplier",
]
NUMBERS = [0, 1, 2, 3, 4, 8, -1, 7, 255, 4096, 1 << 24, 1 << 31, 1 << 63]
REALS = [0.0, 1.0, 0.5, 1e-30, 1e30, -1.0, float("inf"), float("nan"), 1e308, 5e-324]
TEXTS = ["", "yarn", "linear", "none", "longrope", "su", "\x00"]
LISTS: list[Any] = [np.zeros(0), np.array([1, 0]), np.array([3.5]), ["a"], [np.zeros(2)]]
VALUES = st.sampled_from([*NUMBERS, *REALS, True, False, *TEXTS, *LISTS])


def shapes_of_everything(file: FakeFile) -> None:
    """Tensors that some architectures need on top of llama's."""
    for name in ("post_attention_norm", "post_ffw_norm"):
        file.shapes[f"blk.0.{name}.weight"] = (8,)
    for name, width in (("q", 4), ("k", 4)):
        file.shapes[f"blk.0.attn_{name}_norm.weight"] = (width,)


@pytest.mark.parametrize("name", arch.names())
@settings(max_examples=60, deadline=2000)
@given(data=st.data())
def test_building_works_or_raises_a_typed_error(name: str, data: st.DataObject) -> None:
    file = tiny_llama(architecture=name)
    if data.draw(st.booleans()):
        shapes_of_everything(file)
    if name == "stablelm":
        file.metadata[name + ".attention.layer_norm_epsilon"] = 1e-5
    keys = [key for key in file.metadata if key.startswith(name)]
    keys += [f"{name}.{key}" for key in OPTIONAL]
    for key in data.draw(st.lists(st.sampled_from(keys), max_size=4)):
        file.metadata[key] = data.draw(VALUES)
    tape = Tape()
    with contextlib.suppress(ZerostallError):
        tape = arch.load(file, 64).tape  # type: ignore[arg-type]
    assert finite(tape)


def finite(tape: Tape) -> bool:
    numbers = [value for op in tape.ops for value in op.attrs.values() if isinstance(value, float)]
    tables = [op.attrs["inv_freq"] for op in tape.ops if op.kind == "rope_table"]
    return bool(np.isfinite(numbers).all() and all(np.isfinite(table).all() for table in tables))
