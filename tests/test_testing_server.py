"""The test server keeps its word, as clients that are not ftnet see it."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import json
import socket
import ssl
import time
import zlib
from collections.abc import Iterator
from urllib.parse import urlsplit

import brotli
import httpx
import pytest
from aioquic.asyncio.client import connect as quic_connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, H3Event, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import QuicEvent

from ftnet.testing.app import charset_text, pattern
from ftnet.testing.server import Server

LIMIT = 30.0
WIDGET = {
    "id": 1,
    "name": "widget",
    "tags": ["a", "b", "c"],
    "price": 12.5,
    "nested": {"x": 1, "y": [1, 2, 3]},
}
TRANSPORTS = {
    "http/1.1": ("http", False),
    "h2c": ("http", True),
    "https/1.1": ("https", False),
    "h2": ("https", True),
}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with Server(h3=True) as started:
        yield started
        assert started.log() == ""


@pytest.fixture(scope="module", params=TRANSPORTS)
def client(server: Server, request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    scheme, h2 = TRANSPORTS[request.param]
    with httpx.Client(
        base_url=server.http if scheme == "http" else server.https,
        verify=ssl.create_default_context(cafile=server.ca),
        http1=not h2,
        http2=h2,
        trust_env=False,
        timeout=LIMIT,
    ) as opened:
        yield opened


@pytest.fixture
def plain(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.http, trust_env=False, timeout=LIMIT) as opened:
        yield opened


def dial(url: str) -> socket.socket:
    parts = urlsplit(url)
    return socket.create_connection((parts.hostname or "", parts.port or 0), LIMIT)


def read_all(sock: socket.socket) -> bytes:
    data = b""
    while piece := sock.recv(65536):
        data += piece
    return data


class H3Client(QuicConnectionProtocol):
    """Sends one GET and collects the answer."""

    def get(self, host: str, path: str) -> asyncio.Future[tuple[dict[bytes, bytes], bytes]]:
        self.answer: asyncio.Future[tuple[dict[bytes, bytes], bytes]] = asyncio.Future()
        self.head: dict[bytes, bytes] = {}
        self.body = bytearray()
        self.h3 = H3Connection(self._quic)
        pseudo = {":method": "GET", ":scheme": "https", ":authority": host, ":path": path}
        fields = [(name.encode(), value.encode()) for name, value in pseudo.items()]
        self.h3.send_headers(self._quic.get_next_available_stream_id(), fields, end_stream=True)
        self.transmit()
        return self.answer

    def quic_event_received(self, event: QuicEvent) -> None:
        for h3_event in self.h3.handle_event(event) if hasattr(self, "h3") else ():
            self.collect(h3_event)

    def collect(self, event: H3Event) -> None:
        if isinstance(event, HeadersReceived):
            self.head.update(event.headers)
        elif isinstance(event, DataReceived):
            self.body += event.data
        if getattr(event, "stream_ended", False) and not self.answer.done():
            self.answer.set_result((self.head, bytes(self.body)))


def get_h3(server: Server, path: str) -> tuple[dict[bytes, bytes], bytes]:
    async def fetch() -> tuple[dict[bytes, bytes], bytes]:
        parts = urlsplit(server.h3 or "")
        config = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, cafile=server.ca)
        host, port = parts.hostname or "", parts.port or 0
        async with quic_connect(
            host, port, configuration=config, create_protocol=H3Client
        ) as protocol:
            assert isinstance(protocol, H3Client)
            return await asyncio.wait_for(protocol.get(parts.netloc, path), LIMIT)

    return asyncio.run(fetch())


@pytest.mark.parametrize(
    ("path", "body", "content_type"),
    [
        ("/", b'{"ok":true}', "application/json"),
        ("/hello", b"Hello, World!", "text/plain; charset=utf-8"),
        ("/json", json.dumps(WIDGET, separators=(",", ":")).encode(), "application/json"),
    ],
)
def test_fixed_answers(client: httpx.Client, path: str, body: bytes, content_type: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.content) == (200, body)
    assert answer.headers["content-type"] == content_type
    assert answer.headers["content-length"] == str(len(body))


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
def test_echo_tells_the_request(client: httpx.Client, method: str) -> None:
    answer = client.request(
        method,
        "/echo?a=%20b&a=2",
        headers=[(b"X-One", b"1"), (b"X-Two", b"\xe9"), (b"X-One", b"again")],
        content=b"",
    )
    told = answer.json()
    assert (told["method"], told["path"], told["query"]) == (method, "/echo", "a=%20b&a=2")
    assert told["http_version"] == answer.http_version.removeprefix("HTTP/")
    assert told["client"][0] == "127.0.0.1"
    pairs = [(name, value) for name, value in told["headers"] if name.startswith("x-")]
    assert sorted(pairs) == [("x-one", "1"), ("x-one", "again"), ("x-two", "é")]


@pytest.mark.parametrize("body", [b"", b"plain", "Grüße".encode(), b"\x00\xff", bytes(300_000)])
def test_echo_returns_the_body(client: httpx.Client, body: bytes) -> None:
    told = client.post("/echo", content=body).json()
    assert base64.b64decode(told["body"]) == body
    assert told["body_text"] == body.decode("utf-8", "replace")


@pytest.mark.parametrize("length", [0, 1, 251, 64_256, 64_257, 1_000_003])
def test_bytes_counts_modulo_251(client: httpx.Client, length: int) -> None:
    answer = client.get(f"/bytes/{length}")
    assert answer.headers["content-length"] == str(length)
    assert answer.content == bytes(k % 251 for k in range(length))


@pytest.mark.parametrize(("length", "offset"), [(0, 0), (10, 250), (600, 502), (1, 10**9)])
def test_pattern_starts_anywhere(length: int, offset: int) -> None:
    assert pattern(length, offset) == bytes(k % 251 for k in range(offset, offset + length))


@pytest.mark.parametrize("path", ["/hello", "/bytes/1000000000000", "/headers/3", "/gzip"])
def test_head_has_the_length_and_no_body(server: Server, path: str) -> None:
    with dial(server.http) as sock:
        sock.sendall(f"HEAD {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        head, _, body = read_all(sock).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    assert b"\r\ncontent-length: " in head
    assert body == b""


@pytest.mark.parametrize("code", [200, 201, 204, 304, 400, 404, 418, 500, 503, 599, 999])
def test_status(client: httpx.Client, code: int) -> None:
    answer = client.get(f"/status/{code}")
    assert answer.status_code == code
    assert answer.content == (b"" if code in (204, 304) else b'{"status": %d}' % code)


def test_redirect_chain_ends_after_n(client: httpx.Client) -> None:
    answer = client.get("/redirect/3", follow_redirects=True)
    assert answer.json() == {"redirected": True}
    assert [hop.headers["location"] for hop in answer.history] == [
        "/redirect/2",
        "/redirect/1",
        "/redirect/0",
    ]


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirect_to_carries_status_and_url(client: httpx.Client, code: int) -> None:
    answer = client.get("/redirect-to", params={"url": "http://h:1/p?q=1#f", "status": code})
    assert (answer.status_code, answer.headers["location"]) == (code, "http://h:1/p?q=1#f")


def test_redirect_to_cannot_split_the_head(plain: httpx.Client) -> None:
    answer = plain.get("/redirect-to", params={"url": "/a\r\nx-evil: 1"})
    assert answer.headers["location"] == "/a%0D%0Ax-evil:%201"
    assert "x-evil" not in answer.headers


def test_cookies_that_are_set_come_back(client: httpx.Client) -> None:
    client.cookies.clear()
    answer = client.get("/cookies/set?first=1&second=two")
    assert answer.headers.get_list("set-cookie") == ["first=1; Path=/", "second=two; Path=/"]
    assert client.get("/cookies").json() == {"cookies": {"first": "1", "second": "two"}}


@pytest.mark.parametrize(
    ("coding", "decompress"), [("gzip", gzip.decompress), ("br", brotli.decompress)]
)
def test_compressed_json(client: httpx.Client, coding: str, decompress) -> None:  # type: ignore[no-untyped-def]
    with client.stream("GET", f"/{coding}", headers={"accept-encoding": "identity"}) as answer:
        raw = b"".join(answer.iter_raw())
    assert answer.headers["content-encoding"] == coding
    assert json.loads(decompress(raw)) == WIDGET | {"encoding": coding}


@pytest.mark.parametrize("length", [0, 1, 50_000_001])
def test_bomb_unpacks_to_zeros(client: httpx.Client, length: int) -> None:
    unpacker, unpacked, packed = zlib.decompressobj(31), 0, 0
    with client.stream("GET", f"/bomb/{length}") as answer:
        for piece in answer.iter_raw():
            packed += len(piece)
            zeros = unpacker.decompress(piece)
            assert not any(zeros[:: max(1, len(zeros) // 1000)])
            unpacked += len(zeros)
    assert (unpacked, unpacker.eof) == (length, True)
    assert packed < 100 + length / 900


def test_delay_comes_before_the_head_and_between_chunks(client: httpx.Client) -> None:
    begin = time.monotonic()
    with client.stream("GET", "/delay?before=150&between=100&chunks=3") as answer:
        assert time.monotonic() - begin >= 0.149
        text = "".join(answer.iter_text())
    assert time.monotonic() - begin >= 0.348
    assert text == "chunk 0\nchunk 1\nchunk 2\n"


def test_stream_sends_each_piece_as_a_chunk(server: Server) -> None:
    with dial(server.http) as sock:
        sock.sendall(b"GET /stream/3/500 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        head, _, rest = read_all(sock).partition(b"\r\n\r\n")
    assert b"\r\ntransfer-encoding: chunked" in head
    chunks = [pattern(500, offset) for offset in (0, 500, 1000)]
    assert rest == b"".join(b"1F4\r\n%b\r\n" % chunk for chunk in chunks) + b"0\r\n\r\n"


def test_stream_waits_between_chunks(client: httpx.Client) -> None:
    begin = time.monotonic()
    assert client.get("/stream/4/7?interval=50").content == pattern(28)
    assert time.monotonic() - begin >= 0.148


def test_drip_keeps_its_rate(client: httpx.Client) -> None:
    begin = time.monotonic()
    answer = client.get("/drip?bytes=500&rate=1000")
    assert time.monotonic() - begin >= 0.44
    assert answer.headers["content-length"] == "500"
    assert answer.content == pattern(500)


def test_headers_are_numbered_and_repeated(client: httpx.Client) -> None:
    answer = client.get("/headers/90")
    assert [answer.headers[f"x-header-{n}"] for n in range(90)] == [f"value-{n}" for n in range(90)]
    assert answer.headers.get_list("x-repeated") == ["one", "two"]
    assert len(answer.headers.get_list("set-cookie")) == 2


@pytest.mark.parametrize("name", ["utf-8", "utf-16", "iso-8859-1", "windows-1251", "gbk", "cp037"])
def test_charset(client: httpx.Client, name: str) -> None:
    answer = client.get(f"/charset/{name}")
    assert answer.headers["content-type"] == f"text/plain; charset={name}"
    assert answer.content.decode(name) == charset_text(name)


def test_sse(client: httpx.Client) -> None:
    answer = client.get("/sse?count=2")
    assert answer.headers["content-type"] == "text/event-stream"
    events = [f'id: {n}\nevent: tick\ndata: {{"n":{n}}}\n\n' for n in range(2)]
    assert answer.text == "".join(events)


@pytest.mark.parametrize("length", [0, 1, 3_000_000])
def test_upload_is_measured(client: httpx.Client, length: int) -> None:
    body = pattern(length)
    told = client.post("/upload", content=body).json()
    assert told == {"length": length, "sha256": hashlib.sha256(body).hexdigest()}


def test_upload_without_length(client: httpx.Client) -> None:
    pieces = [b"one", b"two", bytes(100_000)]
    told = client.post("/upload", content=iter(pieces)).json()
    assert told["sha256"] == hashlib.sha256(b"".join(pieces)).hexdigest()


def test_upload_is_read_at_the_rate(client: httpx.Client) -> None:
    begin = time.monotonic()
    assert client.post("/upload?rate=100000", content=bytes(30_000)).json()["length"] == 30_000
    assert time.monotonic() - begin >= 0.29


def test_early_answers_before_the_body(server: Server) -> None:
    with dial(server.http) as sock:
        sock.sendall(b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n")
        assert sock.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_a_body_that_is_cut_short_is_nothing_to_complain_of(
    server: Server, client: httpx.Client
) -> None:
    for path in ("/hello", "/echo", "/upload"):  # what it complains of, its fixture tells
        with dial(server.http) as sock:
            sock.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n".encode())
    assert client.get("/hello").status_code == 200


@pytest.mark.parametrize(
    ("path", "status", "word"),
    [
        ("/bytes/-1", 400, "n must be a whole number"),
        ("/bytes/1e3", 400, "n must be a whole number"),
        ("/status/99", 400, "code must be from 200"),
        ("/drip?rate=0", 400, "rate must be from 1"),
        ("/redirect-to", 400, "url is missing"),
        ("/redirect/1?status=200", 400, "status must be from 300"),
        ("/charset/base64", 400, "no such charset"),
        ("/charset/nonsense", 400, "no such charset"),
        ("/nowhere", 404, "/nowhere"),
        ("/bytes", 404, "/bytes"),
        ("/cookies/get", 404, "/cookies/get"),
    ],
)
def test_wrong_requests_are_told_why(
    client: httpx.Client, path: str, status: int, word: str
) -> None:
    answer = client.get(path)
    assert answer.status_code == status
    assert word in answer.json()["error"]


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [(["h2", "http/1.1"], "h2"), (["http/1.1"], "http/1.1")],
)
def test_alpn(server: Server, offered: list[str], chosen: str) -> None:
    context = ssl.create_default_context(cafile=server.ca)
    context.set_alpn_protocols(offered)
    with dial(server.https) as sock, context.wrap_socket(sock, server_hostname="localhost") as tls:
        assert tls.selected_alpn_protocol() == chosen


@pytest.mark.parametrize(
    ("name", "trusted"),
    [("localhost", True), ("127.0.0.1", True), ("::1", True), ("example.org", False)],
)
def test_certificate_is_for_the_loopback_alone(server: Server, name: str, trusted: bool) -> None:
    context = ssl.create_default_context(cafile=server.ca)
    with dial(server.https) as sock:
        if trusted:
            context.wrap_socket(sock, server_hostname=name).close()
        else:
            with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
                context.wrap_socket(sock, server_hostname=name)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_versions(server: Server, version: ssl.TLSVersion) -> None:
    context = ssl.create_default_context(cafile=server.ca)
    context.minimum_version = context.maximum_version = version
    with dial(server.https) as sock, context.wrap_socket(sock, server_hostname="localhost") as tls:
        assert (tls.version() or "").replace(".", "_").startswith(version.name)


def test_h3_answers(server: Server) -> None:
    assert server.h3 == server.https
    head, body = get_h3(server, "/echo?over=quic")
    assert head[b":status"] == b"200"
    assert json.loads(body)["http_version"] == "3"


def test_h3_sends_big_bodies(server: Server) -> None:
    assert get_h3(server, "/bytes/1000003")[1] == pattern(1_000_003)


@pytest.mark.parametrize("path", ["/bytes/67108865", "/stream/1000/100000", "/bomb/100000000"])
def test_h3_refuses_bodies_it_would_hoard(server: Server, path: str) -> None:
    head, body = get_h3(server, path)
    assert head[b":status"] == b"400"
    assert "over h3" in json.loads(body)["error"]
