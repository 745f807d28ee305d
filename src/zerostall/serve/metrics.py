"""Counters and gauges of the server, in a registry of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from zerostall.serve.gate import Gate

if TYPE_CHECKING:
    from zerostall.engine.completion import Chunk
    from zerostall.engine.meter import StreamMeter

# From a small model in cache to a large one from a drive: seconds, and tokens a second.
SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300)
RATES = (0.3, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


class Metrics:
    """What /metrics shows."""

    def __init__(self, gate: Gate) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "zerostall_requests",
            "Answers, by route and HTTP status.",
            ("route", "status"),
            registry=self.registry,
        )
        self.cancelled = Counter(
            "zerostall_cancelled",
            "Running requests that were given up by the client or by a limit.",
            registry=self.registry,
        )
        self.prompt_tokens = Counter(
            "zerostall_prompt_tokens", "Tokens of prompts, computed.", registry=self.registry
        )
        self.generated_tokens = Counter(
            "zerostall_generated_tokens", "Tokens generated.", registry=self.registry
        )
        self.first_token = Histogram(
            "zerostall_time_to_first_token_seconds",
            "From the request to its first token, waiting included.",
            buckets=SECONDS,
            registry=self.registry,
        )
        self.decode_rate = Histogram(
            "zerostall_decode_tokens_per_second",
            "Speed of generation, of each answer.",
            buckets=RATES,
            registry=self.registry,
        )
        running = Gauge("zerostall_running", "Requests that run.", registry=self.registry)
        running.set_function(lambda: gate.running)
        queued = Gauge("zerostall_queued", "Requests that wait.", registry=self.registry)
        queued.set_function(lambda: gate.waiting)

    def watch(self, meter: StreamMeter) -> None:
        """Show what streaming experts takes, if the model does."""
        self.registry.register(_Experts(meter))

    def count(self, chunk: Chunk) -> None:
        """Take in a chunk of any generation."""
        self.generated_tokens.inc(len(chunk.token_ids))
        if chunk.timings is not None:
            self.prompt_tokens.inc(chunk.timings.prompt_tokens)
            if chunk.timings.predicted_per_second > 0:
                self.decode_rate.observe(chunk.timings.predicted_per_second)

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self.registry)


class _Experts(Collector):
    """Read at each scrape: the counts of single requests overlap."""

    def __init__(self, meter: StreamMeter) -> None:
        self._meter = meter

    def collect(self) -> Iterator[Metric]:
        """The counters; none for a model that fits into memory."""
        taken = self._meter.read()
        if taken is None:
            return
        for name, text, value in (
            ("hits", "Demanded experts that were in memory.", taken.hits),
            ("shadow_hits", "Demanded experts that were read ahead.", taken.shadow_hits),
            ("misses", "Demanded experts that had to be read.", taken.misses),
            ("low_used", "Missed experts computed with their low copy.", taken.low_used),
            ("read_bytes", "Bytes of experts read.", taken.bytes_read),
            ("stall_seconds", "Time that all threads waited for bytes.", taken.stall_ms / 1e3),
        ):
            yield CounterMetricFamily(f"zerostall_expert_{name}", text, value=value)
