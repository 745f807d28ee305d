"""Random walks through an engine that streams, beside one that has all experts in memory."""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.arch.running import FOLDER
from tests.experts.streamed import Model, check_counters
from zerostall.errors import StorageError

MODEL = Model(FOLDER / "qwen3moe.gguf", context=48)
MANY_READS = 1 << 12
MOST_SEQUENCES = 3


class Walk(RuleBasedStateMachine):
    """Steps, truncations and faults in any order."""

    @initialize(
        budget=st.integers(0, 100),
        policy=st.sampled_from(["lrfu", "lru", "lfu"]),
        speculate=st.booleans(),
        depth=st.sampled_from([1, 3, 16]),
        threads=st.sampled_from([1, 2]),
        fail=st.integers(0, 200),
        shuffled=st.sampled_from([0, 4]),
    )
    def load(self, budget, policy, speculate, depth, threads, fail, shuffled) -> None:
        spread = (MODEL.all - MODEL.least) * budget // 100
        self.engine = MODEL.engine(
            threads,
            bytes=MODEL.least + spread,
            io="pread",
            policy=policy,
            speculate=speculate,
            depth=depth,
            faults={
                "failing_reads": [fail + i for i in (*range(9), *range(50, 70))],
                "stalled_reads": range(3, MANY_READS, 40),
                "stall_ms": 1,
                "shuffled": shuffled,
                "seed": fail,
            },
        )
        self.sequences: list[tuple[int, int]] = []
        self.demanded = 0

    @precondition(lambda self: len(self.sequences) < MOST_SEQUENCES)
    @rule()
    def open(self) -> None:
        self.sequences.append((self.engine.open_sequence(), MODEL.resident.open_sequence()))

    @precondition(lambda self: self.sequences)
    @rule(data=st.data())
    def run(self, data) -> None:
        """A batch of one sequence or several; after a failure each is as before."""
        count = data.draw(st.integers(1, len(self.sequences)))
        size = data.draw(st.sampled_from([1, 1, 1, 2, 9]))
        seed = data.draw(st.integers(0, 1000))
        chosen = [pair for pair in self.sequences if self.length(pair) + size <= 48][:count]
        if not chosen:
            return
        lengths = [self.length(pair) for pair in chosen]
        ids = MODEL.ids(size * len(chosen), seed)
        own, other = (
            np.repeat(np.array(side, np.int32), size) for side in zip(*chosen, strict=True)
        )
        rows = np.arange(len(ids), dtype=np.int32)
        try:
            got = self.engine.step(ids, own, rows)
        except StorageError:
            assert [self.engine.length(mine) for mine, _ in chosen] == lengths
            return
        assert np.array_equal(got, MODEL.resident.step(ids, other, rows))

    def length(self, pair: tuple[int, int]) -> int:
        assert self.engine.length(pair[0]) == MODEL.resident.length(pair[1])
        return self.engine.length(pair[0])

    @precondition(lambda self: self.sequences)
    @rule(data=st.data())
    def truncate(self, data) -> None:
        pair = data.draw(st.sampled_from(self.sequences))
        # As a share, because when a fault strikes, and so the length, hangs on time.
        length = self.length(pair) * data.draw(st.integers(0, 100)) // 100
        self.engine.truncate(pair[0], length)
        MODEL.resident.truncate(pair[1], length)

    @precondition(lambda self: self.sequences)
    @rule()
    def close(self) -> None:
        own, other = self.sequences.pop(0)
        self.engine.close_sequence(own)
        MODEL.resident.close_sequence(other)

    @invariant()
    def counters_add_up(self) -> None:
        if hasattr(self, "engine"):
            stats = check_counters(self.engine)
            assert stats["demanded"] >= self.demanded
            self.demanded = stats["demanded"]

    def teardown(self) -> None:
        for _, other in getattr(self, "sequences", []):
            MODEL.resident.close_sequence(other)


TestWalk = Walk.TestCase
TestWalk.settings = settings(
    max_examples=80,
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
