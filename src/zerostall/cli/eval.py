"""`zerostall eval`: measure how well a model predicts."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from zerostall.cli import options
from zerostall.cli.outcome import EXIT_CODES, print_json, reporting

app = typer.Typer(help="Measure a model's quality.", no_args_is_help=True, epilog=EXIT_CODES)


@app.callback()
def group() -> None:
    """Measure a model's quality."""


@app.command(epilog=EXIT_CODES)
def ppl(
    file: Annotated[Path, typer.Argument(help="A text file, UTF-8.")],
    model: options.Model = "nano",
    ctx: Annotated[int, typer.Option("-c", "--ctx", help="Tokens a chunk.")] = 512,
    chunks: Annotated[int | None, typer.Option(help="Stop after this many chunks.")] = None,
    batch: Annotated[
        int | None,
        typer.Option(
            min=1, help="Most tokens a step; with 1 the text is computed as answers are (slow)."
        ),
    ] = None,
    threads: options.Threads = None,
    ram: options.Ram = None,
    kv_type: options.KvType = "auto",
    isa: options.Isa = None,
    io: options.Io = "auto",
    policy: options.Policy = "lrfu",
    speculate: options.Speculate = True,
    prefault: options.Prefault = True,
    speculator: options.Speculator = None,
    mirror: options.Mirror = None,
    profile: options.Profile = None,
    trace: options.TraceFile = None,
    experts: options.Experts = None,
    route_margin: options.RouteMargin = 0.0,
    miss_precision: options.MissPrecision = "full",
    check_records: options.CheckRecords = False,
    json: options.Json = False,
) -> None:
    """Perplexity of a text, computed exactly as llama-perplexity does.

    The text is cut into chunks of --ctx tokens; the second half of each is
    scored. Lower is better; only values of the same text, tokenizer and --ctx
    compare.
    """
    # One sequence: what is beside it is for experts.
    how = replace(options.Loading.of(locals()), kv_tokens=ctx)
    with reporting(json):
        from zerostall.lab.eval import perplexity, read_text

        text = read_text(file)

        def show(chunk: int, running: float) -> None:
            print(f"[{chunk}]{running:.4f},", end="", file=sys.stderr, flush=True)

        with options.open_llm(model, how) as llm:
            result = perplexity(llm, text, ctx, chunks, None if json else show)
        if json:
            print_json(result.to_dict())
            return
        print(file=sys.stderr)
        print(f"perplexity: {result.perplexity:.4f} +/- {result.error:.5f}")
