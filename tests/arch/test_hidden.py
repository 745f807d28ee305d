"""The hidden states of every golden model: those of the operators in numpy, and the same bits in
every way of running."""

from __future__ import annotations

import numpy as np
import pytest

from tests.arch.running import NAMES, Case, engine, interpreter, relative_difference, run
from zerostall import _core

TOLERANCE = 1e-5  # of the largest value


@pytest.fixture(scope="module", params=NAMES)
def case(request: pytest.FixtureRequest) -> Case:
    return Case(request.param)


def hidden(model: _core.Engine, tokens: np.ndarray, chunk: int = 0) -> np.ndarray:
    """The states of all tokens [tokens, width], fed in chunks; without any logits."""
    sequence = model.open_sequence()
    size = min(chunk or model.max_batch, model.max_batch)
    out = []
    for begin in range(0, len(tokens), size):
        part = tokens[begin : begin + size]
        owners = np.full(len(part), sequence, np.int32)
        every = np.arange(len(part), dtype=np.int32)
        logits, states = model.step_hidden(part, owners, every[:0], every)
        assert logits.shape == (0, model.vocab_size)
        out.append(states)
    model.close_sequence(sequence)
    return np.concatenate(out)


def test_hidden_states_are_those_of_the_operators_in_numpy(case: Case) -> None:
    for tokens, context, _ in case.prompts:
        reference = interpreter(case, context)
        reference.step(tokens)
        got = hidden(engine(case, context), tokens)
        assert got.dtype == np.float32
        assert relative_difference(got, reference.hidden) <= TOLERANCE


def test_the_head_makes_the_logits_of_the_hidden_states(case: Case) -> None:
    for tokens, context, _ in case.prompts:
        model = engine(case, context)
        states = hidden(model, tokens)
        reference = interpreter(case, context)
        head = reference.tape.ops[-1]
        weights = [reference._weight(weight) for weight in head.weights]
        (expected,) = reference.logits(head, [states.astype(np.float64)], weights)
        assert relative_difference(run(model, tokens), expected) <= TOLERANCE


def test_threads_chunks_and_instruction_sets_leave_every_bit_as_it_is(case: Case) -> None:
    for tokens, context, _ in case.prompts:
        expected = hidden(engine(case, context), tokens)
        for chunk in (1, 7, 32):
            assert np.array_equal(hidden(engine(case, context, threads=2), tokens, chunk), expected)
        for isa in _core.isas():
            assert np.array_equal(hidden(engine(case, context, isa=isa), tokens), expected)
