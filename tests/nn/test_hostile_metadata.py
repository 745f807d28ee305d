"""Whatever a file's metadata says, building its tape works or raises a typed error, soon."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.nn.fake_file import FakeFile, tiny_llama
from tests.nn.hostile import NUMBERS, OPTIONAL, REALS, TEXTS
from zerostall import arch
from zerostall.errors import ZerostallError
from zerostall.tape import Tape

LISTS: list[Any] = [np.zeros(0), np.array([1, 0]), np.array([3.5]), ["a"], [np.zeros(2)]]
VALUES = st.sampled_from([*NUMBERS, *REALS, True, False, *TEXTS, *LISTS])


def shapes_of_everything(file: FakeFile) -> None:
    """Tensors that some architectures need on top of llama's."""
    for name in ("post_attention_norm", "post_ffw_norm"):
        file.shapes[f"blk.0.{name}.weight"] = (8,)
    for name, width in (("q", 4), ("k", 4)):
        file.shapes[f"blk.0.attn_{name}_norm.weight"] = (width,)


@pytest.mark.parametrize("name", arch.names())
@settings(max_examples=60)
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
