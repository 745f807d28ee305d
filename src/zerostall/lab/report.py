"""Bench results for people: a table as text or Markdown, and the roofline as a picture."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zerostall.errors import InvalidRequestError, StorageError
from zerostall.lab.bench import has_rate, median_of, ratios
from zerostall.lab.streamed_report import KILLED, shown_limit, streamed_notes
from zerostall.lab.subjects import OURS, PARTS

Table = Sequence[Sequence[str]]  # the first row is the heading


def bench_table(record: dict[str, Any]) -> Table:
    """Tokens a second of each part: median (least to most), ratio run by run, limit."""
    peer = record.get("peer")
    heading = ["tokens/s", OURS]
    heading += [peer["name"], "ratio (run by run)"] if peer else []
    table = [[*heading, "limit", "reached"]]
    counts = {"prefill": record["test"]["prompt"], "decode": record["test"]["tokens"]}
    depth = record["test"]["depth"]
    for part in PARTS:
        if part not in record[OURS]:
            continue
        row = [f"{part} {counts[part]}" + (f" at {depth}" if depth else "")]
        for engine in (OURS, "peer") if peer else (OURS,):
            known = has_rate(record, engine, part)
            row.append(_spread(record[engine][part]["tokens_per_s"]) if known else KILLED)
        if peer:
            each = ratios(record, part)
            ratio = record["ratio"].get(part)
            row.append(f"{ratio:.2f} ({min(each):.2f} to {max(each):.2f})" if each else "")
        table.append([*row, *shown_limit(record, part)])
    if first_token := _first_token(record):
        table.append(first_token)
    return table


def _first_token(record: dict[str, Any]) -> list[str]:
    """The row of the time to the first token; empty if that was not measured."""
    engines = [record[OURS], record["peer"]] if "peer" in record else [record[OURS]]
    taken = [engine.get("first_token_ms") for engine in engines]
    if not record.get("first_token_runs_ms"):
        return []
    row = [f"first token, ms ({record['test']['first_token']} in)"]
    row += [KILLED if ms is None else f"{ms:.0f}" for ms in taken]
    if len(taken) == 2:
        row.append("" if None in taken else f"{taken[0] / taken[1]:.2f}")
    return [*row, "", ""]


def _spread(rates: dict[str, float]) -> str:
    return f"{rates['median']:.4g} ({rates['min']:.4g} to {rates['max']:.4g})"


def bench_notes(record: dict[str, Any]) -> list[str]:
    """What the table was measured on, and how to repeat the peer's part."""
    machine, limit = record["machine"], record["limit"]
    lines = [
        f"{record['model']['name']} on {machine['cpu']}, {machine['threads']} threads, "
        f"{machine['isa']}, {machine['compiler']}, commit {machine['commit'] or 'unknown'}",
        f"limits: read {limit['read_bandwidth_gb_per_s']:.1f} GB/s, int8 "
        f"{limit['int8_tops']:.3g} TOPS, float32 {limit['float32_tflops']:.3g} TFLOPS"
        + (f", drive {limit['drive_gb_per_s']:.2g} GB/s" if "drive_gb_per_s" in limit else ""),
    ]
    lines += streamed_notes(record)
    if "peer" in record:
        lines.append(f"peer: {record['peer']['command']}")
    return lines


def as_text(table: Table) -> str:
    """Columns aligned with spaces."""
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    )


def as_markdown(table: Table) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(row) + " |" for row in table]
    return "\n".join([lines[0], "|" + " --- |" * len(table[0]), *lines[1:]])


def check_plot(file: Path) -> None:
    """Raise InvalidRequestError unless a picture can be drawn there; call before measuring."""
    try:
        importlib.import_module("matplotlib")
    except ImportError:
        raise InvalidRequestError(
            "--plot needs matplotlib: pip install 'zerostall[bench]', or pip install matplotlib"
        ) from None
    if file.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise InvalidRequestError(f"--plot is {file}; give a file that ends in .png, .svg or .pdf")
    if not file.absolute().parent.is_dir():
        raise InvalidRequestError(f"--plot is {file}; there is no folder {file.parent}")


def new_figure() -> Any:
    """An empty matplotlib Figure; call check_plot before."""
    # By name, because it is an optional dependency; a Figure of its own needs no display.
    return importlib.import_module("matplotlib.figure").Figure((7, 4.5), layout="constrained")


def save_figure(figure: Any, file: Path) -> None:
    """Write a picture in the format that the name ends with; StorageError if it cannot be."""
    try:
        figure.savefig(file, dpi=150)
    except OSError as error:
        raise StorageError(f"{file}: {error.strerror}; give a writable path") from error


def plot_roofline(record: dict[str, Any], file: Path) -> None:
    """Draw operations a second over operations a byte: the machine's roof, and each part.

    The roof rises with the read bandwidth and ends at the int8 peak (Williams, Waterman and
    Patterson, doi:10.1145/1498765.1498785). A point's height is what an engine reached.
    """
    check_plot(file)
    limit = record["limit"]
    bandwidth, peak = limit["read_bandwidth_gb_per_s"] * 1e9, limit["int8_tops"] * 1e12
    figure = new_figure()
    axes = figure.add_subplot(xscale="log", yscale="log")
    ridge = peak / bandwidth
    points = []
    engines = [(OURS, OURS, "o")]
    if "peer" in record:
        engines.append(("peer", record["peer"]["name"], "s"))
    for engine, label, marker in engines:
        for part in PARTS:
            if not has_rate(record, engine, part):
                continue
            operations = limit[part]["operations_per_token"]
            intensity = operations / limit[part]["bytes_per_token"]
            height = median_of(record, engine, part) * operations / 1e12
            points.append(intensity)
            filled = {} if part == "prefill" else {"fillstyle": "none"}
            axes.plot(intensity, height, marker, label=f"{label} {part}", markersize=9, **filled)
    left, right = min([*points, ridge]) / 4, max([*points, ridge]) * 4
    roof = [left * bandwidth / 1e12, peak / 1e12, peak / 1e12]
    axes.plot([left, ridge, right], roof, "k-", label="limit")
    axes.set_xlabel("operations per byte read")
    axes.set_ylabel("10^12 operations per second")
    axes.set_title(f"{record['model']['name']}, {record['machine']['threads']} threads")
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend()
    save_figure(figure, file)
