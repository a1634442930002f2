"""A run's metrics for Prometheus to scrape (extra ``prometheus``).

::

    with Prometheus(port=9464) as metrics:  # http://127.0.0.1:9464/metrics
        load.run("http://localhost:8000/", rate=500, duration=600, observers=[metrics])
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, Self

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector

from ftnet.client import VERSION
from ftnet.errors import redact
from ftnet.load.books import Books
from ftnet.load.metrics import BORDERS, Metric, Totals, metrics_of, up_to

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric as Family

    from ftnet.load.options import Options
    from ftnet.load.result import Interval, Result

__all__ = ["Prometheus"]

_UNITS: Final = {"s": "_seconds", "By": "_bytes"}
_LE: Final = [*(str(float(border)) for border in BORDERS), "+Inf"]


class Prometheus(Collector):
    """Follows a run and serves its metrics until it is closed: ``ftnet_load_...``.

    `port` 0 is one that is free; `url` tells which. OSError: it can't be listened on.
    """

    def __init__(self, port: int, host: str = "127.0.0.1") -> None:
        self._totals, self._books = Totals(), Books()
        self._lock = threading.Lock()  # of the books
        self._about: dict[str, str] = {}
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        self._server, self._thread = start_http_server(port, host, registry)
        at = f"[{host}]" if ":" in host else host
        self.url = f"http://{at}:{self._server.server_port}/metrics"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Serves no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def begun(self, options: Options, started: float) -> None:
        self._about = {
            "version": VERSION,
            "url": redact(options.url),
            "method": options.method,
            "plan": "" if options.plan is None else options.plan.name,
        }
        self._totals.begin()

    def gathered(self, interval: Interval, books: Books) -> None:
        self._totals.add(interval, books)

    def ended(self, result: Result) -> None:
        self._totals.end()

    def collect(self) -> Iterator[Family]:
        """Whatever there is, when it is asked for."""
        yield InfoMetricFamily("ftnet_load", "What is run", self._about)
        with self._lock:
            new, last, running = self._totals.take()
            self._books.merge(new)
            yield from [_family(one) for one in metrics_of(self._books, last, running)]


def _family(metric: Metric) -> Family:
    name = f"ftnet_load_{metric.name.replace('.', '_')}{_UNITS.get(metric.unit, '')}"
    if metric.kind == "counter":
        counter = CounterMetricFamily(name, metric.text, labels=metric.labels)
        for labels, number in metric.numbers.items():
            counter.add_metric(labels, number)
        return counter
    if metric.kind == "gauge":
        return GaugeMetricFamily(name, metric.text, value=metric.numbers[()])
    if metric.kind == "sums":
        sums = SummaryMetricFamily(name, metric.text, labels=metric.labels)
        for labels, histogram in metric.histograms.items():
            sums.add_metric(labels, histogram.count, histogram.sum / 1e9)
        return sums
    buckets = HistogramMetricFamily(name, metric.text, labels=metric.labels)
    for labels, histogram in metric.histograms.items():
        counts = zip(_LE, up_to(histogram, BORDERS), strict=True)
        buckets.add_metric(labels, [*counts], histogram.sum / 1e9)
    return buckets
