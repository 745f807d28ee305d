"""Steps that give hidden states, beside others that give logits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.graph.tiny import WIDTH, build_tape, engine, forward, random_ids, write_model
from zerostall._core import Engine
from zerostall.errors import InvalidRequestError

NONE = np.empty(0, np.int32)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("tiny") / "tiny.gguf")


def states(core: Engine, ids: list[int]) -> np.ndarray:
    """The hidden states of a text of its own [len(ids), width]."""
    one = core.open_sequence()
    every = np.arange(len(ids), dtype=np.int32)
    owners = np.full(len(ids), one, np.int32)
    got = core.step_hidden(np.array(ids, np.int32), owners, NONE, every)[1]
    core.close_sequence(one)
    return got


def test_a_step_gives_logits_of_some_and_states_of_others(model: Path) -> None:
    core = engine(model, build_tape())
    first, second = random_ids(30), random_ids(20, seed=2)
    logits, hidden = forward(core, first), states(core, second)
    assert core.width == WIDTH
    assert hidden.shape == (20, WIDTH)
    owners = [core.open_sequence()] * 30 + [core.open_sequence()] * 20
    got = core.step_hidden(
        np.array(first + second, np.int32),
        np.array(owners, np.int32),
        np.array([29, 3], np.int32),
        np.array([49, 30, 30], np.int32),
    )
    assert np.array_equal(got[0], logits[[29, 3]])
    assert np.array_equal(got[1], hidden[[19, 0, 0]])


def test_without_rows_of_logits_the_head_is_not_run(model: Path) -> None:
    core = engine(model, build_tape())
    states(core, random_ids(30))
    assert core.describe()[-1]["time_us"] == 0
    forward(core, random_ids(30))
    assert core.describe()[-1]["time_us"] > 0


@pytest.mark.parametrize("row", [-1, 30])
def test_a_row_outside_the_batch_is_refused_and_changes_nothing(model: Path, row: int) -> None:
    core = engine(model, build_tape())
    one = core.open_sequence()
    ids, owners = np.array(random_ids(30), np.int32), np.full(30, one, np.int32)
    with pytest.raises(InvalidRequestError, match=f"row {row} is outside the batch of 30"):
        core.step_hidden(ids, owners, NONE, np.array([row], np.int32))
    assert core.length(one) == 0
