"""How many tokens of a prompt a step takes at most.

Where experts are streamed, a step reads those that its tokens use and that are not in memory, once
for all of them. The longer it is, the more there is to compute meanwhile; but what it needs for
activations is taken from the experts.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from zerostall import _core
from zerostall.engine.work import compute_unit, work_of

if TYPE_CHECKING:
    from zerostall._core import TensorInfo
    from zerostall.tape import Tape

PLAIN = 512  # where nothing is streamed: enough to be bound by arithmetic
LENGTHS = (PLAIN, 1024, 2048, 4096)
UNMEASURED = 1024  # where the drive's speed is not known
SHARE = 32  # of the experts' room: a longer step takes at most this part of it
EFFICIENCY = 0.5  # what kernels reach in prompts of the processor's peak, about
PROBES, PROBE_S = 3, 0.02  # of each kind of arithmetic; the best counts, as others may compute too
# Computing takes this many times as long as reading: a layer's first experts are waited for, some
# layers miss more than others, and drives seldom do what a probe found.
MARGIN = 2.0


def token_seconds(
    tape: Tape, tensors: Iterable[TensorInfo], isa: str | None, threads: int
) -> float:
    """What a token of a prompt takes to compute, guessed from the processor's measured peak."""
    unit = compute_unit(isa or _core.selected_isa())
    work = work_of(tape, tensors, PLAIN, 0)
    int8, float32 = (
        max(_core.compute_peak(unit, kind, threads, PROBE_S) for _ in range(PROBES))
        for kind in ("int8", "float32")
    )
    return (work.int8 / int8 + work.float32 / float32) / EFFICIENCY / PLAIN


def enough_tokens(missing_bytes: int, token_s: float, bytes_per_second: float) -> int:
    """The fewest of LENGTHS in which computing hides the reading of so many bytes, else the most.

    Args:
        missing_bytes: of experts that are not in memory.
        token_s: what computing a token takes.
        bytes_per_second: of the drive; 0 if that is not known.
    """
    if bytes_per_second <= 0:
        return UNMEASURED
    reading_s = MARGIN * missing_bytes / bytes_per_second
    return next((length for length in LENGTHS if length * token_s >= reading_s), LENGTHS[-1])
