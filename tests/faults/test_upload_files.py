"""Files that are not there, are no files, or change while they are sent: `fail`, and no wrong body.

The server says when: it reads a part, tells the test, the test does something to the file, and the
server reads on.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import ftnet as ft
from tests.drivers import in_callback
from tests.history import check_phases
from tests.processes import run_script
from tests.servers.awkward import AwkwardServer, Peer
from tests.servers.behaviours import answers, length_of, silent
from tests.uploads import (
    LIMIT,
    UploadHistory,
    begin,
    failure,
    filled,
    open_files,
    parts_of,
    run,
    send,
    sparse,
)

SIZE = 24 << 20  # more than fits between here and a server that does not read


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return aged(sparse(tmp_path / "source.bin", SIZE))


def aged(path: Path) -> Path:
    """The file, last changed long ago: the clock of a file system may not tell what was done just
    before from what is done now."""
    os.utime(path, (1e9, 1e9))
    return path


def closed(path: Path) -> bool:
    return not open_files(lambda name: name.startswith(str(path)))


# --- what is no file to begin with ----------------------------------------------------------------


def refused(path: Path, **options: Any) -> ft.FtError:
    """The error of an upload that must not even connect."""
    with AwkwardServer(answers) as server, ft.Client(trust_env=False) as client:
        error = failure(client, server.url, path, timeout=10_000, **options)
        assert server.peers == []
    check_phases(error.profile, "queue")
    return error


def test_a_missing_file_fails_with_the_systems_words(tmp_path: Path) -> None:
    error = refused(tmp_path / "missing.bin")
    assert error.errno == ft.Errno.SYSTEM
    assert error.cause is not None
    assert (error.cause.name, error.cause.os_errno) == ("ENOENT", errno.ENOENT)
    assert "No such file" in error.errMsg
    assert str(tmp_path / "missing.bin") in error.errMsg


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    error = refused(tmp_path)
    assert error.errno == ft.Errno.SYSTEM
    assert error.cause is not None
    assert error.cause.os_errno == errno.EISDIR
    assert str(tmp_path) in error.errMsg


def test_a_file_is_no_directory(path: Path) -> None:
    error = refused(path / "below")
    assert error.cause is not None
    assert error.cause.os_errno == errno.ENOTDIR


@contextlib.contextmanager
def unix_socket(path: Path) -> Iterator[None]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        yield


@pytest.mark.parametrize("kind", ["fifo", "fifo with a writer", "/dev/zero", "/dev/null", "socket"])
def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    path = Path(kind) if kind.startswith("/") else tmp_path / "special"
    with contextlib.ExitStack() as held:
        if kind.startswith("fifo"):
            os.mkfifo(path)
        if kind == "fifo with a writer":
            held.callback(os.close, os.open(path, os.O_RDWR))
        if kind == "socket":
            held.enter_context(unix_socket(path))
        error = refused(path)
    # a socket can't even be opened
    assert error.errno == (ft.Errno.SYSTEM if kind == "socket" else ft.Errno.ARGUMENT)
    assert str(path) in error.errMsg


def test_a_link_that_leads_nowhere_or_to_itself_fails(tmp_path: Path) -> None:
    for name, target, number in (("gone", "x", errno.ENOENT), ("loop", "loop", errno.ELOOP)):
        (tmp_path / name).symlink_to(target)
        error = refused(tmp_path / name)
        assert error.cause is not None
        assert error.cause.os_errno == number


def test_a_link_to_a_file_is_that_file(plain: ft.Client, tmp_path: Path) -> None:
    filled(tmp_path / "file.bin", 1000)
    (tmp_path / "link.png").symlink_to("file.bin")
    assert sent(plain, tmp_path / "link.png")[0].value == (tmp_path / "file.bin").read_bytes()


def sent(client: ft.Client, path: Path, **options: Any) -> Any:
    """The parts of a form as the server got them."""
    with AwkwardServer(answers) as server:
        assert send(client, server.url, path, **options).statusCode == 200
        (request,) = server.requests
    return parts_of(request.body, request.get("content-type") or "")


UNREADABLE = """
    import asyncio
    import mimetypes
    import os
    import sys
    import ftnet as ft

    if os.geteuid() == 0:  # what is imported later may be root's alone
        os.setuid(65534)
    url, path = sys.argv[1:]
    try:
        ft.uploadFile(url=url, filePath=path, name="f").result(20)
    except ft.FtError as error:
        print(int(error.errno), error.cause.name, error.errMsg)
"""


def test_a_file_that_may_not_be_read_fails() -> None:
    with AwkwardServer(answers) as server, unreadable() as path:
        (line,) = run_script(UNREADABLE, server.url, path)
        assert server.peers == []
    assert line == f"600006 EACCES uploadFile:fail permission denied (EACCES): {path}"


@contextlib.contextmanager
def unreadable() -> Iterator[str]:
    """A file of mode 000 in a directory that everybody may enter."""
    fd, path = tempfile.mkstemp()
    try:
        os.fchmod(fd, 0)
        yield path
    finally:
        os.close(fd)
        os.unlink(path)


def test_a_second_file_that_is_missing_stops_the_first_too(path: Path, tmp_path: Path) -> None:
    missing = {"name": "second", "filePath": tmp_path / "missing.bin"}
    error = refused(path, files=[missing])
    assert "missing.bin" in error.errMsg
    assert "source.bin" not in error.errMsg
    assert closed(tmp_path)


def test_an_empty_file_is_a_file(plain: ft.Client, tmp_path: Path) -> None:
    (part,) = sent(plain, sparse(tmp_path / "empty.txt", 0))
    assert (part.value, part.file_name, part.content_type) == (b"", b"empty.txt", "text/plain")


def test_empty_files_between_others_lose_nothing(plain: ft.Client, tmp_path: Path) -> None:
    empty, full = sparse(tmp_path / "empty", 0), filled(tmp_path / "full", 5000)
    more = [{"name": "f", "filePath": path} for path in (full, empty, empty, full)]
    values = [part.value for part in sent(plain, empty, files=more)]
    assert values == [b"", full.read_bytes(), b"", b"", full.read_bytes()]


# --- what changes on the way ----------------------------------------------------------------------


def reads_in_two_parts(peer: Peer) -> None:
    """Half a megabyte, then the rest when the test has opened the gate."""
    length = length_of(peer.read_head())
    peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    peer.read_exactly(1 << 19)
    peer.server.passed.set()
    peer.server.gate.wait()
    peer.read_exactly(length - (1 << 19))
    peer.answer(b"all")


def changed(path: Path, change: Callable[[Path], object], **options: Any) -> UploadHistory:
    """The history of an upload whose file is changed when a part of it has been read."""
    with AwkwardServer(reads_in_two_parts) as server, ft.Client(trust_env=False) as client:
        _, history = in_callback(
            lambda: begin(client, server.url, filePath=path, name="f", **options)
        )
        assert server.passed.wait(LIMIT)
        change(path)
        server.gate.set()
        history.wait()
        server.wait_until_alone()
        ((head, received),) = [bytes(peer.received).split(b"\r\n\r\n", 1) for peer in server.peers]
        whole = len(received) == length_of(head + b"\r\n\r\n")
        assert whole is (history.names[-2] == "success"), "a wrong body that looks whole"
    assert closed(path)
    return history


def rewrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(SIZE // 2)
        file.write(b"something else")


def replace(path: Path) -> None:
    sparse(path.with_name("other"), SIZE).replace(path)


CHANGES: dict[str, Callable[[Path], object]] = {
    "shrinks": lambda path: os.truncate(path, SIZE // 2),
    "shrinks by a byte": lambda path: os.truncate(path, SIZE - 1),
    "is emptied": lambda path: os.truncate(path, 0),
    "grows": lambda path: os.truncate(path, SIZE + 1_000_000),
    "grows by a byte": lambda path: os.truncate(path, SIZE + 1),
    "is rewritten": rewrite,
    "is touched": lambda path: os.utime(path),
    "is replaced": replace,
    "is removed": os.unlink,
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_file_that_changes_while_it_is_sent_fails(path: Path, what: str) -> None:
    history = changed(path, CHANGES[what])
    error = history.error()
    assert error.errno == ft.Errno.SYSTEM
    assert error.errMsg == f"uploadFile:fail the file changed while it was sent: {path}"
    assert error.cause is not None
    assert error.cause.name == "FT_FILE_CHANGED"
    assert max(history.percents, default=0) < 100
    assert error.profile.requestStart > 0


def test_the_phases_of_a_file_that_changed_end_with_the_sending(path: Path) -> None:
    check_phases(changed(path, os.unlink).error().profile, "send")


def test_a_file_may_be_read_and_renamed_while_it_is_sent(path: Path) -> None:
    def harmless(path: Path) -> None:
        assert len(path.read_bytes()) == SIZE
        path.rename(path.with_name("renamed"))

    assert changed(path, harmless).result().data == "all"


@pytest.mark.parametrize("what", ["is removed", "grows", "is replaced"])
def test_a_second_file_that_changed_before_its_turn_fails(
    path: Path, tmp_path: Path, what: str
) -> None:
    second = sparse(tmp_path / "second.bin", SIZE)
    files = [{"name": "second", "filePath": second}]
    error = changed(path, lambda _: CHANGES[what](second), files=files).error()
    assert error.errno == ft.Errno.SYSTEM
    assert "second.bin" in error.errMsg
    assert closed(second)


def test_a_second_file_that_became_a_fifo_fails(path: Path, tmp_path: Path) -> None:
    second = sparse(tmp_path / "second.bin", SIZE)

    def change(_: Path) -> None:
        second.unlink()
        os.mkfifo(second)

    error = changed(path, change, files=[{"name": "second", "filePath": second}]).error()
    assert "second.bin" in error.errMsg


def test_a_file_that_changed_in_the_queue_is_sent_as_it_is_then(tmp_path: Path) -> None:
    path = filled(tmp_path / "x", 1000)
    with (
        AwkwardServer(silent) as first,
        AwkwardServer(answers) as server,
        ft.Client(max_connections=1, trust_env=False) as client,
    ):
        blocking = client.request(url=first.url)
        first.wait_for_bytes(1)
        task = client.uploadFile(url=server.url, filePath=path, name="f")
        filled(path, 5000, seed=1)
        blocking.abort()
        task.result(LIMIT)
        (request,) = server.requests
    (part,) = parts_of(request.body, request.get("content-type") or "")
    assert part.value == path.read_bytes()


def test_a_file_that_changed_before_its_body_is_sent_again_fails(tmp_path: Path) -> None:
    path = aged(filled(tmp_path / "x", 10_000))

    def moves_when_told(peer: Peer) -> None:
        peer.read_request()
        peer.server.gate.wait()
        peer.answer(b"", f"Location: {good.url}", status="307 Temporary Redirect")

    with (
        AwkwardServer(answers) as good,
        AwkwardServer(moves_when_told) as server,
        ft.Client(trust_env=False) as client,
    ):
        task = client.uploadFile(url=server.url, filePath=path, name="f")
        server.wait_for_requests(1)
        filled(path, 10_000, seed=1)
        server.gate.set()
        with pytest.raises(ft.FtError, match="the file changed while it was sent"):
            task.result(LIMIT)
        assert good.requests == []
    assert closed(path)


def test_the_next_upload_after_a_failed_one_is_whole(path: Path, tmp_path: Path) -> None:
    good = filled(tmp_path / "good.bin", 100_000)
    with AwkwardServer(answers) as server, ft.Client(max_connections=1) as client:
        for bad in (tmp_path, tmp_path / "missing"):
            failure(client, server.url, bad)
            send(client, server.url, good)
        (first, second) = server.requests
        assert len(server.peers) == 1
    for request in (first, second):
        (part,) = parts_of(request.body, request.get("content-type") or "")
        assert part.value == good.read_bytes()


@pytest.mark.libcurl_only
def test_a_stream_whose_file_shrank_ends_alone(server: Any, path: Path) -> None:
    url = f"{server.https}/upload?rate=20000000"
    with ft.Client(ca=server.ca, trust_env=False) as client:
        client.request(url=f"{server.https}/hello").result(LIMIT)
        shrunk: list[object] = []

        def shrink(event: ft.UploadProgress) -> None:
            if not shrunk:
                shrunk.append(event)
                os.truncate(path, 1000)

        def start() -> UploadHistory:
            task, history = begin(client, url, filePath=path, name="f")
            task.onProgressUpdate(shrink)
            return history

        error = in_callback(start).wait().error()
        assert error.errMsg.startswith("uploadFile:fail the file changed while it was sent")
        response = client.request(url=f"{server.https}/hello").result(LIMIT)
        assert (response.data, response.profile.socketReused) == ("Hello, World!", True)


def test_a_failure_without_a_profile_has_none(plain: ft.Client, tmp_path: Path) -> None:
    with AwkwardServer(answers) as server:
        history = run(
            plain, server.url, filePath=tmp_path / "missing", name="f", enableProfile=False
        )
    assert history.error().profile is None
    assert history.progress == []
