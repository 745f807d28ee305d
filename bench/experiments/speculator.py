"""What reading ahead is worth: recall, hits beside LRU and Belady, and time stalled.

The built-in model, converted, with room for a quarter of its experts, decodes held-out text. The
clock is simulated: a drive of a set latency and bandwidth, and layers that take a set time, so that
every run gives the same figures whatever the machine, its drive and what else it does.

    python bench/experiments/speculator.py [TOKENS] [--text FILE]

prints the tables of docs/guides/streaming.md, with --trained the last of docs/guides/speculator.md.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zerostall import LLM, _core, arch, convert, gguf, hub
from zerostall.engine.loader import load_tokenizer
from zerostall.engine.speculator import TrainedGuess
from zerostall.engine.streaming import Streaming, with_reserve
from zerostall.lab.replay import Replayed, replay
from zerostall.lab.speculator import train
from zerostall.lab.states import STATE_BYTES, TEXTS, standard_library
from zerostall.lab.trace import TracedLayer, TraceHeader, TraceWriter
from zerostall.lab.trace_reader import read_trace

TEXT = Path(__file__).parents[2] / "tests" / "data" / "nano_heldout.txt"
CONTEXT = 512  # tokens that a sequence runs before the next begins
USED = 2  # experts of a layer that a token needs
# Latency in microseconds, bytes a second.
DRIVES = ((80, 3e9), (300, 1e9), (1000, 1e9))
# What computing a layer takes: from a fraction of a read of any of these drives to several.
LAYERS_US = (30, 200, 800)
# Of the comparison with trained guesses.
TRAINED_DRIVE, TRAINED_LAYER_US = (80, 4e8), 200


@dataclass(frozen=True)
class Study:
    """The model, what it reads, and the room for its experts."""

    file: _core.GgufFile
    tape: object
    ids: list[int]
    budget_bytes: int

    def engine(self, threads: int = 1, **streaming: object) -> _core.Engine:
        """An engine that streams through the page cache."""
        options = {"bytes": self.budget_bytes, "io": "pread", "direct": False, **streaming}
        return _core.Engine(
            self.file, self.tape, context=CONTEXT, threads=threads, streaming=options
        )

    def decode(self, engine: _core.Engine) -> None:
        """Run the text a token a step, in sequences of CONTEXT."""
        for at in range(0, len(self.ids), CONTEXT):
            sequence = engine.open_sequence()
            for token in self.ids[at : at + CONTEXT]:
                one = np.array([token], np.int32)
                engine.step(one, np.array([sequence], np.int32), np.zeros(1, np.int32))
            engine.close_sequence(sequence)


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
    # The study's budget is the experts' alone, a replay's the whole process'.
    return replay(read_trace(folder / "trace"), [with_reserve(study.budget_bytes)])


@dataclass(frozen=True)
class Run:
    """One drive and one speed of computing, with or without predictions."""

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

    def part(self, name: str, of: str) -> float:
        """A counter over another, 0 if that is 0."""
        return self.stats[name] / self.stats[of] if self.stats[of] else 0.0


def run(
    study: Study,
    layer_us: float,
    latency_us: int,
    rate: float,
    speculate: bool,
    threads: int = 1,
    trained: Sequence[TrainedGuess] = (),
) -> Run:
    """Decode from a drive of that latency and bandwidth.

    A layer takes layer_us: half of it its experts, which is about their part of this model.
    """
    throttle = {"latency_us": latency_us, "bytes_per_second": rate, "simulated": True}
    pace = {"layer_us": layer_us / 2, "expert_us": layer_us / 2 / USED}
    engine = study.engine(
        threads,
        throttle=throttle,
        pace=pace,
        speculate=speculate,
        trained=[guess.to_core() for guess in trained],
    )
    study.decode(engine)
    compute_s = len(study.ids) * len(engine.expert_layers) * layer_us / 1e6
    return Run(compute_s, engine.stream_stats())


def print_trained(study: Study) -> None:
    """What guesses are worth that `zerostall train-speculator` corrects."""
    streaming = Streaming(record_states=STATE_BYTES)
    with LLM(study.file.paths[0], ctx=CONTEXT, streaming=streaming) as llm:
        training = train(llm, standard_library(TEXTS))
    print("| | named | missed | read for nothing | stalled, ms a token |")
    print("| --- | --- | --- | --- | --- |")
    for name, speculate, guesses in (
        ("no reading ahead", False, ()),
        ("untrained guess", True, ()),
        ("trained guess", True, training.guesses),
    ):
        done = run(study, TRAINED_LAYER_US, *TRAINED_DRIVE, speculate, trained=guesses)
        named = f"{done.part('foreseen', 'demanded'):.1%}" if speculate else ""
        print(
            f"| {name} | {named} "
            f"| {done.part('misses', 'demanded'):.1%} "
            f"| {done.stats['wasted']:,} of {done.stats['speculated']:,} "
            f"| {1e3 * done.stall_s / len(study.ids):.2f} |",
            flush=True,
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tokens", nargs="?", type=int, default=2000)
    parser.add_argument("--text", type=Path, default=TEXT)
    parser.add_argument("--trained", action="store_true", help="compare trained guesses alone")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        study = prepare(Path(name), options.tokens, options.text)
        if options.trained:
            print_trained(study)
            return
        print(f"{len(study.ids)} tokens, {study.budget_bytes} bytes for experts\n")
        print("| policy | hits |\n| --- | --- |")
        for each in policies(study, Path(name)):
            print(f"| {each.policy} | {each.decode.hit_rate:.1%} |")
        print("\n| drive | a layer takes | stalled | reading ahead | less | recall | used |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        for layer_us in LAYERS_US:
            for latency, rate in DRIVES:
                off, on = (run(study, layer_us, latency, rate, ahead) for ahead in (False, True))
                print(
                    f"| {latency} us, {rate / 1e9:g} GB/s | {layer_us} us "
                    f"| {off.stalled:.0%} | {on.stalled:.0%} "
                    f"| {1 - on.stall_s / off.stall_s:.0%} | {on.part('foreseen', 'demanded'):.1%} "
                    f"| {1 - on.part('wasted', 'speculated'):.0%} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
