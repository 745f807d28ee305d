"""`zerostall trace`: replay recorded demands for experts with other budgets and policies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zerostall.cli import options
from zerostall.cli.outcome import print_json, reporting


def main(
    file: Annotated[Path, typer.Argument(help="A trace, JSON lines; .gz is decompressed.")],
    ram: Annotated[
        str,
        typer.Option("--ram", metavar="SIZE,...", help="Memory budgets, such as 4G,8G,16G."),
    ],
    policy: Annotated[
        str,
        typer.Option(
            metavar="NAME,...", help="Of lrfu, lru, lfu and belady, the optimum that bounds them."
        ),
    ] = "lrfu,lru,lfu,belady",
    half_life: Annotated[
        float | None,
        typer.Option(metavar="STEPS", help="Of a demand's worth under lrfu; 256 as the engine's."),
    ] = None,
    drive: Annotated[
        float | None,
        typer.Option(metavar="GB/s", help="The drive's speed; by default as recorded."),
    ] = None,
    compute: Annotated[
        float | None,
        typer.Option(
            metavar="MS",
            help="Time of a token whose experts are all in memory; by default as recorded.",
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="Draw the hit rate over the budget."),
    ] = None,
    json: options.Json = False,
) -> None:
    """Hit rate, bytes read and speed a recorded run would have with other budgets and policies.

    Loads no model and reads none: FILE has every demand for an expert. Memory
    is empty at the start.
    """
    with reporting(json):
        from zerostall.engine.budget import parse_bytes
        from zerostall.lab import replay_report
        from zerostall.lab.eviction import HALF_LIFE_STEPS
        from zerostall.lab.replay import replay
        from zerostall.lab.report import as_text, check_plot
        from zerostall.lab.trace_reader import read_trace

        _check_positive("--drive", drive)
        _check_positive("--compute", compute)
        if plot is not None:
            check_plot(plot)
        budgets = [parse_bytes(size) for size in ram.split(",")]
        policies = [name.strip() for name in policy.split(",")]
        steps = HALF_LIFE_STEPS if half_life is None else half_life
        trace = read_trace(file)
        replays = replay(trace, budgets, policies, steps)
        assumed = replay_report.Assumed(
            trace.header.drive_bytes_per_s if drive is None else drive * 1e9,
            trace.header.compute_ms if compute is None else compute,
        )
        if plot is not None:
            replay_report.plot_replays(trace, replays, plot)
        if json:
            print_json(replay_report.replay_record(trace, replays, assumed, steps))
            return
        notes = replay_report.replay_notes(trace, replays, assumed, steps)
        print(as_text(replay_report.replay_table(replays, assumed)), "", *notes, sep="\n")


def _check_positive(option: str, value: float | None) -> None:
    from math import inf

    from zerostall.errors import InvalidRequestError

    if value is not None and not 0 < value < inf:
        raise InvalidRequestError(f"{option} is {value}; give a number greater than 0")
