"""A profile under the names of W3C Resource Timing and of OpenTelemetry."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.semconv._incubating.attributes import http_attributes as in_development
from opentelemetry.semconv.attributes import (
    error_attributes,
    http_attributes,
    network_attributes,
    server_attributes,
    url_attributes,
    user_agent_attributes,
)

import ftnet as ft
from ftnet.export import to_otel, to_resource_timing
from tests.origins import LIMIT, Origin, failure, fetch
from tests.servers.awkward import AwkwardServer, closed_port
from tests.servers.behaviours import says

# the attributes of PerformanceEntry and PerformanceResourceTiming in https://www.w3.org/TR/
# resource-timing/, but those of service workers' routers
OF_W3C = {
    "name", "entryType", "startTime", "duration", "initiatorType", "deliveryType",
    "nextHopProtocol", "workerStart", "redirectStart", "redirectEnd", "fetchStart",
    "domainLookupStart", "domainLookupEnd", "connectStart", "connectEnd", "secureConnectionStart",
    "requestStart", "finalResponseHeadersStart", "firstInterimResponseStart", "responseStart",
    "responseEnd", "transferSize", "encodedBodySize", "decodedBodySize", "responseStatus",
    "renderBlockingStatus", "contentType", "contentEncoding",
}  # fmt: skip
IN_ORDER = (
    "startTime", "fetchStart", "domainLookupStart", "domainLookupEnd", "connectStart",
    "connectEnd", "requestStart", "responseStart", "responseEnd",
)  # fmt: skip
OF_A_CONNECTION = ("domainLookupStart", "domainLookupEnd", "connectStart", "connectEnd")
STABLE = (
    error_attributes,
    http_attributes,
    network_attributes,
    server_attributes,
    url_attributes,
    user_agent_attributes,
)
NAMES = {
    value
    for module in STABLE
    for value in vars(module).values()
    if isinstance(value, str) and "." in value
} | {in_development.HTTP_REQUEST_BODY_SIZE, in_development.HTTP_RESPONSE_BODY_SIZE}


def test_importing_ftnet_does_not_load_it() -> None:
    program = "import sys, ftnet; print(*[m for m in sys.modules if m.startswith('ftnet.')])"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, timeout=LIMIT, check=True, text=True
    )
    loaded = set(done.stdout.split())
    assert "ftnet.client" in loaded
    assert not loaded & {"ftnet.export", "ftnet.har", "ftnet.exchange"}


# ---- W3C


def test_every_attribute_of_the_standard_is_there(client: ft.Client, origin: Origin) -> None:
    url = f"{origin.base}/json"
    result = fetch(client, url)
    entry = to_resource_timing(url, result)
    assert entry.keys() == OF_W3C
    times = [entry[name] for name in IN_ORDER]
    assert all(times)
    assert times == sorted(times)
    assert entry["name"] == url
    assert entry["nextHopProtocol"] == {"quic": "h3"}.get(origin.protocol, origin.protocol)
    assert entry["startTime"] == result.profile.invokeStart
    assert entry["duration"] == round(entry["responseEnd"] - entry["startTime"], 3)
    assert entry["responseStatus"] == 200
    assert (entry["secureConnectionStart"] > 0) is origin.tls
    assert entry["firstInterimResponseStart"] == entry["redirectStart"] == 0


def test_a_reused_connection_has_the_times_of_the_start(client: ft.Client, origin: Origin) -> None:
    url = f"{origin.base}/json"
    fetch(client, url)
    entry = to_resource_timing(url, fetch(client, url))
    assert {entry[name] for name in OF_A_CONNECTION} == {entry["fetchStart"]}
    assert entry["secureConnectionStart"] == (entry["fetchStart"] if origin.tls else 0)


def test_times_can_have_another_origin(plain: ft.Client, server: Any) -> None:
    url = f"{server.http}/redirect/1"
    result = fetch(plain, url)
    entry = to_resource_timing(url, result, time_origin=result.profile.invokeStart - 1000)
    assert entry["startTime"] == 1000
    assert 1000 <= entry["redirectStart"] <= entry["redirectEnd"] <= entry["fetchStart"]
    assert entry["responseEnd"] == round(1000 + entry["duration"], 3)
    assert entry["workerStart"] == entry["secureConnectionStart"] == 0


def test_sizes_are_encoded_and_decoded(client: ft.Client, origin: Origin) -> None:
    asked = {"url": f"{origin.base}/gzip", "responseType": "arraybuffer"}
    result = client.request(asked).result(LIMIT)
    entry = to_resource_timing(asked, result)
    assert entry["encodedBodySize"] == int(result.header["content-length"])
    assert entry["decodedBodySize"] == len(result.data)
    assert entry["transferSize"] == entry["encodedBodySize"] + 300
    assert (entry["contentType"], entry["contentEncoding"]) == ("application/json", "gzip")


def test_a_failure_has_what_the_standard_gives_it(plain: ft.Client) -> None:
    with closed_port() as port:
        url = f"http://127.0.0.1:{port}/"
        error = failure(plain, url)
    entry = to_resource_timing(url, error, time_origin=error.profile.invokeStart)
    assert entry.keys() == OF_W3C
    told = {name for name, value in entry.items() if isinstance(value, float) and value}
    assert told == {"duration", "fetchStart", "responseEnd"}
    assert entry["duration"] == entry["responseEnd"]
    assert entry["duration"] == pytest.approx(error.profile.durations["total"], abs=0.001)
    assert entry["responseStatus"] == entry["transferSize"] == 0


# ---- OpenTelemetry


def test_names_are_those_of_the_conventions(client: ft.Client, origin: Origin) -> None:
    asked = {"url": f"{origin.base}/echo", "header": {"user-agent": "me/1"}}
    result = client.request({**asked, "method": "POST", "data": "12345"}).result(LIMIT)
    told = to_otel({**asked, "method": "POST", "data": "12345"}, result)
    assert {name for name in told if not name.startswith("ftnet.")} <= NAMES
    assert all(type(value) in (str, int, float, bool) for value in told.values())
    host, _, port = origin.netloc.rpartition(":")
    expected = {
        "http.request.method": "POST",
        "url.full": f"{origin.base}/echo",
        "url.scheme": origin.base.partition(":")[0],
        "server.address": host,
        "server.port": int(port),
        "network.peer.address": "127.0.0.1",
        "network.peer.port": int(port),
        "network.protocol.name": "http",
        "network.protocol.version": {"http/1.1": "1.1", "h2": "2", "quic": "3"}[origin.protocol],
        "http.response.status_code": 200,
        "http.request.body.size": 5,
        "user_agent.original": "me/1",
        "ftnet.connection.reused": False,
    }
    assert {name: told.get(name) for name in expected} == expected
    assert "error.type" not in told


def test_phases_are_in_seconds_and_only_those_that_were(client: ft.Client, origin: Origin) -> None:
    url = f"{origin.base}/json"
    for reused in (False, True):
        result = fetch(client, url)
        told = to_otel(url, result)
        phases = {n[12:]: value for n, value in told.items() if n.startswith("ftnet.phase.")}
        for name, seconds in phases.items():
            assert seconds == pytest.approx(result.profile.durations[name] / 1000, abs=1e-9)
        new = set() if reused else {"dns", "connect"} | ({"ssl"} if origin.tls else set())
        assert phases.keys() == {
            "queue", "blocked", "send", "ttfb", "download", "total", *new,
        }  # fmt: skip


def test_redirects_are_a_phase(plain: ft.Client, server: Any) -> None:
    url = f"{server.http}/redirect/2"
    told = to_otel(url, fetch(plain, url))
    assert told["url.full"] == url
    assert 0 < told["ftnet.phase.redirect"] < told["ftnet.phase.total"]


def test_a_failure_has_its_type_and_the_phases_that_were_over(plain: ft.Client) -> None:
    with closed_port() as port:
        url = f"http://127.0.0.1:{port}/"
        told = to_otel(url, failure(plain, url))
    assert told["error.type"] == "connect"
    assert "http.response.status_code" not in told
    phases = {name for name in told if name.startswith("ftnet.phase.")}
    assert phases == {"ftnet.phase.queue", "ftnet.phase.dns", "ftnet.phase.total"}


def test_a_bad_status_is_an_error_type(plain: ft.Client, server: Any) -> None:
    url = f"{server.http}/status/404"
    told = to_otel(url, fetch(plain, url, enableProfile=False))
    assert (told["error.type"], told["http.response.status_code"]) == ("404", 404)
    assert not [name for name in told if name.startswith("ftnet.")]


def test_credentials_and_signatures_are_redacted(plain: ft.Client) -> None:
    with AwkwardServer(says(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")) as raw:
        place = raw.url.partition("//")[2]
        url = f"http://me:s3cret@{place}/?sig=s3cret&a=b&X-Goog-Signature=s3cret"
        told = to_otel(url, fetch(plain, url))
    query = "?sig=REDACTED&a=b&X-Goog-Signature=REDACTED"
    assert told["url.full"] == f"http://REDACTED:REDACTED@{place}/{query}"
    assert told["server.address"] == "127.0.0.1"
    assert "s3cret" not in str(told)


def test_ports_of_the_scheme_and_ipv6_are_told() -> None:
    error = ft.FtError("request:fail timeout", ft.Errno.TIMEOUT)
    for url, place in (
        ("http://a.test", ("a.test", 80)),
        ("https://a.test/x", ("a.test", 443)),
        ("http://[::1]:81/", ("::1", 81)),
    ):
        told = to_otel(url, error)
        assert (told["server.address"], told["server.port"]) == place
        assert told["error.type"] == "timeout"


def test_a_file_has_no_request_body(plain: ft.Client, server: Any, tmp_path: Path) -> None:
    asked = {"url": f"{server.http}/bytes/10", "filePath": str(tmp_path / "file")}
    told = to_otel(asked, plain.downloadFile(asked).result(LIMIT))
    assert (told["http.request.body.size"], told["http.response.body.size"]) == (0, 10)
