"""An upload under way: its progress, abort at any moment, pause, time limit, and its memory.

FTNET_LONG=1 makes the file of the memory tests 10 GiB large.
"""

from __future__ import annotations

import json
import os
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ftnet as ft
from tests.drivers import in_callback, in_run
from tests.history import check_phases, timed_out
from tests.origins import Origin
from tests.processes import run_script
from tests.servers.awkward import AwkwardServer, BlackHole, Peer
from tests.servers.behaviours import BEHAVIOURS, answers, counts_the_body, length_of, silent
from tests.uploads import (
    ASKED,
    LIMIT,
    UploadHistory,
    begin,
    failure,
    filled,
    increases,
    open_files,
    run,
    sparse,
)

LARGE = 32 << 20  # more than fits between here and a server that does not read
SPARSE = (10 << 30) if os.environ.get("FTNET_LONG") else (256 << 20)


@pytest.fixture
def large(tmp_path: Path) -> Path:
    return sparse(tmp_path / "large.bin", LARGE)


def begin_now(client: ft.Client, url: str, path: Path, **options: Any) -> Any:
    """The task and the history of an upload; nothing of it happens before its listeners are on."""
    return in_callback(lambda: begin(client, url, filePath=path, name="f", **options))


def reads_some(count: int) -> Callable[[Peer], None]:
    """Reads `count` bytes of the body, and nothing more before the test opens the gate."""

    def read(peer: Peer) -> None:
        left = length_of(peer.read_head()) - len(peer.read_exactly(count))
        peer.server.passed.set()
        peer.server.gate.wait()
        peer.read_exactly(left)
        peer.answer(b"all")

    return read


def reads_slowly(peer: Peer) -> None:
    """A megabyte every 40 ms."""
    left = length_of(peer.read_head())
    while left:
        left -= len(peer.read_exactly(min(left, 1 << 20)))
        peer.pace(0.04)
    peer.answer(b"all")


# --- progress -------------------------------------------------------------------------------------


def check_progress(history: UploadHistory) -> None:
    """The rules of progress, of an upload that succeeded and was sent to its end."""
    events = [event for _, event in history.progress]
    assert all(type(event.progress) is int for event in events)
    assert all(0 <= percent < 100 for percent in history.percents[:-1]), history.percents
    assert history.percents[-1] == 100
    assert increases(history.percents)
    assert increases(event.totalBytesSent for event in events)
    (total,) = {event.totalBytesExpectedToSend for event in events}
    assert events[-1].totalBytesSent == total
    for event in events[:-1]:
        assert event.progress == min(99, event.totalBytesSent * 100 // total)
    first, last = history.progress[0][0], history.progress[-1][0]
    assert len(events) <= (last - first) / 0.05 + 3


@pytest.mark.parametrize("size", [0, 1000, 100_000, 5_000_000])
def test_progress_keeps_its_rules(
    client: ft.Client, origin: Origin, tmp_path: Path, size: int
) -> None:
    path = filled(tmp_path / "x", size)
    history = run(client, f"{origin.base}/upload", filePath=path, name="f")
    check_progress(history)
    assert json.loads(history.result().data)["length"] == history.progress[-1][1].totalBytesSent


def test_a_slow_upload_is_told_of_often_but_not_too_often(plain: ft.Client, large: Path) -> None:
    with AwkwardServer(reads_slowly) as server:
        history = run(plain, server.url, filePath=large, name="f")
        assert history.result().data == "all"
    check_progress(history)
    assert len(history.progress) >= 8
    assert len(set(history.percents)) >= 8


def test_the_total_is_the_length_of_the_body(plain: ft.Client, tmp_path: Path) -> None:
    with AwkwardServer(answers) as server:
        path = filled(tmp_path / "x", 10_000)
        history = run(plain, server.url, filePath=path, name="f", formData={"a": 1})
        (request,) = server.requests
    event = history.progress[-1][1]
    assert event.totalBytesExpectedToSend == len(request.body) > 10_000
    assert ft.to_dict(event) == {
        "progress": 100,
        "totalBytesSent": len(request.body),
        "totalBytesExpectedToSend": len(request.body),
    }


def answers_early(status: str) -> Callable[[Peer], None]:
    """Says that it will take the body, and then that it has seen enough."""

    def answer(peer: Peer) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        peer.read_exactly(100_000)
        peer.answer(b"enough", "Connection: close", status=status)
        peer.finish_sending()
        peer.until_gone()

    return answer


@pytest.mark.parametrize("status", ["200 OK", "413 Content Too Large"])
def test_an_upload_that_was_answered_early_does_not_claim_all(
    plain: ft.Client, large: Path, status: str
) -> None:
    with AwkwardServer(answers_early(status)) as server:
        history = run(plain, server.url, filePath=large, name="f")
    assert history.result().data == "enough"
    assert increases(history.percents)
    assert history.percents[-1] < 100
    assert history.progress[-1][1].totalBytesSent < LARGE


def test_an_upload_that_failed_does_not_claim_all(plain: ft.Client, large: Path) -> None:
    with AwkwardServer(BEHAVIOURS["dies_in_the_request_body"]) as server:
        history = run(plain, server.url, filePath=large, name="f")
    assert history.error().errno == ft.Errno.INTERRUPTED
    assert max(history.percents, default=0) < 100


def test_a_listener_that_was_removed_hears_nothing_more(plain: ft.Client, large: Path) -> None:
    heard: list[tuple[str, int]] = []

    def first(event: ft.UploadProgress) -> None:
        heard.append(("first", event.progress))
        task.offProgressUpdate(first)

    def second(event: ft.UploadProgress) -> None:
        heard.append(("second", event.progress))

    def start(url: str) -> ft.UploadTask:
        nonlocal task
        task = plain.uploadFile(url=url, filePath=large, name="f")
        task.onProgressUpdate(first)
        task.onProgressUpdate(second)
        return task

    task: ft.UploadTask
    with AwkwardServer(counts_the_body) as server:
        in_run(lambda: start(server.url)).result(LIMIT)
    assert [name for name, _ in heard[:2]] == ["first", "second"]
    assert [name for name, _ in heard].count("first") == 1
    assert heard[-1] == ("second", 100)
    task.offProgressUpdate()


def test_a_listener_that_raises_harms_nobody(
    plain: ft.Client, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def start(url: str) -> tuple[ft.UploadTask, UploadHistory]:
        task, history = begin(plain, url, filePath=filled(tmp_path / "x", 10_000), name="f")
        task.onProgressUpdate(lambda _: 1 // 0)
        task.onHeadersReceived(lambda _: 1 // 0)
        return task, history

    with AwkwardServer(answers) as server:
        _, history = in_run(lambda: start(server.url))
    assert history.result().statusCode == 200
    check_progress(history)
    assert "ZeroDivisionError" in caplog.text
    caplog.clear()  # the tracebacks hold on to what the callbacks got


@pytest.mark.parametrize("method", ["onProgressUpdate", "onHeadersReceived"])
def test_a_listener_must_be_callable(plain: ft.Client, method: str) -> None:
    with AwkwardServer(answers) as server:
        task = plain.uploadFile(url=server.url, files=[{"name": "f", "data": "x"}])
        with pytest.raises(TypeError, match=f"{method} takes a callable, got 5"):
            getattr(task, method)(5)
        task.result(LIMIT)


# --- abort ----------------------------------------------------------------------------------------


def aborted(task: ft.UploadTask, history: UploadHistory, died_in: str) -> None:
    """Abort now: one `fail`, soon, with the phases of `died_in`, and the file is closed."""
    task.abort()
    error = history.wait(10).error()  # far less than the 60 s it would take otherwise
    assert (error.errMsg, error.errno) == ("uploadFile:fail abort", ft.Errno.INTERRUPTED)
    check_phases(error.profile, died_in)
    task.abort()
    with pytest.raises(ft.FtError, match="^uploadFile:fail abort$"):
        task.result(LIMIT)
    assert history.names[-2:] == ["fail", "complete"]
    assert open_files(lambda name: name.endswith("large.bin")) == []


def test_abort_in_the_queue(large: Path) -> None:
    with AwkwardServer(silent) as server, ft.Client(max_connections=1) as client:
        first, first_history = begin_now(client, server.url, large)
        server.wait_for_bytes(1)
        second, second_history = begin_now(client, server.url, large)
        aborted(second, second_history, "queue")
        assert second_history.progress == []
        aborted(first, first_history, "send")
        assert len(server.peers) == 1


def test_abort_while_connecting(plain: ft.Client, large: Path) -> None:
    with BlackHole() as hole, AwkwardServer(answers) as server:
        task, history = begin_now(plain, hole.url, large)
        plain.request(url=server.url).result(LIMIT)  # begun after it: the first is under way
        aborted(task, history, "connect")


def test_abort_in_the_tls_handshake(plain: ft.Client, large: Path) -> None:
    with AwkwardServer(silent) as server:
        task, history = begin_now(plain, server.url.replace("http:", "https:"), large)
        server.wait_for_bytes(1)
        aborted(task, history, "tls")


def test_abort_while_the_server_is_asked(plain: ft.Client, large: Path) -> None:
    with AwkwardServer(silent) as server:
        task, history = begin_now(plain, server.url, large)
        server.wait_for_bytes(len("POST / HTTP/1.1"))
        aborted(task, history, "send")
        server.wait_until_alone()


def test_abort_in_the_body(plain: ft.Client, large: Path) -> None:
    with AwkwardServer(reads_some(200_000)) as server:
        task, history = begin_now(plain, server.url, large)
        assert server.passed.wait(LIMIT)
        aborted(task, history, "send")
        server.gate.set()
        server.wait_until_alone()
        assert len(server.received) < LARGE


@pytest.mark.libcurl_only
def test_abort_of_a_stream_leaves_the_connection_to_others(server: Any, large: Path) -> None:
    with ft.Client(ca=server.ca, trust_env=False) as client:
        client.request(url=f"{server.https}/hello").result(LIMIT)
        moving = threading.Event()

        def start() -> tuple[ft.UploadTask, UploadHistory]:
            url = f"{server.https}/upload?rate=1000000"
            task, history = begin(client, url, filePath=large, name="f")
            task.onProgressUpdate(lambda _: moving.set())
            return task, history

        task, history = in_callback(start)
        assert moving.wait(LIMIT)
        task.abort()
        assert history.wait().error().errMsg == "uploadFile:fail abort"
        response = client.request(url=f"{server.https}/hello").result(LIMIT)
        assert response.data == "Hello, World!"
        assert response.profile.socketReused


def test_abort_while_waiting_for_the_answer(plain: ft.Client, tmp_path: Path) -> None:
    with AwkwardServer(BEHAVIOURS["silent_after_the_request"]) as server:
        task, history = begin_now(plain, server.url, filled(tmp_path / "x", 10_000))
        server.wait_for_requests(1)
        aborted(task, history, "wait")


@pytest.mark.parametrize("event", ["onProgressUpdate", "onHeadersReceived"])
def test_abort_in_a_callback(client: ft.Client, origin: Origin, large: Path, event: str) -> None:
    def start() -> UploadHistory:
        task, history = begin(client, f"{origin.base}/upload", filePath=large, name="f")
        getattr(task, event)(lambda _: task.abort())
        return history

    history = in_run(start)
    assert history.error().errMsg == "uploadFile:fail abort"
    assert len(history.progress) >= 1
    if event == "onProgressUpdate":
        assert len(history.progress) == 1, "progress after the abort"
    assert open_files(lambda name: name == str(large)) == []


def test_abort_in_success_does_nothing(plain: ft.Client, server: Any, tmp_path: Path) -> None:
    ends: list[object] = []
    path = filled(tmp_path / "x", 1000)

    def start() -> ft.UploadTask:
        task: ft.UploadTask
        task = plain.uploadFile(
            url=f"{server.http}/upload",
            filePath=path,
            name="f",
            success=lambda result: (task.abort(), ends.append(result)),
            fail=ends.append,
            complete=ends.append,
        )
        return task

    task = in_run(start)
    assert ends == [task.result(LIMIT)] * 2


@pytest.mark.parametrize("size", [10_000, ASKED])
def test_abort_at_random_moments_leaves_one_end(
    plain: ft.Client, server: Any, tmp_path: Path, size: int
) -> None:
    chance = random.Random(size)
    path = filled(tmp_path / "large.bin", size)
    ends, tick, longest = {"success": 0, "fail": 0}, threading.Event(), 0.01
    for _ in range(150):
        task, history = begin_now(plain, f"{server.http}/upload", path)
        tick.wait(chance.uniform(0, longest))
        task.abort()
        history.wait().end()
        ends[history.names[-2]] += 1
        if history.names[-2] == "fail":
            assert history.error().errMsg == "uploadFile:fail abort"
            longest *= 1.1
        else:
            check_progress(history)
            longest *= 0.9
    assert ends["fail"] > 0
    assert ends["success"] > 0
    assert open_files(lambda name: name == str(path)) == []


def test_closing_the_client_ends_its_uploads(large: Path) -> None:
    with AwkwardServer(reads_some(100_000)) as server:
        client = ft.Client(max_connections=2, trust_env=False)
        begun = [begin_now(client, server.url, large) for _ in range(5)]
        server.wait_for_peers(2)
        assert server.passed.wait(LIMIT)
        client.close()
        for _, history in begun:
            assert history.wait().error().errno == ft.Errno.INTERRUPTED
        assert open_files(lambda name: name == str(large)) == []


# --- pause and resume -----------------------------------------------------------------------------


def notices_silence(peer: Peer) -> None:
    """Sets `passed` when the gate is open and no byte has come for 300 ms; then goes on."""
    left = length_of(peer.read_head())
    peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    peer.sock.settimeout(0.3)
    while left:
        try:
            left -= len(peer.read())
        except TimeoutError:
            if peer.server.gate.is_set():
                peer.sock.settimeout(None)
                peer.server.passed.set()
    peer.answer(b"all")


@pytest.mark.parametrize("when", ["at once", "in a callback"])
def test_a_paused_upload_sends_nothing_until_it_is_resumed(
    plain: ft.Client, large: Path, when: str
) -> None:
    def start() -> tuple[ft.UploadTask, UploadHistory]:
        task, history = begin(plain, server.url, filePath=large, name="f")

        def pause(_: object) -> None:
            if not server.gate.is_set():
                task.pause()
                server.gate.set()

        if when == "at once":
            pause(task)
        else:
            task.onProgressUpdate(pause)
        return task, history

    with AwkwardServer(notices_silence) as server:
        task, history = in_callback(start)
        assert server.passed.wait(LIMIT)
        assert not task.done()
        assert len(server.received) < LARGE
        assert len(history.progress) == (0 if when == "at once" else 1), "progress while paused"
        task.resume()
        assert task.result(LIMIT).data == "all"
        history.wait()
    assert history.result().statusCode == 200
    check_progress(history)


def begin_paused(client: ft.Client, server: AwkwardServer, path: Path, **options: Any) -> Any:
    """As `begin_now`, paused before any of the body is sent; the gate of the server is open."""

    def start() -> tuple[ft.UploadTask, UploadHistory]:
        task, history = begin(client, server.url, filePath=path, name="f", **options)
        task.pause()
        server.gate.set()
        return task, history

    return in_callback(start)


def test_a_paused_upload_has_its_time_limit(plain: ft.Client, large: Path) -> None:
    with AwkwardServer(notices_silence) as server:
        _, history = begin_paused(plain, server, large, timeout=2000)
        assert server.passed.wait(LIMIT)
        assert history.wait().error().errno == ft.Errno.TIMEOUT


def test_a_paused_upload_can_be_aborted(plain: ft.Client, large: Path) -> None:
    with AwkwardServer(notices_silence) as server:
        task, history = begin_paused(plain, server, large)
        assert server.passed.wait(LIMIT)
        aborted(task, history, "send")


def test_pausing_over_and_over_loses_nothing(
    client: ft.Client, origin: Origin, tmp_path: Path
) -> None:
    path = filled(tmp_path / "x", 3_000_000)

    def start() -> tuple[ft.UploadTask, UploadHistory]:
        task, history = begin(client, f"{origin.base}/upload", filePath=path, name="f")
        for _ in range(3):
            task.pause()
        return task, history

    task, history = in_callback(start)
    tick = threading.Event()
    while not task.done():
        task.resume()
        tick.wait(0.001)
        task.pause()
    task.resume()
    told = json.loads(task.result(LIMIT).data)
    history.wait()
    assert told["length"] == history.progress[-1][1].totalBytesExpectedToSend


# --- the time limit -------------------------------------------------------------------------------


@pytest.mark.parametrize("behaviour", ["silent", "reads some"])
def test_the_time_limit_covers_the_body(plain: ft.Client, large: Path, behaviour: str) -> None:
    with AwkwardServer(silent if behaviour == "silent" else reads_some(100_000)) as server:
        error = timed_out(
            lambda limit: failure(plain, server.url, large, timeout=limit), "send", 400
        )
        assert error.errMsg == "uploadFile:fail timeout"


def test_the_time_limit_covers_the_queue(large: Path) -> None:
    with AwkwardServer(silent) as server, ft.Client(max_connections=1) as client:
        first, _ = begin_now(client, server.url, large)
        server.wait_for_bytes(1)
        error = failure(client, server.url, large, timeout=100)
        assert error.errno == ft.Errno.TIMEOUT
        check_phases(error.profile, "queue")
        first.abort()


def test_the_time_limit_covers_the_answer(plain: ft.Client, tmp_path: Path) -> None:
    with AwkwardServer(BEHAVIOURS["silent_after_the_request"]) as server:
        path = filled(tmp_path / "x", 1000)
        timed_out(lambda limit: failure(plain, server.url, path, timeout=limit), "wait", 200)


# --- memory ---------------------------------------------------------------------------------------

MEMORY = """
    import json
    import re
    import sys
    import time
    import ftnet as ft

    url, path, ca = sys.argv[1:]

    def kilobytes(field):
        with open("/proc/self/status") as status:
            return int(re.search(rf"{field}:\\s*(\\d+) kB", status.read())[1])

    with ft.Client(ca=ca or None, trust_env=False, timeout=600_000) as client:
        client.uploadFile(url=url, files=[{"name": "f", "data": bytes(100_000)}]).result(20)
        before, begun = kilobytes("VmRSS"), time.monotonic()
        result = client.uploadFile(url=url, filePath=path, name="f").result()
        told = {"data": result.data, "sent": result.profile.sendBytesCount}
        told["seconds"] = round(time.monotonic() - begun, 3)
        told["grown"] = kilobytes("VmHWM") - before
    print(json.dumps(told))
"""
SLACK = 16 << 10  # kB


@pytest.mark.parametrize("way", ["http", "h2"])
def test_memory_stays_flat_however_large_the_file_is(tmp_path: Path, server: Any, way: str) -> None:
    path = sparse(tmp_path / "sparse.bin", SPARSE)
    with AwkwardServer(counts_the_body) as counting:
        url, ca = (counting.url, "") if way == "http" else (f"{server.https}/upload", server.ca)
        (line,) = run_script(MEMORY, url, str(path), ca, limit=600)
    told = json.loads(line)
    print(f"{SPARSE >> 20} MiB over {way}: {told['seconds']} s, {told['grown']} kB more")
    length = json.loads(told["data"])
    length = length if way == "http" else length["length"]
    assert SPARSE < length < SPARSE + 1000
    assert length < told["sent"] < length + 10_000
    assert told["grown"] < SLACK
