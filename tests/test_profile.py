"""The profile: every field, on every kind of connection, and on tasks that fail."""

from __future__ import annotations

import json
import pickle
import socket
import ssl
import sys
import time
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest

import ftnet as ft
from tests.drivers import ask, in_run, run_uvloop
from tests.history import check_phases
from tests.origins import LIMIT, Origin, failure, fetch
from tests.profiles import (
    FIELDS,
    LATER_FIELDS,
    OF_A_CONNECTION,
    SSL,
    check_profile,
    in_order,
)
from tests.servers.awkward import AwkwardServer, Peer, ThrowawayTls, throwaway_tls
from tests.servers.behaviours import answers_behind_the_gate

linux = pytest.mark.skipif(sys.platform != "linux", reason="the kernel's stamps are Linux's")


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> ThrowawayTls:
    return throwaway_tls(tmp_path_factory.mktemp("tls"))


def told(origin: Origin) -> dict[str, Any]:
    return {"tls": origin.tls, "protocol": origin.protocol}


# --- the fields -----------------------------------------------------------------------------------


def test_it_has_every_field_of_the_reference_and_the_later_ones(
    client: ft.Client, origin: Origin
) -> None:
    profile = fetch(client, f"{origin.base}/json").profile
    for name in (*FIELDS, *LATER_FIELDS, "receivedBytesCount"):
        assert getattr(profile, name) is not None, name
    with pytest.raises(AttributeError):
        profile.noSuchField  # noqa: B018


def test_as_a_dict_it_is_json_with_every_field(client: ft.Client, origin: Origin) -> None:
    response = fetch(client, f"{origin.base}/json")
    fields = json.loads(json.dumps(ft.to_dict(response.profile)))
    assert set(FIELDS) | set(LATER_FIELDS) <= fields.keys()
    assert fields["fetchStart"] == response.profile.fetchStart
    assert fields["estimate_nettype"] == int(response.profile.estimate_nettype)


def test_a_profile_can_be_pickled(plain: ft.Client, server: Any) -> None:
    profile = fetch(plain, f"{server.http}/json").profile
    again = pickle.loads(pickle.dumps(profile))
    assert ft.to_dict(again) == ft.to_dict(profile)


def test_times_are_milliseconds_of_the_wall_clock(client: ft.Client, origin: Origin) -> None:
    before = time.time() * 1000
    profile = fetch(client, f"{origin.base}/delay?before=300").profile
    after = time.time() * 1000
    tolerance = 50  # the wall clock is slewed, the engine's is not
    assert before - tolerance <= profile.invokeStart
    assert profile.responseEnd <= after + tolerance
    assert 150 <= profile.durations["ttfb"] < 5000


def test_times_have_microseconds(plain: ft.Client, server: Any) -> None:
    profiles = [fetch(plain, f"{server.http}/hello").profile for _ in range(20)]
    fractions = {round(profile.responseEnd % 1, 3) for profile in profiles}
    assert len(fractions) > 5


# --- connections ----------------------------------------------------------------------------------


def test_a_new_connection_has_all_its_phases(client: ft.Client, origin: Origin) -> None:
    profile = check_profile(fetch(client, f"{origin.base}/json"), reused=False, **told(origin))
    assert profile.connectEnd > profile.connectStart
    if origin.tls:
        assert profile.durations["ssl"] > 0
        assert profile.SSLconnectionEnd == profile.connectEnd
    else:
        assert profile.durations["ssl"] == 0


def test_a_reused_connection_has_none_of_them(client: ft.Client, origin: Origin) -> None:
    first = check_profile(fetch(client, f"{origin.base}/json"), reused=False, **told(origin))
    for _ in range(3):
        profile = check_profile(fetch(client, f"{origin.base}/json"), reused=True, **told(origin))
        assert {getattr(profile, name) for name in OF_A_CONNECTION} == {profile.fetchStart}
        assert [getattr(profile, name) for name in SSL] == [0, 0]
        assert [profile.durations[name] for name in ("dns", "connect", "ssl")] == [0, 0, 0]
        assert (profile.peerIP, profile.port) == (first.peerIP, first.port)


def test_connections_are_reused_as_the_server_sees_it(nginx: Any) -> None:
    with ft.Client(ca=nginx.ca, trust_env=False) as client:
        for base in (nginx.http, nginx.https, nginx.h2):
            seen = [fetch(client, f"{base}/seen") for _ in range(3)]
            assert len({answer.data["connection"] for answer in seen}) == 1
            assert [answer.profile.socketReused for answer in seen] == [False, True, True]


def test_a_request_that_finds_no_idle_connection_opens_one(plain: ft.Client, server: Any) -> None:
    for reused in (False, True):
        tasks = in_run(
            lambda: [plain.request(url=f"{server.http}/delay?before=100") for _ in range(10)]
        )
        assert {task.result().profile.socketReused for task in tasks} == {reused}


@pytest.mark.libcurl_only
def test_streams_of_one_h2_connection_are_told_as_reused(nginx: Any) -> None:
    with ft.Client(ca=nginx.ca, trust_env=False) as client:
        first = fetch(client, f"{nginx.h2}/seen")
        tasks = [client.request(url=f"{nginx.h2}/seen") for _ in range(30)]
        answers = [task.result(LIMIT) for task in tasks]
    assert {answer.data["connection"] for answer in answers} == {first.data["connection"]}
    for answer in answers:
        check_profile(answer, reused=True, tls=True, protocol="h2")


@pytest.mark.libcurl_only
def test_a_request_that_waits_for_anothers_connection_has_ordered_phases(nginx: Any) -> None:
    with ft.Client(ca=nginx.ca, trust_env=False) as client:
        tasks = [client.request(url=f"{nginx.h2}/seen") for _ in range(30)]
        for task in tasks:
            check_profile(task.result(LIMIT), protocol="h2")


def test_names_are_looked_up_and_numbers_are_not_waited_for(server: Any) -> None:
    with ft.Client(trust_env=False) as client:
        by_name = fetch(client, server.http.replace("127.0.0.1", "localhost") + "/hello").profile
        by_number = fetch(client, f"{server.http}/hello").profile
    assert by_name.domainLookUpEnd >= by_name.domainLookUpStart
    assert by_number.durations["dns"] < 4000


def test_the_peer_is_the_servers_address_and_port(client: ft.Client, origin: Origin) -> None:
    profile = fetch(client, f"{origin.base}/json").profile
    assert f"{profile.peerIP}:{profile.port}" == origin.netloc


def test_an_ipv6_peer_is_told(plain: ft.Client) -> None:
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")

    def hello(peer: Peer) -> None:
        peer.read_request()
        peer.answer(b"hello")

    with AwkwardServer(hello, host="::1") as raw:
        profile = check_profile(fetch(plain, raw.url), reused=False, tls=False)
        assert (profile.peerIP, profile.port) == ("::1", raw.port)


def test_the_rtt_is_the_kernels(client: ft.Client, origin: Origin) -> None:
    for _ in range(3):
        profile = fetch(client, f"{origin.base}/json").profile
        if origin.name != "h3" or not profile.socketReused:
            assert 0 < profile.rtt < 1000


# --- bytes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [None, b"x" * 3000], ids=["GET", "POST"])
@pytest.mark.parametrize("way", ["http", "https"])
def test_sent_bytes_are_what_nginx_counted(nginx: Any, way: str, data: bytes | None) -> None:
    options = {} if data is None else {"method": "POST", "data": data}
    with ft.Client(ca=nginx.ca, trust_env=False) as client:
        for _ in range(2):
            response = fetch(client, f"{getattr(nginx, way)}/seen", **options)
            head_sent = response.data["request_length"]
            assert response.profile.sendBytesCount == head_sent + len(data or b"")


def test_received_bytes_are_what_the_server_sent(plain: ft.Client) -> None:
    answer = b"HTTP/1.1 200 OK\r\nX: y\r\nContent-Length: 1000\r\n\r\n" + b"b" * 1000
    requests: list[bytes] = []

    def fixed(peer: Peer) -> None:
        while True:
            requests.append(peer.read_head())
            peer.send(answer)

    with AwkwardServer(fixed) as raw:
        for _ in range(2):
            profile = fetch(plain, raw.url).profile
            assert profile.receivedBytedCount == len(answer)
            assert profile.sendBytesCount == len(requests[-1])
    span = (profile.responseEnd - profile.requestStart) / 1000
    kbps = len(answer) * 8 / 1000 / span
    assert profile.throughputKbps == pytest.approx(kbps, rel=0.1)


def test_received_bytes_are_those_of_header_and_body() -> None:
    """Neither what frames chunks nor what follows the answer; trailers are."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    sized = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
    answers = [
        (head + b"1;a=b\r\no\r\n01\r\nk\r\n0;c\r\nT: v\r\n\r\n", len(head) + 2 + len("T: v\r\n")),
        (head + b"2\r\nok\r\n0\r\n\r\n", len(head) + 2),
        (sized + b"nobody asked", len(sized)),
    ]
    for sent, counted in answers:

        def fixed(peer: Peer, sent: bytes = sent) -> None:
            peer.read_head()
            peer.send(sent)
            peer.until_gone()

        with AwkwardServer(fixed) as raw, ft.Client() as client:
            response = fetch(client, raw.url)
            assert (response.data, response.profile.receivedBytedCount) == ("ok", counted)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_dead_connection_is_no_queue(method: str) -> None:
    """The first attempt lies behind fetchStart; where it is the only one, the profile is of it."""
    gap = 0.1

    def leaves(peer: Peer) -> None:
        peer.read_request()
        peer.answer(b"here")
        peer.read_request()
        peer.pace(gap)

    with AwkwardServer(leaves) as raw, ft.Client() as client:
        fetch(client, raw.url)
        options = {"url": raw.url, "method": method, "data": "x" if method == "POST" else None}
        if method == "GET":
            profile = check_profile(fetch(client, **options), reused=False)
            assert profile.connectStart - profile.fetchStart >= gap * 1000
        else:
            profile = failure(client, **options).profile
            assert profile.socketReused
            assert profile.requestEnd > 0
    assert profile.fetchStart - profile.invokeStart < gap * 1000
    waited = profile.durations["blocked" if method == "GET" else "ttfb"]
    assert waited >= gap * 1000


@pytest.mark.parametrize("size", [0, 10_000, 3_000_000])
def test_received_bytes_grow_with_the_body(client: ft.Client, origin: Origin, size: int) -> None:
    profile = fetch(client, f"{origin.base}/bytes/{size}", responseType="arraybuffer").profile
    assert size < profile.receivedBytedCount < size + 2000


# --- the phases of the exchange -------------------------------------------------------------------


def test_a_slow_server_is_seen_in_the_wait_for_the_first_byte(
    client: ft.Client, origin: Origin
) -> None:
    profile = check_profile(fetch(client, f"{origin.base}/delay?before=300"), **told(origin))
    assert profile.durations["ttfb"] >= 150  # all, but where it noticed late what it had sent


def test_a_slow_body_is_seen_in_the_download(client: ft.Client, origin: Origin) -> None:
    url = f"{origin.base}/delay?between=150&chunks=3"
    profile = check_profile(fetch(client, url), **told(origin))
    assert profile.durations["download"] >= 150  # all, but where it noticed late that it began


def test_a_slow_upload_is_seen_in_the_sending(plain: ft.Client, server: Any) -> None:
    body = bytes(12_000_000)
    response = fetch(plain, f"{server.http}/upload?rate=40000000", method="POST", data=body)
    profile = check_profile(response)
    assert profile.durations["send"] >= 50


def test_a_late_handshake_is_seen_in_the_tls_phase() -> None:
    from ftnet.testing.server import Server

    with (
        Server(tls_delay=0.15) as late,
        ft.Client(ca=late.ca, trust_env=False) as client,
    ):
        profile = check_profile(fetch(client, f"{late.https}/hello"), tls=True)
    assert profile.durations["ssl"] >= 145


@linux
def test_bytes_are_dated_when_they_come_in_not_when_they_are_read(
    client: ft.Client, origin: Origin, server: Any
) -> None:
    """The thread that reads is kept half a second longer than until the answer is there."""
    if origin.name == "h3":
        pytest.skip("what is not acknowledged comes again, and the kernel keeps the last date only")
    fetch(client, f"{origin.base}/hello")
    tasks: list[ft.RequestTask] = []
    there: list[float] = []

    def busy(_: object) -> None:
        with urllib.request.urlopen(f"{server.http}/delay?before=250") as later:
            later.read()
        there.append(time.time() * 1000)
        time.sleep(0.5)

    def start() -> None:
        tasks.append(client.request(url=f"{origin.base}/delay?before=150"))
        client.request(url=f"{origin.base}/hello", success=busy)

    in_run(start)
    profile = check_profile(tasks[0].result(), **told(origin))
    assert profile.durations["ttfb"] >= 75
    assert profile.responseEnd < there[0] + 250


@linux
def test_tcp_stands_when_it_stood_not_when_somebody_looked(plain: ft.Client) -> None:
    """The thread is kept for a second between the SYN and the look at what came of it."""

    def hello(peer: Peer) -> None:
        peer.read_request()
        peer.answer(b"hello")

    def busy(_: object) -> None:
        time.sleep(1)

    with AwkwardServer(hello) as raw:

        def start() -> ft.RequestTask:
            task = plain.request(url=raw.url)
            plain.request(url=raw.url, fail=busy).abort()
            return task

        began = time.monotonic()
        profile = in_run(start).result().profile
    assert time.monotonic() - began >= 1
    assert profile.durations["total"] >= 1000
    assert 0 < profile.durations["connect"] < 500


def test_an_answer_before_the_request_is_over_is_reported_as_it_was(plain: ft.Client) -> None:
    size = 30_000_000

    def early(peer: Peer) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly")
        peer.read_exactly(size)

    with AwkwardServer(early) as raw:
        response = fetch(plain, raw.url, method="POST", data=bytes(size))
    profile = check_profile(response, early_answer=True)
    assert response.data == "early"
    assert profile.responseStart < profile.requestEnd or profile.requestEnd == 0


def test_interim_responses_are_not_the_response(plain: ft.Client) -> None:
    gap = 0.1

    def hints(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n")
        peer.pace(gap)
        peer.answer(b"late", "X-Final: yes")

    with AwkwardServer(hints) as raw:
        _, history = in_run(lambda: ask(plain, raw.url))
    response = history.response()
    assert [event.statusCode for name, event in history.events if name == "headers"] == [200]
    assert "link" not in response.header
    profile = check_profile(response, reused=False, tls=False)
    assert profile.durations["ttfb"] >= gap * 1000


def test_a_body_that_ends_with_the_connection_ends_when_that_is_closed() -> None:
    gap = 0.1

    def lingers(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.0 200 OK\r\n\r\nhere")
        peer.pace(gap)

    with AwkwardServer(lingers) as raw, ft.Client() as client:
        response = fetch(client, raw.url)
    assert response.data == "here"
    assert response.profile.durations["download"] >= gap * 1000


@linux
def test_an_answer_begins_with_its_first_byte() -> None:
    gap = 0.1

    def drips(peer: Peer) -> None:
        while True:
            peer.read_request()
            peer.send(b"H")
            peer.pace(gap)
            peer.send(b"TTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    with AwkwardServer(drips) as raw, ft.Client() as client:
        for reused in (False, True):
            profile = check_profile(fetch(client, raw.url), reused=reused, tls=False)
            assert profile.durations["download"] >= gap * 1000


@linux
def test_an_answer_over_tls_begins_before_its_record_is_whole(tls: ThrowawayTls) -> None:
    """On a kept connection: on a new one what comes first may be session tickets."""
    gap = 0.1

    def records(peer: Peer) -> None:
        came, goes = ssl.MemoryBIO(), ssl.MemoryBIO()
        session = tls.context.wrap_bio(came, goes, server_side=True)

        def until(does: Callable[[], Any]) -> None:
            while True:
                try:
                    does()
                except ssl.SSLWantReadError:
                    peer.send(goes.read())
                    came.write(peer.read())
                else:
                    return

        until(session.do_handshake)
        while True:
            until(lambda: session.read(65536))
            session.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
            record = goes.read()
            peer.send(record[:10])
            peer.pace(gap)
            peer.send(record[10:])

    with AwkwardServer(records) as raw, ft.Client(ca=tls.ca, http_version="1.1") as client:
        url = raw.url.replace("http:", "https:")
        fetch(client, url)
        profile = check_profile(fetch(client, url), reused=True)
        assert profile.durations["download"] >= gap * 1000


# --- queueing -------------------------------------------------------------------------------------


def test_without_a_queue_its_span_is_next_to_nothing(plain: ft.Client, server: Any) -> None:
    profiles = [fetch(plain, f"{server.http}/hello").profile for _ in range(5)]
    assert min(profile.durations["queue"] for profile in profiles) < 100


@pytest.mark.parametrize("limit", ["max_connections", "max_connections_per_host"])
def test_tasks_beyond_the_limit_wait_in_order(server: Any, limit: str) -> None:
    with ft.Client(**{limit: 2}, trust_env=False) as client:
        tasks = in_run(
            lambda: [client.request(url=f"{server.http}/delay?before=60") for _ in range(6)]
        )
        profiles = [check_profile(task.result()) for task in tasks]
    ends = [profile.queueEnd for profile in profiles]
    assert ends == sorted(ends)
    over = sorted(profile.responseEnd for profile in profiles)
    assert max(ends[:2]) < over[0]
    waits = [profile.durations["queue"] for profile in profiles]
    assert min(waits[2:4]) >= 50
    assert min(waits[4:]) >= 110
    for number, begun in enumerate(ends[2:]):
        assert begun >= over[number], "there were three at a time"


def test_a_limit_per_host_holds_up_no_other_host(server: Any, nginx: Any) -> None:
    with ft.Client(max_connections_per_host=1, trust_env=False) as client:
        slow = [client.request(url=f"{server.http}/delay?before=15000") for _ in range(2)]
        assert fetch(client, f"{nginx.http}/hello").data == "Hello, World!"
        assert not slow[0].done()
        for task in slow:
            task.abort()


def test_the_timeout_counts_the_queue_too() -> None:
    with (
        AwkwardServer(answers_behind_the_gate) as raw,
        ft.Client(max_connections=1, trust_env=False) as client,
    ):
        slow = client.request(url=raw.url)
        error = failure(client, raw.url, timeout=100)
        assert (error.errMsg, error.errno) == ("request:fail timeout", ft.Errno.TIMEOUT)
        check_phases(error.profile, "queue")
        raw.gate.set()
        assert slow.result(LIMIT).statusCode == 200


# --- redirects ------------------------------------------------------------------------------------


def test_redirects_lie_before_fetch_start(client: ft.Client, origin: Origin) -> None:
    plain_profile = check_profile(fetch(client, f"{origin.base}/json"), **told(origin))
    assert (plain_profile.redirectStart, plain_profile.redirectEnd) == (0, 0)
    profile = check_profile(fetch(client, f"{origin.base}/redirect/3"), **told(origin))
    in_order(profile, ("queueEnd", "redirectStart", "redirectEnd", "fetchStart"))
    assert profile.redirectEnd > profile.redirectStart
    assert profile.sendBytesCount > 2 * plain_profile.sendBytesCount
    assert profile.receivedBytedCount > plain_profile.receivedBytedCount


def test_the_phases_are_those_of_the_last_hop(nginx: Any, server: Any, certificates: Any) -> None:
    with ft.Client(ca=server.ca, trust_env=False) as client:
        url = f"{nginx.http}/to/307?url={server.https}/hello"
        profile = check_profile(fetch(client, url), reused=False, tls=True)
        assert profile.port == int(server.https.rpartition(":")[2])
        again = check_profile(fetch(client, url), reused=True)
        assert again.redirectEnd > again.redirectStart


# --- drivers --------------------------------------------------------------------------------------


def test_the_profile_is_the_same_however_the_engine_is_driven(
    client: ft.Client, origin: Origin
) -> None:
    url = f"{origin.base}/json"

    async def awaited() -> ft.Response:
        return await client.request(url=url)

    by_run = ft.run(lambda: client.request(url=url))
    assert by_run is not None
    for response in (fetch(client, url), by_run.result(), run_uvloop(awaited())):
        check_profile(response, **told(origin))
