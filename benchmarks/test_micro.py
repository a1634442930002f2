"""What single steps of a request cost: python -m pytest benchmarks/test_micro.py

Figures are of this process only where a test says so: those that run requests include the wait for
the server, which is nginx where that is installed.
"""

from __future__ import annotations

import subprocess
import sys
from array import array
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from hdrh.histogram import HdrHistogram

import ftnet as ft
from benchmarks.servers import JSON, Nginx
from ftnet.header import header_lines
from ftnet.histogram import Histogram
from ftnet.options import REQUEST_OPTIONS, merge_options
from ftnet.results import Headers
from ftnet.testing.server import Server
from ftnet.url import prepare_url

BATCH, AT_ONCE = 256, 64
RAW_HEADER = b"\r\n".join(
    [
        b"HTTP/1.1 200 OK",
        b"Server: nginx/1.22.1",
        b"Date: Tue, 24 Nov 2026 10:00:00 GMT",
        b"Content-Type: application/json; charset=utf-8",
        b"Content-Length: 87",
        b"Connection: keep-alive",
        b"Cache-Control: no-store",
        b"ETag: W/57-cafe",
        b"Vary: Accept-Encoding",
        b"Set-Cookie: sid=0123456789abcdef; Path=/; HttpOnly",
        b"Set-Cookie: lang=en; Path=/",
        b"X-Request-Id: 6a1f1c4e-5f3d-4c52-9a55-1a2b3c4d5e6f",
        b"",
        b"",
    ]
)


@pytest.fixture(scope="module")
def base() -> Iterator[str]:
    """URL of a server with /hello and /json."""
    try:
        Nginx.find()
    except FileNotFoundError:
        with Server(tls=False) as server:
            yield server.http
        return
    with Nginx() as nginx:
        yield nginx.base


@pytest.fixture
def client() -> Iterator[ft.Client]:
    with ft.Client(max_connections=AT_ONCE, max_connections_per_host=AT_ONCE) as client:
        yield client


@pytest.fixture
def chunk(base: str, client: ft.Client) -> Any:
    """The body of /json as it was received."""
    chunks: list[Any] = []

    def start() -> None:
        task = client.request(url=f"{base}/json", enableChunked=True)
        task.onChunkReceived(lambda event: chunks.append(event.data))

    ft.run(start)
    assert len(chunks) == 1
    return chunks[0]


@pytest.fixture
def result(base: str, client: ft.Client) -> Any:
    return client.request(url=f"{base}/json").result(30)


@pytest.mark.benchmark(group="requests")
def test_submission_until_the_call_returns(benchmark: Any, base: str, client: ft.Client) -> None:
    results: list[Any] = []
    options = {"url": f"{base}/hello", "complete": results.append}
    ft.run(lambda: benchmark.pedantic(client.request, (options,), rounds=20, iterations=100))
    assert results
    assert {result.statusCode for result in results} == {200}


@pytest.mark.benchmark(group="requests")
@pytest.mark.parametrize("kind", ["text", "JSON", "JSON, no profile", "chunks"])
def test_batch_of_256_requests_64_at_a_time(
    benchmark: Any, base: str, client: ft.Client, kind: str
) -> None:
    done = left = received = 0
    options: dict[str, Any] = {"url": f"{base}/hello" if kind == "text" else f"{base}/json"}
    if kind == "JSON, no profile":
        options["enableProfile"] = False
    if kind == "chunks":
        options["enableChunked"] = True

    def chunk(event: Any) -> None:
        nonlocal received
        received += len(event.data)

    def request() -> None:
        task = client.request(options)
        if kind == "chunks":
            task.onChunkReceived(chunk)

    def next_one(_result: Any) -> None:
        nonlocal done, left
        done += 1
        if left:
            left -= 1
            request()

    def start() -> None:
        for _ in range(AT_ONCE):
            request()

    def batch() -> None:
        nonlocal done, left
        done, left = 0, BATCH - AT_ONCE
        ft.run(start)

    options["success"] = next_one
    benchmark(batch)
    assert done == BATCH
    assert (received >= BATCH * len(JSON)) == (kind == "chunks")


@pytest.mark.benchmark(group="chunk")
def test_chunk_to_memoryview(benchmark: Any, chunk: Any) -> None:
    assert benchmark(memoryview, chunk).nbytes == len(chunk)


@pytest.mark.benchmark(group="chunk")
def test_chunk_slice(benchmark: Any, chunk: Any) -> None:
    assert benchmark(lambda: chunk[1:5]) == b'"id"'


@pytest.mark.benchmark(group="chunk")
def test_chunk_to_bytes(benchmark: Any, chunk: Any) -> None:
    assert benchmark(bytes, chunk).startswith(b'{"id":1')


@pytest.mark.benchmark(group="JSON")
@pytest.mark.parametrize("source", ["from the buffer", "from a copy in bytes"])
def test_json_decoding(benchmark: Any, chunk: Any, source: str) -> None:
    decode = msgspec.json.Decoder().decode
    steps: dict[str, Callable[[], Any]] = {
        "from the buffer": lambda: decode(chunk),
        "from a copy in bytes": lambda: decode(bytes(chunk)),
    }
    assert benchmark(steps[source])["id"] == 1


@pytest.mark.benchmark(group="header")
def test_header_mapping_unread(benchmark: Any) -> None:
    assert isinstance(benchmark(Headers, RAW_HEADER), Headers)


@pytest.mark.benchmark(group="header")
def test_header_mapping_first_look_up(benchmark: Any) -> None:
    assert benchmark(lambda: Headers(RAW_HEADER)["content-length"]) == "87"


@pytest.mark.benchmark(group="header")
def test_header_mapping_further_look_up(benchmark: Any) -> None:
    header = Headers(RAW_HEADER)
    assert header["content-length"] == "87"
    assert benchmark(lambda: header["etag"]) == "W/57-cafe"


@pytest.mark.benchmark(group="profile")
def test_profile_field(benchmark: Any, result: Any) -> None:
    assert benchmark(lambda: result.profile.responseEnd) > 0


@pytest.mark.benchmark(group="profile")
def test_profile_durations(benchmark: Any, result: Any) -> None:
    assert benchmark(lambda: result.profile.durations)["total"] > 0


@pytest.mark.benchmark(group="options")
def test_options_with_a_callback(benchmark: Any) -> None:
    options = {"url": "http://127.0.0.1:8080/", "success": print}
    merged = benchmark(merge_options, "request", options, {}, REQUEST_OPTIONS)
    assert merged["success"] is print


@pytest.mark.benchmark(group="options")
def test_options_all_kinds(benchmark: Any) -> None:
    options = {
        "url": "http://127.0.0.1:8080/",
        "data": {"id": 1},
        "header": {"accept": "application/json"},
        "method": "POST",
        "timeout": 5000,
        "dataType": "json",
        "responseType": "text",
        "success": print,
        "fail": print,
        "complete": print,
    }
    merged = benchmark(merge_options, "request", options, {}, REQUEST_OPTIONS)
    assert merged["method"] == "POST"


@pytest.mark.benchmark(group="options")
def test_url_check(benchmark: Any) -> None:
    url = "http://127.0.0.1:8080/path?query=1"
    assert benchmark(prepare_url, url) == url


@pytest.mark.benchmark(group="options")
def test_header_lines(benchmark: Any) -> None:
    header = {"accept": "application/json", "x-tag": "a", "authorization": "Bearer 0123456789"}
    lines, _ = benchmark(header_lines, header)
    assert b"x-tag: a" in lines


@pytest.mark.benchmark(group="histogram")
@pytest.mark.parametrize("of", ["ftnet", "hdrhistogram"])
def test_histogram_of_one_value_more(benchmark: Any, of: str) -> None:
    peer = HdrHistogram(1, 3_600_000_000_000, 3)
    histogram = Histogram()
    record = histogram.record if of == "ftnet" else peer.record_value
    benchmark.pedantic(record, (54_321,), rounds=50, iterations=1000)
    assert histogram.count or peer.get_total_count()


@pytest.mark.benchmark(group="histogram")
def test_histogram_of_10000_values_more(benchmark: Any) -> None:
    histogram = Histogram()
    values = array("q", [20_000 + number * number % 180_000 for number in range(10_000)])
    benchmark(histogram.record_many, values)
    assert histogram.count % 10_000 == 0


@pytest.mark.benchmark(group="histogram")
@pytest.mark.parametrize("step", ["percentile", "merge", "encode", "decode"])
def test_histogram_of_1_us_to_1_s(benchmark: Any, step: str) -> None:
    histogram = Histogram()
    histogram.record_many(array("q", [int(1000 * 10 ** (n / 1000)) for n in range(6001)]))
    other, text = histogram.copy(), histogram.encode()
    steps: dict[str, Callable[[], Any]] = {
        "percentile": lambda: histogram.percentile(99.9),
        "merge": lambda: histogram.merge(other),
        "encode": histogram.encode,
        "decode": lambda: Histogram.decode(text),
    }
    benchmark(steps[step])
    assert histogram.count % 6001 == 0


@pytest.mark.benchmark(group="process")
@pytest.mark.parametrize("code", ["pass", "import msgspec, pycurl", "import ftnet; ftnet.request"])
def test_process_that_runs(benchmark: Any, code: str) -> None:
    """The first is what Python itself takes, the second what it takes with what ftnet needs."""
    command = [sys.executable, "-c", code]
    done = benchmark.pedantic(subprocess.run, (command,), rounds=7, warmup_rounds=1)
    assert done.returncode == 0
