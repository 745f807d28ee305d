"""How many experts fit a memory budget: the engine's division into slots, for a replay.

Follows core/experts/store.cpp: a pool for each size of experts, and in each some slots for reads
under way that never hold residents.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from zerostall.engine.budget import show_bytes
from zerostall.engine.streaming import reserve, with_reserve
from zerostall.errors import OutOfBudgetError
from zerostall.lab.trace import TraceHeader

SLOTS_PER_SHADOW = 24
MOST_SHADOW = 64
# What the first layers chose for each token (core/experts/habits.h): its part of the memory for
# experts, and what a token takes besides two ids and two weights for each expert that it uses.
HABITS_PART, HABITS_LAYERS, HABITS_BYTES, HABITS_TOKENS = 128, 3, 68, 1 << 16


@dataclass(frozen=True)
class Pool:
    """Slots for experts of one size.

    Attributes:
        slot_bytes: of one expert.
        layers: indices of the layers that have such experts.
        experts: in those layers.
        used: of them by one token.
        most_used: of them by one token in one layer.
        room: experts that can be resident; 0 before a budget is divided.
    """

    slot_bytes: int
    layers: tuple[int, ...]
    experts: int
    used: int
    most_used: int
    room: int = 0

    @property
    def least_bytes(self) -> int:
        """The smallest memory that works: one token's experts resident, and slots for reads."""
        slots = self.used + self.most_used
        while slots - self.shadow(slots) < self.used:
            slots += 1
        return slots * self.slot_bytes

    @property
    def all_bytes(self) -> int:
        """Memory beyond which there is nothing to hold."""
        return (self.experts + max(MOST_SHADOW, self.most_used)) * self.slot_bytes

    def room_in(self, budget_bytes: int) -> int:
        """Experts that can be resident in that many bytes: slots less those for reads."""
        slots = budget_bytes // self.slot_bytes
        return min(slots - self.shadow(slots), self.experts)

    def shadow(self, slots: int) -> int:
        """Of so many slots, those for reads under way."""
        most = max(MOST_SHADOW, self.most_used)
        return min(max(slots // SLOTS_PER_SHADOW, self.most_used), most)


def size_classes(header: TraceHeader) -> list[Pool]:
    """The pools of a model, in the order of their first layers."""
    pools = []
    for size in dict.fromkeys(layer.bytes for layer in header.layers):
        chosen = [i for i, layer in enumerate(header.layers) if layer.bytes == size]
        used = [header.layers[i].used for i in chosen]
        experts = sum(header.layers[i].experts for i in chosen)
        pools.append(Pool(size, tuple(chosen), experts, sum(used), max(used)))
    return pools


def divide_budget(header: TraceHeader, ram_bytes: int) -> list[Pool]:
    """The pools with the room that a budget of the whole process leaves them.

    What the rest of the process (engine.streaming.reserve), other_bytes, the least of each pool and
    what a run that reads ahead remembers leave is shared in proportion to what each pool would need
    to hold everything.

    Raises:
        OutOfBudgetError: the budget is too small; names the smallest that works.
    """
    pools = size_classes(header)
    least = sum(pool.least_bytes for pool in pools)
    spare = ram_bytes - reserve(ram_bytes) - header.other_bytes - least
    if spare < 0:
        raise OutOfBudgetError(
            f"{header.model} needs {show_bytes(header.other_bytes)} besides experts and "
            f"{show_bytes(least)} for one token's, but ram is {show_bytes(ram_bytes)}, "
            f"{show_bytes(reserve(ram_bytes))} of it for the rest of the process: "
            f"the smallest ram that works is {with_reserve(header.other_bytes + least)} bytes"
        )
    spare -= habits_bytes(header, spare + least, spare)
    wanted = sum(pool.all_bytes for pool in pools) - least
    divided = []
    for pool in pools:
        extra = min(spare, wanted) * (pool.all_bytes - pool.least_bytes) // max(1, wanted)
        divided.append(replace(pool, room=pool.room_in(pool.least_bytes + extra)))
    return divided


def habits_bytes(header: TraceHeader, experts_bytes: int, spare: int) -> int:
    """What a run that reads ahead keeps of tokens' choices, of that memory for experts."""
    if not header.read_ahead:
        return 0
    each = HABITS_BYTES + 8 * sum(layer.used for layer in header.layers[:HABITS_LAYERS])
    return each * min(min(experts_bytes // HABITS_PART, spare) // each, HABITS_TOKENS)
