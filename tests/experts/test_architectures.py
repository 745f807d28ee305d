"""Every architecture with experts streams them, with the bits it has in RAM."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.arch.running import FOLDER, NAMES
from tests.experts.streamed import Model, came_from_the_drive, logits
from zerostall.convert import convert


def is_mixture(name: str) -> bool:
    return Model(FOLDER / f"{name}.gguf").all > 0


MIXTURES = [name for name in NAMES if is_mixture(name)]


def test_the_golden_mixtures_are_known() -> None:
    expected = {"dots1", "gpt-oss", "granitemoe", "llama-mixtral", "olmoe", "qwen2moe", "qwen3moe"}
    assert expected <= set(MIXTURES)


@pytest.mark.parametrize("name", MIXTURES)
def test_a_golden_mixture_keeps_its_bits(name: str, tmp_path: Path) -> None:
    convert(FOLDER / f"{name}.gguf", tmp_path / "converted.gguf")
    for path in (FOLDER / f"{name}.gguf", tmp_path / "converted.gguf"):
        model = Model(path)
        ids = model.ids(40)
        for budget in model.budgets():
            engine = model.engine(2, bytes=budget, io="pread")
            for chunk in (1, 7, 40):
                assert np.array_equal(logits(engine, ids, chunk), model.expected(ids))
            assert came_from_the_drive(engine) > 0
