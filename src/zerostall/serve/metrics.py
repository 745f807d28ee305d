"""Counters and gauges of the server, in a registry of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from zerostall.serve.gate import Gate

if TYPE_CHECKING:
    from zerostall.engine.completion import Chunk
    from zerostall.engine.meter import StreamMeter

# From a small model in cache to a large one from a drive: seconds, and tokens a second.
SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300)
RATES = (0.3, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)

# Counters of the cache: name, key of its statistics, text.
CACHE = (
    ("cache_lookups", "lookups", "Prompts that were looked up among the cached prefixes."),
    ("cache_lookup_tokens", "lookup_tokens", "Tokens of them that could have been found."),
    ("cache_hits", "hits", "Prompts of which a prefix was found."),
    ("cache_hit_tokens", "hit_tokens", "Tokens of them that were found."),
    ("cache_merged_pages", "merged", "Full pages given back: one with the same text was there."),
    ("cache_copied_pages", "copied", "Shared pages copied to be written."),
    ("cache_evicted_pages", "evicted", "Cached pages that gave way to others."),
    (
        "preempted",
        "preempted",
        "Requests that lost their pages for others and were computed again.",
    ),
)
# Counters of streamed experts: name, field of StreamTimings (milliseconds become seconds), text.
EXPERTS = (
    ("expert_demanded", "demanded", "Experts that layers needed."),
    ("expert_hits", "hits", "Demanded experts that were in memory."),
    ("expert_shadow_hits", "shadow_hits", "Demanded experts that were read ahead."),
    ("expert_misses", "misses", "Demanded experts that had to be read."),
    ("expert_low_used", "low_used", "Missed experts computed with their low copy."),
    ("expert_speculated", "speculated", "Reads begun ahead of a demand."),
    ("expert_wasted", "wasted", "Reads ahead that proved useless."),
    ("expert_predicted", "predicted", "Experts that predictions named."),
    ("expert_foreseen", "foreseen", "Demanded experts that a prediction had named."),
    ("expert_evictions", "evictions", "Experts that left memory."),
    ("expert_upgrades", "upgrades", "Low copies in memory that gave way to the full expert."),
    ("expert_read_bytes", "bytes_read", "Bytes of experts read, low copies among them."),
    ("expert_low_read_bytes", "low_bytes", "Bytes of low copies read."),
    ("expert_wasted_bytes", "bytes_wasted", "Bytes of reads that proved useless."),
    ("expert_prefetched_bytes", "prefetched_bytes", "Bytes asked of the page cache ahead of use."),
    ("expert_released_bytes", "released_bytes", "Bytes given back to the page cache."),
    ("expert_stall_seconds", "stall_ms", "Time that all threads waited for bytes."),
    ("expert_read_seconds", "read_ms", "Time in which at least one read was under way."),
    ("major_faults", "major_faults", "Pages of the process that had to be read back."),
)


class Metrics:
    """What /metrics shows.

    Args:
        gate: who runs and who waits.
        runs: how many requests the server keeps.
    """

    def __init__(self, gate: Gate, runs: Callable[[], int]) -> None:
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
        self.cached_tokens = Counter(
            "zerostall_cached_prompt_tokens",
            "Tokens of prompts that were in the cache, and not computed again.",
            registry=self.registry,
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
        running = Gauge("zerostall_running", "Answers that run.", registry=self.registry)
        running.set_function(lambda: gate.running)
        queued = Gauge("zerostall_queued", "Requests that wait.", registry=self.registry)
        queued.set_function(lambda: gate.waiting)
        kept = Gauge(
            "zerostall_runs",
            "Requests that the server keeps: more than run and wait would be a leak.",
            registry=self.registry,
        )
        kept.set_function(runs)
        # Its own: scrapes that wait for a long step must not hold the threads that read prompts.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="metrics")
        self._collection: asyncio.Future[bytes] | None = None

    def watch(self, meter: StreamMeter) -> None:
        """Show what the cache holds, and what streaming experts takes if the model does."""
        self.registry.register(_Cache(meter))
        self.registry.register(_Experts(meter))

    def count(self, chunk: Chunk, *, scored: bool = False) -> None:
        """Take in a chunk of any generation; what was computed to score a prompt is not cached."""
        self.generated_tokens.inc(len(chunk.token_ids))
        if chunk.timings is not None and chunk.usage is not None:
            computed = chunk.usage.prompt_tokens if scored else chunk.timings.prompt_tokens
            self.prompt_tokens.inc(computed)
            self.cached_tokens.inc(chunk.usage.prompt_tokens - computed)
            if chunk.timings.predicted_per_second > 0:
                self.decode_rate.observe(chunk.timings.predicted_per_second)

    def text(self) -> bytes:
        """All of it in Prometheus' text format; waits for the step under way."""
        return generate_latest(self.registry)

    async def collect(self) -> bytes:
        """text(), in a thread of its own; whoever asks while it is made gets the same."""
        if self._collection is None:
            loop = asyncio.get_running_loop()
            self._collection = loop.run_in_executor(self._thread, self.text)
            self._collection.add_done_callback(self._collected)
        # A scraper that goes away takes nothing from the others.
        return await asyncio.shield(self._collection)

    def _collected(self, _: asyncio.Future[bytes]) -> None:
        self._collection = None

    def close(self) -> None:
        """Let the thread end once it is idle; nothing can be collected any more."""
        self._thread.shutdown(wait=False)


class _Cache(Collector):
    """Read at each scrape."""

    def __init__(self, meter: StreamMeter) -> None:
        self._meter = meter

    def collect(self) -> Iterator[Metric]:
        """Pages by what they are used for, and the counters."""
        stats = self._meter.cache()
        pages = GaugeMetricFamily(
            "zerostall_cache_pages",
            "Pages of the KV cache: held by requests, cached for a prefix, free.",
            labels=("state",),
        )
        for state in ("held", "cached", "free"):
            pages.add_metric((state,), stats[state])
        yield pages
        for name, key, text in CACHE:
            yield CounterMetricFamily(f"zerostall_{name}", text, value=stats[key])


class _Experts(Collector):
    """Read at each scrape: the counts of single requests overlap."""

    def __init__(self, meter: StreamMeter) -> None:
        self._meter = meter

    def collect(self) -> Iterator[Metric]:
        """The counters and gauges; none for a model that fits into memory."""
        taken = self._meter.read()
        if taken is None:
            return
        for name, field, text in EXPERTS:
            value = getattr(taken, field) / (1e3 if field.endswith("_ms") else 1)
            yield CounterMetricFamily(f"zerostall_{name}", text, value=value)
        slots, resident = self._meter.room()
        for name, text, value in (
            ("slots", "Experts that fit into memory.", slots),
            ("resident", "Experts in memory.", resident),
        ):
            yield GaugeMetricFamily(f"zerostall_expert_{name}", text, value=value)
