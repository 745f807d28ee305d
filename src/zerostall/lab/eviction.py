"""Which expert deserves its place in memory least: the policies that a trace is replayed with.

Under every one of them, what a resident is worth changes only when it is demanded. So a policy
is an order of all demands of the trace, known before the replay: of two residents the one whose
last demand ranks lower goes first. Among equals the one that was demanded earlier goes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from zerostall.lab.trace import Trace

HALF_LIFE_STEPS = 256.0  # as the engine's
DECODE_TOKENS = 8  # a step of more tokens is a prompt's, as in the engine

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Demands:
    """The demands of a trace, experts numbered through all layers.

    Attributes:
        experts: number of the expert, [demands].
        tokens: routed to it, [demands].
        steps: number of the step, [demands].
        events: index of the layer's event, [demands].
        prompt: the event's step is a prompt's, bool [events].
        counted: its hits count: it decodes, or nothing in the trace does, bool [events].
    """

    experts: Ints
    tokens: Ints
    steps: Ints
    events: Ints
    prompt: npt.NDArray[np.bool_]
    counted: npt.NDArray[np.bool_]


def number_demands(trace: Trace) -> Demands:
    """The trace's demands, with experts numbered through all layers."""
    sizes = [layer.experts for layer in trace.header.layers]
    starts = np.cumsum([0, *sizes])[:-1]
    events = np.repeat(np.arange(len(trace.steps)), np.diff(trace.first))
    prompt = trace.tokens > DECODE_TOKENS
    return Demands(
        experts=trace.experts + starts[trace.layers[events]],
        tokens=trace.counts,
        steps=trace.steps[events],
        events=events,
        prompt=prompt,
        counted=~prompt if not prompt.all() else prompt,
    )


def rank_demands(demands: Demands, policy: str, half_life_steps: float) -> Ints:
    """The rank of each demand among all, int64 [demands]; KeyError: no such policy."""
    values = POLICIES[policy](demands, half_life_steps)
    ranks = np.empty(len(values), np.int64)
    ranks[np.argsort(values, kind="stable")] = np.arange(len(values))
    return ranks


def _lru(demands: Demands, half_life_steps: float) -> Floats:
    return np.arange(len(demands.experts), dtype=np.float64)


def _lfu(demands: Demands, half_life_steps: float) -> Floats:
    return _accumulate(np.add, demands, demands.tokens.astype(np.float64))


def _lrfu(demands: Demands, half_life_steps: float) -> Floats:
    # Lee et al., 2001 (doi:10.1109/TC.2001.970573): a demand's worth halves every half_life
    # steps. The score's logarithm plus the decay since the start stays as it is between demands,
    # so it can be compared at any time. log2(1 + tokens): in a prompt nearly every expert is
    # wanted; how often tells them apart, but must not outweigh all that comes after.
    worth = np.log2(1.0 + demands.tokens)
    return _accumulate(np.logaddexp2, demands, np.log2(worth) + demands.steps / half_life_steps)


def _belady(demands: Demands, half_life_steps: float) -> Floats:
    # Belady, 1966 (doi:10.1147/sj.52.0078): the farthest next use goes. A next use whose hit does
    # not count is none, which makes this the optimum of what counts.
    order = np.argsort(demands.experts, kind="stable")
    experts, events = demands.experts[order], demands.events[order]
    never = len(demands.counted)
    upcoming = np.full(len(order), never)
    following = np.where(demands.counted[events[1:]], events[1:], never)
    upcoming[:-1] = np.where(experts[1:] == experts[:-1], following, never)
    values = np.empty(len(order))
    values[order] = -upcoming
    return values


def _accumulate(operation: np.ufunc, demands: Demands, values: Floats) -> Floats:
    """Running `operation` over the demands of each expert, at the place of each demand."""
    order = np.argsort(demands.experts, kind="stable")
    ordered = values[order]
    ends = np.flatnonzero(np.diff(demands.experts[order])) + 1
    for run in np.split(ordered, ends):  # views
        operation.accumulate(run, out=run)
    running = np.empty_like(values)
    running[order] = ordered
    return running


# In the order that tables show them; the bound comes last.
POLICIES: dict[str, Callable[[Demands, float], Floats]] = {
    "lrfu": _lrfu,
    "lru": _lru,
    "lfu": _lfu,
    "belady": _belady,
}
BOUNDS = frozenset({"belady"})  # know the future; no rule for prompts binds them
