"""Every golden model against transformers' logits, and against itself in every way of running.

The models and logits are made by tests/golden/make_models.py.
"""

from __future__ import annotations

import numpy as np
import pytest

from tests.arch.running import NAMES, Case, engine, interpreter, relative_difference, run
from zerostall import _core, arch

TOLERANCE = 1e-4  # of the largest logit


@pytest.fixture(scope="module", params=NAMES)
def case(request: pytest.FixtureRequest) -> Case:
    return Case(request.param)


def test_every_architecture_has_a_golden_model() -> None:
    made = {Case(name).file.get("general.architecture") for name in NAMES}
    assert made == set(arch.names())


def test_logits_agree_with_transformers(case: Case) -> None:
    for tokens, context, expected in case.prompts:
        got = run(engine(case, context), tokens)
        assert relative_difference(got, expected) <= TOLERANCE


def test_logits_agree_with_the_operators_in_numpy(case: Case) -> None:
    for tokens, context, _ in case.prompts:
        got = run(engine(case, context), tokens)
        assert relative_difference(got, interpreter(case, context).step(tokens)) <= TOLERANCE / 10


def test_the_tape_in_numpy_agrees_with_transformers(case: Case) -> None:
    for tokens, context, expected in case.prompts:
        got = interpreter(case, context).step(tokens)
        assert relative_difference(got, expected) <= TOLERANCE / 10


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_leave_every_bit_as_it_is(case: Case, threads: int) -> None:
    for tokens, context, _ in case.prompts:
        one = run(engine(case, context), tokens)
        several = run(engine(case, context, threads=threads), tokens)
        assert np.array_equal(one, several)


def test_chunks_of_the_prompt_leave_every_bit_as_it_is(case: Case) -> None:
    for tokens, context, _ in case.prompts:
        model = engine(case, context)
        whole = run(model, tokens)
        for chunk in (1, 7, 32):
            assert np.array_equal(whole, run(model, tokens, chunk))


def test_every_instruction_set_gives_the_same_bits(case: Case) -> None:
    for tokens, context, _ in case.prompts:
        plain = run(engine(case, context, isa="scalar"), tokens)
        for isa in _core.isas():
            assert np.array_equal(plain, run(engine(case, context, isa=isa), tokens))


def test_the_batch_shared_with_other_sequences_leaves_every_bit_as_it_is(case: Case) -> None:
    tokens, context, _ = case.prompts[-1]
    model = engine(case, context, kv_tokens=4 * context)
    alone = [run(model, tokens[begin:]) for begin in range(3)]
    sequences = [model.open_sequence() for _ in range(3)]
    for position in range(len(tokens) - 2):
        batch = np.array([tokens[begin + position] for begin in range(3)], dtype=np.int32)
        ids = np.array(sequences, dtype=np.int32)
        got = model.step(batch, ids, np.arange(3, dtype=np.int32))
        for begin in range(3):
            assert np.array_equal(got[begin], alone[begin][position])


@pytest.mark.parametrize(("kv_type", "most"), [("f16", 1e-3), ("int8", 1e-2)])
def test_a_smaller_cache_changes_logits_only_slightly(
    case: Case, kv_type: str, most: float
) -> None:
    for tokens, context, expected in case.prompts:
        got = run(engine(case, context, kv_type=kv_type), tokens)
        # The mean, for at a near tie of the router a token's logits change by more.
        assert np.abs(got - expected).mean() <= most * np.abs(expected).max()


def test_truncating_a_sequence_forgets_its_end(case: Case) -> None:
    tokens, context, _ = case.prompts[-1]
    model = engine(case, context)
    whole = run(model, tokens)
    sequence = model.open_sequence()
    ids = np.full(len(tokens), sequence, dtype=np.int32)
    none = np.empty(0, dtype=np.int32)
    model.step(tokens, ids, none)
    model.truncate(sequence, 20)
    last = np.array([len(tokens) - 21], dtype=np.int32)
    got = model.step(tokens[20:], ids[20:], last)
    assert np.array_equal(got[0], whole[-1])
