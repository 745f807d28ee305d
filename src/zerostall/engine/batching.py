"""Which tasks share a step, and with how many tokens each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from zerostall.engine.task import Task

Ids = npt.NDArray[np.int32]
# While answers are streamed, prompts get so many tokens a step that the step takes at most so many
# times as long as without them.
GAP_FACTOR = 2.0
FEWEST = 1  # tokens of a prompt in a step, however slow they are
UNKNOWN = 32  # the same, before anything was measured
# What prompts left unused of their time in earlier steps they may have at once, up to this: short
# ones that come now and then need not be cut into pieces, of which each reads the weights again.
BURST_S = 0.25
_WEIGHT = 0.3  # of the newest measurement


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


class Pace:
    """What steps have cost: of answers alone, and of each token of a prompt beside them.

    Args:
        gap_factor: how many times as long a step with answers may take for the prompts in it, at
            least 1, but for what earlier steps left unused; infinite: as long as it likes.
    """

    def __init__(self, gap_factor: float = GAP_FACTOR) -> None:
        self._gap_factor = gap_factor
        self._answers_s = 0.0
        self._token_s = 0.0
        self._burst_s = BURST_S if gap_factor > 1.0 else 0.0
        self._saved_s = self._burst_s

    def note(self, answers: int, prompt_tokens: int, seconds: float) -> None:
        """A step with so many tokens of answers and of prompts took so long."""
        if answers and not prompt_tokens:
            self._answers_s = _blend(self._answers_s, seconds)
        elif prompt_tokens >= FEWEST:
            beside = self._answers_s if answers else 0.0
            self._token_s = _blend(self._token_s, max(0.0, seconds - beside) / prompt_tokens)
        if answers and prompt_tokens:
            over = seconds - self._answers_s - self._room_s
            self._saved_s = max(0.0, self._saved_s - max(0.0, over))
        elif answers:
            self._saved_s = min(self._saved_s + self._room_s, self._burst_s)
        else:
            self._saved_s = self._burst_s  # nobody waits

    def prompt_tokens(self, most: int) -> int:
        """How many tokens of prompts may join a step with answers."""
        if math.isinf(self._gap_factor):
            return most
        if self._answers_s == 0.0 or self._token_s == 0.0:
            return min(UNKNOWN, most)
        return self._fitting(self._room_s + self._saved_s, most)

    @property
    def _room_s(self) -> float:
        """What prompts may add to each step with answers."""
        return (self._gap_factor - 1.0) * self._answers_s

    def _fitting(self, seconds: float, most: int) -> int:
        fit = seconds / self._token_s
        return most if fit >= most else min(max(FEWEST, int(fit)), most)

    def prompt_ms(self, tokens: int, beside: bool) -> float | None:
        """What so many tokens of a prompt will take, alone or beside answers, if that is known."""
        if self._token_s == 0.0:
            return None
        answers_s = 0.0
        if beside and tokens and self._answers_s > 0.0:
            each = tokens if math.isinf(self._gap_factor) else self._fitting(self._room_s, tokens)
            answers_s = self._answers_s / each
        return 1e3 * tokens * (answers_s + self._token_s)


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
    prompts: half to the first, so that it is not starved, then to those that need least, so that
    short ones need not wait for long ones.
    """
    answers = [task for task in tasks if task.remaining == 1 and not task.wants_hidden]
    parts = [Part(task, 1, 1) for task in answers[: min(max_batch, max_rows)]]
    prompts = [task for task in tasks if task.remaining > 1 or task.wants_hidden]
    room = max_batch - len(parts)
    rows = max_rows - len(parts)
    if answers:
        room = pace.prompt_tokens(room)
    if not prompts:
        return parts
    first, *others = prompts
    granted: dict[Task, int] = {}
    if others:
        granted[first] = min(first.remaining, -(-room // 2))
        room -= granted[first]
    for task in [*sorted(others, key=lambda task: task.remaining), first]:
        more = min(task.remaining - granted.get(task, 0), room)
        granted[task] = granted.get(task, 0) + more
        room -= more
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
