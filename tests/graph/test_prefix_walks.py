"""Random walks over sequences that share pages, beside a plain list of each one's tokens."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.graph.tiny import build_tape, engine, forward, random_ids, write_model
from zerostall.errors import ContextLengthError, OutOfBudgetError

CONTEXT, PAGE = 320, 64
FOLDER = tempfile.TemporaryDirectory()
MODEL = write_model(Path(FOLDER.name) / "tiny.gguf", layers=1)
TAPE = build_tape(layers=1)
# Its results are the reference: it shares nothing.
PLAIN = engine(MODEL, TAPE, context=CONTEXT, prefix_cache=False)
# Prompts that begin alike, so that pages are found and merged often.
TEXTS = [random_ids(150, 1) + random_ids(170, seed) for seed in (2, 3)]
TEXTS += [random_ids(80, 1) + random_ids(240, 4), random_ids(320, 5)]
MOST_SEQUENCES = 5


class Walk(RuleBasedStateMachine):
    """Any order of what can be done with sequences, in a cache of few pages."""

    @initialize(
        pages=st.sampled_from([5, 5, 6, 10, 20]), share=st.sampled_from([True, True, False])
    )
    def load(self, pages: int, share: bool) -> None:
        self.core = engine(
            MODEL, TAPE, context=CONTEXT, kv_tokens=pages * PAGE, prefix_cache=share, threads=1
        )
        self.share = share
        self.pages = pages
        self.held: dict[int, list[int]] = {}

    @precondition(lambda self: len(self.held) < MOST_SEQUENCES)
    @rule(text=st.sampled_from(TEXTS), count=st.integers(0, CONTEXT))
    def open_and_adopt(self, text: list[int], count: int) -> None:
        sequence = self.core.open_sequence()
        assert sequence not in self.held
        found = self.core.adopt_prefix(sequence, np.array(text[:count], np.int32))
        assert found % PAGE == 0 and (found < count or found == 0)
        assert self.share or found == 0
        if self.share:  # what an open sequence holds is always found
            for tokens in self.held.values():
                same = next(
                    (i for i, (a, b) in enumerate(zip(tokens, text, strict=False)) if a != b),
                    min(len(tokens), len(text)),
                )
                assert found >= min(same, max(0, count - 1)) // PAGE * PAGE
        self.held[sequence] = text[:found]

    @precondition(lambda self: self.held)
    @rule(data=st.data(), text=st.sampled_from(TEXTS), count=st.integers(1, CONTEXT + 20))
    def prefill(self, data: st.DataObject, text: list[int], count: int) -> None:
        """Go on with a text, to a length, step by step."""
        sequence = data.draw(st.sampled_from(sorted(self.held)))
        self.feed(sequence, (text + text)[len(self.held[sequence]) : count])

    @precondition(lambda self: self.held)
    @rule(data=st.data(), text=st.sampled_from(TEXTS), back=st.integers(1, 130))
    def go_back(self, data: st.DataObject, text: list[int], back: int) -> None:
        """Take all pages, then write again to a full one, for which there may be no other."""
        sequence = data.draw(st.sampled_from(sorted(self.held)))
        self.feed(sequence, (text + text)[len(self.held[sequence]) :])
        self.held[sequence] = self.held[sequence][:-back]
        self.core.truncate(sequence, len(self.held[sequence]))
        self.feed(sequence, [back % 50])

    def feed(self, sequence: int, tokens: list[int]) -> None:
        """Step as far as there is room; the last logits must be those of a fresh sequence."""
        row = None
        for at in range(0, len(tokens), PAGE):
            part = np.array(tokens[at : at + PAGE], np.int32)
            owner = np.full(len(part), sequence, np.int32)
            before = self.core.cache_stats()
            past = len(self.held[sequence]) + len(part) > CONTEXT
            refusal = ContextLengthError if past else OutOfBudgetError
            try:
                row = self.core.step(part, owner, np.array([len(part) - 1], np.int32))[0]
            except refusal:
                assert self.core.cache_stats() == before
                break
            assert not past
            self.held[sequence] = self.held[sequence] + part.tolist()
        if row is not None:
            assert np.array_equal(row, forward(PLAIN, self.held[sequence])[-1])

    @precondition(lambda self: self.held)
    @rule(data=st.data(), text=st.sampled_from(TEXTS), seed=st.integers(0, 3))
    def step(self, data: st.DataObject, text: list[int], seed: int) -> None:
        """A batch of one sequence or several; after a failure each is as before."""
        size = data.draw(st.sampled_from([1, 5, 20, 30, 64]))
        most = max(1, 64 // size)
        count = data.draw(st.integers(1, min(most, len(self.held))))
        chosen = data.draw(st.permutations(sorted(self.held)))[:count]
        parts = {}
        for sequence in chosen:
            tokens = self.held[sequence]
            follows = tokens == text[: len(tokens)] and len(tokens) + size <= len(text)
            parts[sequence] = (
                text[len(tokens) : len(tokens) + size] if follows else random_ids(size, seed)
            )
        batch = np.array([t for part in parts.values() for t in part], np.int32)
        owners = np.repeat(np.array(chosen, np.int32), size)
        rows = np.arange(size - 1, size * count, size, dtype=np.int32)
        before = self.core.cache_stats()
        free = self.core.free_tokens
        try:
            got = self.core.step(batch, owners, rows)
        except ContextLengthError:
            assert max(len(self.held[s]) for s in chosen) + size > CONTEXT
            assert self.core.cache_stats() == before
            return
        except OutOfBudgetError:
            # Each may want the pages of its tokens and a copy of its last.
            assert free < count * (-(-size // PAGE) + 1) * PAGE
            assert self.core.cache_stats() == before
            return
        for sequence, row in zip(chosen, got, strict=True):
            self.held[sequence] = self.held[sequence] + parts[sequence]
            if data.draw(st.booleans()):
                assert np.array_equal(row, forward(PLAIN, self.held[sequence])[-1])

    @precondition(lambda self: self.held)
    @rule(data=st.data(), back=st.one_of(st.integers(0, 70), st.integers(0, CONTEXT)))
    def truncate(self, data: st.DataObject, back: int) -> None:
        sequence = data.draw(st.sampled_from(sorted(self.held)))
        length = max(0, len(self.held[sequence]) - back)
        self.core.truncate(sequence, length)
        self.held[sequence] = self.held[sequence][:length]

    @precondition(lambda self: 0 < len(self.held) < MOST_SEQUENCES)
    @rule(data=st.data())
    def fork(self, data: st.DataObject) -> None:
        sequence = data.draw(st.sampled_from(sorted(self.held)))
        copy = self.core.fork_sequence(sequence)
        assert copy not in self.held
        self.held[copy] = self.held[sequence]

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def save_and_load(self, data: st.DataObject) -> None:
        sequence = data.draw(st.sampled_from(sorted(self.held)))
        path = Path(FOLDER.name) / "state"
        self.core.save_state(sequence, path)
        before = self.core.cache_stats()
        try:
            loaded = self.core.load_state(path)
        except OutOfBudgetError:
            assert self.core.cache_stats() == before
            return
        self.held[loaded] = self.held[sequence]
        if len(self.held) > MOST_SEQUENCES:
            self.core.close_sequence(sequence)
            del self.held[sequence]

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def close(self, data: st.DataObject) -> None:
        sequence = data.draw(st.sampled_from(sorted(self.held)))
        self.core.close_sequence(sequence)
        del self.held[sequence]

    @invariant()
    def everything_agrees(self) -> None:
        if not hasattr(self, "core"):
            return
        self.core.check_integrity()
        listed = set()
        for sequence, tokens in self.held.items():
            assert self.core.length(sequence) == len(tokens)
            own = self.core.sequence_pages(sequence)
            assert len(own) == len(set(own)) == -(-len(tokens) // PAGE)
            listed |= set(own)
        assert self.core.cache_stats()["held"] == len(listed)
        assert self.core.free_tokens == (self.pages - len(listed)) * PAGE

    def teardown(self) -> None:
        for tokens, sequence in [(t, s) for s, t in getattr(self, "held", {}).items()]:
            if len(tokens) == CONTEXT:
                continue
            try:
                row = forward(self.core, [7], 1, sequence)[0]
            except OutOfBudgetError:
                continue
            assert np.array_equal(row, forward(PLAIN, [*tokens, 7])[-1])


TestWalk = Walk.TestCase
TestWalk.settings = settings(
    max_examples=150,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
