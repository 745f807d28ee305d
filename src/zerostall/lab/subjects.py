"""What is measured: zerostall in this process, a peer in processes of its own."""

from __future__ import annotations

import gc
import json
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zerostall.engine.chunk import PLAIN
from zerostall.engine.loader import Loaded, Options, load
from zerostall.engine.streaming import Streaming
from zerostall.errors import InvalidRequestError, ZerostallError
from zerostall.lab.memory_cgroup import Finished, run_contained
from zerostall.lab.page_cache import drop_cached

if TYPE_CHECKING:
    from zerostall._core import Engine

OURS = "zerostall"
PEER = "llama.cpp"
PARTS = ("prefill", "decode")
WARM_UP_TOKENS = 2
PEER_KV_TYPES = {"int8": "q8_0"}  # where its name is another


class PeerError(ZerostallError):
    """The peer's program failed, or printed what cannot be read."""


@dataclass(frozen=True)
class Test:
    """What each run does.

    Attributes:
        prompt: tokens of the prefill, 0 for none.
        tokens: tokens decoded one by one, 0 for none.
        depth: tokens in the context before either.
        threads: threads of the computation.
        isa: instruction set of zerostall; None: the best.
        ram: zerostall's memory budget.
        kv_type: precision of the KV cache, of both.
        first_token: tokens of the prompt whose first answer is timed from the command on; 0 for
            none.
        warm_up: where experts are streamed, tokens decoded uncounted before each measurement.
        io, policy, speculate, prefault, mirrors: how zerostall streams experts
            (engine/streaming.py).
        experts: lossy: how many zerostall uses for each token; None: as the model was trained.
        miss_precision: lossy if "low": zerostall decodes what it misses with low copies.
    """

    __test__ = False  # no test case, whatever pytest thinks of the name

    prompt: int
    tokens: int
    depth: int
    threads: int
    isa: str | None = None
    ram: str | None = None
    kv_type: str = "f16"
    first_token: int = 8
    warm_up: int = 0
    io: str = "auto"
    policy: str = "lrfu"
    speculate: bool = True
    prefault: bool = True
    mirrors: tuple[str, ...] = ()
    experts: int | None = None
    miss_precision: str = "full"

    @property
    def context(self) -> int:
        """The longest sequence of a run."""
        longest = max(self.prompt, self.tokens, WARM_UP_TOKENS)
        return max(self.depth + longest, self.warm_up, self.first_token + 1)

    def options(self) -> Options:
        """How zerostall loads the model."""
        mirrors = [Path(mirror) for mirror in self.mirrors]
        return Options(
            self.threads,
            self.context,
            self.ram,
            self.kv_type,
            self.isa,
            PLAIN,
            streaming=Streaming(
                self.io,
                self.policy,
                speculate=self.speculate,
                prefault=self.prefault,
                mirrors=mirrors,
                miss_precision=self.miss_precision,
            ),
            experts=self.experts,
            kv_tokens=self.context,  # one sequence
        )


@dataclass(frozen=True)
class Rates:
    """Tokens a second of one run; None for a part that was not asked for."""

    prefill: float | None
    decode: float | None


class Ours:
    """zerostall, through the core's engine: no tokenizer, sampling or Python in the loop."""

    def __init__(self, path: Path, test: Test) -> None:
        self.path = path
        self.test = test
        self._loaded: Loaded | None = None

    def load(self, progress: Callable[[float], None] | None = None) -> Loaded:
        """Load the model unless it is, arrange its memory, and run once uncounted."""
        if self._loaded is None:
            test = self.test
            self._loaded = load(self.path, test.options(), progress)
            self._loaded.scheduler.engine.settle()
            rng = np.random.default_rng(0)
            ids = rng.integers(0, self._loaded.scheduler.vocab_size, test.context, dtype=np.int32)
            self._ids = ids
            self._measure(min(test.prompt, PLAIN), min(test.tokens, WARM_UP_TOKENS))
        return self._loaded

    def unload(self) -> None:
        """Free the model's memory."""
        if self._loaded is not None:
            self._loaded.scheduler.close()
            self._loaded = None
            gc.collect()

    def run(self) -> Rates:
        """One run of the test."""
        self.load()
        return self._measure(self.test.prompt, self.test.tokens)

    def _measure(self, prompt: int, tokens: int) -> Rates:
        assert self._loaded is not None
        engine = self._loaded.scheduler.engine
        sequence = engine.open_sequence()
        try:
            depth = self.test.depth
            prefill(engine, sequence, self._ids[:depth])
            started = time.perf_counter()
            prefill(engine, sequence, self._ids[depth : depth + prompt])
            prefilled = time.perf_counter()
            engine.truncate(sequence, depth)
            decoding = time.perf_counter()
            decode(engine, sequence, self._ids[depth : depth + tokens])
            decoded = time.perf_counter()
        finally:
            engine.close_sequence(sequence)
        return Rates(
            prompt / (prefilled - started) if prompt else None,
            tokens / (decoded - decoding) if tokens else None,
        )

    def first_token_command(self) -> list[str]:
        """The command whose time to the first token is measured."""
        test = self.test
        ids = ",".join(str(1 + i) for i in range(test.first_token))
        command = [sys.executable, "-m", "zerostall", "run", "-m", str(self.path)]
        command += ["--tokens", ids, "-n", "1", "--temp", "0", "-t", str(test.threads)]
        command += ["-c", str(test.context), "--kv-type", test.kv_type]
        command += ["--io", test.io, "--policy", test.policy]
        command += ["--miss-precision", test.miss_precision]
        command += [] if test.speculate else ["--no-speculate"]
        command += [] if test.prefault else ["--no-prefault"]
        for mirror in test.mirrors:
            command += ["--mirror", mirror]
        for option, value in (("isa", test.isa), ("ram", test.ram), ("experts", test.experts)):
            command += [f"--{option}", str(value)] if value else []
        return command


def prefill(engine: Engine, sequence: int, ids: Any) -> None:
    """Append tokens in full batches, with logits of the last only, as llama-bench does."""
    for begin in range(0, len(ids), engine.max_batch):
        part = ids[begin : begin + engine.max_batch]
        last = begin + len(part) == len(ids)
        _step(engine, sequence, part, [len(part) - 1] if last else [])


def decode(engine: Engine, sequence: int, ids: Any) -> None:
    """Append tokens one by one, with logits of each, as llama-bench does."""
    for position in range(len(ids)):
        _step(engine, sequence, ids[position : position + 1], [0])


def _step(engine: Engine, sequence: int, ids: Any, rows: Sequence[int]) -> None:
    owners = np.full(len(ids), sequence, np.int32)
    engine.step(ids, owners, np.asarray(rows, np.int32))


class LlamaCpp:
    """llama.cpp through its llama-bench: one process a run, with its own warm-up.

    Threads, batch (512 tokens) and cache precision are zerostall's; the rest are its defaults,
    except that with a memory budget it maps the file instead of making a packed copy.
    """

    def __init__(self, program: Path, model: Path, test: Test) -> None:
        self.program = program
        self.model = model
        self.test = test
        self.build: str | None = None

    @classmethod
    def find(cls, peer: str, model: Path, test: Test) -> LlamaCpp:
        """The peer that `llama.cpp` or `llama.cpp=PATH` names.

        Raises:
            InvalidRequestError: it names another, or no program to run.
        """
        name, _, where = peer.partition("=")
        if name != PEER:
            raise InvalidRequestError(f"--peer is {peer!r}; give {PEER} or {PEER}=PATH/llama-bench")
        found = shutil.which(str(Path(where).expanduser()) if where else "llama-bench")
        if found is None and where and (Path(where) / "llama-bench").is_file():
            found = str(Path(where) / "llama-bench")
        if found is None:
            place = f"{where} is no program" if where else "llama-bench is not on the PATH"
            raise InvalidRequestError(
                f"{place}; build llama.cpp's target llama-bench and give its path: "
                f"--peer {PEER}=PATH/llama-bench"
            )
        return cls(Path(found), model, test)

    def command(self) -> list[str]:
        """The command of one run."""
        return self._command(self.test.prompt, self.test.tokens, self.test.depth)

    def show(self, *, parts: bool) -> str:
        """The command of one run as a shell takes it; with `parts` one for each, in turn."""
        asked = zip(PARTS, (self.test.prompt, self.test.tokens), strict=True)
        commands = [self.part_command(part) for part, tokens in asked if tokens]
        return "; ".join(map(show_command, commands if parts else [self.command()]))

    def first_token_command(self) -> list[str]:
        """The command that loads the model and computes a short prompt."""
        return [*self._command(self.test.first_token, 0, 0), "--no-warmup"]

    def part_command(self, part: str) -> list[str]:
        """The command that measures "prefill" or "decode" alone.

        Nothing precedes it but `warm_up` decoded tokens, which are a test of their own: llama-bench
        does tests of decoding (-n) before those of both (-pg), in their order.
        """
        test = self.test
        warm_up = [test.warm_up] if test.warm_up else []
        if part == "decode":
            tokens = ",".join(map(str, [*warm_up, test.tokens]))
            command = self._command(0, tokens, test.depth)
        elif warm_up:
            command = [*self._command(0, test.warm_up, test.depth), "-pg", f"{test.prompt},0"]
        else:
            command = self._command(test.prompt, 0, test.depth)
        return [*command, "--no-warmup"]

    def _command(self, prompt: int, tokens: int | str, depth: int) -> list[str]:
        test = self.test
        command = [str(self.program), "-m", str(self.model), "-p", str(prompt), "-n", str(tokens)]
        command += ["-d", str(depth), "-r", "1", "-t", str(test.threads)]
        command += ["-b", str(PLAIN), "-ub", str(PLAIN)]
        kv_type = PEER_KV_TYPES.get(test.kv_type, test.kv_type)
        command += ["-ctk", kv_type, "-ctv", kv_type]
        command += ["-fa", "1"] if test.kv_type in PEER_KV_TYPES else []  # needed for such values
        command += ["--repack", "0", "-lm", "mmap"] if test.ram else []
        return [*command, "-o", "json"]

    def run(self) -> Rates:
        """One run of the test."""
        command = self.command()
        rates = self.read(command, run_program(command))
        for part, asked in zip(PARTS, (self.test.prompt, self.test.tokens), strict=True):
            if asked:
                self.rate_of(part, rates, command)
        return rates

    def read(self, command: Sequence[str], printed: str) -> Rates:
        """The rates that llama-bench printed, of each part the last.

        Raises:
            PeerError: it printed something else.
        """
        try:
            records = json.loads(printed)
            prefill = [float(r["avg_ts"]) for r in records if r["n_prompt"] and not r["n_gen"]]
            decode = [float(r["avg_ts"]) for r in records if r["n_gen"] and not r["n_prompt"]]
            self.build = records[-1].get("build_commit")
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise _unreadable(command, repr(error)) from error
        return Rates(prefill[-1] if prefill else None, decode[-1] if decode else None)

    def rate_of(self, part: str, rates: Rates, command: Sequence[str]) -> float:
        """The rate of "prefill" or "decode"; PeerError if it was not printed."""
        rate: float | None = getattr(rates, part)
        if rate is None:
            raise _unreadable(command, f"{part} is missing")
        return rate


def _unreadable(command: Sequence[str], why: str) -> PeerError:
    return PeerError(
        f"{show_command(command)} printed no results that could be read ({why}); "
        "run it by hand, and use a llama-bench that knows these options"
    )


def run_program(command: Sequence[str]) -> str:
    """A program's standard output; PeerError with the end of its messages if it fails."""
    return output_of(command, run_contained(command, None))


def output_of(command: Sequence[str], done: Finished) -> str:
    """What a command printed; PeerError with the end of its messages if it failed."""
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or done.stdout.strip().splitlines()
        raise PeerError(
            f"{show_command(command)} failed with exit code {done.returncode}: "
            + " / ".join(said[-3:])
        )
    return done.stdout


def first_token_ms(command: Sequence[str], dropped: Sequence[Path] = ()) -> float:
    """Milliseconds from starting a command to its end.

    Args:
        command: loads a model, computes one token and exits.
        dropped: files to be dropped from the page cache first.
    """
    for file in dropped:
        drop_cached(file)
    started = time.perf_counter()
    run_program(command)
    return 1e3 * (time.perf_counter() - started)


def show_command(command: Sequence[str]) -> str:
    """A command as a shell takes it."""
    return shlex.join(command)
