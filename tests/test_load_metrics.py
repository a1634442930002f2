"""What monitoring is told of a run of load: Prometheus's scrapes and OpenTelemetry's exports."""

from __future__ import annotations

import gzip
import json
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from typing import Any, Self

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as openmetrics_families,
)
from prometheus_client.parser import text_string_to_metric_families

from ftnet import cli, load
from ftnet.load import Result
from ftnet.load.metrics import BORDERS, up_to
from ftnet.load.observer import Observer
from ftnet.load.otel import OpenTelemetry
from ftnet.load.prometheus import Prometheus
from tests.load_plans import chat, follow, kept, shop
from tests.load_results import MS, histogram
from tests.loads import checked
from tests.servers.awkward import closed_port
from tests.servers.counting import OK, CountingServer, answer

LIMIT = 20.0
OPENMETRICS = "application/openmetrics-text; version=1.0.0"
Samples = dict[str, list[tuple[dict[str, str], float]]]


def mixed(number: int) -> bytes:
    return (OK, answer(503), OK, OK, b"")[number % 5]


def run(observer: Observer, duration: float = 0.3) -> Result:
    """With warm-up and errors; POST, which is not sent again when a connection breaks."""
    options: dict[str, Any] = {"rate": 300, "warmup": 0.1, "trust_env": False, "method": "POST"}
    with CountingServer(mixed) as server:
        started = load.start(server.url, duration=duration, observers=[observer], **options)
        return checked(started.result(LIMIT))


def planned(observer: Observer) -> Result:
    with CountingServer(mixed) as server:
        return load.start(shop(server.url), observers=[observer]).result(LIMIT)


# ---- Prometheus


def scraped(url: str, accept: str = "text/plain") -> str:
    asked = urllib.request.Request(url, headers={"Accept": accept})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(asked, timeout=LIMIT) as response:
        text: str = response.read().decode()
    return text


def samples(url: str) -> Samples:
    out: Samples = {}
    for family in text_string_to_metric_families(scraped(url)):
        assert family.name.startswith("ftnet_load")
        assert family.documentation
        for one in family.samples:
            out.setdefault(one.name.removeprefix("ftnet_load_"), []).append((one.labels, one.value))
    return out


def total(of: Samples, name: str, **labels: str) -> float:
    return sum(value for had, value in of[name] if labels.items() <= had.items())


@pytest.mark.parametrize("carry_out", [run, planned])
def test_what_is_scraped_adds_up_to_the_result(carry_out: Callable[[Observer], Result]) -> None:
    with Prometheus(0) as prometheus:
        found = carry_out(prometheus)
        told = samples(prometheus.url)
    counts = found.counts
    for name in ("scheduled", "sent", "completed", "failed", "unfinished", "unsent", "late"):
        assert total(told, f"requests_{name}_total") == getattr(counts, name), name
    assert total(told, "data_sent_bytes_total") == counts.bytes_sent
    assert total(told, "data_received_bytes_total") == counts.bytes_received
    assert total(told, "connections_opened_total") == counts.opened
    assert total(told, "responses_wrong_total", what="status") == counts.wrong_status > 0
    for status, number in found.statuses.items():
        assert total(told, "responses_total", status=str(status)) == number
    for failure in found.errors:
        assert total(told, "errors_total", error=failure.name) == failure.count
    assert total(told, "errors_total") == counts.failed > 0
    assert total(told, "cpu_time_seconds_total") == pytest.approx(found.cpu)
    for name, whole in (("response", found.response), ("service", found.service)):
        assert total(told, f"{name}_duration_seconds_count") == whole.count
        assert total(told, f"{name}_duration_seconds_sum") == pytest.approx(whole.sum / 1e9)
        for border, upto in zip((*BORDERS, "+Inf"), up_to(whole, BORDERS), strict=True):
            assert total(told, f"{name}_duration_seconds_bucket", le=str(border)) == upto
    assert total(told, "lateness_seconds_count") == found.lateness.count
    for phase, by_class in found.phases.items():
        whole = by_class["all"]
        assert total(told, "phase_duration_seconds_count", phase=phase) == whole.count
        sums = total(told, "phase_duration_seconds_sum", phase=phase)
        assert sums == pytest.approx(whole.sum / 1e9)
    assert total(told, "running") == 0
    ((about, _),) = told["info"]
    assert (about["url"], about["plan"]) == (found.options.url, found.plan)


def test_a_plan_is_told_by_step() -> None:
    with Prometheus(0) as prometheus:
        found = planned(prometheus)
        told = samples(prometheus.url)
    for name, step in found.steps.items():
        assert total(told, "step_requests_completed_total", step=name) == step.counts.completed
        responses = total(told, "step_response_duration_seconds_count", step=name)
        assert responses == step.response.count
        failed = total(told, "step_errors_total", step=name)
        assert failed == step.counts.failed
        for text, (held, broken) in step.checks.items():
            assert total(told, "step_checks_total", step=name, check=text, held="true") == held
            assert total(told, "step_checks_total", step=name, check=text, held="false") == broken
    assert found.iterations is not None
    assert total(told, "iterations_scheduled_total") == found.iterations.scheduled == 20
    assert total(told, "iterations_failed_total") == found.iterations.failed


def test_an_action_is_not_counted_twice() -> None:
    with Prometheus(0) as prometheus, CountingServer() as server:
        found = load.run(chat(server.port), observers=[prometheus])
        told = samples(prometheus.url)
    assert total(told, "requests_completed_total") == found.counts.completed == 5
    assert total(told, "step_requests_completed_total", step="chat") == 5
    assert total(told, "step_requests_completed_total", step="chat: ask") == 5


def test_a_run_is_scraped_while_it_goes() -> None:
    seen: list[Samples] = []

    class Scrape(Prometheus):
        def gathered(self, *of: Any) -> None:
            super().gathered(*of)
            seen.append(samples(self.url))

    with Scrape(0) as prometheus:
        found = run(prometheus, 1.1)
    assert len(seen) == len(found.intervals)
    for told, interval in zip(seen, found.intervals, strict=True):
        assert total(told, "running") == 1
        assert total(told, "measuring") == interval.measured
        assert total(told, "rate_target") == interval.target
        assert total(told, "requests_in_flight") == interval.in_flight
        assert total(told, "connections_open") == interval.connections
    completed = [total(told, "requests_completed_total") for told in seen]
    assert completed[0] == 0  # warm-up
    assert completed == sorted(completed)
    assert completed[-1] == found.counts.completed


def test_openmetrics_is_told_too() -> None:
    with Prometheus(0) as prometheus:
        follow(prometheus, kept(1), kept(2))
        text = scraped(prometheus.url, OPENMETRICS)
    assert text.endswith("# EOF\n")
    families = {family.name: family for family in openmetrics_families(text)}
    assert "ftnet_load_step_requests_sent" in families
    (sample,) = families["ftnet_load_iterations_scheduled"].samples
    assert (sample.name, sample.value) == ("ftnet_load_iterations_scheduled_total", 10)


def test_it_listens_where_it_is_told_and_no_longer_than_that() -> None:
    with Prometheus(0, "::1") as prometheus:
        assert prometheus.url.startswith("http://[::1]:")
        assert total(samples(prometheus.url), "running") == 0
    with pytest.raises(OSError):
        scraped(prometheus.url)


def test_values_are_counted_up_to_each_border() -> None:
    found = histogram([0, MS // 10, MS // 2, MS, 3 * MS, 9_000 * MS, 9_000 * MS, 60_000 * MS])
    assert up_to(found, (0.0, 0.0002, 0.001, 1.0, 10.0, 59.9)) == [1, 2, 3, 5, 7, 7, 8]
    assert up_to(found, ()) == [8]


# ---- OpenTelemetry


class Collector:
    """Takes OTLP over HTTP in a thread of its own; use it in a `with`."""

    def __init__(self, statuses: Sequence[int] = ()) -> None:
        self.requests: list[ExportMetricsServiceRequest] = []
        self.headers: list[dict[str, str]] = []
        self.came = threading.Semaphore(0)
        answers = iter(statuses)
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers["Content-Encoding"] == "gzip":
                    body = gzip.decompress(body)
                status = next(answers, 200)
                if status == 200:
                    outer.requests.append(ExportMetricsServiceRequest.FromString(body))
                    outer.headers.append({**self.headers, "path": self.path})
                outer.came.release()
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nobody reads it."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def points(self, name: str, request: int = -1) -> list[Any]:
        """Those of one metric, in one export."""
        (resource,) = self.requests[request].resource_metrics
        (scope,) = resource.scope_metrics
        found = [one for one in scope.metrics if one.name == name]
        return [
            point for one in found for point in getattr(one, one.WhichOneof("data")).data_points
        ]

    def total(self, name: str, request: int = -1, **attributes: str) -> float:
        return sum(
            point.as_double if point.WhichOneof("value") == "as_double" else point.as_int
            for point in self.points(name, request)
            if attributes.items() <= attributes_of(point).items()
        )


class Paced(OpenTelemetry):
    """Each interval is exported before the next is gathered."""

    def __init__(self, collector: Collector) -> None:
        super().__init__()
        self.collector = collector

    def gathered(self, *of: Any) -> None:
        super().gathered(*of)
        assert self.collector.came.acquire(timeout=LIMIT)


def attributes_of(point: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in point.attributes}


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with Collector() as made:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", made.url)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield made


@pytest.mark.parametrize("carry_out", [run, planned])
def test_what_is_exported_adds_up_to_the_result(
    carry_out: Callable[[Observer], Result], collector: Collector
) -> None:
    otel = OpenTelemetry()
    found = carry_out(otel)
    assert otel.exported
    assert 1 <= len(collector.requests) <= len(found.intervals) + 1
    counts = found.counts
    for name in ("scheduled", "sent", "completed", "failed", "unfinished", "unsent", "late"):
        assert collector.total(f"ftnet.load.requests.{name}") == getattr(counts, name), name
    for failure in found.errors:
        number = collector.total("ftnet.load.errors", **{"error.type": failure.name})
        assert number == failure.count
    statuses = collector.points("ftnet.load.responses")
    assert sum(point.as_int for point in statuses) == counts.completed
    assert {attributes_of(one)["http.response.status_code"] for one in statuses} == {200, 503}
    for name, whole in (("response", found.response), ("service", found.service)):
        points = collector.points(f"ftnet.load.{name}.duration")
        assert sum(point.count for point in points) == whole.count
        assert sum(point.sum for point in points) == pytest.approx(whole.sum / 1e9)
        assert min(point.min for point in points) == whole.min / 1e9
        buckets = [
            sum(column) for column in zip(*(one.bucket_counts for one in points), strict=True)
        ]
        upto = up_to(whole, BORDERS)
        assert [sum(buckets[: place + 1]) for place in range(len(buckets))] == upto
        assert points[0].explicit_bounds == [*BORDERS]
    phases = {
        attributes_of(one)["ftnet.load.phase"]: one
        for one in collector.points("ftnet.load.phase.duration")
    }
    assert set(phases) <= set(found.phases)
    assert phases["ttfb"].bucket_counts == [phases["ttfb"].count]


def test_requests_are_as_the_semantic_conventions_say(collector: Collector) -> None:
    found = run(OpenTelemetry())
    points = collector.points("http.client.request.duration")
    assert sum(point.count for point in points) == found.counts.completed
    by_class = {attributes_of(point)["ftnet.load.class"]: point for point in points}
    assert set(by_class) == {"2xx", "5xx"}
    port = int(found.options.url.rpartition(":")[2].strip("/"))
    assert attributes_of(by_class["2xx"]) == {
        "ftnet.load.class": "2xx", "http.request.method": "POST", "server.address": "127.0.0.1",
        "server.port": port, "url.scheme": "http",
    }  # fmt: skip
    began = round(found.started * 1e9)
    assert by_class["2xx"].start_time_unix_nano == pytest.approx(began, abs=2_000_000)
    ended = began + (found.intervals[-1].at - 0.1) * 1e9
    assert by_class["2xx"].time_unix_nano == pytest.approx(ended, abs=2_000_000)


def test_the_environment_says_how(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", f"{collector.url}/mine")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=secret")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test")
    follow(OpenTelemetry(), kept(1))
    head = collector.headers[-1]
    assert (head["path"], head["api-key"]) == ("/mine", "secret")
    assert head["Content-Encoding"] == "gzip"
    (resource,) = collector.requests[-1].resource_metrics
    told = attributes_of(resource.resource)
    assert (told["service.name"], told["deployment.environment"]) == ("ftnet", "test")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "shop")
    follow(OpenTelemetry(), kept(1))
    (resource,) = collector.requests[-1].resource_metrics
    assert attributes_of(resource.resource)["service.name"] == "shop"


@pytest.mark.parametrize("refused", [0, 1])
def test_differences_add_up_whatever_was_refused(
    refused: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta")
    with Collector([200, 400][: refused + 1]) as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        otel = Paced(collector)
        follow(otel, kept(1), kept(2), kept(3))
    assert otel.exported
    assert len(collector.requests) == 4 - refused  # the last is that of the end
    exports = range(len(collector.requests))
    for name, number in (("scheduled", 30), ("completed", 24), ("failed", 6)):
        each = [collector.total(f"ftnet.load.requests.{name}", one) for one in exports]
        assert sum(each) == number
        assert max(each) == (number // 3) * (1 + refused)
    counts = [
        point.count
        for one in exports
        for point in collector.points("http.client.request.duration", one)
    ]
    assert sum(counts) == 24  # of the whole, not of its steps again
    firsts = [collector.points("ftnet.load.requests.sent", one)[0] for one in exports]
    spans = [(one.start_time_unix_nano, one.time_unix_nano) for one in firsts]
    assert all(before[1] == after[0] for before, after in pairwise(spans))


def test_exponential_histograms_have_every_value(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
        "base2_exponential_bucket_histogram",
    )
    follow(OpenTelemetry(), kept(1), kept(700))
    points = collector.points("ftnet.load.step.response.duration")
    assert {attributes_of(point)["ftnet.load.step"] for point in points} == {"log in, out", "cart"}
    for point, number in zip(points, (2, 3), strict=True):
        expected = exponential([number / 1e3] * 4 + [number * 0.7] * 4)
        counts = list(point.positive.bucket_counts)
        assert (point.count, point.scale) == (8, expected.scale)
        assert point.positive.offset == expected.positive.offset
        assert counts == list(expected.positive.bucket_counts)[: len(counts)]
        assert sum(counts) + point.zero_count == 8


def exponential(seconds: Sequence[float]) -> Any:
    """As the SDK counts them."""
    reader = InMemoryMetricReader()
    view = View(instrument_name="it", aggregation=ExponentialBucketHistogramAggregation())
    instrument = MeterProvider([reader], views=[view]).get_meter("mine").create_histogram("it")
    for one in seconds:
        instrument.record(one)
    data: Any = reader.get_metrics_data()
    (point,) = data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points
    return point


# ---- the command


@pytest.mark.parametrize(
    ("arguments", "module", "message"),
    [
        (["--prometheus", "0"], "prometheus_client", "pip install 'ftnet[prometheus]'"),
        (["--otel"], "opentelemetry.sdk.metrics", "pip install 'ftnet[otel]'"),
    ],
)
def test_an_extra_that_is_not_there_is_told_before_the_run(
    arguments: list[str],
    module: str,
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("ftnet.load.prometheus", "ftnet.load.otel"):
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with CountingServer() as server:
        assert cli.main(["load", *arguments, server.url]) == 2
        assert server.requests == 0
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("address", ["here", "1:2:3", "99999", "localhost:", ":1"])
def test_an_address_that_is_none_is_told(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["load", "--prometheus", address, "URL"]) == 2
    assert f"--prometheus must be [HOST:]PORT, got '{address}'" in capsys.readouterr().err


def test_a_port_that_is_taken_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with CountingServer() as server:
        assert cli.main(["load", "--prometheus", str(server.port), server.url]) == 2
    assert f"--prometheus: can't listen on {server.port}: Address" in capsys.readouterr().err


def test_the_command_serves_and_exports(
    collector: Collector, capsys: pytest.CaptureFixture[str]
) -> None:
    with CountingServer() as server:
        arguments = ["--requests", "20", "--otel", "--prometheus", "0", "--json", server.url]
        assert cli.main(["load", *arguments]) in (0, 3)
    shown = capsys.readouterr()
    assert shown.err.startswith("ftnet: metrics at http://127.0.0.1:")
    assert json.loads(shown.out)["counts"]["completed"] == 20
    assert collector.total("ftnet.load.requests.completed") == 20


def test_a_collector_that_is_not_there_is_told_at_the_end(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with closed_port() as port, CountingServer() as server:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
        assert cli.main(["load", "-q", "--requests", "20", "--otel", server.url]) == 23
    shown = capsys.readouterr()
    assert "requests       20 answered" in shown.out
    assert shown.err.startswith("ftnet: (23) --otel: ")
