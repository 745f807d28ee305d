"""Bench results of a model whose experts are streamed, for people."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zerostall.engine.budget import show_bytes
from zerostall.lab.subjects import OURS, PARTS

KILLED = "killed by the limit"

Show = Callable[[float], str]


def _percent(value: float) -> str:
    return f"{value:.1%}"


def _size(value: float) -> str:
    return show_bytes(round(value))


def _count(value: float) -> str:
    return f"{value:.6g}"


def _rate(value: float) -> str:
    return f"{value / 1e9:.2f} GB/s"


def _ms(value: float) -> str:
    return f"{value:.1f} ms"


# What is shown of streaming, and of a process, in this order.
STREAMING: tuple[tuple[str, str, Show], ...] = (
    ("hit_rate", "hit rate", _percent),
    ("shadow_hit_rate", "shadow hits", _percent),
    ("recall", "recall", _percent),
    ("precision", "precision", _percent),
    ("bytes_read_per_token", "read a token", _size),
    ("read_bandwidth", "bandwidth while reading", _rate),
    ("stall_share", "stall share", _percent),
    ("slots", "slots", _count),
    ("major_faults", "major faults", _count),
)
PROCESS: tuple[tuple[str, str, Show], ...] = (
    ("peak_bytes", "peak of the cgroup", _size),
    ("oom_kills", "OOM kills", _count),
    ("drive_bytes_read", "read in all, load included", _size),
)
LIMIT: tuple[tuple[str, str, Show], ...] = (
    ("derived_compute_ms_per_token", "time less stalls", _ms),
    ("compute_ms_per_token", "compute a token", _ms),
    ("drive_gb_per_s", "drive, around it or in it", "{:.2f} GB/s".format),
    ("read_ms_per_token", "reads a token at that speed", _ms),
    ("time_over_bound", "time over the longer of both", "{:.2f}".format),
    ("time_over_token_bounds", "the same, token by token", "{:.2f}".format),
)


def streamed_table(record: dict[str, Any]) -> list[list[str]]:
    """What streaming did and what the processes took, a column for each engine and part.

    Empty if all experts were in memory.
    """
    if "streaming" not in record:
        return []
    columns = [
        (record[engine]["name"] if engine == "peer" else OURS, part, record[engine][part])
        for engine in (OURS, "peer")
        for part in PARTS
        if part in record.get(engine, {})
    ]
    limit = record["limit"]["streaming"]
    table = [["streamed", *(f"{name} {part}" for name, part, _ in columns)]]
    for kind, lines in (("streaming", STREAMING), ("limit", LIMIT), ("process", PROCESS)):
        for key, label, show in lines:
            values = [
                (limit.get(part, {}) if name == OURS else {})
                if kind == "limit"
                else found.get(kind, {})
                for name, part, found in columns
            ]
            if any(key in each for each in values):
                shown = [show(each[key]) if key in each else "" for each in values]
                table.append([label, *shown])
    return table


def shown_limit(record: dict[str, Any], part: str) -> list[str]:
    """The cells `limit` and `reached` of a part; where experts are streamed, of their limit."""
    if "streaming" not in record:
        limit = record["limit"][part]["tokens_per_s"]
        return [f"{limit:.4g}", f"{record[OURS][part]['fraction_of_limit']:.0%}"]
    bound = record["limit"]["streaming"].get(part)
    if bound is None:
        return ["", ""]
    return [f"{bound['tokens_per_s']:.4g}", f"{1 / bound['time_over_bound']:.0%}"]


def _computing(record: dict[str, Any]) -> str:
    if "in_memory" in record:
        return "with all experts in memory, or time less stalls if that is less"
    return "time less stalls: all experts find no room here"


def streamed_notes(record: dict[str, Any]) -> list[str]:
    """How a model was measured whose experts are streamed; nothing for others."""
    if "streaming" not in record:
        return []
    how, limit, test = record["streaming"], record["limit"]["streaming"], record["test"]
    inside = (
        "in no memory cgroup"
        if how["cgroup_bytes"] is None
        else f"in a memory cgroup of {how['cgroup_bytes']} bytes, page cache included"
    )
    warm = how["warm_up_tokens"]
    lines = [
        f"experts streamed, {show_bytes(how['expert_bytes'])} for them; each part a process "
        f"{inside}; page cache {how['page_cache']}; "
        + (f"{warm} tokens decoded uncounted before" if warm else "cold"),
    ]
    if any(part in limit for part in PARTS):
        best = limit["drive_settings"]
        lines.append(
            f"limit: the longer of computing ({_computing(record)}) and reading what was "
            "missed at the drive's speed, measured just before and after "
            f"({best['kind']}, {best['depth']} x {show_bytes(best['request_bytes'])})"
        )
    stuck = max(
        found.get("process", {}).get("cached_before_bytes", 0)
        for engine in (OURS, "peer")
        for part, found in record.get(engine, {}).items()
        if part in PARTS
    )
    if stuck > record["model"]["bytes"] // 100:
        lines.append(
            f"{show_bytes(stuck)} of the model stayed in the page cache: some other process has "
            "them mapped"
        )
    if test["experts"] is not None:
        lines.append(f"lossy: {test['experts']} experts a token, zerostall only")
    if test.get("miss_precision", "full") != "full":
        lines.append("lossy: missed experts decoded with their low copies, zerostall only")
    return lines
