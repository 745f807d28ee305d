"""Options that several verbs share, and the model they load."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from zerostall.engine.streaming import Demand, Streaming
    from zerostall.llm import LLM

BAR_AFTER_S = 1.0


def count_threads(text: str) -> int:
    """The number of `--threads`; `all` is one for each core, efficiency cores too."""
    if text == "all":
        from zerostall.engine.cpus import all_threads

        return all_threads()
    try:
        return int(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is neither a number nor `all`") from None


Model = Annotated[
    str,
    typer.Option(
        "-m",
        "--model",
        metavar="MODEL",
        help="A GGUF file, hf:owner/repo[:quant], or built in: nano, nano-draft.",
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        "-t",
        "--threads",
        metavar="N|all",
        parser=count_threads,
        help="Threads; by default one a physical core, with all also the efficiency cores.",
    ),
]
Context = Annotated[
    int | None,
    typer.Option("-c", "--ctx", help="Longest sequence in tokens; by default up to 4096."),
]
CtxShift = Annotated[
    bool,
    typer.Option(
        "--ctx-shift", help="Go on when the context is full, without the older half of the text."
    ),
]
Keep = Annotated[
    int, typer.Option(metavar="N", help="Tokens of the prompt that --ctx-shift keeps; -1: all.")
]
Ram = Annotated[
    str | None,
    typer.Option(
        "--ram", metavar="SIZE", help="Memory budget, such as 6.5G; by default what is free."
    ),
]
KvTokens = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Tokens of all sequences together in the KV cache; by default up to 8 contexts, "
        "up to 2 where experts are streamed.",
    ),
]
Isa = Annotated[
    str | None,
    typer.Option(
        "--isa",
        help="Instruction set, such as avx2; by default the best (zerostall info --hardware).",
    ),
]
KvType = Annotated[
    str,
    typer.Option("--kv-type", "--kv", help="Precision of the KV cache: auto, f16, f32 or int8."),
]
Pooling = Annotated[
    str | None,
    typer.Option(help="Of embeddings: mean, last, cls (first); by default the model's own."),
]
STREAMED = "Experts that do not fit into memory"
Io = Annotated[
    str,
    typer.Option(help="How they are read: auto, uring, pread, mmap.", rich_help_panel=STREAMED),
]
Policy = Annotated[
    str, typer.Option(help="Which stay in memory: lrfu, lru, lfu.", rich_help_panel=STREAMED)
]
Speculate = Annotated[
    bool, typer.Option(help="Read what the next layer is likely to want.", rich_help_panel=STREAMED)
]
Prefault = Annotated[
    bool,
    typer.Option(
        help="Give the memory for experts, scratch and KV cache its pages at load.",
        rich_help_panel=STREAMED,
    ),
]
Mirror = Annotated[
    list[Path] | None,
    typer.Option(
        metavar="PATH",
        help="A copy of the model on another drive, read as well; repeat for several.",
        rich_help_panel=STREAMED,
    ),
]
Profile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Remembers which were wanted, so that the next start is warm.",
        rich_help_panel=STREAMED,
    ),
]
Speculator = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Guesses it better, trained by `zerostall train-speculator`.",
        rich_help_panel=STREAMED,
    ),
]
TraceFile = Annotated[
    Path | None,
    typer.Option(
        "--trace",
        metavar="FILE",
        help="Records every demand for `zerostall trace`.",
        rich_help_panel=STREAMED,
    ),
]
Experts = Annotated[
    int | None,
    typer.Option(
        "--experts",
        metavar="K",
        help="Lossy: each token uses only its K likeliest experts.",
        rich_help_panel=STREAMED,
    ),
]
RouteMargin = Annotated[
    float,
    typer.Option(
        help="Lossy: prefer experts in memory to others whose router logit is larger by less.",
        rich_help_panel=STREAMED,
    ),
]
MissPrecision = Annotated[
    str,
    typer.Option(
        metavar="full|low",
        help="Lossy if low: decode those that are not in memory with their copy of few bits "
        "(files made by convert --miss-copy).",
        rich_help_panel=STREAMED,
    ),
]
CheckRecords = Annotated[
    bool,
    typer.Option(
        "--check-records",
        help="Compare the checksum of every one (converted files).",
        rich_help_panel=STREAMED,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object, errors too.")]


@dataclass(frozen=True)
class Loading:
    """How a verb loads its model; the fields are the options of the same names."""

    threads: int | None = None
    ctx: int | None = None
    ram: str | None = None
    kv_tokens: int | None = None
    isa: str | None = None
    kv_type: str = "auto"
    io: str = "auto"
    policy: str = "lrfu"
    speculate: bool = True
    prefault: bool = True
    mirror: Sequence[Path] | None = None
    profile: Path | None = None
    trace: Path | None = None
    speculator: Path | None = None
    experts: int | None = None
    route_margin: float = 0.0
    miss_precision: str = "full"
    check_records: bool = False
    record_states: int = 0
    gap_factor: float = 2.0
    ctx_shift: bool = False
    keep: int = 0
    batch: int | None = None

    @classmethod
    def of(cls, arguments: Mapping[str, Any]) -> Loading:
        """From a verb's arguments (its locals() at the start), of which others are left out."""
        names = {field.name for field in fields(cls)}
        return cls(**{name: value for name, value in arguments.items() if name in names})

    def streaming(self, trace: Callable[[list[Demand]], None] | None) -> Streaming:
        """The options for experts that do not fit into memory."""
        from zerostall.engine.streaming import Streaming

        return Streaming(
            self.io,
            self.policy,
            speculate=self.speculate,
            prefault=self.prefault,
            route_margin=self.route_margin,
            miss_precision=self.miss_precision,
            check_records=self.check_records,
            mirrors=self.mirror or (),
            profile=self.profile,
            speculator=self.speculator,
            record_states=self.record_states,
            trace=trace,
        )


@contextlib.contextmanager
def open_llm(model: str, how: Loading) -> Iterator[LLM]:
    """Load a model, with a progress bar on stderr once that takes longer than a second."""
    from zerostall.lab.trace_recorder import Recorder
    from zerostall.llm import LLM

    record = Recorder(how.mirror or (), how.speculate)
    with bar(f"loading {model}") as progress:
        llm = LLM(
            model,
            threads=how.threads,
            ctx=how.ctx,
            ram=how.ram,
            kv_tokens=how.kv_tokens,
            isa=how.isa,
            kv_type=how.kv_type,
            streaming=how.streaming(None if how.trace is None else record),
            experts=how.experts,
            gap_factor=how.gap_factor,
            context_shift=how.ctx_shift,
            keep=how.keep,
            max_batch=how.batch,
            progress=progress,
        )
    with llm, record.to(how.trace, llm):
        yield llm


@contextlib.contextmanager
def bar(title: str) -> Iterator[Callable[[float], None] | None]:
    """A bar on stderr, unless that is no terminal, for what takes longer than a second."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    shown = Progress(console=Console(stderr=True), transient=True)
    task = shown.add_task(title, total=None)
    timer = threading.Timer(BAR_AFTER_S, shown.start)
    timer.start()
    try:
        yield lambda fraction: shown.update(task, total=1.0, completed=fraction)
    finally:
        timer.cancel()
        timer.join()
        if shown.live.is_started:
            shown.stop()
