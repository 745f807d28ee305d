"""What low copies of experts save of the time stalled, and what they cost in perplexity.

The built-in model, converted with `--miss-copy`, with room for a quarter of its experts, decodes
held-out text a token a step and scores it by the rules of `zerostall eval ppl -c 512`. As in
speculator.py the clock is simulated, so every run gives the same figures whatever the machine.

    python bench/experiments/miss_precision.py [TOKENS] [--text FILE]

prints the table of docs/guides/streaming.md.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zerostall import _core, arch, convert, gguf, hub
from zerostall.engine.loader import load_tokenizer
from zerostall.lab.eval import negative_log_likelihood

TEXT = Path(__file__).parents[2] / "tests" / "data" / "nano_heldout.txt"
CONTEXT = 512  # tokens that a sequence runs before the next begins; the second half is scored
USED = 2  # experts of a layer that a token needs
FORMATS = ("Q3_K", "Q2_K")
# Latency in microseconds, bytes a second, and what computing a layer takes in microseconds.
CASES = ((300, 1e9, 200), (80, 3e9, 200), (300, 1e9, 800))


@dataclass(frozen=True)
class Study:
    """A converted model, what it reads, and the room for its experts."""

    file: _core.GgufFile
    tape: object
    ids: list[int]
    quarter_bytes: int
    least_bytes: int


@dataclass(frozen=True)
class Run:
    """What came of one run: perplexity, time not stalled, and the counters."""

    perplexity: float
    compute_s: float
    stats: dict[str, int]

    @property
    def stall_s(self) -> float:
        """Time the workers had nothing to do but wait for bytes."""
        return self.stats["stall_ns"] / 1e9

    @property
    def stalled(self) -> float:
        """The part of all time."""
        return self.stall_s / (self.stall_s + self.compute_s)

    @property
    def low(self) -> float:
        """The part of the demands that low copies served."""
        return self.stats["low_used"] / self.stats["demanded"]


def prepare(folder: Path, format: str, tokens: int | None = None, text: Path = TEXT) -> Study:
    """Convert the built-in model with copies of a format, and read so many tokens of a text."""
    path = folder / f"{format}.gguf"
    convert.convert(hub.resolve("nano"), path, miss_copy=format)
    file = gguf.open_model(path)
    tape = arch.load(file, CONTEXT).tape
    tokenizer = load_tokenizer(file)
    assert tokenizer is not None
    ids = tokenizer.encode(text.read_text(encoding="utf-8").removesuffix("\n"))[:tokens]
    records = [t for t in file.stored_tensors() if t.name.endswith(".ffn_experts.packed")]
    memory = _core.plan_memory(file, tape, context=CONTEXT, streaming=True, low_copies=True)
    least = memory["least_experts"]
    return Study(file, tape, ids, max(sum(t.bytes for t in records) // 4, least), least)


def run(
    study: Study, case: tuple[int, float, int], low: bool, threads: int = 1, **streaming: object
) -> Run:
    """Decode from a drive of that latency and bandwidth, with layers that take that long.

    Half of a layer's time is that of its experts, whichever copies of them are used.
    """
    latency_us, rate, layer_us = case
    options = {
        "bytes": study.quarter_bytes,
        "io": "pread",
        "direct": False,
        "low_copies": low,
        "throttle": {"latency_us": latency_us, "bytes_per_second": rate, "simulated": True},
        "pace": {"layer_us": layer_us / 2, "expert_us": layer_us / 2 / USED},
    }
    engine = _core.Engine(
        study.file, study.tape, context=CONTEXT, threads=threads, streaming=options | streaming
    )
    losses: list[float] = []
    for at in range(0, len(study.ids), CONTEXT):
        losses += _decode(engine, study.ids[at : at + CONTEXT])
    compute_s = len(study.ids) * len(engine.expert_layers) * layer_us / 1e6
    return Run(math.exp(sum(losses) / len(losses)), compute_s, engine.stream_stats())


def _decode(engine: _core.Engine, ids: Sequence[int]) -> list[float]:
    """Losses of the second half's tokens; none of a part that is not CONTEXT long."""
    sequence = engine.open_sequence()
    owner, row = np.array([sequence], np.int32), np.zeros(1, np.int32)
    losses = []
    for position, token in enumerate(ids[:-1]):
        logits = engine.step(np.array([token], np.int32), owner, row)
        if position >= CONTEXT // 2 and len(ids) == CONTEXT:
            losses.append(float(negative_log_likelihood(logits, np.array([ids[position + 1]]))[0]))
    engine.close_sequence(sequence)
    return losses


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tokens", nargs="?", type=int, default=None)
    parser.add_argument("--text", type=Path, default=TEXT)
    parser.add_argument("--copies", choices=FORMATS, action="append", help="of this format only")
    options = parser.parse_args(arguments)
    if options.tokens is not None and options.tokens < CONTEXT:
        parser.error(f"{CONTEXT} tokens are the fewest that can be scored")
    with tempfile.TemporaryDirectory() as name:
        studies = {
            format: prepare(Path(name), format, options.tokens, options.text)
            for format in options.copies or FORMATS
        }
        first = next(iter(studies.values()))
        exact = {case: run(first, case, low=False) for case in CASES}
        print(f"perplexity without: {exact[CASES[0]].perplexity:.4f}\n", flush=True)
        print("| copies | drive | a layer takes | stalled | with them | less | low | perplexity |")
        print("| --- | --- | --- | --- | --- | --- | --- | --- |")
        for format, study in studies.items():
            for case in CASES:
                off, on = exact[case], run(study, case, low=True)
                print(
                    f"| {format} | {case[0]} us, {case[1] / 1e9:g} GB/s | {case[2]} us "
                    f"| {off.stalled:.0%} | {on.stalled:.0%} | {1 - on.stall_s / off.stall_s:.0%} "
                    f"| {on.low:.1%} | {_change(on, off)} |",
                    flush=True,
                )
            least = run(study, CASES[0], low=True, bytes=study.least_bytes, speculate=False)
            print(
                f"| {format} | the least memory, no reading ahead | | | | | {least.low:.1%} "
                f"| {_change(least, exact[CASES[0]])} |",
                flush=True,
            )


def _change(on: Run, off: Run) -> str:
    return f"{on.perplexity:.4f} ({on.perplexity / off.perplexity - 1:+.2%})"


if __name__ == "__main__":
    main()
