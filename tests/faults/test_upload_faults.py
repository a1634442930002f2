"""Servers, redirects and proxies that are difficult about an upload; its body goes out once."""

from __future__ import annotations

import hashlib
import json
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

import ftnet as ft
from tests.history import check_phases
from tests.origins import Origin, origin_of
from tests.profiles import check_profile, in_order
from tests.servers.awkward import AwkwardServer, Peer, ThrowawayTls
from tests.servers.behaviours import BEHAVIOURS, answers, length_of, redirects_to
from tests.servers.proxies import PASSWORD, USER
from tests.uploads import (
    ASKED,
    LIMIT,
    Part,
    failure,
    filled,
    increases,
    parts_of,
    run,
    send,
    sparse,
)

LARGE = 32 << 20  # more than fits between here and a server that does not read


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return filled(tmp_path / "small.bin", 10_000)


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    """A file before which the server is asked."""
    return filled(tmp_path / "asked.bin", ASKED)


@pytest.fixture
def large(tmp_path: Path) -> Path:
    return sparse(tmp_path / "large.bin", LARGE)


def heads_and_bodies(*peers: Peer) -> tuple[list[bytes], int]:
    """The request heads that connections brought, and how many bytes of bodies."""
    heads = [
        piece + b"\r\n\r\n"
        for peer in peers
        for piece in bytes(peer.received).split(b"\r\n\r\n")[:-1]
        if piece.startswith((b"POST ", b"GET "))
    ]
    return heads, sum(len(peer.received) for peer in peers) - sum(map(len, heads))


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def echoed(result: ft.UploadResult) -> tuple[dict[str, str], list[Part]]:
    """The header and the parts of the form that /echo has received."""
    told = json.loads(result.data)
    fields = dict(told["headers"])
    return fields, parts_of(b64decode(told["body"]), fields["content-type"])


# --- Expect: 100-continue -------------------------------------------------------------------------


def sends_at_once(upload: Callable[[], ft.UploadResult]) -> None:
    """No wait before the body, in the best of some uploads: a busy machine may hold up any one."""
    took: list[float] = []
    while not took or took[-1] >= 250:
        assert len(took) < 5, took
        took.append(upload().profile.durations["send"])


def test_a_silent_server_gets_the_body_after_a_short_wait(plain: ft.Client, asked: Path) -> None:
    with AwkwardServer(BEHAVIOURS["never_says_continue"]) as server:
        result = send(plain, server.url, asked)
        ((head,), length) = heads_and_bodies(server.peers[0])
    assert b"\r\nExpect: 100-continue" in head
    assert int(result.data) == length
    assert 250 < check_profile(result).durations["send"] < 10_000


def test_a_small_body_is_sent_without_asking(plain: ft.Client, small: Path) -> None:
    with AwkwardServer(BEHAVIOURS["never_says_continue"]) as server:
        sends_at_once(lambda: send(plain, server.url, small))
        assert b"xpect:" not in server.received


def test_only_http_1_asks(client: ft.Client, origin: Origin, asked: Path) -> None:
    fields, parts = echoed(send(client, f"{origin.base}/echo", asked))
    assert parts[0].value == asked.read_bytes()
    assert ("expect" in fields) is (origin.name in ("http", "https"))


@pytest.mark.parametrize("interim", [1, 3])
def test_a_server_that_agrees_gets_the_body_at_once(
    plain: ft.Client, asked: Path, interim: int
) -> None:
    def agrees(peer: Peer) -> None:
        length = length_of(peer.read_head())
        peer.send(b"HTTP/1.1 100 Continue\r\nX-Interim: 1\r\n\r\n" * interim)
        peer.read_exactly(length)
        peer.answer(b"taken")

    with AwkwardServer(agrees) as server:

        def upload() -> ft.UploadResult:
            history = run(plain, server.url, filePath=asked, name="f")
            assert history.names == ["headers", "success", "complete"]
            return history.result()

        result = upload()
        assert (result.statusCode, result.data) == (200, "taken")
        assert "x-interim" not in result.header
        # the interim answer is not the response: that begins after the request
        check_profile(result)
        sends_at_once(upload)


def test_an_interim_answer_is_no_response_of_an_upload_that_fails(
    plain: ft.Client, large: Path
) -> None:
    def agrees_and_stalls(peer: Peer) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        peer.read_exactly(100_000)
        peer.server.gate.wait()

    with AwkwardServer(agrees_and_stalls) as server:
        error = failure(plain, server.url, large, timeout=1500)
        assert error.errno == ft.Errno.TIMEOUT
        check_phases(error.profile, "send")
        assert error.profile.requestEnd == 0


def refuses(status: str, *fields: str) -> Callable[[Peer], None]:
    """The answer to the question, or to the body, is no; a server that keeps the connection."""

    def refuse(peer: Peer) -> None:
        while True:
            head = peer.read_head()
            if not head.startswith(b"POST"):
                peer.answer(b"hello")
                continue
            peer.answer(b"no", *fields, status=status)
            if "Connection: close" in fields:
                peer.finish_sending()
                peer.until_gone()

    return refuse


@pytest.mark.parametrize("fields", [(), ("Connection: close",)], ids=["keeps", "closes"])
@pytest.mark.parametrize("status", [401, 403, 413, 500])
def test_a_refusal_is_the_result_and_spares_the_body(
    plain: ft.Client, large: Path, status: int, fields: tuple[str, ...]
) -> None:
    with AwkwardServer(refuses(f"{status} No", *fields)) as server:
        history = run(plain, server.url, filePath=large, name="f")
        result = history.result()
        assert (result.statusCode, result.data) == (status, "no")
        assert history.percents == [0]
        assert heads_and_bodies(server.peers[0])[1] == 0
        # the body is still due on that connection: what comes next goes over another
        assert plain.request(url=server.url).result(LIMIT).data == "hello"
        assert len(server.peers) == 2
        check_profile(result, early_answer=True)


def expects_nothing(*fields: str, pause: float = 0.0) -> Callable[[Peer], None]:
    """417 to whoever expects something; else takes the body, but not in a hurry."""

    def answer(peer: Peer) -> None:
        while True:
            head = peer.read_head()
            if b"Expect:" in head:
                peer.answer(b"not here", *fields, status="417 Expectation Failed")
                continue
            peer.read_exactly(length_of(head))
            peer.pace(pause)
            peer.answer(b"taken")

    return answer


def test_after_417_the_body_goes_out_once_without_asking(plain: ft.Client, asked: Path) -> None:
    with AwkwardServer(expects_nothing()) as server:
        result = send(plain, server.url, asked)
        assert (result.statusCode, result.data) == (200, "taken")
        # the second question may go over a connection of its own
        (first, second), length = heads_and_bodies(*server.peers)
        assert b"Expect:" in first
        assert b"Expect:" not in second
        assert length == length_of(second)


def test_a_417_that_was_got_over_is_not_the_response(plain: ft.Client, asked: Path) -> None:
    with AwkwardServer(expects_nothing(pause=1.2)) as server:
        history = run(plain, server.url, filePath=asked, name="f")
    profile = history.result().profile
    assert [event.statusCode for name, event in history.events if name == "headers"] == [200]
    assert history.percents[-1] == 100
    in_order(profile, ("requestStart", "requestEnd", "responseStart", "responseEnd"))
    assert profile.durations["ttfb"] > 50


def test_a_compressed_417_does_no_harm_to_what_follows(plain: ft.Client, asked: Path) -> None:
    with AwkwardServer(expects_nothing("Content-Encoding: gzip")) as server:
        assert send(plain, server.url, asked).data == "taken"


def test_a_417_for_everything_is_the_result(plain: ft.Client, asked: Path) -> None:
    def refuses_for_ever(peer: Peer) -> None:
        while True:
            head = peer.read_head()
            if b"Expect:" not in head:
                peer.read_exactly(length_of(head))
            peer.answer(b"no", status="417 Expectation Failed")

    with AwkwardServer(refuses_for_ever) as server:
        result = send(plain, server.url, asked)
        assert (result.statusCode, result.data) == (417, "no")
        (_, second), length = heads_and_bodies(*server.peers)
        assert length == length_of(second)


def test_a_417_that_closes_ends_well(plain: ft.Client, asked: Path) -> None:
    with AwkwardServer(refuses("417 Expectation Failed", "Connection: close")) as server:
        assert send(plain, server.url, asked).statusCode == 417
        assert heads_and_bodies(server.peers[0])[1] == 0


def test_a_417_that_closes_without_a_word_sends_the_body_once_at_most(
    plain: ft.Client, asked: Path
) -> None:
    def closes(peer: Peer) -> None:
        head = peer.read_head()
        if b"Expect:" in head:
            peer.answer(b"no", status="417 Expectation Failed")
        else:
            peer.read_exactly(length_of(head))
            peer.answer(b"taken")

    with AwkwardServer(closes) as server:
        history = run(plain, server.url, filePath=asked, name="f")
        (first, *_), length = heads_and_bodies(*server.peers)
        taken = history.names[-2] == "success" and history.result().data == "taken"
        assert length == (length_of(first) if taken else 0)
        assert taken or history.error().errno == ft.Errno.INTERRUPTED


def test_a_417_in_the_middle_of_the_body_ends_well(plain: ft.Client, large: Path) -> None:
    def too_late(peer: Peer) -> None:
        peer.read_head()
        peer.read_exactly(100_000)
        peer.answer(b"no", "Connection: close", status="417 Expectation Failed")
        peer.finish_sending()
        peer.until_gone()

    with AwkwardServer(too_late) as server:
        assert send(plain, server.url, large).statusCode == 417
        assert len(server.peers) == 1
        assert heads_and_bodies(server.peers[0])[1] < LARGE


# --- answers before the end -----------------------------------------------------------------------


def answers_early(status: str, *, takes_the_rest: bool) -> Callable[[Peer], None]:
    def answer(peer: Peer) -> None:
        left = length_of(peer.read_head()) - len(peer.read_exactly(100_000))
        peer.answer(b"early", *([] if takes_the_rest else ["Connection: close"]), status=status)
        if takes_the_rest:
            peer.read_exactly(left)
            peer.server.passed.set()
            peer.answer(peer.read_request().target.encode())
        else:
            peer.finish_sending()
        peer.until_gone()

    return answer


@pytest.mark.parametrize("status", ["200 OK", "400 Bad Request", "413 Content Too Large"])
def test_a_server_that_answers_early_and_closes_is_heard(
    plain: ft.Client, large: Path, status: str
) -> None:
    with AwkwardServer(answers_early(status, takes_the_rest=False)) as server:
        result = send(plain, server.url, large)
        assert (result.statusCode, result.data) == (int(status[:3]), "early")
        check_profile(result, early_answer=True)
        server.wait_until_alone()
        assert len(server.received) < LARGE
        assert len(server.peers) == 1


def test_an_early_200_does_not_cut_the_body_off(plain: ft.Client, tmp_path: Path) -> None:
    path = filled(tmp_path / "x", 4_000_000)
    with AwkwardServer(answers_early("200 OK", takes_the_rest=True)) as server:
        result = send(plain, server.url, path)
        assert (result.statusCode, result.data) == (200, "early")
        assert server.passed.wait(LIMIT)
        assert plain.request(url=f"{server.url}/next").result(LIMIT).data == "/next"
        assert len(server.peers) == 1


@pytest.mark.parametrize("way", ["http", "https", "h2"])  # before h3 is a proxy, which may say 502
def test_a_server_that_never_reads_the_body_can_refuse_it(
    request: pytest.FixtureRequest, tmp_path: Path, way: str
) -> None:
    origin = origin_of(way, request.getfixturevalue)
    with origin.client() as client:
        result = send(client, f"{origin.base}/early", sparse(tmp_path / "x", 4 << 20))
        assert (result.statusCode, result.data) == (413, '{"error": "too large"}')
        check_profile(result, early_answer=True, protocol=origin.protocol)
        result = send(client, f"{origin.base}/hello", filled(tmp_path / "y", 10))
        assert result.data == "Hello, World!"


def test_nginx_can_refuse_what_is_too_large(nginx: Any, tmp_path: Path) -> None:
    path = sparse(tmp_path / "x", 100 << 20)
    with ft.Client(ca=nginx.ca, trust_env=False) as client:
        for base in (nginx.http, nginx.https, nginx.h2):
            result = send(client, f"{base}/text.txt", path)
            assert result.statusCode == 413
            assert result.profile.sendBytesCount < 100 << 20


# --- connections that break -----------------------------------------------------------------------


def dies(how: str, read: int) -> Callable[[Peer], None]:
    """Answers the first request of a connection if it is a GET; breaks when it has read so much."""

    def die(peer: Peer) -> None:
        if peer.server.gate.is_set():
            peer.answer(peer.read_request().target.encode())
        head = peer.read_head()
        if b"Expect:" in head and read:
            peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        peer.read_exactly(min(read, length_of(head)))
        if how == "reset":
            peer.reset()

    return die


@pytest.mark.parametrize("warm", [False, True], ids=["new connection", "kept connection"])
@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("size", [10_000, LARGE])
def test_a_body_that_broke_off_is_not_sent_again(
    plain: ft.Client, tmp_path: Path, size: int, how: str, warm: bool
) -> None:
    path = sparse(tmp_path / "x", size)
    with AwkwardServer(dies(how, 100_000)) as server:
        if warm:
            server.gate.set()
            plain.request(url=server.url).result(LIMIT)
        history = run(plain, server.url, filePath=path, name="f")
        error = history.error()
        assert error.errno == ft.Errno.INTERRUPTED
        assert max(history.percents, default=0) < 100
        assert server.received.count(b"POST / ") == 1
        assert error.profile.requestStart > 0
        assert error.profile.responseStart == 0
        if size == LARGE:  # else the profile is that of the connection that was not used
            assert error.profile.socketReused is warm


def test_a_connection_that_was_closed_meanwhile_is_not_used(plain: ft.Client, large: Path) -> None:
    def closes_when_told(peer: Peer) -> None:
        peer.answer(peer.read_request().target.encode())
        if peer.number == 0:
            peer.server.gate.wait()

    with AwkwardServer(closes_when_told) as server:
        plain.request(url=server.url).result(LIMIT)
        server.gate.set()
        server.wait_until_alone()
        assert send(plain, f"{server.url}/up", large).data == "/up"
        assert len(server.peers) == 2
        assert server.received.count(b"POST /up ") == 1


def test_a_question_that_died_with_its_connection_is_asked_again(
    plain: ft.Client, asked: Path
) -> None:
    def closes_on_the_second(peer: Peer) -> None:
        peer.answer(peer.read_request().target.encode())
        if peer.number == 0:
            peer.read_head()
            peer.reset()

    with AwkwardServer(closes_on_the_second) as server:
        plain.request(url=server.url).result(LIMIT)
        assert send(plain, f"{server.url}/up", asked).data == "/up"
        assert heads_and_bodies(server.peers[0])[1] == 0
        assert len(server.requests[-1].body) == length_of(server.requests[-1].head)


# --- redirects ------------------------------------------------------------------------------------


def to(base: str, target: str, status: int) -> str:
    return f"{base}/redirect-to?status={status}&url={quote(target, safe='')}"


@pytest.mark.parametrize("status", [307, 308])
@pytest.mark.parametrize("size", [10_000, ASKED])
def test_307_and_308_send_the_body_again(
    client: ft.Client, origin: Origin, tmp_path: Path, status: int, size: int
) -> None:
    path = filled(tmp_path / "x", size)
    url = to(origin.base, "/echo", status)
    history = run(client, url, filePath=path, name="file", formData={"a": 1})
    _, parts = echoed(history.result())
    content = Part(b"file", path.read_bytes(), b"x", "application/octet-stream")
    assert parts == [Part(b"a", b"1"), content]
    assert history.names.count("headers") == 1
    assert history.events[0][1].statusCode == 200
    assert increases(history.percents)
    assert history.percents.count(100) == 1
    profile = check_profile(history.result(), protocol=origin.protocol)
    assert profile.redirectStart > 0
    assert size < profile.sendBytesCount < 2 * size + 5000


def moves(location: str, status: str, when: str) -> Callable[[Peer], None]:
    """A redirect before, within or after the body."""

    def move(peer: Peer) -> None:
        length = length_of(peer.read_head())
        if when != "before":
            peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
            peer.read_exactly(length if when == "after" else 100_000)
        peer.answer(b"moved", f"Location: {location}", "Connection: close", status=status)
        peer.finish_sending()
        peer.until_gone()

    return move


@pytest.mark.parametrize("when", ["before", "within", "after"])
@pytest.mark.parametrize("status", ["303 See Other", "307 Temporary", "308 Permanent"])
def test_a_redirect_may_come_at_any_time(
    plain: ft.Client, tmp_path: Path, status: str, when: str
) -> None:
    path = filled(tmp_path / "x", 8_000_000)
    with AwkwardServer(answers) as good, AwkwardServer(moves(good.url, status, when)) as server:
        assert send(plain, server.url, path).statusCode == 200
        (request,) = good.requests
        head, end, first = bytes(server.peers[0].received).partition(b"\r\n\r\n")
    if status.startswith("303"):
        assert (request.method, request.body, request.get("content-type")) == ("GET", b"", None)
        return
    assert request.method == "POST"
    assert len(request.body) == length_of(head + end)
    assert digest(request.body[: len(first)]) == digest(first)
    assert when != "after" or len(first) == len(request.body)


@pytest.mark.parametrize("status", [301, 302, 303])
@pytest.mark.parametrize("size", [10_000, ASKED])
def test_other_redirects_become_a_get_without_body(
    client: ft.Client, origin: Origin, tmp_path: Path, status: int, size: int
) -> None:
    path = filled(tmp_path / "x", size)
    url = to(origin.base, "/echo", status)
    told = json.loads(send(client, url, path, header={"X-Kept": "1"}).data)
    fields = dict(told["headers"])
    assert (told["method"], told["body"]) == ("GET", "")
    assert fields["x-kept"] == "1"
    assert not {"content-type", "content-length", "expect", "transfer-encoding"} & fields.keys()


def test_a_redirect_loop_ends(client: ft.Client, origin: Origin, small: Path) -> None:
    assert "true" in send(client, f"{origin.base}/redirect/20?status=307", small).data
    error = failure(client, f"{origin.base}/redirect/21?status=307", small)
    assert error.errno == ft.Errno.TOO_MANY_REDIRECTS


def test_a_redirect_from_https_to_http_takes_no_file_along(
    tls: ThrowawayTls, good: AwkwardServer, small: Path
) -> None:
    moving = redirects_to(good.url, "307 Temporary Redirect")
    with AwkwardServer(moving, tls=tls.context) as server, ft.Client(ca=tls.ca) as client:
        error = failure(client, server.url, small)
        assert error.errno == ft.Errno.INVALID_URL
        assert good.peers == []


def test_secrets_do_not_follow_a_body_to_another_origin(
    plain: ft.Client, good: AwkwardServer, small: Path
) -> None:
    header = {"Authorization": "Bearer s3cret", "Cookie": "a=s3cret", "X-Kept": "1"}
    with AwkwardServer(redirects_to(good.url, "308 Permanent")) as server:
        send(plain, server.url, small, header=header)
    (request,) = good.requests
    assert b"s3cret" not in request.head
    assert request.get("x-kept") == "1"
    assert len(request.body) > 10_000


# --- proxies --------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [10_000, ASKED])
@pytest.mark.parametrize("way", ["http", "https"])
@pytest.mark.parametrize("proxy", ["http", "https", "socks"])
def test_a_file_goes_through_a_proxy(
    request: pytest.FixtureRequest, tmp_path: Path, proxy: str, way: str, size: int
) -> None:
    running = request.getfixturevalue(f"{proxy}_proxy")
    nginx, server = request.getfixturevalue("nginx"), request.getfixturevalue("server")
    both = tmp_path / "both.pem"
    both.write_text(Path(server.ca).read_text() + Path(nginx.ca).read_text())
    url = f"socks5h://{running.address}" if proxy == "socks" else running.url
    path = filled(tmp_path / "x", size)
    with ft.Client(ca=str(both), proxy=url, trust_env=False) as client:
        _, parts = echoed(send(client, f"{getattr(server, way)}/echo", path))
    assert [part.value for part in parts] == [path.read_bytes()]


def test_a_proxys_login_does_not_reach_the_server(
    login_proxy: Any, server: Any, small: Path
) -> None:
    with_login = login_proxy.url.replace("//", f"//{USER}:{quote(PASSWORD)}@")
    with ft.Client(proxy=with_login, trust_env=False) as client:
        fields, _ = echoed(send(client, f"{server.http}/echo", small))
    assert "proxy-authorization" not in fields


def test_a_tunnel_that_is_refused_fails(login_proxy: Any, server: Any, small: Path) -> None:
    with ft.Client(ca=server.ca, proxy=login_proxy.url, trust_env=False) as client:
        error = failure(client, f"{server.https}/echo", small)
    assert error.errno == ft.Errno.PROXY
    assert error.profile.requestStart == 0
