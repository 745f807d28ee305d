"""How experts of a model that is larger than memory are read."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zerostall import _core
from zerostall.engine.drive import drive_place, drive_settings
from zerostall.engine.model_key import model_key
from zerostall.engine.profile import read_profile
from zerostall.engine.speculator import read_speculator
from zerostall.errors import InvalidRequestError

if TYPE_CHECKING:
    from zerostall._core import GgufFile
    from zerostall.engine.speculator import TrainedGuess

log = logging.getLogger(__name__)

Demand = tuple[int, int, list[int], list[int], str]

BACK_ENDS = ("auto", "uring", "pread", "mmap")
POLICIES = ("lrfu", "lru", "lfu")
PRECISIONS = ("full", "low")
# What Python and its libraries take, and the part of a budget that is the kernel's (page tables,
# reads under way). A small budget gives a larger part instead, for whoever tries one.
PYTHON_BYTES = 48 << 20
KERNEL_PART = 32
MOST_PART = 8


@dataclass(frozen=True)
class Streaming:
    """Options of streaming; they change nothing where a model fits into memory.

    Attributes:
        io: how files are read: "uring", "pread" or "mmap"; "auto" chooses.
        policy: which experts stay: "lrfu" (recently and often wanted), "lru" or "lfu".
        half_life: steps after which a demand counts half, for "lrfu".
        speculate: read what the next layer is likely to want.
        prefault: give scratch, KV cache and, as long as the system has some to spare, the memory
            for experts their pages at load, rather than as they are used.
        route_margin: lossy, 0 is off: an expert in memory is chosen before another whose router
            logit is larger by less than this.
        miss_precision: lossy if "low": in decoding, an expert that is not in memory is computed
            with its low copy, which is read instead. Only for files converted with a miss copy.
        check_records: compare the checksum of every expert of a converted file as it is read, at
            load where all fit into memory.
        mirrors: copies of the model's file (or files) on other drives, read as well.
        depth: reads under way at once; None: as the drive likes best.
        request_bytes: of one read, a multiple of 4096; None: as the drive likes best.
        trace: called after each step with its demands, each a tuple (step, layer, experts,
            tokens routed to each, a letter for each: h hit, s shadow, m miss). An error that it
            raises changes no answer: it is logged, ends the tracing, and close() raises it.
        profile: a file that remembers which experts were wanted, and what the first layers chose
            for each token: read at load, so that the experts are in memory from the start, and
            written on close.
        speculator: a file of `zerostall train-speculator`, with which guesses what the next layer
            will want are right more often.
        record_states: bytes that what guesses are made of may take between two calls of
            Scheduler.take_states(); 0: nothing is recorded. Experts are streamed then even if all
            would fit.
        throttle, faults: make the drive slow or faulty, for tests.
    """

    io: str = "auto"
    policy: str = "lrfu"
    half_life: float = 256.0
    speculate: bool = True
    prefault: bool = True
    route_margin: float = 0.0
    miss_precision: str = "full"
    check_records: bool = False
    mirrors: Sequence[Path] = ()
    depth: int | None = None
    request_bytes: int | None = None
    trace: Callable[[list[Demand]], None] | None = None
    profile: Path | None = None
    speculator: Path | None = None
    record_states: int = 0
    throttle: Mapping[str, Any] | None = None
    faults: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.io not in BACK_ENDS:
            raise InvalidRequestError(f"io is {self.io!r}; give one of {', '.join(BACK_ENDS)}")
        if self.policy not in POLICIES:
            raise InvalidRequestError(
                f"policy is {self.policy!r}; give one of {', '.join(POLICIES)}"
            )
        if not self.route_margin >= 0:
            raise InvalidRequestError(f"route_margin is {self.route_margin}; give 0 or more")
        if self.miss_precision not in PRECISIONS:
            raise InvalidRequestError(
                f"miss_precision is {self.miss_precision!r}; give one of {', '.join(PRECISIONS)}"
            )
        # Also where the model scheduler out to fit: nobody would learn of a misspelt path.
        for name, path in (
            *(("mirror", each) for each in self.mirrors),
            ("speculator", self.speculator),
        ):
            if path is not None and not path.exists():
                raise InvalidRequestError(f"{name}: there is no {path}")

    @property
    def low_copies(self) -> bool:
        """Whether low copies of experts are used."""
        return self.miss_precision == "low"

    def check_file(self, file: GgufFile) -> None:
        """Raise InvalidRequestError for a model that lacks what the options need.

        Also where the model fits into memory, so that nobody relies on what is not there.
        """
        if self.io == "mmap" and self.mirrors and file.container_version:
            raise InvalidRequestError(
                "mirrors are not read with io='mmap': the experts of a converted file are used "
                f"where {file.paths[0]} is mapped; give no mirror, or another io"
            )
        if self.low_copies and not file.low_packed():
            raise InvalidRequestError(
                f"{file.paths[0]} has no low copies of its experts, as miss_precision='low' needs "
                "them: make a file that has with `zerostall convert MODEL OUT.gguf --miss-copy "
                "Q2_K`, or leave miss_precision at 'full'"
            )

    def key_of(self, file: GgufFile) -> str | None:
        """model_key() of a model, if something is remembered of it.

        Raises:
            StorageError: the model cannot be read.
        """
        return None if self.profile is None and self.speculator is None else model_key(file)

    def guesses_of(self, file: GgufFile, key: str | None = None) -> list[TrainedGuess]:
        """What a speculator brings for a model, nothing without one.

        Args:
            file: the model.
            key: what key_of(file) gave, if it was asked.

        Raises:
            ModelNotFoundError, StorageError: the speculator is missing or cannot be read.
            ModelFormatError: it is damaged.
            InvalidRequestError: it is of another model, or no speculator.
        """
        return [] if self.speculator is None else read_speculator(self.speculator, file, key)

    def to_core(
        self,
        expert_bytes: int,
        file: GgufFile,
        key: str | None = None,
        guesses: Sequence[TrainedGuess] | None = None,
    ) -> dict[str, Any]:
        """The options as `_core.Engine` takes them.

        Args:
            expert_bytes: room for experts, beside what trained guesses take.
            file: the model, whose files every mirror has too, by the same names.
            key: what key_of(file) gave, if it was asked.
            guesses: what guesses_of(file) gave, if it was asked.
        """
        key = key or self.key_of(file)
        options: dict[str, Any] = self._drive(file.paths[0]) | {
            "bytes": expert_bytes,
            "policy": self.policy,
            "half_life": float(self.half_life),
            "speculate": self.speculate,
            "prefault": self.prefault,
            "check_records": self.check_records,
            "route_margin": float(self.route_margin),
            "low_copies": self.low_copies,
            "trace": self.trace is not None,
            "mirrors": [_copies(mirror, file.paths) for mirror in self.mirrors],
        }
        if self.profile is not None:
            assert key is not None
            profile = read_profile(self.profile, key)
            options |= {"profile": profile.scores, "habits": profile.habits}
        if self.record_states:
            options["record_states"] = self.record_states
        if self.speculator is not None:
            guesses = self.guesses_of(file, key) if guesses is None else guesses
            options["trained"] = [guess.to_core() for guess in guesses]
        if self.depth is not None:
            options["depth"] = self.depth
        if self.request_bytes is not None:
            options["request_bytes"] = self.request_bytes
        if self.throttle is not None:
            options["throttle"] = dict(self.throttle)
        if self.faults is not None:
            options["faults"] = dict(self.faults)
        return options

    def bytes_per_second(self, file: GgufFile) -> float:
        """Of the drive, as it was probed; 0 if that is not known, or reading goes another way."""
        return drive_settings(file.paths[0]).bytes_per_second if self.io == "auto" else 0.0

    def _drive(self, path: str) -> dict[str, Any]:
        """How to read: as asked, or as the drive likes best."""
        place = drive_place(path)
        near: dict[str, Any] = {"cpus": place.cpus}
        if place.node is not None:
            near["node"] = place.node
        if self.io != "auto":
            return near | {"io": self.io}
        best = drive_settings(path)
        return near | {
            # Where io_uring is forbidden the core says so as it falls back.
            "io": "auto" if _core.uring_error() else best.kind,
            "depth": best.depth,
            "request_bytes": best.request_bytes,
            "direct": best.direct,
        }


def tell(warnings: Iterable[str]) -> None:
    """Log what the core has to say of reading experts, such as that a mirror failed."""
    for warning in warnings:
        log.warning("%s", warning)


def reserve(budget: int) -> int:
    """Bytes of a budget that the model leaves to the rest of the process."""
    return min(budget // KERNEL_PART + PYTHON_BYTES, budget // MOST_PART)


def with_reserve(need: int) -> int:
    """The smallest budget that leaves `need` bytes besides its reserve."""
    large = need + PYTHON_BYTES
    return min(large + (large - 1) // (KERNEL_PART - 1), need + (need - 1) // (MOST_PART - 1))


def _copies(mirror: Path, paths: Sequence[str]) -> list[str]:
    """The files of a mirror, given as a folder or as its first file."""
    folder = mirror if mirror.is_dir() else mirror.parent
    copies = [folder / Path(path).name for path in paths]
    if not mirror.is_dir():
        copies[0] = mirror
    return [str(copy) for copy in copies]
