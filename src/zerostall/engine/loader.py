"""From a model file to something that can step: open, understand, budget, load."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from zerostall.engine import chunk
from zerostall.engine.batching import GAP_FACTOR
from zerostall.engine.budget import (
    DEFAULT_CONTEXT,
    KV_TYPES,
    Footprint,
    Plan,
    footprint,
    make_plan,
    parse_bytes,
)
from zerostall.engine.context_shift import ALL, check_keep
from zerostall.engine.cpus import place_threads
from zerostall.engine.drive import drive_place, nearest_first
from zerostall.engine.profile import check_writable, write_profile
from zerostall.engine.scheduler import Scheduler
from zerostall.engine.streaming import Streaming
from zerostall.errors import InvalidRequestError, ModelFormatError

if TYPE_CHECKING:
    from zerostall._core import Engine, GgufFile, Placement
    from zerostall.arch import Architecture
    from zerostall.engine.speculator import TrainedGuess
    from zerostall.text import Tokenizer

log = logging.getLogger(__name__)

MAX_THREADS = 1024


@dataclass(frozen=True)
class Options:
    """How to load; the fields are those of LLM()."""

    threads: int | None = None
    ctx: int | None = None
    ram: int | float | str | None = None
    kv_type: str = "auto"
    isa: str | None = None
    max_batch: int | None = None
    pin: bool | None = None
    streaming: Streaming = field(default_factory=Streaming)
    experts: int | None = None
    gap_factor: float = GAP_FACTOR
    context_shift: bool = False
    keep: int = 0
    kv_tokens: int | None = None

    def __post_init__(self) -> None:
        if self.threads is not None and not 1 <= self.threads <= MAX_THREADS:
            raise InvalidRequestError(
                f"threads is {self.threads}; give 1 to {MAX_THREADS}, or None for one a core"
            )
        if self.kv_type not in ("auto", *KV_TYPES):
            raise InvalidRequestError(
                f"kv_type is {self.kv_type!r}; give one of auto, {', '.join(KV_TYPES)}"
            )
        if self.ctx is not None and self.ctx < 1:
            raise InvalidRequestError(f"ctx is {self.ctx}; give at least 1, or None")
        if self.kv_tokens is not None and self.kv_tokens < 1:
            raise InvalidRequestError(f"kv_tokens is {self.kv_tokens}; give at least 1, or None")
        if self.max_batch is not None and self.max_batch < 1:
            raise InvalidRequestError(f"max_batch is {self.max_batch}; give at least 1, or None")
        if not self.gap_factor >= 1:
            raise InvalidRequestError(
                f"gap_factor is {self.gap_factor}; give at least 1, or inf for no limit"
            )
        if self.keep < ALL:
            raise InvalidRequestError(f"keep is {self.keep}; give 0 or more, or -1 for the prompt")
        if self.keep and not self.context_shift:
            raise InvalidRequestError(
                f"keep is {self.keep} without context_shift; nothing is dropped then"
            )


@dataclass(frozen=True)
class Loaded:
    """A model ready to run.

    Attributes:
        tokenizer: None if the file carries no vocabulary.
        profile: of its experts, written on close.
        key: of the model, for the profile.
        keep: how many tokens of a prompt stay when the context is full; None: an answer ends then.
    """

    path: Path
    file: GgufFile
    model: Architecture
    tokenizer: Tokenizer | None
    scheduler: Scheduler
    load_ms: float
    profile: Path | None = None
    key: str | None = None
    keep: int | None = None

    def close(self) -> None:
        """Free the model; a call under way in another thread ends with ClosedError.

        Raises:
            StorageError: the profile or the trace could not be written. The model is freed.
            Whatever else `Streaming.trace` raised.
        """
        wanted = self.scheduler.close()
        if self.profile is not None and self.key is not None and wanted.scores:
            write_profile(self.profile, self.key, wanted)
        if self.scheduler.trace_error is not None:
            raise self.scheduler.trace_error


@dataclass(frozen=True)
class Planned:
    """What load() would do: the model on its threads, with so much memory.

    `options` are those asked for, with a precision of the cache and tokens a step where they left
    them open, `key` the model's, if something is remembered of experts that may be streamed.
    """

    options: Options
    file: GgufFile
    model: Architecture
    placement: Placement
    plan: Plan
    key: str | None = None
    guesses: Sequence[TrainedGuess] = ()


def plan_load(path: Path, options: Options) -> Planned:
    """Work out how the model at `path` would be loaded, without loading it.

    Raises:
        ZerostallError: any of the typed errors of loading.
    """
    from zerostall import arch, gguf

    ram = None if options.ram is None else parse_bytes(options.ram)
    file = gguf.open_model(path)
    if options.kv_type == "auto":
        options = replace(options, kv_type=chosen_kv_type(file))
    options.streaming.check_file(file)
    guess = options.ctx or DEFAULT_CONTEXT
    model = arch.load(file, guess, options.experts)
    placement = place_threads(options.threads, options.pin)

    def needed(batch: int, stream: bool) -> Footprint:
        low = stream and options.streaming.low_copies
        return footprint(
            file, model.tape, guess, batch, options.kv_type, placement.threads, stream, low
        )

    batch = options.max_batch or chunk.PLAIN
    need, streamed = needed(batch, False), needed(batch, True)
    # Now, not on close, when the file may be gone.
    key = options.streaming.key_of(file) if streamed.experts else None
    guesses = options.streaming.guesses_of(file, key) if streamed.experts else []
    streamed = replace(streamed, speculator=sum(guess.bytes for guess in guesses))
    plan = make_plan(
        need,
        model.context_length,
        options.ctx,
        ram,
        path.name,
        streamed if streamed.experts else None,
        options.kv_tokens,
    )
    if options.streaming.record_states and plan.expert_bytes is None and streamed.experts:
        plan = replace(plan, expert_bytes=streamed.experts)
    room = plan.expert_bytes or streamed.experts
    if options.max_batch is None and room < streamed.experts and plan.context > batch:
        spare = min(room // chunk.SHARE, room - streamed.least_experts)
        fitting = {
            length: taken
            for length in chunk.LENGTHS[1:]
            if (taken := needed(length, True).scratch - streamed.scratch) <= spare
        }
        if fitting:
            enough = chunk.enough_tokens(
                streamed.experts - room,
                chunk.token_seconds(model.tape, file.tensors(), options.isa, placement.threads),
                options.streaming.bytes_per_second(file),
            )
            longest = max((length for length in fitting if length <= enough), default=batch)
            plan = replace(plan, expert_bytes=room - fitting.get(longest, 0))
            batch = longest
    options = replace(options, max_batch=batch)
    if plan.context != guess:
        model = arch.load(file, plan.context, options.experts)  # rope tables may depend on it
    return Planned(options, file, model, placement, plan, key, guesses)


def chosen_kv_type(file: GgufFile) -> str:
    """The precision of the cache where none is asked for: int8, or f16 where keys have a bias.

    Biases of keys can be many times larger than what they are added to, which one int8 scale a
    head does not cover (docs/adr/0009-int8-kv.md).
    """
    biased = (".attn_k.bias", ".attn_qkv.bias")
    return "f16" if any(t.name.endswith(biased) for t in file.tensors()) else "int8"


def load(path: Path, options: Options, progress: Callable[[float], None] | None = None) -> Loaded:
    """Load the model at `path`.

    Args:
        path: a GGUF file, or the first file of a split one.
        options: threads, context, budget and so on.
        progress: called now and then with the fraction of the weights loaded, 0 to 1.

    Raises:
        ZerostallError: any of the typed errors; nothing stays loaded.
    """
    clock = time.perf_counter()
    planned = plan_load(path, options)
    options, file, model = planned.options, planned.file, planned.model
    check_keep(options.keep, planned.plan.context)
    tokenizer = load_tokenizer(file)
    if tokenizer is not None:
        check_vocabulary(path.name, tokenizer.vocab_size, model.vocab_size)
    profile = options.streaming.profile
    if profile is not None and planned.plan.expert_bytes is not None:
        check_writable(profile)
    engine = start_engine(
        file,
        model,
        options,
        planned.placement,
        planned.plan,
        progress,
        planned.key,
        planned.guesses,
    )
    if why := engine.stream_reader.get("why"):
        log.warning("%s", why)
    scheduler = Scheduler(engine, options.streaming.trace, options.gap_factor)
    load_ms = 1e3 * (time.perf_counter() - clock)
    return Loaded(
        path,
        file,
        model,
        tokenizer,
        scheduler,
        load_ms,
        profile,
        planned.key,
        options.keep if options.context_shift else None,
    )


def load_tokenizer(file: GgufFile) -> Tokenizer | None:
    """The file's tokenizer, or None for a file that says it has no vocabulary."""
    from zerostall.text import Tokenizer
    from zerostall.text.metadata import read_text

    if read_text(file, "tokenizer.ggml.model") in (None, "none", "no_vocab"):
        return None
    return Tokenizer.from_gguf(file)


def check_vocabulary(name: str, tokens: int, rows: int) -> None:
    """Raise ModelFormatError unless each token has one row of the embedding."""
    if tokens != rows:
        raise ModelFormatError(
            f"{name}: tokenizer.ggml.tokens lists {tokens} tokens, but token_embd.weight has "
            f"{rows} rows: the vocabulary belongs to another model; convert the model again"
        )


def start_engine(
    file: GgufFile,
    model: Architecture,
    options: Options,
    placement: Placement,
    plan: Plan,
    progress: Callable[[float], None] | None,
    key: str | None = None,
    guesses: Sequence[TrainedGuess] | None = None,
) -> Engine:
    """Pack the weights and start the threads; `key` and `guesses` are those of Planned."""
    from zerostall._core import Engine

    cpus, nodes = placement.cpus, placement.nodes
    if plan.expert_bytes is not None:
        cpus, nodes = nearest_first(cpus, nodes, drive_place(file.paths[0]).node)
    return Engine(
        file,
        model.tape,
        threads=placement.threads,
        cpus=cpus if placement.pinned else None,
        nodes=nodes if placement.pinned else None,
        uneven=placement.uneven,
        context=plan.context,
        max_batch=min(options.max_batch or chunk.PLAIN, plan.context),
        kv_tokens=plan.kv_tokens,
        kv_type=options.kv_type,
        isa=options.isa,
        streaming=None
        if plan.expert_bytes is None
        else options.streaming.to_core(plan.expert_bytes, file, key, guesses),
        check_records=options.streaming.check_records,
        progress=None if progress is None else lambda done, total: progress(done / max(1, total)),
    )
