"""Two layers in the widths of Qwen3-30B-A3B: experts of 2.9 MB, several requests each."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from tests.experts.streamed import BACK_ENDS, Model, check_counters, logits
from zerostall.convert import convert
from zerostall.lab.shapes import Shape
from zerostall.lab.synth import write_model

QWEN = Shape(
    *("cut", "qwen3moe", 2, 2048, 32, 4, 128, 0, 256, 512),
    query_key_norm="head",
    experts=16,
    used=8,
    expert_hidden=768,
)
LEAST_BYTES = 2_500_000  # of a record


@pytest.fixture(scope="module", params=["plain", "converted"])
def cut(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Model]:
    path = tmp_path_factory.mktemp("cut") / "cut.gguf"
    write_model(path, "cut", QWEN)
    if request.param == "converted":
        plain, path = path, path.with_name("converted.gguf")
        convert(plain, path)
        plain.unlink()
    yield Model(path)
    path.unlink()


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("io", BACK_ENDS)
def test_back_ends_and_speculation_change_no_bit(cut: Model, io: str, direct: bool) -> None:
    ids = cut.ids(12)
    for speculate in (True, False):
        engine = cut.engine(2, bytes=cut.least, io=io, speculate=speculate, direct=direct)
        for chunk in (1, 12):
            assert np.array_equal(logits(engine, ids, chunk), cut.expected(ids))
        stats = check_counters(engine)
        assert stats["misses"] > 0 and stats["evictions"] > 0
        assert {size > LEAST_BYTES for _, _, size in engine.expert_layers} == {True}
