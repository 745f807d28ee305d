"""Does the model fit in memory? Worked out before anything is loaded."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from zerostall.engine.streaming import reserve, with_reserve
from zerostall.errors import InvalidRequestError, OutOfBudgetError

if TYPE_CHECKING:
    from zerostall._core import GgufFile
    from zerostall.tape import Tape

DEFAULT_CONTEXT = 4096  # when ctx is not given and the model allows more
SMALLEST_CONTEXT = 256  # below this a chat is useless; the smallest budget is quoted for it
PAGE = 64  # positions the cache grows by
CONCURRENT = 8  # sequences of full length that may run at once, memory allowing
# Where experts are streamed: two, if the second takes at most this part of the experts' room.
SECOND_PART = 16
KV_TYPES = ("f16", "f32", "int8")
UNITS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


def parse_bytes(size: int | float | str) -> int:
    """Bytes of a size such as 4096, "512M", "6.5G" or "8GiB" (powers of 1024).

    Raises:
        InvalidRequestError: the text is no positive size.
    """
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([kmgt]?)(?:i?b)?\s*", str(size).lower())
    count = int(float(match[1]) * UNITS[match[2]]) if match else 0
    if count <= 0:
        raise InvalidRequestError(f"ram is {size!r}; give bytes or a size such as 512M or 6.5G")
    return count


def show_bytes(count: int) -> str:
    """A size for people: `813 KiB`, `14.2 MiB`, `5.03 GiB`."""
    size = float(count)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            break
        size /= 1024
    return f"{count} bytes" if unit == "bytes" else f"{size:.3g} {unit}"


@dataclass(frozen=True)
class Footprint:
    """Bytes a loaded model holds: weights, then what each sequence and each step needs."""

    weights: int
    kv_per_token: int
    scratch: int
    experts: int = 0  # that are streamed: all of them, not counted in `weights`
    least_experts: int = 0  # the smallest room for them that works
    speculator: int = 0  # trained guesses of what to read

    def total(self, kv_tokens: int) -> int:
        """Bytes with a cache of so many tokens; of streamed experts the least."""
        fixed = self.weights + self.speculator + self.scratch + self.least_experts
        return fixed + self.kv_per_token * kv_tokens

    def describe(self, kv_tokens: int) -> str:
        """The total and its parts, for messages."""
        experts = (
            f", the experts of one token {show_bytes(self.least_experts)}" if self.experts else ""
        )
        if self.speculator:
            experts += f", the speculator {show_bytes(self.speculator)}"
        return (
            f"{show_bytes(self.total(kv_tokens))} (weights {show_bytes(self.weights)}{experts}, "
            f"KV cache of {kv_tokens} tokens {show_bytes(self.kv_per_token * kv_tokens)}, "
            f"scratch {show_bytes(self.scratch)})"
        )


def footprint(
    file: GgufFile,
    tape: Tape,
    context: int,
    max_batch: int,
    kv_type: str,
    threads: int,
    streaming: bool = False,
    low_copies: bool = False,
) -> Footprint:
    """What the engine will take for contexts of up to `context` tokens, without loading.

    If streaming, experts stay in the file but for those there is room for; low copies of them
    need some room, too.

    Raises:
        ModelFormatError, UnsupportedModelError: the tape does not fit the file.
    """
    from zerostall._core import plan_memory

    memory = plan_memory(
        file,
        tape,
        threads=threads,
        context=context,
        max_batch=min(max_batch, context),
        kv_type=kv_type,
        streaming=streaming,
        low_copies=low_copies,
    )
    pages = -(-context // PAGE)
    return Footprint(
        memory["weights"],
        memory["kv_cache"] // (pages * PAGE),
        memory["buffers"] + memory["scratch"],
        memory["experts"],
        memory["least_experts"],
    )


@dataclass(frozen=True)
class Plan:
    """How much to load with.

    Attributes:
        context: positions of one sequence.
        kv_tokens: positions of all sequences together.
        expert_bytes: room for experts, if they are streamed; None: all are loaded.
    """

    context: int
    kv_tokens: int
    expert_bytes: int | None = None


def make_plan(
    need: Footprint,
    model_context: int,
    ctx: int | None,
    ram: int | None,
    name: str,
    streamed: Footprint | None = None,
    kv_tokens: int | None = None,
) -> Plan:
    """The context length to load with, and how many sequences of it may run at once.

    Args:
        need: what the model takes.
        model_context: the longest context the model was made for.
        ctx: what the caller asked for; None lets this function choose: 4096, or the model's
            own if that is shorter, halved until it fits.
        ram: the caller's budget in bytes for the whole process; None means what the machine has
            available now. Either way a part of it is left to the rest of the process (reserve()).
        name: the model's name, for messages.
        streamed: what the model takes if its experts are streamed; None if it has none.
        kv_tokens: the size of the cache that the caller asked for; None lets this function choose:
            eight contexts, less if memory is short; where experts are streamed two, or as much of
            the second as takes at most a sixteenth of their room.

    Raises:
        InvalidRequestError: ctx is not between 1 and the model's context, or above kv_tokens.
        OutOfBudgetError: it does not fit; the message names the smallest budget that works.
    """
    if ctx is not None and not 1 <= ctx <= model_context:
        raise InvalidRequestError(
            f"ctx is {ctx}; {name} was made for up to {model_context} tokens: "
            f"give 1 to {model_context}; with context_shift answers go on beyond it"
        )
    if kv_tokens is not None and ctx is not None and kv_tokens < ctx:
        raise InvalidRequestError(
            f"kv_tokens is {kv_tokens}, too few for one sequence of ctx={ctx}; give at least {ctx}"
        )
    budget = ram if ram is not None else available_bytes()
    room = None if budget is None else budget - reserve(budget)
    context = ctx or min(model_context, DEFAULT_CONTEXT, kv_tokens or DEFAULT_CONTEXT)
    smallest = ctx or min(context, SMALLEST_CONTEXT)
    if budget is None or room is None or need.total(kv_tokens or context) <= room:
        return Plan(context, kv_tokens or _kv_tokens(need, context, room))
    least = streamed or need
    while least.total(kv_tokens or context) > room:
        if context <= smallest or kv_tokens is not None:
            smallest = min(model_context, SMALLEST_CONTEXT)
            asked = {"ctx": ctx or smallest} if kv_tokens is None else {"kv_tokens": kv_tokens}
            raise _too_small(least, name, smallest, asked, budget, given=ram is not None)
        context = max(smallest, context // 2)
    if streamed is None:
        return Plan(context, _kv_tokens(need, context, room))
    return _stream(streamed, context, kv_tokens, room)


def _too_small(
    need: Footprint,
    name: str,
    smallest: int,
    asked: dict[str, int],
    budget: int,
    *,
    given: bool,
) -> OutOfBudgetError:
    """An error that names the budgets that work, with what was asked for and with the smallest."""
    ((option, tokens),) = asked.items()
    works = f"the smallest ram that works is {with_reserve(need.total(tokens))} bytes"
    if tokens <= smallest:
        works += f" (with {option}={tokens}); or take a smaller model or quantisation"
    else:
        least = with_reserve(need.total(smallest))
        works += f" with {option}={tokens}, {least} bytes with {option}={smallest}"
    if not given:
        works += "; free memory, or set ram to override this check"
    limit = f"ram is {show_bytes(budget)}" if given else f"{show_bytes(budget)} are available"
    return OutOfBudgetError(
        f"{name} needs {need.describe(tokens)}, but {limit}, "
        f"{show_bytes(reserve(budget))} of it for the rest of the process: {works}"
    )


def _stream(need: Footprint, context: int, kv_tokens: int | None, room: int) -> Plan:
    """What a cache leaves is for experts."""
    experts = room - (need.total(kv_tokens or context) - need.least_experts)
    if kv_tokens is None:
        # Two users of long contexts would else preempt each other. What experts have no use for
        # costs nothing.
        spare = max(experts // SECOND_PART, experts - need.experts)
        spare = min(spare, experts - need.least_experts)
        second = min(context, spare // max(1, need.kv_per_token)) // PAGE * PAGE
        kv_tokens = context + second
        experts -= need.kv_per_token * second
    return Plan(context, kv_tokens, min(experts, need.experts))


def _kv_tokens(need: Footprint, context: int, room: int | None) -> int:
    """Those of several sequences if there is room; memory is taken when they come."""
    most = context * CONCURRENT
    if room is None or need.kv_per_token == 0:
        return most
    fit = (room - need.weights - need.scratch) // need.kv_per_token // PAGE * PAGE
    return max(context, min(most, fit))


def available_bytes(root: Path = Path("/")) -> int | None:
    """Bytes this process can still take: free memory, within its cgroups' limits.

    None where the system does not say (not Linux).
    """
    from zerostall import _core

    return _core.memory_room(str(root))
