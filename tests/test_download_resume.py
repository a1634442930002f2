"""downloadFile with resume=True: what came is not asked for again, nor joined to other bytes."""

from __future__ import annotations

import asyncio
import gzip
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ftnet as ft
from tests.downloads import (
    LIMIT,
    OneFile,
    answers_with,
    begin,
    complete,
    failed,
    kept_of,
    noise,
    note_of,
    response,
    resumed,
    until_moved,
)
from tests.drivers import in_run
from tests.processes import Script
from tests.servers.awkward import AwkwardServer, Peer, eventually
from tests.servers.behaviours import redirects_to

SIZE = 300_000
CONTENT = noise(SIZE)
HALF = 150_001
OTHER = noise(SIZE, "other")


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "file"


def interrupted(
    client: ft.Client, url: str, target: Path, *, kept: bytes | None = CONTENT[:HALF]
) -> ft.FtError:
    """A download that breaks, and leaves `kept` for the next one; None: nothing."""
    error = failed(client, url, filePath=str(target), resume=True)
    if kept is None:
        assert not kept_of(target).exists()
        assert not note_of(target).exists()
    else:
        assert kept_of(target).read_bytes() == kept
        assert note_of(target).exists()
    return error


# --- it goes on -----------------------------------------------------------------------------------


def test_a_download_that_nothing_interrupts_asks_for_the_whole(
    plain: ft.Client, target: Path
) -> None:
    shelf = OneFile(CONTENT)
    with AwkwardServer(shelf) as server:
        result = resumed(plain, server.url, target)
        assert complete(target, CONTENT)
        assert (result.statusCode, result.dataLength) == (200, SIZE)
        assert server.requests[0].get("accept-encoding") == "identity"
        assert server.requests[0].get("if-range") is None
    assert shelf.asked == [None]


@pytest.mark.parametrize("cut", [1, 61_440, HALF, SIZE - 1])
def test_it_goes_on_where_the_server_hung_up(plain: ft.Client, target: Path, cut: int) -> None:
    shelf = OneFile(CONTENT, cuts=[cut])
    target.write_bytes(b"old")
    with AwkwardServer(shelf) as server:
        error = interrupted(plain, server.url, target, kept=CONTENT[:cut])
        assert error.errno == ft.Errno.INTERRUPTED
        assert target.read_bytes() == b"old"
        result = resumed(plain, server.url, target)
        assert server.requests[1].get("if-range") == '"first"'
    assert complete(target, CONTENT)
    assert (result.statusCode, result.dataLength) == (206, SIZE)
    assert shelf.asked == [None, f"bytes={cut}-"]
    assert shelf.sent == SIZE


@pytest.mark.parametrize("seed", range(12))
def test_cuts_at_random_bytes_cost_no_byte_twice(plain: ft.Client, target: Path, seed: int) -> None:
    chance = random.Random(f"cuts {seed}")
    cuts, left = [], SIZE
    for _ in range(chance.randrange(1, 12)):
        cuts.append(chance.choice([0, 1, chance.randrange(left), 61_440]))
        left -= cuts[-1]
        if left < 100_000:
            break
    shelf = OneFile(CONTENT, cuts=cuts)
    with AwkwardServer(shelf) as server:
        for _ in cuts:
            failed(plain, server.url, filePath=str(target), resume=True)
            assert not target.exists()
        resumed(plain, server.url, target)
    assert complete(target, CONTENT)
    assert shelf.sent == SIZE


@pytest.mark.parametrize("base", ["http", "https", "h2"])
def test_nginx_is_taken_up_again(base: str, nginx: Any, target: Path) -> None:
    path = "/slow" + nginx.serve_file("resumed.bin", CONTENT)
    url = getattr(nginx, base) + path
    with ft.Client(ca=nginx.ca, trust_env=False) as client:
        task, _ = begin(client, url, filePath=str(target), resume=True)
        eventually(lambda: task.moved[0] > 100_000, "some of it is there")
        task.abort()
        with pytest.raises(ft.FtError, match="^downloadFile:fail abort$"):
            task.result(LIMIT)
        first = kept_of(target).stat().st_size
        assert 100_000 < first < SIZE
        result = resumed(client, url, target)
    assert complete(target, CONTENT)
    assert result.statusCode == 206
    assert result.header["content-range"] == f"bytes {first}-{SIZE - 1}/{SIZE}"
    assert result.profile.receivedBytesCount < SIZE - first + 1000


def test_caddy_is_taken_up_again_over_h3(caddy: Any, target: Path) -> None:
    settings = {"ca": caddy.ca, "trust_env": False, "http_version": "3-only"}
    url = f"{caddy.https}/file.bin"
    with ft.Client(**settings) as client:

        def start() -> Any:
            task = client.downloadFile(url=url, filePath=str(target), resume=True)
            task.onProgressUpdate(lambda _: task.abort())
            return task

        with pytest.raises(ft.FtError, match="^downloadFile:fail abort$"):
            in_run(start).result()
        result = resumed(client, url, target)
    assert complete(target, caddy.file)
    assert result.dataLength == len(caddy.file)


def test_a_length_that_is_told_late_is_no_hindrance(plain: ft.Client, target: Path) -> None:
    def chunked(peer: Peer) -> None:
        peer.read_request()
        peer.send(b'HTTP/1.1 200 OK\r\nETag: "x"\r\nTransfer-Encoding: chunked\r\n\r\n')
        peer.send(b"%x\r\n%b\r\n" % (HALF, CONTENT[:HALF]))

    shelf = OneFile(CONTENT, etag='"x"')
    with AwkwardServer(lambda peer: (shelf if peer.number else chunked)(peer)) as server:
        interrupted(plain, server.url, target)
        resumed(plain, server.url, target)
    assert complete(target, CONTENT)
    assert shelf.asked == [f"bytes={HALF}-"]


def test_it_goes_on_behind_a_redirect(plain: ft.Client, target: Path) -> None:
    shelf = OneFile(CONTENT, cuts=[HALF])
    with AwkwardServer(shelf) as server, AwkwardServer(redirects_to(server.url)) as first:
        interrupted(plain, first.url, target)
        resumed(plain, first.url, target)
    assert complete(target, CONTENT)
    assert shelf.asked == [None, f"bytes={HALF}-"]


def test_progress_counts_what_was_kept(plain: ft.Client, target: Path) -> None:
    shelf = OneFile(CONTENT, cuts=[HALF])
    with AwkwardServer(shelf) as server:
        interrupted(plain, server.url, target)
        options = {"filePath": str(target), "resume": True}
        _, told = in_run(lambda: begin(plain, server.url, **options))
    assert all(event.totalBytesWritten > HALF for event in told.progress)
    assert {event.totalBytesExpectedToWrite for event in told.progress} == {SIZE}
    assert told.progress[-1].totalBytesWritten == SIZE
    assert [event.progress for event in told.progress].count(100) == 1


# --- by whatever it was interrupted ---------------------------------------------------------------


def by_abort(client: ft.Client, url: str, target: Path) -> None:
    task, told = begin(client, url, filePath=str(target), resume=True)
    until_moved(task, HALF)
    task.abort()
    assert told.wait().error().errMsg == "downloadFile:fail abort"


def by_timeout(client: ft.Client, url: str, target: Path) -> None:
    error = failed(client, url, filePath=str(target), resume=True, timeout=1500)
    assert error.errno == ft.Errno.TIMEOUT


def by_close(client: ft.Client, url: str, target: Path) -> None:
    with ft.Client(trust_env=False) as other:
        task, told = begin(other, url, filePath=str(target), resume=True)
        until_moved(task, HALF)
    assert told.wait().error().errno == ft.Errno.INTERRUPTED


def by_cancelling(client: ft.Client, url: str, target: Path) -> None:
    async def main() -> None:
        task = client.downloadFile(url=url, filePath=str(target), resume=True)
        waiting = asyncio.ensure_future(one(task))
        while task.moved[0] < HALF:
            await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        with pytest.raises(ft.FtError, match="abort"):
            await task

    async def one(task: Any) -> None:
        await task

    asyncio.run(main())


@pytest.mark.parametrize("by", [by_abort, by_timeout, by_close, by_cancelling])
def test_it_goes_on_whatever_interrupted_it(
    by: Callable[[ft.Client, str, Path], None], plain: ft.Client, target: Path
) -> None:
    shelf = OneFile(CONTENT, cuts=[HALF], ending=Peer.until_gone)
    with AwkwardServer(shelf) as server:
        by(plain, server.url, target)
        eventually(lambda: kept_of(target).stat().st_size == HALF, "all of it is on the disk")
        resumed(plain, server.url, target)
    assert complete(target, CONTENT)
    assert shelf.sent == SIZE


def test_it_goes_on_after_a_reset(plain: ft.Client, target: Path) -> None:
    def reset_when_told(peer: Peer) -> None:
        peer.server.gate.wait()
        peer.reset()

    shelf = OneFile(CONTENT, cuts=[HALF], ending=reset_when_told)
    with AwkwardServer(shelf) as server:
        task, told = begin(plain, server.url, filePath=str(target), resume=True)
        until_moved(task, HALF)
        server.gate.set()
        assert told.wait().error().errno == ft.Errno.INTERRUPTED
        resumed(plain, server.url, target)
    assert complete(target, CONTENT)
    assert shelf.sent == SIZE


KILLED = """
    import sys
    import ftnet as ft
    options = {"url": sys.argv[1], "filePath": sys.argv[2], "resume": True}
    ft.run(lambda: ft.downloadFile(options))
"""


@pytest.mark.parametrize("seed", range(4))
def test_it_goes_on_after_its_process_was_killed(seed: int, plain: ft.Client, target: Path) -> None:
    chance = random.Random(f"killed {seed}")
    shelf = OneFile(CONTENT, cuts=[chance.randrange(130_000, SIZE)], ending=Peer.until_gone)
    with AwkwardServer(shelf) as server:
        with Script(KILLED, server.url, str(target)) as script:
            kept = kept_of(target)
            eventually(lambda: kept.exists() and kept.stat().st_size > 61_440, "much", LIMIT)
            eventually(note_of(target).exists, "so is the note")
            script.process.kill()
            script.process.wait(LIMIT)
        size = kept.stat().st_size
        assert not target.exists()
        assert kept.read_bytes() == CONTENT[:size]
        resumed(plain, server.url, target)
    assert complete(target, CONTENT)
    assert shelf.asked == [None, f"bytes={size}-"]


# --- the server has a say -------------------------------------------------------------------------


PARTIAL = "206 Partial Content"


def part(first: int, last: int = SIZE - 1, total: object = SIZE) -> str:
    return f"Content-Range: bytes {first}-{last}/{total}"


NO_CONTINUATIONS = {
    "not satisfiable": response(f"Content-Range: bytes */{SIZE}", status="416 No"),
    "from the start": response(part(0), 'ETag: "first"', body=CONTENT, status=PARTIAL),
    "too early": response(part(HALF - 1), body=CONTENT[HALF - 1 :], status=PARTIAL),
    "too late": response(part(HALF + 1), body=CONTENT[HALF + 1 :], status=PARTIAL),
    "of no range": response('ETag: "first"', body=CONTENT[HALF:], status=PARTIAL),
    "in lines": response("Content-Range: lines 5-9/10", body=b"x", status=PARTIAL),
    "several": response(
        "Content-Type: multipart/byteranges; boundary=x", body=b"--x--", status=PARTIAL
    ),
    "coded": response(
        part(HALF), "Content-Encoding: gzip", body=gzip.compress(CONTENT[HALF:]), status=PARTIAL
    ),
    "of another file": response(part(HALF), 'ETag: "second"', body=OTHER[HALF:], status=PARTIAL),
    "of a longer file": response(
        part(HALF, SIZE + 4, SIZE + 5),
        'ETag: "first"',
        body=OTHER[HALF:] + b"12345",
        status=PARTIAL,
    ),
    "of a shorter file": response(
        part(HALF, SIZE - 6, SIZE - 5), 'ETag: "first"', body=OTHER[HALF:-5], status=PARTIAL
    ),
}


@pytest.mark.parametrize("name", NO_CONTINUATIONS)
def test_an_answer_that_does_not_go_on_makes_it_ask_for_the_whole(
    name: str, plain: ft.Client, target: Path
) -> None:
    shelf = OneFile(CONTENT, cuts=[HALF], instead={1: NO_CONTINUATIONS[name]})
    with AwkwardServer(shelf) as server:
        interrupted(plain, server.url, target)
        result = resumed(plain, server.url, target)
    assert complete(target, CONTENT)
    assert (result.statusCode, result.dataLength) == (200, SIZE)
    assert shelf.asked == [None, f"bytes={HALF}-", None]


def test_a_rest_that_was_modified_since_is_not_gone_on_with(plain: ft.Client, target: Path) -> None:
    date, before = "Date: Tue, 03 Mar 2026 12:00:00 GMT", "Last-Modified: Mon, 02 Mar 2026 "
    other = response(part(HALF), date, before + "09:00:00 GMT", body=OTHER[HALF:], status=PARTIAL)
    fields = (date, before + "08:00:00 GMT")
    shelf = OneFile(CONTENT, etag="", fields=fields, cuts=[HALF], instead={1: other})
    with AwkwardServer(shelf) as server:
        interrupted(plain, server.url, target)
        resumed(plain, server.url, target)
    assert complete(target, CONTENT)
    assert shelf.asked == [None, f"bytes={HALF}-", None]


@pytest.mark.parametrize("total", [SIZE, "*"])
def test_an_answer_of_less_than_the_rest_is_no_end(
    total: object, plain: ft.Client, target: Path
) -> None:
    some = response(
        part(HALF, HALF + 999, total),
        'ETag: "first"',
        body=CONTENT[HALF : HALF + 1000],
        status=PARTIAL,
    )
    shelf = OneFile(CONTENT, cuts=[HALF], instead={1: some})
    with AwkwardServer(shelf) as server:
        interrupted(plain, server.url, target)
        try:
            resumed(plain, server.url, target)
        except ft.FtError:
            assert not target.exists()
            resumed(plain, server.url, target)
    assert complete(target, CONTENT)


def test_a_rest_that_ends_with_the_connection_is_not_taken_for_whole(
    plain: ft.Client, target: Path
) -> None:
    head = f'HTTP/1.1 206 Partial Content\r\n{part(HALF)}\r\nETag: "first"\r\n'
    cut_off = f"{head}Connection: close\r\n\r\n".encode() + CONTENT[HALF:-9]
    shelf = OneFile(CONTENT, cuts=[HALF], instead={1: cut_off})
    with AwkwardServer(shelf) as server:
        interrupted(plain, server.url, target)
        interrupted(plain, server.url, target, kept=CONTENT[:-9])
        resumed(plain, server.url, target)
    assert complete(target, CONTENT)


def test_a_server_that_sends_parts_of_what_it_was_not_asked_for_is_not_believed(
    plain: ft.Client, target: Path
) -> None:
    stubborn = answers_with(part(1), body=CONTENT[1:], status=PARTIAL)
    shelf = OneFile(CONTENT, cuts=[HALF])
    with AwkwardServer(lambda peer: (stubborn if peer.number else shelf)(peer)) as server:
        interrupted(plain, server.url, target)
        error = failed(plain, server.url, filePath=str(target), resume=True)
        assert error.errno == ft.Errno.PROTOCOL
        assert len(server.requests) == 3
    assert not target.exists()
    assert kept_of(target).read_bytes() == CONTENT[:HALF]


@pytest.mark.parametrize("change", ["no ranges", "other file", "other file, same length"])
def test_a_server_that_sends_the_whole_again_has_it_taken(
    change: str, plain: ft.Client, target: Path
) -> None:
    after = {
        "no ranges": OneFile(CONTENT, ranges=False),
        "other file": OneFile(OTHER[:1000], etag='"second"'),
        "other file, same length": OneFile(OTHER, etag='"second"'),
    }[change]
    before = OneFile(CONTENT, cuts=[HALF])
    with AwkwardServer(lambda peer: (after if peer.number else before)(peer)) as server:
        interrupted(plain, server.url, target)
        result = resumed(plain, server.url, target)
    assert complete(target, after.content)
    assert (result.statusCode, result.dataLength) == (200, len(after.content))
    assert after.asked == [f"bytes={HALF}-"]


def test_the_whole_that_is_cut_again_is_what_the_third_goes_on_with(
    plain: ft.Client, target: Path
) -> None:
    before, after = OneFile(CONTENT, cuts=[HALF]), OneFile(OTHER, etag='"second"', cuts=[99])
    with AwkwardServer(lambda peer: (after if peer.number else before)(peer)) as server:
        interrupted(plain, server.url, target)
        interrupted(plain, server.url, target, kept=OTHER[:99])
        resumed(plain, server.url, target)
    assert complete(target, OTHER)
    assert after.asked == [f"bytes={HALF}-", "bytes=99-"]


@pytest.mark.parametrize("status", ["404 Not Found", "503 Later", "204 No Content", "500 Oh"])
def test_another_status_leaves_the_part_for_the_next_time(
    status: str, plain: ft.Client, target: Path
) -> None:
    body = b"" if status.startswith("204") else b"sorry"
    shelf = OneFile(CONTENT, cuts=[HALF], instead={1: response(body=body, status=status)})
    with AwkwardServer(shelf) as server:
        interrupted(plain, server.url, target)
        result = resumed(plain, server.url, target)
        assert result.statusCode == int(status[:3])
        assert target.read_bytes() == body
        assert kept_of(target).read_bytes() == CONTENT[:HALF]
        resumed(plain, server.url, target)
    assert complete(target, CONTENT)
    assert shelf.sent == SIZE
