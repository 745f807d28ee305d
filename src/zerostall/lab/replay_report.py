"""Replays for people and for programs: a table with notes, one JSON object, a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from zerostall.engine.budget import show_bytes
from zerostall.lab.eviction import BOUNDS, DECODE_TOKENS, number_demands
from zerostall.lab.replay import Replayed, Tally
from zerostall.lab.report import Table, check_plot, new_figure, save_figure
from zerostall.lab.trace import OUTCOMES, Trace


@dataclass(frozen=True)
class Assumed:
    """What a forecast rests on; None where it is not known."""

    drive_bytes_per_s: float | None
    compute_ms: float | None


def replay_table(replays: Sequence[Replayed], assumed: Assumed) -> Table:
    """Hit rate, bytes read and forecast of each budget and policy."""
    heading = ["RAM", "policy", "experts held", "hit rate", "MB a token"]
    forecast = assumed.drive_bytes_per_s is not None
    table = [[*heading, "tokens/s"] if forecast else heading]
    for one in replays:
        row = [show_bytes(one.ram_bytes), one.policy, f"{one.room:,}"]
        row += [f"{one.decode.hit_rate:.1%}", f"{one.decode.bytes_per_token / 1e6:.4g}"]
        if forecast:
            speed = one.tokens_per_s(assumed.drive_bytes_per_s, assumed.compute_ms)
            row.append("no bound" if speed is None else _show_rate(speed))
        table.append(row)
    return table


def _show_rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"


def replay_notes(
    trace: Trace, replays: Sequence[Replayed], assumed: Assumed, half_life_steps: float
) -> list[str]:
    """What the table counts, and what its forecast assumes."""
    facts = describe_trace(trace)
    decode, prompt = replays[0].decode, replays[0].prompt
    then = facts["recorded"]
    lines = [
        f"{trace.header.model}: {decode.tokens:,} tokens, {decode.demands:,} demands, of which "
        f"{facts['first_uses']:,} are the first of their expert and miss under every policy; "
        f"recorded with {then['hit']:.1%} hits and {then['shadow']:.1%} shadow hits"
    ]
    if prompt.tokens:
        lines.append(
            f"prompts are replayed, but not counted: {prompt.tokens:,} tokens in steps of more "
            f"than {DECODE_TOKENS}"
        )
    if any(one.policy == "lrfu" for one in replays):
        lines.append(f"lrfu: a demand counts half after {half_life_steps:g} steps")
    if any(one.policy in BOUNDS for one in replays):
        lines.append("belady: the optimum, which knows the future; no policy can do better")
    if assumed.drive_bytes_per_s is None:
        lines.append("no forecast: the trace does not know the drive's speed; give --drive GB/s")
    else:
        drive = f"{assumed.drive_bytes_per_s / 1e9:.3g} GB/s"
        compute = assumed.compute_ms
        lines.append(
            f"tokens/s: 1 / max(compute {compute:.4g} ms, bytes / {drive}), if every read overlaps "
            "with compute"
            if compute is not None
            else f"tokens/s: the drive's bound alone, {drive} / bytes; give --compute MS for the "
            "time of a token whose experts are all in memory"
        )
    if trace.cut:
        lines.append("the end of the trace is cut off and left out")
    return lines


def describe_trace(trace: Trace) -> dict[str, Any]:
    """The decode demands as they were recorded: JSON-ready."""
    demands = number_demands(trace)
    counted = demands.counted[demands.events]
    _, first = np.unique(demands.experts, return_index=True)
    shares = np.bincount(trace.outcomes[counted], minlength=len(OUTCOMES)) / counted.sum()
    return {
        "model": trace.header.model,
        "experts": sum(layer.experts for layer in trace.header.layers),
        "steps": len(np.unique(trace.steps)),
        "demands": int(counted.sum()),
        "first_uses": int(counted[first].sum()),
        "recorded": dict(zip(("hit", "shadow", "miss"), shares.tolist(), strict=True)),
        "cut": trace.cut,
    }


def replay_record(
    trace: Trace, replays: Sequence[Replayed], assumed: Assumed, half_life_steps: float
) -> dict[str, Any]:
    """Everything, JSON-ready."""
    rows = []
    for one in replays:
        row: dict[str, Any] = {
            "ram_bytes": one.ram_bytes,
            "policy": one.policy,
            "experts_held": one.room,
            **_tally(one.decode),
            "tokens_per_s": one.tokens_per_s(assumed.drive_bytes_per_s, assumed.compute_ms),
        }
        if one.prompt.tokens:
            row["prompt"] = _tally(one.prompt)
        rows.append(row)
    return {
        "trace": describe_trace(trace),
        "assumed": {**asdict(assumed), "half_life_steps": half_life_steps},
        "replays": rows,
    }


def _tally(tally: Tally) -> dict[str, float]:
    return {
        **asdict(tally),
        "hit_rate": tally.hit_rate,
        "bytes_per_token": tally.bytes_per_token,
    }


def plot_replays(trace: Trace, replays: Sequence[Replayed], file: Path) -> None:
    """Draw the hit rate over the budget, a line for each policy.

    Raises:
        InvalidRequestError: matplotlib is missing, or the name is no picture's.
        StorageError: the file cannot be written.
    """
    check_plot(file)
    figure = new_figure()
    axes = figure.add_subplot()
    for policy in dict.fromkeys(one.policy for one in replays):
        of_policy = [one for one in replays if one.policy == policy]
        points = sorted((one.ram_bytes / 2**30, 100 * one.decode.hit_rate) for one in of_policy)
        style = "k--o" if policy in BOUNDS else "-o"
        axes.plot(*zip(*points, strict=True), style, label=policy, markersize=4)
    axes.set_xlabel("RAM, GiB")
    axes.set_ylabel("hits, % of demands")
    axes.set_title(trace.header.model)
    axes.grid(visible=True, alpha=0.3)
    axes.legend()
    save_figure(figure, file)
