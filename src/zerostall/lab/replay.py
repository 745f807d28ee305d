"""What a recorded run would have read with other memory budgets and eviction policies.

Decides about residency as the engine does without predictions: every read is a miss, nothing is
read in vain, and memory is empty at the start.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush, heapreplace
from itertools import accumulate

import numpy as np
import numpy.typing as npt

from zerostall.errors import InvalidRequestError
from zerostall.lab.eviction import (
    BOUNDS,
    HALF_LIFE_STEPS,
    POLICIES,
    Demands,
    number_demands,
    rank_demands,
)
from zerostall.lab.slots import Pool, divide_budget
from zerostall.lab.trace import Trace


@dataclass(frozen=True)
class Tally:
    """Tokens of some steps, experts they demanded, and what came of that."""

    tokens: int
    demands: int
    hits: int
    bytes_missed: int

    @property
    def hit_rate(self) -> float:
        """Hits over demands; 0 without demands."""
        return self.hits / self.demands if self.demands else 0.0

    @property
    def bytes_per_token(self) -> float:
        """Bytes missed over tokens; 0 without tokens."""
        return self.bytes_missed / self.tokens if self.tokens else 0.0


@dataclass(frozen=True)
class Replayed:
    """One budget under one policy.

    Attributes:
        ram_bytes: the budget of the whole process.
        policy: a name in eviction.POLICIES.
        room: experts that can be resident, of all sizes.
        decode: steps that decode; all steps if none does.
        prompt: steps of more than eviction.DECODE_TOKENS tokens; nothing if none decodes.
    """

    ram_bytes: int
    policy: str
    room: int
    decode: Tally
    prompt: Tally

    def tokens_per_s(
        self, drive_bytes_per_s: float | None, compute_ms: float | None
    ) -> float | None:
        """Forecast of decoding: 1 / max(compute, bytes missed / drive), all reads overlapped.

        None if the drive's speed is not known, or if nothing at all bounds it.
        """
        if drive_bytes_per_s is None:
            return None
        reading_s = self.decode.bytes_per_token / drive_bytes_per_s
        token_s = max(reading_s, (compute_ms or 0.0) / 1e3)
        return 1 / token_s if token_s > 0 else None


def replay(
    trace: Trace,
    budgets: Sequence[int],
    policies: Sequence[str] = tuple(POLICIES),
    half_life_steps: float = HALF_LIFE_STEPS,
) -> list[Replayed]:
    """Replay a trace with each budget and each policy; results in that order, policies inside.

    Args:
        trace: as recorded.
        budgets: bytes of the whole process, as `ram` of a load.
        policies: names in eviction.POLICIES.
        half_life_steps: steps after which a demand counts half, for lrfu.

    Raises:
        InvalidRequestError: an unknown policy, a half-life that is not positive, an empty trace.
        OutOfBudgetError: a budget is too small for the model.
    """
    for policy in policies:
        if policy not in POLICIES:
            raise InvalidRequestError(f"policy is {policy!r}; give some of {', '.join(POLICIES)}")
    if not half_life_steps > 0:
        raise InvalidRequestError(f"half-life is {half_life_steps}; give steps, more than 0")
    if len(trace.steps) == 0:
        raise InvalidRequestError("the trace has no demands; record one that has")
    divided = [divide_budget(trace.header, budget) for budget in budgets]
    demands = number_demands(trace)
    found: dict[tuple[int, str], npt.NDArray[np.bool_]] = {}
    for policy in dict.fromkeys(policies):
        ranks = rank_demands(demands, policy, half_life_steps)
        for i, pools in enumerate(divided):
            found[i, policy] = _hits(trace, demands, ranks, pools, policy not in BOUNDS)
    return [
        Replayed(
            ram_bytes=budget,
            policy=policy,
            room=sum(pool.room for pool in divided[i]),
            decode=_tally(trace, demands, found[i, policy], demands.counted),
            prompt=_tally(trace, demands, found[i, policy], ~demands.counted),
        )
        for i, budget in enumerate(budgets)
        for policy in policies
    ]


def _tally(
    trace: Trace,
    demands: Demands,
    hits: npt.NDArray[np.bool_],
    chosen: npt.NDArray[np.bool_],
) -> Tally:
    """Of the chosen events."""
    inside = chosen[demands.events]
    _, firsts = np.unique(trace.steps, return_index=True)
    sizes = np.array([layer.bytes for layer in trace.header.layers], np.int64)
    missed = demands.events[inside & ~hits]
    return Tally(
        tokens=int(trace.tokens[firsts][chosen[firsts]].sum()),
        demands=int(inside.sum()),
        hits=int((inside & hits).sum()),
        bytes_missed=int(sizes[trace.layers[missed]].sum()),
    )


def _hits(
    trace: Trace,
    demands: Demands,
    ranks: npt.NDArray[np.int64],
    pools: Sequence[Pool],
    bounded: bool,
) -> npt.NDArray[np.bool_]:
    """Which demands find their expert resident, [demands]."""
    starts = [0, *accumulate(layer.experts for layer in trace.header.layers)]
    owners = np.empty(len(ranks), np.int64)
    owners[ranks] = demands.experts
    experts, ranked, owner = demands.experts.tolist(), ranks.tolist(), owners.tolist()
    prompt = (demands.prompt if bounded else np.zeros_like(demands.prompt)).tolist()
    steps, layers, first = trace.steps.tolist(), trace.layers.tolist(), trace.first.tolist()
    hits = bytearray(len(experts))
    for pool in pools:
        residents = _Residents(pool.room, starts, owner)
        for event in np.flatnonzero(np.isin(trace.layers, pool.layers)).tolist():
            begin, end = first[event], first[event + 1]
            step = steps[event] if prompt[event] else None
            residents.demand(step, layers[event], experts[begin:end], ranked[begin:end])
            hits[begin:end] = residents.hits
    return np.frombuffer(hits, np.bool_)


class _Residents:
    """The experts of one pool that are in memory, and a heap of the ranks of their last demands.

    An entry of the heap is out of date when its expert left or was demanded again since; such
    entries are skipped when they come to the top, which costs less than taking them out.
    """

    def __init__(self, room: int, starts: Sequence[int], owner: Sequence[int]) -> None:
        self._free = room
        self._starts = starts  # number of the first expert of each layer, and of all
        self._owner = owner  # expert of each rank
        self._inside = bytearray(starts[-1])
        self._last = [0] * starts[-1]  # rank of each expert's last demand
        self._heap: list[int] = []
        self._prompt: int | None = None  # the step whose residents the heap has in part
        self._upto = 0  # layers of which it has them
        self.hits = b""

    def demand(
        self, prompt: int | None, layer: int, experts: Sequence[int], ranks: Sequence[int]
    ) -> None:
        """A layer demands experts; `prompt` is the step if it is a prompt's. Sets hits."""
        inside, last, heap = self._inside, self._last, self._heap
        self.hits = bytes([inside[expert] for expert in experts])
        missed = []
        for expert, rank in zip(experts, ranks, strict=True):
            last[expert] = rank
            if inside[expert]:
                heappush(heap, rank)
            else:
                missed.append(rank)
        self._choose_from(prompt, layer)
        for rank in missed:
            self._admit(rank)

    def _choose_from(self, prompt: int | None, layer: int) -> None:
        """Let the heap have the residents that may go now."""
        if prompt != self._prompt:
            self._heap = []
            self._upto = 0
            self._prompt = prompt
            if prompt is None:
                layer = len(self._starts) - 2
        elif prompt is None:
            return
        # In a prompt, experts of later layers have not had their demand of this step yet: they
        # are not to be compared.
        begin, end = self._starts[self._upto], self._starts[layer + 1]
        self._heap += [self._last[i] for i in range(begin, end) if self._inside[i]]
        heapify(self._heap)
        self._upto = layer + 1

    def _admit(self, rank: int) -> None:
        """Make room for the owner of a rank, if others deserve theirs less."""
        heap, owner, inside = self._heap, self._owner, self._inside
        if self._free > 0:
            self._free -= 1
            inside[owner[rank]] = True
            heappush(heap, rank)
            return
        while heap and (not inside[owner[heap[0]]] or self._last[owner[heap[0]]] != heap[0]):
            heappop(heap)
        if heap and heap[0] < rank:
            inside[owner[heap[0]]] = False
            inside[owner[rank]] = True
            heapreplace(heap, rank)
