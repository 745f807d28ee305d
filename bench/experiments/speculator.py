"""What reading ahead is worth: recall, hits beside LRU and Belady, and time stalled.

The built-in model, converted, with room for a quarter of its experts, decodes held-out text from
a drive with a set latency and bandwidth, so that the figures do not hang on the drive at hand.
The clock is real: with a simulated one computing would take no time, and there would be nothing to
overlap with. The best instruction set computes a layer of this small model in a fraction of a read,
the scalar one in several; large models lie between.

    python bench/experiments/speculator.py [TOKENS] [--text FILE]

prints the tables of docs/guides/streaming.md.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zerostall import _core, arch, convert, gguf, hub
from zerostall.engine.loader import load_tokenizer
from zerostall.lab.replay import Replayed, replay
from zerostall.lab.trace import TracedLayer, TraceHeader, TraceWriter
from zerostall.lab.trace_reader import read_trace

TEXT = Path(__file__).parents[2] / "tests" / "data" / "nano_heldout.txt"
CONTEXT = 512  # tokens that a sequence runs before the next begins
# Latency in microseconds, bytes a second.
DRIVES = ((80, 3e9), (300, 1e9), (1000, 1e9))
ISAS = ("", "scalar")  # "": the best there is


@dataclass(frozen=True)
class Study:
    """The model, what it reads, and the room for its experts."""

    file: _core.GgufFile
    tape: object
    ids: list[int]
    budget_bytes: int

    def engine(self, isa: str = "", **streaming: object) -> _core.Engine:
        """An engine that streams through the page cache."""
        options = {"bytes": self.budget_bytes, "io": "pread", "direct": False, **streaming}
        return _core.Engine(
            *(self.file, self.tape), context=CONTEXT, isa=isa or None, streaming=options
        )

    def decode(self, engine: _core.Engine) -> float:
        """Run the text a token a step, in sequences of CONTEXT; seconds."""
        began = time.perf_counter()
        for at in range(0, len(self.ids), CONTEXT):
            sequence = engine.open_sequence()
            for token in self.ids[at : at + CONTEXT]:
                one = np.array([token], np.int32)
                engine.step(one, np.array([sequence], np.int32), np.zeros(1, np.int32))
            engine.close_sequence(sequence)
        return time.perf_counter() - began


def prepare(folder: Path, tokens: int, text: Path = TEXT) -> Study:
    """Convert the built-in model and read so many tokens of a text."""
    path = folder / "nano.gguf"
    convert.convert(hub.resolve("nano"), path)
    file = gguf.open_model(path)
    tape = arch.load(file, CONTEXT).tape
    memory = _core.plan_memory(file, tape, context=CONTEXT, streaming=True)
    tokenizer = load_tokenizer(file)
    assert tokenizer is not None
    ids = tokenizer.encode(text.read_text(encoding="utf-8"))[:tokens]
    quarter = sum(count * size for count, _, size in _layers(file, tape, memory)) // 4
    return Study(file, tape, ids, max(quarter, memory["least_experts"]))


def _layers(
    file: _core.GgufFile, tape: object, memory: dict[str, int]
) -> list[tuple[int, int, int]]:
    streaming = {"bytes": memory["experts"]}
    return _core.Engine(file, tape, context=CONTEXT, streaming=streaming).expert_layers


def policies(study: Study, folder: Path) -> list[Replayed]:
    """The run replayed under every policy, without predictions."""
    engine = study.engine(speculate=False, trace=True)
    study.decode(engine)
    header = TraceHeader("nano", tuple(TracedLayer(*each) for each in engine.expert_layers), 0)
    with TraceWriter(folder / "trace", header) as writer:
        writer.add(engine.take_trace())
    return replay(read_trace(folder / "trace"), [study.budget_bytes])


@dataclass(frozen=True)
class Run:
    """One drive and instruction set, with or without predictions."""

    seconds: float
    stats: dict[str, int]

    @property
    def stall_s(self) -> float:
        """Time the workers had nothing to do but wait for bytes."""
        return self.stats["stall_ns"] / 1e9

    def part(self, name: str, of: str) -> float:
        """A counter over another, 0 if that is 0."""
        return self.stats[name] / self.stats[of] if self.stats[of] else 0.0


def run(study: Study, isa: str, latency_us: int, rate: float, speculate: bool) -> Run:
    """Decode from a drive of that latency and bandwidth."""
    throttle = {"latency_us": latency_us, "bytes_per_second": rate}
    engine = study.engine(isa, throttle=throttle, speculate=speculate)
    seconds = study.decode(engine)
    return Run(seconds, engine.stream_stats())


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tokens", nargs="?", type=int, default=2000)
    parser.add_argument("--text", type=Path, default=TEXT)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        study = prepare(Path(name), options.tokens, options.text)
        print(f"{len(study.ids)} tokens, {study.budget_bytes} bytes for experts\n")
        print("| policy | hits |\n| --- | --- |")
        for each in policies(study, Path(name)):
            print(f"| {each.policy} | {each.decode.hit_rate:.1%} |")
        print("\n| drive | computes with | stalled | reading ahead | less | recall | used |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        for isa in ISAS:
            for latency, rate in DRIVES:
                off, on = (run(study, isa, latency, rate, ahead) for ahead in (False, True))
                print(
                    f"| {latency} us, {rate / 1e9:g} GB/s | {isa or _core.selected_isa()} "
                    f"| {off.stall_s / off.seconds:.0%} | {on.stall_s / on.seconds:.0%} "
                    f"| {1 - on.stall_s / off.stall_s:.0%} | {on.part('foreseen', 'demanded'):.1%} "
                    f"| {1 - on.part('wasted', 'speculated'):.0%} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
