"""Servers that behave oddly but within the rules, or that leave a way to recover: no failure."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

import ftnet as ft
from tests.history import ORDER, History, run
from tests.servers.awkward import LIMIT, AwkwardServer, Peer, ThrowawayTls
from tests.servers.behaviours import BEHAVIOURS

UPLOAD = b"x" * (4 << 20)


@contextmanager
def serving(name: str) -> Iterator[tuple[AwkwardServer, ft.Client]]:
    with AwkwardServer(BEHAVIOURS[name]) as server, ft.Client() as client:
        yield server, client


def test_connections_closed_by_the_server_in_idle_cause_no_error() -> None:
    with serving("closes_after_each_answer") as (server, client):
        for number in range(100):
            (history,) = run(client, {"url": f"{server.url}/{number}"})
            assert history.response().data == f"/{number}"


def closes_the_reused_connection(peer: Peer) -> None:
    """Answers once; a second request on the same connection is read and dropped."""
    request = peer.read_request()
    peer.answer(request.target.encode())
    if peer.number == 0:
        peer.read_request()
    else:
        peer.until_gone()


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])
def test_an_idempotent_request_dropped_with_a_reused_connection_is_sent_once_more(
    method: str,
) -> None:
    with AwkwardServer(closes_the_reused_connection) as server, ft.Client() as client:
        run(client, {"url": f"{server.url}/first"})[0].response()
        (history,) = run(client, {"url": f"{server.url}/second", "method": method})
        assert history.response().statusCode == 200
        sent = [(request.target, request.peer.number) for request in server.requests]
        assert sent == [("/first", 0), ("/second", 0), ("/second", 1)]


def test_a_post_dropped_with_a_reused_connection_fails_and_is_not_sent_again() -> None:
    with AwkwardServer(closes_the_reused_connection) as server, ft.Client() as client:
        run(client, {"url": f"{server.url}/first"})[0].response()
        (history,) = run(client, {"url": f"{server.url}/second", "method": "POST", "data": "pay"})
        assert history.error().errno == ft.Errno.INTERRUPTED
        assert [request.method for request in server.requests].count("POST") == 1


def test_a_post_over_tls_is_not_sent_again_however_little_of_it_was_sent(tls: ThrowawayTls) -> None:
    """Now and then the kernel takes only a part of what OpenSSL has to send: hence many."""
    posts: list[bytes] = []

    def resets_the_reused_connection(peer: Peer) -> None:
        peer.read_request()
        peer.answer()
        posts.append(peer.read_head())
        peer.reset()

    server = AwkwardServer(resets_the_reused_connection, tls=tls.context)
    with server, ft.Client(ca=tls.ca) as client:
        for sent in range(60):
            run(client, {"url": server.url})[0].response()
            (history,) = run(client, {"url": server.url, "method": "POST", "data": UPLOAD})
            assert history.error().errno == ft.Errno.INTERRUPTED
            assert len(posts) == sent + 1


def test_a_second_response_to_one_request_reaches_no_other_request() -> None:
    with serving("answers_twice") as (server, client):
        for number in range(20):
            (history,) = run(client, {"url": f"{server.url}/path-{number}"})
            assert history.response().data == f"/path-{number}"


def test_a_response_nobody_asked_for_on_an_idle_connection_reaches_no_request() -> None:
    with serving("speaks_while_idle") as (server, client):
        run(client, {"url": f"{server.url}/first"})[0].response()
        server.gate.set()
        assert server.passed.wait(LIMIT)
        for path in ("/second", "/third"):
            (history,) = run(client, {"url": server.url + path})
            assert history.response().data == path
        assert [request.peer.number for request in server.requests] == [0, 1, 1]


def test_bytes_after_an_empty_response_reach_no_other_request() -> None:
    with serving("body_after_no_content") as (server, client):
        for _ in range(5):
            response = run(client, {"url": server.url})[0].response()
            assert (response.statusCode, response.data) == (204, "")


def test_chunked_wins_over_content_length_and_the_connection_is_given_up() -> None:
    with serving("chunked_with_content_length") as (server, client):
        for _ in range(2):
            (history,) = run(client, {"url": server.url, "dataType": "text"})
            assert history.response().data == "12345"
            assert not history.response().profile.socketReused
        assert len(server.peers) == 2


def test_a_response_in_slices_of_64_bytes_arrives_whole() -> None:
    with serving("slices_of_64_bytes") as (server, client):
        (history,) = run(client, {"url": server.url, "responseType": "arraybuffer"})
        assert bytes(history.response().data) == bytes(range(256)) * 64


def test_chunks_of_a_sliced_response_add_up_to_it() -> None:
    with serving("slices_of_64_bytes") as (server, client):
        (history,) = run(client, {"url": server.url, "enableChunked": True}, chunks=True)
        history.response()
        chunks = [event.data for name, event in history.events if name == "chunk"]
        assert b"".join(bytes(chunk) for chunk in chunks) == bytes(range(256)) * 64
        assert len(chunks) <= 256, "more events than writes of the server"


def test_a_response_byte_by_byte_arrives_whole() -> None:
    with serving("one_byte_at_a_time") as (server, client):
        assert run(client, {"url": server.url})[0].response().data == 12345


def test_a_slow_server_shows_in_the_right_phase() -> None:
    def answers_late(peer: Peer) -> None:
        peer.read_request()
        peer.pace(1.3)
        peer.answer(b"late")

    with AwkwardServer(answers_late) as server, ft.Client() as client:
        profile = run(client, {"url": server.url})[0].response().profile
        times = [getattr(profile, name) for name in ORDER if getattr(profile, name)]
        assert times == sorted(times)
        assert profile.responseStart - profile.requestStart >= 1299
        # it may take until the client notes that it has sent the request
        assert profile.responseStart - profile.requestEnd >= 290
        assert profile.durations["ttfb"] >= 290


@pytest.mark.parametrize("size", [1000, len(UPLOAD)])
def test_an_early_413_is_a_success_and_ends_the_upload(size: int) -> None:
    with serving("refuses_early_and_closes") as (server, client):
        options = {"url": server.url, "method": "POST", "data": UPLOAD[:size], "timeout": 20_000}
        (history,) = run(client, options)
        assert history.response().statusCode == 413


def test_a_body_is_sent_when_no_100_continue_comes() -> None:
    with serving("never_says_continue") as (server, client):
        (history,) = run(client, {"url": server.url, "method": "PUT", "data": UPLOAD})
        assert history.response().data == len(UPLOAD)


class Busy:
    """Holds the interpreter lock in one long C call, as a greedy extension module does."""

    def __init__(self) -> None:
        self._libc = ctypes.PyDLL(None)  # PyDLL keeps the lock for the whole call

    def hold(self, seconds: float) -> None:
        self._libc.usleep(int(seconds * 1e6))


@pytest.fixture
def apart() -> Iterator[str]:
    """A server in a process of its own: it answers 300 ms after each request."""
    command = [sys.executable, "-m", "tests.servers", "answers_after_300_ms"]
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.communicate(timeout=10)


def test_work_done_while_the_interpreter_was_held_is_no_timeout(apart: str) -> None:
    with ft.Client() as client:
        client.request(url=apart).result(20)  # the connection and the engine's thread exist now
        task = client.request(url=apart, timeout=2000)
        Busy().hold(2.4)
        assert task.result(20).data == "late"


def test_work_done_while_a_callback_was_busy_is_no_timeout(apart: str) -> None:
    history = History()
    with ft.Client() as client:

        def start() -> None:
            client.request(url=apart, timeout=2000, **history.callbacks())
            client.request(url=apart, timeout=2000, success=lambda _: Busy().hold(2.4))

        ft.run(start)
    assert history.response().data == "late"


def test_many_servers_dying_at_once_disturb_no_other_request(good: AwkwardServer) -> None:
    broken = ["closes_unanswered", "resets_in_body", "closed_in_field_name", "speaks_ssh"]
    with ExitStack() as stack, ft.Client() as client:
        servers = [stack.enter_context(AwkwardServer(BEHAVIOURS[name])) for name in broken]
        requests = [{"url": server.url} for server in servers] * 25
        fine = [{"url": f"{good.url}/{number}"} for number in range(100)]
        mixed = [request for pair in zip(requests, fine, strict=True) for request in pair]
        histories = run(client, *mixed)
    for number, (bad, fair) in enumerate(zip(histories[::2], histories[1::2], strict=True)):
        bad.error()
        assert fair.response().data["target"] == f"/{number}"
