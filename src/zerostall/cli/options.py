"""Options that several verbs share, and the model they load."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from zerostall.engine.streaming import Streaming
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
Ram = Annotated[
    str | None,
    typer.Option(
        "--ram", metavar="SIZE", help="Memory budget, such as 6.5G; by default what is free."
    ),
]
Isa = Annotated[
    str | None,
    typer.Option(
        "--isa",
        help="Instruction set, such as avx2; by default the best (zerostall info --hardware).",
    ),
]
KvType = Annotated[str, typer.Option("--kv-type", help="Precision of the KV cache: f16 or f32.")]
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
CheckRecords = Annotated[
    bool,
    typer.Option(
        "--check-records",
        help="Compare the checksum of every one that is read (converted files).",
        rich_help_panel=STREAMED,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object, errors too.")]


@contextlib.contextmanager
def open_llm(
    model: str,
    *,
    threads: int | None = None,
    ctx: int | None = None,
    ram: str | None = None,
    isa: str | None = None,
    kv_type: str = "f16",
    streaming: Streaming | None = None,
    experts: int | None = None,
    trace: Path | None = None,
) -> Iterator[LLM]:
    """Load a model, with a progress bar on stderr once that takes longer than a second."""
    from zerostall.engine.streaming import Streaming
    from zerostall.lab.trace_recorder import Recorder
    from zerostall.llm import LLM

    record = Recorder()
    if trace is not None:
        streaming = replace(streaming or Streaming(), trace=record)
    with bar(f"loading {model}") as progress:
        llm = LLM(
            model,
            threads=threads,
            ctx=ctx,
            ram=ram,
            isa=isa,
            kv_type=kv_type,
            streaming=streaming,
            experts=experts,
            progress=progress,
        )
    with llm, record.to(trace, llm):
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
