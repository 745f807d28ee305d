"""`zerostall bench`: measure speed, beside a peer and the limits of the machine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from zerostall.cli import options
from zerostall.cli.outcome import EXIT_CODES, print_json, reporting

app = typer.Typer(epilog=EXIT_CODES)

Markdown = Annotated[bool, typer.Option("--md", help="Print a Markdown table.")]


@app.callback(invoke_without_command=True, epilog=EXIT_CODES)
def bench(
    context: typer.Context,
    model: options.Model = "nano",
    prompt: Annotated[
        int, typer.Option("-p", "--prompt", help="Tokens of the prefill; 0 leaves it out.")
    ] = 128,
    tokens: Annotated[
        int, typer.Option("-n", "--tokens", help="Tokens to decode; 0 leaves it out.")
    ] = 32,
    depth: Annotated[
        int, typer.Option("-d", "--depth", help="Tokens in the context before either.")
    ] = 0,
    repetitions: Annotated[int, typer.Option("-r", "--repetitions", help="Runs of each.")] = 5,
    first_token: Annotated[
        int,
        typer.Option(help="Tokens of the prompt whose first answer is timed; 0 leaves it out."),
    ] = 8,
    cold: Annotated[
        bool, typer.Option("--cold", help="Time the first token with a cold page cache.")
    ] = False,
    peer: Annotated[
        str | None,
        typer.Option(metavar="llama.cpp[=PATH]", help="Take turns with it; PATH of llama-bench."),
    ] = None,
    peer_model: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="The peer's file, where ours is a converted one."),
    ] = None,
    threads: options.Threads = None,
    ram: options.Ram = None,
    kv_type: options.KvType = "f16",
    isa: options.Isa = None,
    io: options.Io = "auto",
    policy: options.Policy = "lrfu",
    speculate: options.Speculate = True,
    prefault: options.Prefault = True,
    mirror: options.Mirror = None,
    experts: options.Experts = None,
    miss_precision: options.MissPrecision = "full",
    warm_up: Annotated[
        int,
        typer.Option(
            "-w",
            "--warm-up",
            metavar="TOKENS",
            help="Decoded uncounted before each measurement; 0 is cold.",
            rich_help_panel=options.STREAMED,
        ),
    ] = 0,
    json: options.Json = False,
    markdown: Markdown = False,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw the roofline.")
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Append the result to this folder's JSON lines; by default bench/results "
            "when run inside a checkout of zerostall.",
        ),
    ] = None,
    no_save: Annotated[bool, typer.Option("--no-save", help="Append it nowhere.")] = False,
) -> None:
    """Measure prefill, decode and time to the first token, in tokens a second.

    Runs of zerostall and of the peer take turns; the machine's limits are
    measured just before. Random token ids: any model will do, also one that
    `zerostall synth` wrote. If --ram is less than the model, each part is
    measured in a memory cgroup of that size, the peer's too (Linux, root).
    `zerostall bench kernels` compares weight formats.
    """
    if context.invoked_subcommand is not None:
        return
    with reporting(json):
        from zerostall import hub
        from zerostall.engine.cpus import default_threads
        from zerostall.errors import InvalidRequestError
        from zerostall.lab import bench as lab
        from zerostall.lab import report
        from zerostall.lab.streamed_report import streamed_table
        from zerostall.lab.subjects import Test

        if json and markdown:
            raise InvalidRequestError("give --json or --md, not both")
        if plot is not None:
            report.check_plot(plot)
        test = Test(
            prompt=prompt,
            tokens=tokens,
            depth=depth,
            threads=threads if threads is not None else default_threads(),
            isa=isa,
            ram=ram,
            kv_type=kv_type,
            first_token=first_token,
            warm_up=warm_up,
            io=io,
            policy=policy,
            speculate=speculate,
            prefault=prefault,
            mirrors=tuple(map(str, mirror or ())),
            experts=experts,
            miss_precision=miss_precision,
        )
        record = lab.run_bench(
            hub.resolve(model),
            test,
            repetitions,
            peer,
            peer_model=None if peer_model is None else hub.resolve(peer_model),
            cold=cold,
            report=_say if not json else lambda line: None,
        )
        folder = None if no_save else save or lab.checkout_results(Path.cwd())
        if folder is not None:
            file = lab.append_result(record, folder)
            if not json:
                _say(f"appended to {file}")
        if plot is not None:
            report.plot_roofline(record, plot)
        if json:
            print_json(record)
            return
        show = report.as_markdown if markdown else report.as_text
        for table in filter(None, (report.bench_table(record), streamed_table(record))):
            print(show(table), end="\n\n")
        notes = report.bench_notes(record)
        print(*((f"- {note}" for note in notes) if markdown else notes), sep="\n")


@app.command(epilog=EXIT_CODES)
def kernels(
    tokens: Annotated[int, typer.Option("-p", "--tokens", help="Tokens of a prefill.")] = 128,
    formats: Annotated[
        list[str] | None, typer.Option("--format", help="Weight format; repeat for several.")
    ] = None,
    isas: Annotated[
        list[str] | None,
        typer.Option("--isa", help="Instruction set; repeat for several. Default: all but scalar."),
    ] = None,
    seconds: Annotated[float, typer.Option(help="Time for each figure.")] = 0.3,
    weight_mib: Annotated[
        int | None,
        typer.Option(help="Size of the weight in decoding; by default 4 last-level caches."),
    ] = None,
    threads: options.Threads = None,
    json: options.Json = False,
    markdown: Markdown = False,
) -> None:
    """GB/s in decode and TOPS in prefill of every format on every instruction set.

    In brackets the fraction of the measured limit: read bandwidth, and the
    peak of the unit that multiplies.
    """
    with reporting(json):
        from zerostall.engine.cpus import default_threads
        from zerostall.lab.kernel_table import kernel_table, measure_kernels
        from zerostall.lab.machine import describe_machine
        from zerostall.lab.report import as_markdown, as_text

        count = threads if threads is not None else default_threads()
        size = None if weight_mib is None else weight_mib << 20
        speeds = []
        for speed in measure_kernels(count, tokens, formats or (), isas or (), seconds, size):
            speeds.append(speed)
            if not json and sys.stderr.isatty():
                _say(f"{speed.isa} {speed.format}")
        if json:
            used = ", ".join(dict.fromkeys(speed.isa for speed in speeds))
            machine = describe_machine(used, count)
            rows = [speed.to_dict() for speed in speeds]
            print_json({"kernels": rows, "tokens": tokens, "machine": machine})
            return
        print((as_markdown if markdown else as_text)(kernel_table(speeds)))


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
