"""A download under way: progress, the header, pause and abort."""

from __future__ import annotations

import asyncio
import gzip
import random
import threading
import zlib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import ftnet as ft
from ftnet.testing.app import pattern
from tests.downloads import (
    LIMIT,
    History,
    OneFile,
    begin,
    complete,
    failed,
    fetched,
    halves,
    left_in,
    noise,
    response,
    until_moved,
)
from tests.drivers import in_callback, in_run
from tests.origins import Origin
from tests.servers.awkward import AwkwardServer, Peer, eventually
from tests.servers.behaviours import BEHAVIOURS, says

A_SECOND = 20  # events at most


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "file"


def watched(client: ft.Client, url: str, **options: Any) -> History:
    """The history of a download that `ft.run` has driven to its end; no event is missed."""
    _, told = in_run(lambda: begin(client, url, **options))
    return told


def follows_the_rules(told: History, expected: int) -> bool:
    """What holds for the progress of every download that succeeds, of so many bytes."""
    names, events = told.names, told.progress
    for event in events:
        assert type(event.progress) is int
        assert 0 <= event.progress <= 100
        assert event.totalBytesExpectedToWrite in (0, expected)
    for earlier, later in pairwise(events):
        assert earlier.progress <= later.progress
        assert earlier.totalBytesWritten <= later.totalBytesWritten
    assert [event.progress for event in events].count(100) == 1
    assert events[-1].progress == 100
    assert events[-1].totalBytesWritten == events[-1].totalBytesExpectedToWrite == expected
    assert names[: names.index("progress")] == ["headers"]
    assert names[-3:] == ["progress", "success", "complete"]
    return True


# --- progress -------------------------------------------------------------------------------------


def test_progress_goes_up_to_100_by_the_rules(
    client: ft.Client, origin: Origin, target: Path
) -> None:
    url = f"{origin.base}/drip?bytes=60000&rate=150000"
    told = watched(client, url, filePath=str(target))
    assert follows_the_rules(told, 60_000)
    assert len(told.progress) > 1
    for event in told.progress[:-1]:
        assert event.totalBytesExpectedToWrite == 60_000
        assert event.progress == min(99, event.totalBytesWritten * 100 // 60_000)
    assert target.read_bytes() == pattern(60_000)


def test_there_are_at_most_20_events_a_second(plain: ft.Client, target: Path) -> None:
    told = History()

    def in_many_pieces(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 400000\r\n\r\n")
        for number in range(400):
            peer.send(bytes(1000))
            # the last ones are for a client that has missed much of this
            peer.pace(0.002 if number < 300 or len(told.times) > 5 else 0.1)

    with AwkwardServer(in_many_pieces) as server:
        options = {"url": server.url, "filePath": str(target), **told.callbacks()}
        ft.run(lambda: told.listen(plain.downloadFile(options)))
    assert follows_the_rules(told, 400_000)
    times = told.times[:-1]  # the last one comes at once
    assert len(times) >= 4
    for first in range(len(times)):
        for last in range(first + 1, len(times)):
            seconds = times[last] - times[first]
            assert last - first <= seconds * A_SECOND + 1, "one may be late, not two"


def test_what_came_last_is_told_though_nothing_follows(plain: ft.Client, target: Path) -> None:
    """In several pieces, so close together that no progress may be told of some."""
    told = History()

    def answer(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        for _ in range(5):
            until_told = len(told.progress)
            peer.send(bytes(100_000))
            if until_told == 0:
                eventually(lambda: told.progress, "progress")
        peer.server.gate.wait()
        peer.send(bytes(500_000))

    with AwkwardServer(answer) as server:
        options = {"url": server.url, "filePath": str(target), **told.callbacks()}

        def start() -> Any:
            task = plain.downloadFile(options)
            told.listen(task)
            return task

        task = in_callback(start)
        eventually(
            lambda: told.progress[-1:] and told.progress[-1].totalBytesWritten == 500_000,
            "all that came is told",
        )
        server.gate.set()
        assert task.result(LIMIT).dataLength == 1_000_000
    assert follows_the_rules(told.wait(), 1_000_000)


def test_of_an_unknown_length_nothing_is_claimed_before_the_end(
    client: ft.Client, origin: Origin, target: Path
) -> None:
    url = f"{origin.base}/stream/20/5000?interval=15"
    told = watched(client, url, filePath=str(target))
    assert follows_the_rules(told, 100_000)
    assert len(told.progress) > 1
    for event in told.progress[:-1]:
        assert (event.progress, event.totalBytesExpectedToWrite) == (0, 0)
        assert event.totalBytesWritten > 0


@pytest.mark.parametrize("length", [True, False])
def test_of_a_coded_body_the_bytes_of_the_wire_are_counted(
    length: bool, plain: ft.Client, target: Path
) -> None:
    content = noise(50_000) + bytes(3_000_000)
    packed = gzip.compress(content)
    fields = ["HTTP/1.1 200 OK", "Content-Encoding: gzip"]
    fields += [f"Content-Length: {len(packed)}"] if length else ["Connection: close"]

    def slowly(peer: Peer) -> None:
        peer.read_request()
        peer.send("\r\n".join([*fields, "", ""]).encode())
        for start in range(0, len(packed), 3000):
            peer.send(packed[start : start + 3000])
            peer.pace(0.01)

    with AwkwardServer(slowly) as server:
        told = watched(plain, server.url, filePath=str(target))
    assert follows_the_rules(told, len(packed))
    assert told.response().dataLength == len(content)
    assert complete(target, content)


@pytest.mark.parametrize("size", [0, 1, 100])
def test_a_file_that_comes_at_once_has_its_last_event_too(
    plain: ft.Client, server: Any, target: Path, size: int
) -> None:
    told = watched(plain, f"{server.http}/bytes/{size}", filePath=str(target))
    assert follows_the_rules(told, size)


@pytest.mark.parametrize(
    "answer",
    [
        response(status="404 Not Found", body=b"sorry"),
        response(status="204 No Content")[:-2] + b"X: y\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
        b'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\nContent-Length: 5000\r\n\r\n',
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nto the end",
    ],
    ids=["404", "204", "204 of 5 bytes", "304 of a file", "to the close"],
)
def test_every_success_ends_at_100(answer: bytes, plain: ft.Client, target: Path) -> None:
    with AwkwardServer(says(answer)) as server:
        told = watched(plain, server.url, filePath=str(target))
    assert follows_the_rules(told, target.stat().st_size)


def test_the_body_of_a_redirect_is_no_progress(plain: ft.Client, target: Path) -> None:
    def moved(peer: Peer) -> None:
        while True:
            if peer.read_request().target == "/there":
                peer.answer(b"arrived")
            else:
                peer.answer(bytes(500_000), "Location: /there", status="302 Found")

    with AwkwardServer(moved) as server:
        told = watched(plain, server.url, filePath=str(target))
    assert follows_the_rules(told, 7)


def test_a_length_beyond_all_files_does_not_overflow(plain: ft.Client, target: Path) -> None:
    most, content = 2**63 - 1, noise(5000)
    fields = (f"Content-Range: bytes 4000-{most - 1}/{most}", 'ETag: "first"')
    head = "\r\n".join(["HTTP/1.1 206 P", f"Content-Length: {most}", *fields, "", ""])
    endless = head.encode() + b"Connection: close"
    shelf = OneFile(content, cuts=[4000], instead={1: endless})
    with AwkwardServer(shelf) as server:
        failed(plain, server.url, filePath=str(target), resume=True)
        told = watched(plain, server.url, filePath=str(target), resume=True)
    assert all(0 <= event.progress <= 100 for event in told.progress)
    assert all(event.totalBytesExpectedToWrite >= 0 for event in told.progress)


def test_each_of_many_tasks_hears_of_its_own_progress(
    client: ft.Client, origin: Origin, tmp_path: Path
) -> None:
    sizes = [1000 * number + 77 for number in range(60)]

    def start() -> list[History]:
        return [
            begin(client, f"{origin.base}/bytes/{size}", filePath=str(tmp_path / str(size)))[1]
            for size in sizes
        ]

    for size, told in zip(sizes, in_run(start), strict=True):
        assert follows_the_rules(told, size)


# --- listeners ------------------------------------------------------------------------------------


def test_all_listeners_hear_and_those_taken_off_do_not(
    plain: ft.Client, server: Any, target: Path
) -> None:
    heard: list[str] = []
    one = lambda _: heard.append("one")  # noqa: E731
    other = lambda _: heard.append("other")  # noqa: E731

    def start() -> None:
        task = plain.downloadFile(url=f"{server.http}/bytes/10", filePath=str(target))
        for listener in (one, other, one):
            task.onProgressUpdate(listener)
            task.onHeadersReceived(listener)
        task.offProgressUpdate(one)
        task.offHeadersReceived(other)
        task.offHeadersReceived(print)

    ft.run(start)
    assert heard[:2] == ["one", "one"]
    assert heard[2:4] == ["other", "one"]
    assert heard.count("other") == (len(heard) - 2) / 2


def test_off_without_a_listener_takes_all_off(plain: ft.Client, server: Any, target: Path) -> None:
    heard: list[Any] = []

    def start() -> None:
        task = plain.downloadFile(url=f"{server.http}/bytes/10", filePath=str(target))
        task.offProgressUpdate()
        task.offHeadersReceived()
        for listener in (heard.append, lambda event: heard.append(event)):
            task.onProgressUpdate(listener)
            task.onHeadersReceived(listener)
        task.offProgressUpdate()
        task.offHeadersReceived()

    ft.run(start)
    assert heard == []
    assert target.exists()


@pytest.mark.parametrize("what", [None, 5, "print"])
def test_a_listener_must_be_callable(
    what: Any, plain: ft.Client, server: Any, target: Path
) -> None:
    task = plain.downloadFile(url=f"{server.http}/bytes/10", filePath=str(target))
    with pytest.raises(TypeError, match="^onProgressUpdate takes a callable"):
        task.onProgressUpdate(what)
    with pytest.raises(TypeError, match="^onHeadersReceived takes a callable"):
        task.onHeadersReceived(what)
    assert task.result(LIMIT).dataLength == 10


def test_a_listener_may_take_itself_off_and_put_another_on(plain: ft.Client, target: Path) -> None:
    first: list[int] = []
    then: list[int] = []

    def start() -> None:
        def once(event: Any) -> None:
            first.append(event.progress)
            task.offProgressUpdate(once)
            task.onProgressUpdate(lambda event: then.append(event.progress))
            server.gate.set()

        task = plain.downloadFile(url=server.url, filePath=str(target))
        task.onProgressUpdate(once)

    with AwkwardServer(halves(bytes(20_000))) as server:
        in_run(start)
    assert len(first) == 1
    assert then[-1] == 100
    assert then.count(100) == 1


def test_a_listener_that_raises_is_logged_and_stops_nothing(
    plain: ft.Client, server: Any, target: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(_: object) -> None:
        raise RuntimeError("of the listener")

    def start() -> Any:
        task, told = begin(plain, f"{server.http}/bytes/10", filePath=str(target))
        task.offProgressUpdate()
        task.onProgressUpdate(broken)
        task.onProgressUpdate(told._note("progress"))
        return task, told

    task, told = in_run(start)
    assert task.result().dataLength == 10
    assert follows_the_rules(told, 10)
    assert "of the listener" in caplog.text


def test_a_late_listener_does_not_get_what_was_before(plain: ft.Client, target: Path) -> None:
    heard: list[int] = []
    with AwkwardServer(halves(bytes(200_000))) as server:
        task, told = in_callback(lambda: begin(plain, server.url, filePath=str(target)))
        eventually(
            lambda: told.progress[-1:] and told.progress[-1].totalBytesWritten == 100_000,
            "the half is told",
        )
        task.onProgressUpdate(lambda event: heard.append(event.totalBytesWritten))
        server.gate.set()
        task.result(LIMIT)
        told.wait()
    assert heard[-1] == 200_000
    assert all(written > 100_000 for written in heard)


def test_the_header_is_told_before_the_body_and_of_the_last_response_only(
    client: ft.Client, origin: Origin, target: Path
) -> None:
    url = f"{origin.base}/redirect-to?url=/headers/3"
    told = watched(client, url, filePath=str(target))
    (event,) = [event for name, event in told.events if name == "headers"]
    assert told.names[0] == "headers"
    assert event.statusCode == 200
    assert event.header["X-Header-2"] == "value-2"
    assert event.header.get_all("x-repeated") == ["one", "two"]
    assert event.cookies == ["first=1; Path=/headers", "second=2; Path=/headers"]
    assert event.header == told.response().header
    assert ft.to_dict(event)["statusCode"] == 200


def test_the_header_comes_while_the_body_is_under_way(plain: ft.Client, target: Path) -> None:
    with AwkwardServer(halves(bytes(1000), "X-Early: yes")) as server:
        headers = threading.Event()

        def start() -> tuple[Any, History]:
            task, told = begin(plain, server.url, filePath=str(target))
            task.onHeadersReceived(lambda event: headers.set())
            return task, told

        task, told = in_callback(start)
        assert headers.wait(LIMIT)
        assert not task.done()
        server.gate.set()
        told.wait().response()


def test_the_header_comes_first_even_to_listeners_that_come_late(target: Path) -> None:
    async def main(url: str) -> History:
        with ft.Client(trust_env=False) as client:
            task, told = client.downloadFile(url=url, filePath=str(target)), History()
            while task.moved[0] < 100_000:
                await asyncio.sleep(0)
            server.gate.set()
            assert server.passed.wait(LIMIT)  # the rest is there before anybody listens
            told.listen(task)
            await task
            return told

    with AwkwardServer(halves(bytes(200_000))) as server:
        told = asyncio.run(main(server.url))
    assert told.names[0] == "headers"
    assert "headers" not in told.names[1:]
    assert told.names[-1] == "progress"


# --- the end before the end -----------------------------------------------------------------------


def test_no_progress_is_told_after_abort(plain: ft.Client, server: Any, target: Path) -> None:
    def start() -> tuple[Any, History]:
        url = f"{server.http}/drip?bytes=1000000&rate=500000"
        task, told = begin(plain, url, filePath=str(target))
        task.onProgressUpdate(lambda _: task.abort())
        return task, told

    _, told = in_run(start)
    assert told.names == ["headers", "progress", "fail", "complete"]
    assert told.error().errMsg == "downloadFile:fail abort"
    assert left_in(target.parent) == []


@pytest.mark.parametrize(
    "name", ["closed_before_content_length", "closed_without_last_chunk", "stalls_in_body"]
)
def test_a_download_that_fails_never_tells_of_100(
    name: str, plain: ft.Client, target: Path
) -> None:
    with AwkwardServer(BEHAVIOURS[name]) as server:
        told = watched(plain, server.url, filePath=str(target), timeout=300)
    told.error()
    assert all(event.progress < 100 for event in told.progress)
    assert told.names[-2:] == ["fail", "complete"]
    assert left_in(target.parent) == []


def test_a_file_that_cannot_be_put_in_its_place_never_tells_of_100(
    plain: ft.Client, target: Path
) -> None:
    with AwkwardServer(halves(bytes(1000))) as server:
        task, told = begin(plain, server.url, filePath=str(target))
        until_moved(task, 500)
        target.mkdir()
        server.gate.set()
        assert told.wait().error().errno == ft.Errno.SYSTEM
    assert all(event.progress < 100 for event in told.progress)
    assert left_in(target.parent) == ["file"]


@pytest.mark.parametrize("place", ["headers", "progress", "success", "complete"])
def test_abort_inside_a_callback(place: str, plain: ft.Client, server: Any, target: Path) -> None:
    def start() -> History:
        told = History()
        callbacks: dict[str, Callable[[Any], None]] = told.callbacks()
        if place in callbacks:
            noted = callbacks[place]
            callbacks[place] = lambda event: (task.abort(), noted(event))[1]
        url = f"{server.http}/bytes/3000000"
        task = plain.downloadFile(url=url, filePath=str(target), **callbacks)
        told.listen(task)
        if place == "headers":
            task.onHeadersReceived(lambda _: task.abort())
        if place == "progress":
            task.onProgressUpdate(lambda _: task.abort())
        return told

    told = in_run(start)
    if place in ("success", "complete"):
        assert follows_the_rules(told, 3_000_000)
        assert complete(target, pattern(3_000_000))
    else:
        assert told.error().errMsg == "downloadFile:fail abort"
        assert left_in(target.parent) == []


@pytest.mark.parametrize("resume", [False, True], ids=["plain", "resume"])
def test_abort_at_any_moment_leaves_the_whole_file_or_none(
    plain: ft.Client, server: Any, target: Path, resume: bool
) -> None:
    chance, tick = random.Random(f"abort {resume}"), threading.Event()
    content, url = pattern(1_000_000), f"{server.http}/bytes/1000000"
    ends, longest = {"success": 0, "fail": 0}, 0.01
    for _ in range(150):
        target.unlink(missing_ok=True)
        task, told = begin(plain, url, filePath=str(target), resume=resume)
        tick.wait(chance.uniform(0, longest))
        task.abort()
        end = told.wait().end()
        ends[told.names[-2]] += 1
        if told.names[-2] == "success":
            assert complete(target, content)
            longest *= 0.9
        else:
            assert end.errMsg == "downloadFile:fail abort"
            assert left_in(target.parent) == []
            longest *= 1.1
    assert ends["success"] > 0
    assert ends["fail"] > 0


# --- pause ----------------------------------------------------------------------------------------


def paused_at_first_progress(client: ft.Client, url: str, target: Path) -> tuple[Any, History]:
    """A download that is paused when its first progress has been told."""
    paused = threading.Event()

    def start() -> tuple[Any, History]:
        def pause(_: object) -> None:
            if not paused.is_set():
                task.pause()
                paused.set()

        task, told = begin(client, url, filePath=str(target))
        task.onProgressUpdate(pause)
        return task, told

    task, told = in_callback(start)
    assert paused.wait(LIMIT)
    return task, told


def test_a_paused_download_stands_still_until_it_is_resumed(
    client: ft.Client, origin: Origin, target: Path
) -> None:
    task, told = paused_at_first_progress(client, f"{origin.base}/bytes/30000000", target)
    fetched(client, f"{origin.base}/bytes/100000", filePath=str(target.with_name("other")))
    stands, names = task.moved[0], told.names
    for _ in range(5):
        fetched(client, f"{origin.base}/bytes/100000", filePath=str(target.with_name("other")))
    assert task.moved[0] == stands < 30_000_000
    assert told.names == names
    assert not target.exists()
    task.resume()
    assert task.result(LIMIT).dataLength == 30_000_000
    assert follows_the_rules(told.wait(), 30_000_000)
    assert target.read_bytes() == pattern(30_000_000)


def test_a_download_that_is_complete_while_paused_is_put_in_its_place_later(
    plain: ft.Client, target: Path
) -> None:
    with AwkwardServer(halves(bytes(1000))) as server:
        task, told = paused_at_first_progress(plain, server.url, target)
        server.gate.set()
        fetched(plain, server.url, filePath=str(target.with_name("other")))
        assert not target.exists()
        assert not task.done()
        task.resume()
        assert task.result(LIMIT).dataLength == 1000
    assert follows_the_rules(told.wait(), 1000)
    assert target.read_bytes() == bytes(1000)


def test_a_coded_body_survives_a_pause_in_the_middle(plain: ft.Client, target: Path) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    content = noise(100_000) * 40
    packed = packer.compress(content) + packer.flush()
    answer = response("Content-Encoding: gzip", body=packed)
    with AwkwardServer(says(answer)) as server:
        task, told = paused_at_first_progress(plain, server.url, target)
        for _ in range(20):
            task.resume()
            task.pause()
        task.resume()
        task.result(LIMIT)
    assert follows_the_rules(told.wait(), len(packed))
    assert complete(target, content)


@pytest.mark.parametrize("way", ["abort", "timeout", "close"])
def test_a_paused_download_can_end(way: str, target: Path) -> None:
    with AwkwardServer(halves(bytes(1000))) as server, ft.Client(trust_env=False) as client:
        client.timeout = 1500 if way == "timeout" else 60_000
        task, told = paused_at_first_progress(client, server.url, target)
        if way != "timeout":
            (task.abort if way == "abort" else client.close)()
        error = told.wait().error()
        assert error.errno == (ft.Errno.TIMEOUT if way == "timeout" else ft.Errno.INTERRUPTED)
    assert left_in(target.parent) == []


def test_a_cancelled_wait_aborts_the_download(server: Any, target: Path) -> None:
    async def main() -> None:
        with ft.Client(trust_env=False) as client:
            url = f"{server.http}/drip?bytes=1000000&rate=100000"
            task, told = begin(client, url, filePath=str(target))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(waiting(task), 0.1)
            with pytest.raises(ft.FtError, match="^downloadFile:fail abort$"):
                await task
            assert told.names[-2:] == ["fail", "complete"]

    async def waiting(task: Any) -> None:
        await task

    asyncio.run(main())
    assert left_in(target.parent) == []
