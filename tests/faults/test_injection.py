"""What a caller hands over becomes one request, never two: nothing breaks out of its field."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import ftnet as ft
from tests.history import run
from tests.servers.awkward import AwkwardServer, Peer, ThrowawayTls, closed_port
from tests.servers.behaviours import BEHAVIOURS, answers, redirects_to


@pytest.fixture
def client() -> Iterator[ft.Client]:
    with ft.Client() as client:
        yield client


def assert_nothing_was_sent(server: AwkwardServer, client: ft.Client) -> None:
    """The refused call left no trace: the next request is the server's first."""
    run(client, {"url": f"{server.url}/after"})[0].response()
    assert len(server.peers) == 1
    assert server.received.startswith(b"GET /after HTTP/1.1\r\n")
    assert b"njected" not in server.received


NAMES = [
    "", " ", "a b", "a:b", "X\r\nInjected", "X\nInjected", "X\rInjected", "X\0", "X-\x7f",
    "X-ü", "(X)", "X,Y", "X/Y", "X{}", '"X"', "\tX", "X ", ":authority",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_field_name_that_is_no_token_raises_at_the_call(
    name: str, good: AwkwardServer, client: ft.Client
) -> None:
    with pytest.raises(ValueError, match="header"):
        client.request(url=good.url, header={name: "v"})
    assert_nothing_was_sent(good, client)


VALUES = ["a\r\nInjected: 1", "a\nInjected: 1", "a\rInjected: 1", "a\0b", "\r\n", "a\r\n b", "a\n"]
FIELDS = ["X-Plain", "Cookie", "User-Agent", "Content-Type", "Range", "Host", "Accept-Encoding"]


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("value", VALUES)
def test_a_field_value_with_line_breaks_or_nul_raises_at_the_call(
    field: str, value: str, good: AwkwardServer, client: ft.Client
) -> None:
    with pytest.raises(ValueError, match="header"):
        client.request(url=good.url, header={field: value})
    assert_nothing_was_sent(good, client)


METHODS = [
    "", "PATCH", "GE T", "GET ", "GET\r\nInjected: 1", "GET / HTTP/1.1\r\nInjected: 1\r\n\r\n",
    "G\0ET", "get\n", "ＧＥＴ", "POſT", "*",
]  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
def test_a_method_outside_the_list_raises_at_the_call(
    method: str, good: AwkwardServer, client: ft.Client
) -> None:
    with pytest.raises(ValueError, match="method"):
        client.request(url=good.url, method=method)
    assert_nothing_was_sent(good, client)


URL_TAILS = [
    "/a\r\nInjected: 1", "/a\nb", "/a\rb", "/a\0b", "/a\tb", "/a HTTP/1.1\r\nInjected: 1\r\n\r\n",
    "/?q=\r\nInjected: 1", "\r\nInjected: 1", "/\x1f", "/\x7f",
]  # fmt: skip


@pytest.mark.parametrize("tail", URL_TAILS)
def test_a_url_with_control_characters_raises_at_the_call(
    tail: str, good: AwkwardServer, client: ft.Client
) -> None:
    with pytest.raises(ValueError, match="url"):
        client.request(url=good.url + tail)
    assert_nothing_was_sent(good, client)


@pytest.mark.parametrize("tail", ["/a b", "/?q=a b", "/a#b c"])
def test_a_space_in_a_url_is_refused_or_escaped(
    tail: str, good: AwkwardServer, client: ft.Client
) -> None:
    try:
        client.request(url=good.url + tail).result(20)
    except ValueError:
        assert good.requests == []
    else:
        assert good.received.split(b"\r\n")[0].count(b" ") == 2


FOREIGN = [
    "file:///etc/passwd", "FILE:///etc/passwd", "ftp://{host}/", "ftps://{host}/",
    "gopher://{host}/", "dict://{host}/", "ldap://{host}/", "smb://{host}/", "smtp://{host}/",
    "imap://{host}/", "tftp://{host}/", "telnet://{host}/", "scp://{host}/", "mqtt://{host}/",
    "rtsp://{host}/", "ws://{host}/", "javascript:alert(1)", "data:text/plain,x",
    "httpx://{host}/", "{host}/", "//{host}/", "/etc/passwd", "", "http:", "http://",
    "http:///path", "http//{host}", " http://{host}/", "http://{host} /",
]  # fmt: skip


@pytest.mark.parametrize("url", FOREIGN)
def test_a_url_that_is_not_http_raises_at_the_call(
    url: str, good: AwkwardServer, client: ft.Client
) -> None:
    with pytest.raises(ValueError, match="url"):
        client.request(url=url.format(host=good.authority))
    assert_nothing_was_sent(good, client)


@pytest.mark.parametrize("setting", ["user_agent", "interface", "doh_url", "proxy", "no_proxy"])
@pytest.mark.parametrize("break_", ["\r\nInjected: 1", "\n", "\0"])
def test_a_client_setting_with_line_breaks_or_nul_raises(setting: str, break_: str) -> None:
    plain = {"doh_url": "https://127.0.0.1/q", "proxy": "http://127.0.0.1:1", "interface": "lo"}
    with pytest.raises(ValueError, match=setting):
        ft.Client(**{setting: plain.get(setting, "x") + break_})


FRAMING = [
    {"Content-Length": "3"},
    {"content-length": "300"},
    {"Transfer-Encoding": "chunked"},
    {"Content-Length": "3", "Transfer-Encoding": "chunked"},
    {"Transfer-Encoding": "identity"},
    {"Connection": "close, Content-Length"},
    {"Upgrade": "websocket", "Connection": "Upgrade"},
]


@pytest.mark.parametrize("header", FRAMING)
def test_framing_fields_of_the_caller_are_refused_or_change_no_framing(
    header: dict[str, str], good: AwkwardServer, client: ft.Client
) -> None:
    body = "GET /smuggled HTTP/1.1\r\n\r\n"
    options = {"url": good.url, "method": "POST", "data": body, "header": header}
    try:
        client.request(options).result(20)
    except ValueError:
        assert good.requests == []
    else:
        (request,) = good.requests
        assert request.body == body.encode()
        assert request.get("content-length") == str(len(body))
        assert request.get("transfer-encoding") is None


def test_the_referer_of_the_caller_is_dropped_with_a_warning(
    good: AwkwardServer, client: ft.Client, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.warns(UserWarning, match="Referer"):
        task = client.request(url=good.url, header={"referer": "https://example.test/"})
    task.result(20)
    assert good.requests[0].get("referer") is None


def test_query_data_stays_inside_the_query(good: AwkwardServer, client: ft.Client) -> None:
    data = {"a b\r\nX: 1": "c d HTTP/1.1\r\n\r\nGET /smuggled", "&=#?": "&=#?/ü\0"}
    client.request(url=f"{good.url}/p", data=data).result(20)
    (request,) = good.requests
    assert request.target == (
        "/p?a%20b%0D%0AX%3A%201=c%20d%20HTTP%2F1.1%0D%0A%0D%0AGET%20%2Fsmuggled"
        "&%26%3D%23%3F=%26%3D%23%3F%2F%C3%BC%00"
    )


SECRET_URLS = {
    "refused": "http://us3r:s3cret@{closed}/",
    "cut": "http://us3r:s3cret@{cut}/",
    "moved": "http://us3r:s3cret@{moved}/",
    "no such name": "http://us3r:s3cret@nobody.invalid/",
    "proxy": "http://us3r:s3cret@{closed}/",
}


@pytest.mark.parametrize("case", SECRET_URLS)
def test_user_and_password_of_a_url_are_in_no_error(
    case: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    cut = AwkwardServer(BEHAVIOURS["closed_in_field_name"])
    moved = AwkwardServer(redirects_to("ftp://us3r:s3cret@127.0.0.1/"))
    with cut, moved, closed_port() as port:
        closed = f"127.0.0.1:{port}"
        url = SECRET_URLS[case].format(closed=closed, cut=cut.authority, moved=moved.authority)
        proxy = f"http://us3r:s3cret@{closed}" if case == "proxy" else None
        with ft.Client(proxy=proxy) as client:
            (history,) = run(client, {"url": url, "timeout": 20_000})
            error = history.error()
    told = [error.errMsg, str(error), repr(error), repr(error.cause), repr(error.__dict__)]
    told += [repr(ft.to_dict(error.profile)), caplog.text]
    assert not [text for text in told if "s3cret" in text or "us3r" in text]


@pytest.mark.parametrize("tail", ["/\r\n", "\0", ":99999999/"])
def test_user_and_password_are_in_no_exception_of_the_call(tail: str, client: ft.Client) -> None:
    with pytest.raises(ValueError, match="url") as caught:
        client.request(url="http://us3r:s3cret@127.0.0.1" + tail)
    assert "s3cret" not in str(caught.value)


def proxy_and_origin(peer: Peer, tls: ThrowawayTls) -> None:
    """A CONNECT proxy that is the origin itself behind its own tunnel."""
    peer.read_request()
    peer.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
    peer.start_tls(tls.context)
    answers(peer)


def test_credentials_for_the_proxy_never_reach_the_origin(tls: ThrowawayTls) -> None:
    with AwkwardServer(lambda peer: proxy_and_origin(peer, tls)) as server:
        proxy = server.url.replace("//", "//us3r:s3cret@")
        with ft.Client(ca=tls.ca, proxy=proxy, no_proxy="") as client:
            client.request(url="https://first.test/").result(20)
        tunnel, inner = server.requests
        assert tunnel.method == "CONNECT"
        assert tunnel.get("proxy-authorization") is not None
        assert inner.method == "GET"
        assert inner.get("proxy-authorization") is None
        assert inner.get("authorization") is None


def test_fields_for_the_origin_never_reach_the_proxy(tls: ThrowawayTls) -> None:
    with AwkwardServer(lambda peer: proxy_and_origin(peer, tls)) as server:
        with ft.Client(ca=tls.ca, proxy=server.url, no_proxy="") as client:
            header = {"Authorization": "Bearer s3cret", "Cookie": "s3cret=1", "X-Own": "s3cret"}
            client.request(url="https://first.test/", header=header).result(20)
        tunnel, inner = server.requests
        assert b"s3cret" not in tunnel.head
        assert inner.head.count(b"s3cret") == 3
