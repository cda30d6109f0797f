"""What the server counts, for Prometheus: one set of metrics for each application, none of the process as a whole.

Names with "inf" in front are those of Hugging Face's inference toolkit, which its dashboards know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from auricle import __version__
from auricle.server.logs import CURRENT

if TYPE_CHECKING:
    from auricle.server.cache import ResultCache
    from auricle.server.recognition import Recognition, Recognized
    from auricle.server.registry import Registry
    from auricle.server.runner import Runner

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "WEBSOCKET"})
STATES = ("absent", "loading", "ready", "failed")
_LATENCIES_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
_TOKENS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
_LOADS_S = (0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320)
_BATCHES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64)
_FACTORS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)


class Metrics:
    """Counts what is told to it, and reads the rest when it is asked; may be told from any thread."""

    def __init__(self, registry: Registry, runner: Runner, cache: ResultCache | None) -> None:
        self.collectors = CollectorRegistry()
        self.loaded_once: set[str] = set()  # models that were in memory at some time
        self._add_requests()
        self._add_work()
        self._add_texts()
        self._add_readings(runner)
        self.collectors.register(_Models(registry))
        if cache is not None:
            self.collectors.register(_Cache(cache))
        ProcessCollector(registry=self.collectors)  # memory, processor time, open files
        Info("auricle_build", "The version that runs", registry=self.collectors).info({"version": __version__})

    def watch(self, registry: Registry, recognition: Recognition) -> None:
        """Have loads, batches and transcripts told here."""
        registry.on_load = self.note_load
        registry.on_batch = self.note_batch
        recognition.on_done = self.note_done

    def watch_jobs(self, counts: Callable[[], Mapping[str, int]]) -> None:
        """Read how many jobs have each status when it is asked; `counts` may block."""
        self.collectors.register(_Jobs(counts))

    def watch_streams(self, count: Callable[[], int]) -> None:
        """Read how many live streams are open when it is asked."""
        gauge = Gauge("auricle_live_streams", "Live streams that are open", registry=self.collectors)
        gauge.set_function(count)

    def begin_request(self) -> None:
        """Note that a request has come."""
        self._in_flight.inc()

    def end_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Note how a request ended; `route` is a template, so that names in paths do not become labels."""
        known = method if method in METHODS else "OTHER"
        self._in_flight.dec()
        self._requests.labels(known, route, str(status)).inc()
        self._latency.labels(known, route).observe(seconds)

    def note_load(self, name: str, seconds: float) -> None:
        """Note that a model was loaded."""
        self.loaded_once.add(name)
        self._loads.labels(name).observe(seconds)

    def note_batch(self, name: str, n_rows: int) -> None:
        """Note how many windows were computed together."""
        self._batches.labels(name).observe(n_rows)
        self._batch.set(n_rows)

    def note_done(self, found: Recognized) -> None:
        """Note a transcript, also on the line of the request that it was made for."""
        notes = CURRENT.get()
        if notes is not None:
            notes.add(found.model, found.transcript.duration, found.is_cached)
        duration = found.transcript.duration or 0.0
        self._audio.labels(found.model, "true" if found.is_cached else "false").inc(duration)
        if not found.is_cached:
            self._compute.labels(found.model).inc(found.compute_s)
            if duration > 0:
                self._factor.labels(found.model).observe(found.compute_s / duration)

    def note_text(self, model: str, prompt: int, cached: int, new: int, first_s: float | None, seconds: float) -> None:
        """Note a request's texts: tokens of its prompts, those already read, new ones, and how long they took."""
        notes = CURRENT.get()
        if notes is not None:
            notes.wrote(model, prompt, new)
        self._prompt_tokens.labels(model).inc(prompt)
        self._cached_tokens.labels(model).inc(cached)
        self._new_tokens.labels(model).inc(new)
        if first_s is not None:
            self._first_token.labels(model).observe(first_s)
            if new > 1:
                self._each_token.labels(model).observe((seconds - first_s) / (new - 1))

    def written(self, accept: str) -> tuple[bytes, str]:
        """Return all values in the format that `accept` prefers, and its content type; reads the cache's file."""
        encode, content_type = choose_encoder(accept)
        return encode(self.collectors), content_type

    def _add_requests(self) -> None:
        to = self.collectors
        named = ("method", "route", "status")
        self._requests = Counter("auricle_http_requests", "Requests that were answered", named, registry=to)
        self._latency = Histogram(
            "auricle_http_request_duration_seconds",
            "From the first byte of a request to the last of its reply",
            ("method", "route"),
            buckets=_LATENCIES_S,
            registry=to,
        )
        self._in_flight = Gauge("auricle_http_requests_in_flight", "Requests being answered now", registry=to)

    def _add_work(self) -> None:
        to = self.collectors
        self._audio = Counter("auricle_audio_seconds", "Seconds of audio transcribed", ("model", "cached"), registry=to)
        self._compute = Counter("auricle_compute_seconds", "Seconds that took", ("model",), registry=to)
        self._factor = Histogram(
            "auricle_real_time_factor",
            "Seconds of work for a second of audio, of each recording",
            ("model",),
            buckets=_FACTORS,
            registry=to,
        )
        self._batches = Histogram(
            "auricle_batch_size", "Windows that were computed together", ("model",), buckets=_BATCHES, registry=to
        )
        self._loads = Histogram(
            "auricle_model_load_seconds", "Seconds that loading took", ("model",), buckets=_LOADS_S, registry=to
        )
        self._batch = Gauge("inf_batch_current_size", "Windows in the newest batch", registry=to)

    def _add_texts(self) -> None:
        to = self.collectors
        named = ("model",)
        self._prompt_tokens = Counter("auricle_prompt_tokens", "Tokens of prompts", named, registry=to)
        self._cached_tokens = Counter(
            "auricle_prompt_tokens_cached", "Tokens of prompts that an earlier text had read", named, registry=to
        )
        self._new_tokens = Counter("auricle_generated_tokens", "Tokens that were written", named, registry=to)
        self._first_token = Histogram(
            "auricle_time_to_first_token_seconds",
            "From a request that is understood to its first token",
            named,
            buckets=_LATENCIES_S,
            registry=to,
        )
        self._each_token = Histogram(
            "auricle_time_per_token_seconds", "Between tokens of a request", named, buckets=_TOKENS_S, registry=to
        )

    def _add_readings(self, runner: Runner) -> None:
        to = self.collectors
        waiting = Gauge("auricle_queue_length", "Requests that wait for a place", registry=to)
        waiting.set_function(lambda: runner.n_waiting)
        same = Gauge("inf_queue_size", "Requests that wait for a place", registry=to)
        same.set_function(lambda: runner.n_waiting)
        active = Gauge("auricle_requests_in_work", "Requests whose recordings are being transcribed", registry=to)
        active.set_function(lambda: runner.n_active)
        limit = Gauge("auricle_queue_limit", "Requests that may wait", registry=to)
        limit.set(runner.max_queue)


class _Models(Collector):
    """Which models are served and in memory, read when it is asked."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        """Give 1 for the state that a model is in, 0 for the others."""
        family = GaugeMetricFamily("auricle_model_state", "Whether a model is in a state", labels=("model", "state"))
        loaded = {model.name for model in self._registry.loaded()}
        for name in sorted({*self._registry.settings.served, *loaded}):
            now = self._registry.state(name)
            for state in STATES:
                family.add_metric((name, state), float(state == now))
        yield family


class _Jobs(Collector):
    """How many jobs there are, read when it is asked."""

    def __init__(self, counts: Callable[[], Mapping[str, int]]) -> None:
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        """Give the jobs of each status."""
        family = self._family()
        for status, count in self._counts().items():
            family.add_metric((status,), count)
        yield family

    def describe(self) -> Iterator[Metric]:
        """Name what is collected, without reading the disk."""
        yield self._family()

    def _family(self) -> GaugeMetricFamily:
        return GaugeMetricFamily("auricle_jobs", "Jobs that are kept, by status", labels=("status",))


class _Cache(Collector):
    """The result cache's own counts, read when it is asked."""

    def __init__(self, cache: ResultCache) -> None:
        self._cache = cache

    def collect(self) -> Iterator[Metric]:
        """Give hits and misses since the start, and what lies on disk."""
        stats = self._cache.stats()
        yield CounterMetricFamily("auricle_cache_hits", "Requests answered from the cache", value=stats["hits"])
        yield CounterMetricFamily("auricle_cache_misses", "Requests that were not in the cache", value=stats["misses"])
        yield GaugeMetricFamily("auricle_cache_entries", "Results in the cache", value=stats["entries"])
        yield GaugeMetricFamily("auricle_cache_bytes", "Bytes of the results in the cache", value=stats["bytes"])

    def describe(self) -> Iterator[Metric]:
        """Name what is collected, without reading the disk."""
        for kind, name in ((CounterMetricFamily, "hits"), (CounterMetricFamily, "misses")):
            yield kind(f"auricle_cache_{name}", "")
        for name in ("entries", "bytes"):
            yield GaugeMetricFamily(f"auricle_cache_{name}", "")
