"""A run's metrics for an OpenTelemetry collector, over OTLP and HTTP (extra ``otel``).

::

    load.run("http://localhost:8000/", rate=500, observers=[OpenTelemetry()])

Where to and how is said by the standard environment variables: OTEL_EXPORTER_OTLP_ENDPOINT,
_HEADERS, _TIMEOUT, _COMPRESSION, _CERTIFICATE and so on, those that have METRICS in their name,
also for the temporality and the kind of histograms, OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES.
"""

from __future__ import annotations

import math
import os
import threading
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import export
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from ftcore.histogram import Histogram
from ftnet.client import VERSION
from ftnet.load.books import Books
from ftnet.load.metrics import BORDERS, Labels, Metric, Totals, metrics_of, slot_ends, up_to

if TYPE_CHECKING:
    from ftnet.load.options import Options
    from ftnet.load.result import Interval, Result

__all__ = ["OpenTelemetry"]

_TEMPORALITY: Final = "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE"
_AGGREGATION: Final = "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION"
_NAMES: Final = {"status": "http.response.status_code", "error": "error.type"}
_METHODS: Final = frozenset(
    {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"}
)
_BUCKETS: Final = 160  # of an exponential histogram, at most, as the SDK's
_FINEST: Final = 8  # its scale: no finer than the slots of what it is made of


class OpenTelemetry:
    """Follows a run and exports its metrics after each interval, in a thread of its own.

    An export that fails, or takes longer than an interval, loses nothing: the next one has all.
    `exported` tells whether the last did.
    """

    def __init__(self, exporter: export.MetricExporter | None = None) -> None:
        """`exporter`: another one than that of the environment variables."""
        self._exporter = OTLPMetricExporter() if exporter is None else exporter
        preferred = os.environ.get(_TEMPORALITY, "").strip().lower()
        self._delta = preferred in ("delta", "lowmemory")
        kind = os.environ.get(_AGGREGATION, "").strip().lower()
        self._exponential = kind == "base2_exponential_bucket_histogram"
        self._resource = _resource()
        self._totals = Totals()
        self._about: dict[str, Any] = {}  # attributes of the requests
        self._started = self._since = 0  # ns since the epoch, of the run and of what is counted
        self._over = False
        self._fresh = threading.Event()
        self._thread = threading.Thread(target=self._export, name="ftnet-load-otel", daemon=True)
        self.exported = False

    def begun(self, options: Options, started: float) -> None:
        self._started = round(started * 1e9)
        self._since = self._started + round(options.warmup * 1e9)
        if options.plan is None:
            self._about = _about(options)
        self._totals.begin()
        self._thread.start()

    def gathered(self, interval: Interval, books: Books) -> None:
        self._totals.add(interval, books)
        self._fresh.set()

    def ended(self, result: Result) -> None:
        self._totals.end()
        self._over = True
        self._fresh.set()
        self._thread.join()
        self._exporter.shutdown()

    def _export(self) -> None:
        books, over = Books(), False
        while not over:
            self._fresh.wait()
            self._fresh.clear()
            over = self._over
            new, last, running = self._totals.take()
            books.merge(new)
            until = self._started + (round(last.at * 1e9) if last is not None else 0)
            made = [*self._metrics(metrics_of(books, last, running), max(until, self._since))]
            done = self._exporter.export(_data(self._resource, made))
            self.exported = done is export.MetricExportResult.SUCCESS
            if self.exported and self._delta:
                books.reset()
                self._since = max(until, self._since)

    def _metrics(self, metrics: Iterable[Metric], until: int) -> Iterator[export.Metric]:
        """As the SDK has them, those that have a point."""
        times = (self._since, until)
        temporality = export.AggregationTemporality.CUMULATIVE
        if self._delta:
            temporality = export.AggregationTemporality.DELTA
        for metric in metrics:
            points = [
                export.NumberDataPoint(_attributes(metric, labels), *times, number)
                for labels, number in metric.numbers.items()
            ]
            data: export.Gauge | export.Sum | export.Histogram | export.ExponentialHistogram
            if metric.kind == "gauge":
                data = export.Gauge(points)
            elif metric.kind == "counter":
                data = export.Sum(points, temporality, True)
            else:
                data = self._histograms(metric, times, temporality)
            if not data.data_points:
                continue
            yield export.Metric(f"ftnet.load.{metric.name}", metric.text, metric.unit, data)
            if metric.name == "service.duration" and self._about:
                data = self._histograms(metric, times, temporality, self._about)
                text = (
                    "Duration of HTTP client requests; those that failed are in ftnet.load.errors"
                )
                yield export.Metric("http.client.request.duration", text, "s", data)

    def _histograms(
        self,
        metric: Metric,
        times: tuple[int, int],
        temporality: export.AggregationTemporality,
        about: Mapping[str, Any] = MappingProxyType({}),
    ) -> export.Histogram | export.ExponentialHistogram:
        found = [
            ({**_attributes(metric, labels), **about}, histogram)
            for labels, histogram in metric.histograms.items()
            if histogram.count
        ]
        if self._exponential:
            fine = [_exponential(of, times, histogram) for of, histogram in found]
            return export.ExponentialHistogram(fine, temporality)
        borders = BORDERS if metric.kind == "buckets" else ()
        return export.Histogram(
            [_explicit(of, times, one, borders) for of, one in found], temporality
        )


def _about(options: Options) -> dict[str, Any]:
    """What the semantic conventions say of a request (HTTP metrics 1.23)."""
    parts = urlsplit(options.url)
    return {
        "http.request.method": options.method if options.method in _METHODS else "_OTHER",
        "server.address": parts.hostname,
        "server.port": parts.port or (443 if parts.scheme == "https" else 80),
        "url.scheme": parts.scheme,
    }


def _attributes(metric: Metric, labels: Labels) -> dict[str, Any]:
    """The labels by their names in OpenTelemetry."""
    return {
        _NAMES.get(name, f"ftnet.load.{name}"): int(value) if name == "status" else value
        for name, value in zip(metric.labels, labels, strict=True)
    }


def _explicit(
    of: dict[str, Any], times: tuple[int, int], histogram: Histogram, borders: Sequence[float]
) -> export.HistogramDataPoint:
    counts = up_to(histogram, borders)
    buckets = [counts[0], *(after - before for before, after in pairwise(counts))]
    least, most = histogram.min / 1e9, histogram.max / 1e9
    whole = (histogram.count, histogram.sum / 1e9)
    return export.HistogramDataPoint(of, *times, *whole, buckets, borders, least, most)


def _exponential(
    of: dict[str, Any], times: tuple[int, int], histogram: Histogram
) -> export.ExponentialHistogramDataPoint:
    """In the finest buckets that are few enough: (base ** index, base ** (index + 1)] with a base
    of 2 ** 2 ** -scale (OpenTelemetry, metrics data model). A value is the end of its slot."""
    scale, first, buckets, zeros = _FINEST, 0, [], histogram.count
    if histogram.max:
        least, most = (math.log2(end / 1e9) for end in _positive(histogram))
        while _index(most, scale) - _index(least, scale) >= _BUCKETS:
            scale -= 1
        first = _index(least, scale)
        between = range(first + 1, _index(most, scale) + 1)
        upto = up_to(histogram, [0.0, *(2 ** (one / 2.0**scale) for one in between)])
        zeros, buckets = upto[0], [after - before for before, after in pairwise(upto)]
    return export.ExponentialHistogramDataPoint(
        of, *times, histogram.count, histogram.sum / 1e9, scale, zeros,
        export.Buckets(first, buckets), export.Buckets(0, []), 0,
        histogram.min / 1e9, histogram.max / 1e9,
    )  # fmt: skip


def _positive(histogram: Histogram) -> tuple[int, int]:
    """The ends of the slots of the smallest and the largest value above 0, of which there are."""
    ends, counts = slot_ends(histogram), histogram.counts
    first = max(1, bisect_left(ends, histogram.min))
    while not counts[first]:
        first += 1
    return ends[first], ends[bisect_left(ends, histogram.max)]


def _index(log2: float, scale: int) -> int:
    return math.ceil(log2 * 2.0**scale) - 1


def _resource() -> Resource:
    resource = Resource.create()
    if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
        return resource.merge(Resource({SERVICE_NAME: "ftnet"}))
    return resource


def _data(resource: Resource, metrics: list[export.Metric]) -> export.MetricsData:
    scope = export.ScopeMetrics(InstrumentationScope("ftnet.load", VERSION), metrics, "")
    return export.MetricsData([export.ResourceMetrics(resource, [scope], "")])
