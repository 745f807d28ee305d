"""How experts of a model that is larger than memory are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zerostall.errors import InvalidRequestError

BACK_ENDS = ("auto", "uring", "pread", "mmap")
POLICIES = ("lrfu", "lru", "lfu")
# Of the budget: Python's share, and the kernel's (page tables, reads under way).
RESERVE_PART = 32


@dataclass(frozen=True)
class Streaming:
    """Options of streaming; they change nothing where a model fits into memory.

    Attributes:
        io: how files are read: "uring", "pread" or "mmap"; "auto" chooses.
        policy: which experts stay: "lrfu" (recently and often wanted), "lru" or "lfu".
        half_life: steps after which a demand counts half, for "lrfu".
        speculate: read what the next layer is likely to want.
        mirrors: copies of the model's file (or files) on other drives, read as well.
        depth: reads under way at once; None: as the drive likes best.
        request_bytes: of one read, a multiple of 4096; None: as the drive likes best.
        trace: keep a record of every demand for `Engine.take_trace`.
        throttle, faults: make the drive slow or faulty, for tests.
    """

    io: str = "auto"
    policy: str = "lrfu"
    half_life: float = 256.0
    speculate: bool = True
    mirrors: Sequence[Path] = ()
    depth: int | None = None
    request_bytes: int | None = None
    trace: bool = False
    throttle: Mapping[str, Any] | None = None
    faults: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.io not in BACK_ENDS:
            raise InvalidRequestError(f"io is {self.io!r}; give one of {', '.join(BACK_ENDS)}")
        if self.policy not in POLICIES:
            raise InvalidRequestError(
                f"policy is {self.policy!r}; give one of {', '.join(POLICIES)}"
            )

    def to_core(self, expert_bytes: int, paths: Sequence[str]) -> dict[str, Any]:
        """The options as `_core.Engine` takes them.

        Args:
            expert_bytes: room for experts.
            paths: the model's files, which every mirror has too, by the same names.
        """
        options: dict[str, Any] = {
            "bytes": expert_bytes,
            "io": self.io,
            "policy": self.policy,
            "half_life": float(self.half_life),
            "speculate": self.speculate,
            "trace": self.trace,
            "mirrors": [_copies(mirror, paths) for mirror in self.mirrors],
        }
        if self.depth is not None:
            options["depth"] = self.depth
        if self.request_bytes is not None:
            options["request_bytes"] = self.request_bytes
        if self.throttle is not None:
            options["throttle"] = dict(self.throttle)
        if self.faults is not None:
            options["faults"] = dict(self.faults)
        return options


def reserve(budget: int) -> int:
    """Bytes of a budget that the model leaves to the rest of the process."""
    return budget // RESERVE_PART


def _copies(mirror: Path, paths: Sequence[str]) -> list[str]:
    """The files of a mirror, given as a folder or as its first file."""
    folder = mirror if mirror.is_dir() else mirror.parent
    copies = [folder / Path(path).name for path in paths]
    if not mirror.is_dir():
        copies[0] = mirror
    return [str(copy) for copy in copies]
