"""The memory of experts is on the NUMA node of their drive."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.experts.streamed import Model, logits
from zerostall import convert, hub

NODE = 1  # a machine that lacks it leaves the memory where it is


@pytest.mark.parametrize("converted", [False, True])
def test_slots_and_what_is_read_for_them_are_on_the_drives_node(
    converted: bool, tmp_path: Path
) -> None:
    path = hub.resolve("nano")
    if converted:
        convert.convert(path, tmp_path / "converted.gguf")
        path = tmp_path / "converted.gguf"
    model = Model(path)
    ids = model.ids(40)
    engine = model.engine(threads=2, bytes=model.least, node=NODE)
    assert logits(engine, ids).tobytes() == model.expected(ids).tobytes()
    assert engine.node_bytes == {NODE: model.least}  # slots, and rows read to be packed into them
    assert model.engine(bytes=model.least).node_bytes == {}
