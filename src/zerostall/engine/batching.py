"""Which tasks share a step, and with how many tokens each."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from zerostall.engine.task import Task

Ids = npt.NDArray[np.int32]
# While answers are streamed, prompts get so many tokens a step that the step takes at most so many
# times as long as without them.
GAP_FACTOR = 2.0
FEWEST = 1  # tokens of a prompt in a step, however slow they are
UNKNOWN = 32  # the same, before anything was measured
# What prompts left unused of their time in earlier steps, up to this, is for those that it lets
# end: short ones need not be cut into pieces, of which each reads the weights again.
BURST_S = 0.5
_WEIGHT = 0.3  # of the newest measurement
# Steps of answers alone whose median counts: while a long prompt comes in there are none, and one
# that was disturbed just before must not decide how much slower all answers become meanwhile.
_RECENT = 9


@dataclass(frozen=True)
class Part:
    """One task's share of a step."""

    task: Task
    tokens: int
    rows: int  # of how many of the last of them something is wanted

    @property
    def logits(self) -> int:
        """How many rows of logits it takes."""
        return 0 if self.task.wants_hidden else self.rows

    @property
    def ids(self) -> list[int]:
        """The tokens: the next of the task's."""
        begin = len(self.task.place.tokens)
        return self.task.tokens[begin : begin + self.tokens]


class TokenCost:
    """What tokens of prompts have cost, by how many there were in a step.

    Many at once cost less each: they share the reading of weights, in a mixture of experts more
    of it the more they are. So each power of two has its own average; what was not measured is
    taken to cost as much as the next fewer, or else the next more.
    """

    def __init__(self) -> None:
        self._each_s: dict[int, float] = {}  # by bit length of the count

    def note(self, tokens: int, seconds: float) -> None:
        """So many tokens took so long."""
        size = tokens.bit_length()
        self._each_s[size] = _blend(self._each_s.get(size, 0.0), seconds / tokens)

    def __bool__(self) -> bool:
        return bool(self._each_s)

    def each_s(self, tokens: int) -> float:
        """Seconds for each of so many at once."""
        size = tokens.bit_length()
        fewer = [known for known in self._each_s if known <= size]
        return self._each_s[max(fewer) if fewer else min(self._each_s)]

    def fitting(self, seconds: float, most: int) -> int:
        """The most tokens, at least FEWEST, that take no longer."""
        for size in range(most.bit_length(), 0, -1):
            least, top = 1 << (size - 1), min(most, (1 << size) - 1)
            each_s = self.each_s(least)
            fit = top if seconds >= top * each_s else int(seconds / each_s)
            if fit >= least:
                return fit
        return min(FEWEST, most)


class Room(NamedTuple):
    """How many tokens of prompts a step may have.

    Attributes:
        steady: of whatever prompts there are.
        burst: with prompts that end with it and are not longer than `short`.
        short: tokens of a prompt.
    """

    steady: int
    burst: int
    short: int


class Pace:
    """What steps have cost: of answers alone, and of tokens of prompts beside them.

    Args:
        gap_factor: how many times as long a step with answers may take for the prompts in it, at
            least 1, but for short ones that end with what earlier steps left unused; infinite: as
            long as it likes.
    """

    def __init__(self, gap_factor: float = GAP_FACTOR) -> None:
        self._gap_factor = gap_factor
        self._answers_s = 0.0
        self._recent: deque[float] = deque(maxlen=_RECENT)
        self._cost = TokenCost()
        self._burst_s = BURST_S if gap_factor > 1.0 else 0.0
        self._saved_s = self._burst_s

    def note(self, answers: int, prompt_tokens: int, seconds: float) -> None:
        """A step with so many tokens of answers and of prompts took so long."""
        if answers and not prompt_tokens:
            self._recent.append(seconds)
            self._answers_s = statistics.median_low(self._recent)
        elif prompt_tokens >= FEWEST:
            beside = self._answers_s if answers else 0.0
            self._cost.note(prompt_tokens, max(0.0, seconds - beside))
        if answers and prompt_tokens:
            over = seconds - self._answers_s - self._room_s
            self._saved_s = max(0.0, self._saved_s - max(0.0, over))
        elif answers:
            self._saved_s = min(self._saved_s + self._room_s, self._burst_s)
        else:
            self._saved_s = self._burst_s  # nobody waits

    def room(self, most: int) -> Room:
        """How many tokens of prompts may join a step with answers, `most` at the most."""
        if math.isinf(self._gap_factor):
            return Room(most, most, most)
        if self._answers_s == 0.0 or not self._cost:
            return Room(*3 * [min(UNKNOWN, most)])
        fits = [
            self._cost.fitting(self._room_s + saved_s, most)
            for saved_s in (0.0, self._saved_s, self._burst_s)
        ]
        return Room(*fits)

    @property
    def _room_s(self) -> float:
        """What prompts may add to each step with answers."""
        return (self._gap_factor - 1.0) * self._answers_s

    def prompt_ms(self, tokens: int, beside: bool) -> float | None:
        """What so many tokens of a prompt will take, alone or beside answers, if that is known."""
        if not self._cost:
            return None
        if not tokens:
            return 0.0
        if not beside or self._answers_s == 0.0 or math.isinf(self._gap_factor):
            extra_s = self._answers_s if beside else 0.0
            return 1e3 * (tokens * self._cost.each_s(tokens) + extra_s)
        at_once = self._cost.fitting(self._room_s, tokens)
        return 1e3 * tokens * (self._answers_s / at_once + self._cost.each_s(at_once))


def _blend(old: float, new: float) -> float:
    return new if old == 0.0 else old + _WEIGHT * (new - old)


def compose(tasks: Sequence[Task], pace: Pace, max_batch: int, max_rows: int) -> list[Part]:
    """The parts of one step.

    Args:
        tasks: those that can run, the most urgent first, each placed.
        pace: what steps have cost.
        max_batch: the most tokens.
        max_rows: the most rows of logits.

    Answers (one token left, whose logits are wanted) all go in. What room there is goes to
    prompts: half to the first, so that it is not starved, then to the most urgent, of equally
    urgent ones to those that need least, so that short ones need not wait for long ones. Where all
    are short, one is computed whole or waits for steps that leave it the time: by pieces it would
    take longer, and so would the answers.
    """
    answers = [task for task in tasks if task.remaining == 1 and not task.wants_hidden]
    parts = [Part(task, 1, 1) for task in answers[: min(max_batch, max_rows)]]
    prompts = [task for task in tasks if task.remaining > 1 or task.wants_hidden]
    most = max_batch - len(parts)
    rows = max_rows - len(parts)
    room = pace.room(most) if answers else Room(most, most, most)
    short = {task for task in prompts if len(task.tokens) - (task.kept or 0) <= room.short}
    steady = 0 if answers and len(short) == len(prompts) else room.steady
    granted: dict[Task, int] = {}
    if len(prompts) > 1:
        granted[prompts[0]] = min(prompts[0].remaining, -(-steady // 2))
    total = sum(granted.values())
    for task in sorted(prompts, key=lambda task: (task.priority, task.remaining)):
        got = granted.get(task, 0)
        more = task.remaining - got
        if task not in short or total + more > room.burst:
            more = min(more, max(0, steady - total))
        granted[task] = got + more
        total += more
    for task in prompts:
        part = _part(task, granted[task], rows)
        if part.tokens:
            parts.append(part)
            rows -= part.logits
    return parts


def arrays(parts: Sequence[Part]) -> tuple[Ids, Ids, Ids, Ids]:
    """A step as the core takes it: tokens, the sequence of each, and which give what.

    The third has the rows whose logits are wanted, the fourth those whose hidden states are.
    """
    tokens: list[int] = []
    sequences: list[int] = []
    rows: list[int] = []
    hidden: list[int] = []
    for part in parts:
        sequence = part.task.place.sequence
        assert sequence is not None
        tokens += part.ids
        sequences += [sequence] * part.tokens
        wanted = hidden if part.task.wants_hidden else rows
        wanted += range(len(tokens) - part.rows, len(tokens))
    batch = [np.asarray(part, np.int32) for part in (tokens, sequences, rows, hidden)]
    return batch[0], batch[1], batch[2], batch[3]


def _part(task: Task, tokens: int, rows: int) -> Part:
    """At most so many tokens and rows of logits of a task."""
    begin = len(task.place.tokens)
    unwanted = max(0, min(tokens, task.next_row - begin))
    wanted = tokens - unwanted if task.wants_hidden else min(tokens - unwanted, rows)
    return Part(task, unwanted + wanted, wanted)
