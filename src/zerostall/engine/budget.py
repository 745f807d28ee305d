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

    def total(self, context: int) -> int:
        """Bytes with one sequence of `context` tokens; of streamed experts the least."""
        return self.weights + self.kv_per_token * context + self.scratch + self.least_experts

    def describe(self, context: int) -> str:
        """The total and its parts, for messages."""
        experts = (
            f", the experts of one token {show_bytes(self.least_experts)}" if self.experts else ""
        )
        return (
            f"{show_bytes(self.total(context))} (weights {show_bytes(self.weights)}{experts}, "
            f"KV cache of {context} tokens {show_bytes(self.kv_per_token * context)}, "
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
) -> Plan:
    """The context length to load with, and how many sequences of it may run at once.

    Args:
        need: what the model takes.
        model_context: the longest context the model was made for.
        ctx: what the caller asked for; None lets this function choose: 4096, or the model's
            own if that is shorter, halved until it fits.
        ram: the caller's budget in bytes for the whole process; None means what the machine has
            available now.
        name: the model's name, for messages.
        streamed: what the model takes if its experts are streamed; None if it has none.

    Raises:
        InvalidRequestError: ctx is not between 1 and the model's context.
        OutOfBudgetError: it does not fit; the message names the smallest budget that works.
    """
    if ctx is not None and not 1 <= ctx <= model_context:
        raise InvalidRequestError(
            f"ctx is {ctx}; {name} was made for up to {model_context} tokens: "
            f"give 1 to {model_context}; with context_shift answers go on beyond it"
        )
    budget = ram if ram is not None else available_bytes()
    context = ctx or min(model_context, DEFAULT_CONTEXT)
    if budget is None or need.total(context) <= budget:
        return Plan(context, _kv_tokens(need, context, budget))
    aside = 0
    if streamed is not None:
        need = streamed
        aside = reserve(budget)
        if need.total(context) + aside <= budget:
            return _stream(need, context, budget - aside)
    smallest = ctx or min(model_context, SMALLEST_CONTEXT)
    while ctx is None and context > smallest:
        context = max(smallest, context // 2)
        if need.total(context) + aside <= budget:
            if streamed is not None:
                return _stream(need, context, budget - aside)
            return Plan(context, _kv_tokens(need, context, budget))
    limit = f"ram is {show_bytes(budget)}" if ram else f"{show_bytes(budget)} are available"
    remedy = f"the smallest ram that works is {_least(need, smallest, streamed is not None)} bytes"
    if ctx is None or ctx <= SMALLEST_CONTEXT:
        remedy += f" (with ctx={smallest}); or take a smaller model or quantisation"
    else:
        least = min(model_context, SMALLEST_CONTEXT)
        remedy += (
            f" with ctx={ctx}, {_least(need, least, streamed is not None)} bytes with ctx={least}"
        )
    if ram is None:
        remedy += "; free memory, or set ram to override this check"
    raise OutOfBudgetError(f"{name} needs {need.describe(smallest)}, but {limit}: {remedy}")


def _stream(need: Footprint, context: int, room: int) -> Plan:
    """One sequence; what it leaves is for experts."""
    experts = room - (need.total(context) - need.least_experts)
    return Plan(context, context, min(experts, need.experts))


def _least(need: Footprint, context: int, streamed: bool) -> int:
    """The smallest budget that holds the model and, if it is streamed, leaves the reserve."""
    total = need.total(context)
    return with_reserve(total) if streamed else total


def _kv_tokens(need: Footprint, context: int, budget: int | None) -> int:
    """Room for several sequences if the budget has it; memory is taken when they come."""
    most = context * CONCURRENT
    if budget is None or need.kv_per_token == 0:
        return most
    return min(most, (budget - need.weights - need.scratch) // need.kv_per_token)


def available_bytes(root: Path = Path("/")) -> int | None:
    """Bytes this process can still take: free memory, within its cgroups' limits.

    None where the system does not say (not Linux).
    """
    from zerostall import _core

    return _core.memory_room(str(root))
