"""A download that fails leaves nothing, and what was at its target as it was."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import ftnet as ft
from tests.downloads import (
    LIMIT,
    OneFile,
    begin,
    failed,
    fetched,
    halves,
    kept_of,
    left_in,
    noise,
    note_of,
    preloaded,
    until_moved,
)
from tests.drivers import in_run
from tests.processes import Script, run_script
from tests.servers import broken_answers
from tests.servers.awkward import AwkwardServer, ThrowawayTls, eventually
from tests.servers.behaviours import BEHAVIOURS

INTERRUPTED = ft.Errno.INTERRUPTED
PROTOCOL = ft.Errno.PROTOCOL
INVALID_DATA = ft.Errno.INVALID_DATA
SYSTEM = ft.Errno.SYSTEM
TIMEOUT = ft.Errno.TIMEOUT
PROMPT = {"timeout": 20_000}
SHORT = {"timeout": 300}
LIMITED = {"max_body_bytes": 1 << 20}


@pytest.fixture(params=["http", "https"])
def context(request: pytest.FixtureRequest, tls: ThrowawayTls) -> Any:
    """The TLS of an awkward server; None for plain HTTP."""
    return tls.context if request.param == "https" else None


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "file"


def descriptors_in(directory: Path) -> list[str]:
    """Files in a directory that this process holds open."""
    names = []
    for number in os.listdir("/proc/self/fd"):
        try:
            names.append(os.readlink(f"/proc/self/fd/{number}"))
        except FileNotFoundError:
            continue
    return [name for name in names if name.startswith(str(directory))]


# --- the peer -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fault:
    behaviour: str
    errno: tuple[ft.Errno, ...]
    options: Mapping[str, Any] = field(default_factory=lambda: PROMPT)
    client: Mapping[str, Any] = field(default_factory=dict)


FAULTS = [
    *(Fault(name, (INTERRUPTED,)) for name in broken_answers.CUT_BODIES),
    *(Fault(name, (INTERRUPTED, PROTOCOL)) for name in broken_answers.CUT_HEADERS),
    *(Fault(name, (PROTOCOL,)) for name in broken_answers.BAD_FRAMING),
    *(Fault(name, (PROTOCOL, INVALID_DATA)) for name in broken_answers.BAD_CODING),
    Fault("closes_unanswered", (INTERRUPTED,)),
    Fault("resets_in_header_block", (INTERRUPTED,)),
    Fault("resets_in_body", (INTERRUPTED,)),
    Fault("speaks_ssh", (PROTOCOL,)),
    Fault("body_for_ever", (INVALID_DATA,), client=LIMITED),
    Fault("body_of_2_mb", (INVALID_DATA,), client=LIMITED),
    Fault("gzip_bomb", (INVALID_DATA,), client=LIMITED),
    Fault("silent_after_the_request", (TIMEOUT,), SHORT),
    Fault("stalls_in_body", (TIMEOUT,), SHORT),
    Fault("stalls_between_chunks", (TIMEOUT,), SHORT),
    Fault("drips_for_ever", (TIMEOUT,), SHORT),
    Fault("redirect_loop", (ft.Errno.TOO_MANY_REDIRECTS,)),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.behaviour)
def test_a_broken_exchange_leaves_the_old_file_and_nothing_else(
    fault: Fault, context: Any, tls: ThrowawayTls, target: Path
) -> None:
    target.write_bytes(b"old")
    before = target.stat()
    with (
        AwkwardServer(BEHAVIOURS[fault.behaviour], tls=context) as server,
        ft.Client(ca=tls.ca, trust_env=False, **fault.client) as client,
    ):
        options = {"filePath": str(target), **fault.options}
        _, told = in_run(lambda: begin(client, server.url, **options))
    assert told.error().errno in fault.errno
    assert all(event.progress < 100 for event in told.progress)
    assert target.read_bytes() == b"old"
    assert (target.stat().st_ino, target.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert left_in(target.parent) == ["file"]
    assert descriptors_in(target.parent) == []


@pytest.mark.parametrize("name", ["resets_in_body", "closed_without_last_chunk", "stalls_in_body"])
@pytest.mark.parametrize("named", [True, False], ids=["named", "temporary"])
def test_a_broken_exchange_leaves_no_new_file(
    named: bool, name: str, context: Any, tls: ThrowawayTls, target: Path
) -> None:
    with (
        AwkwardServer(BEHAVIOURS[name], tls=context) as server,
        ft.Client(ca=tls.ca, trust_env=False, temp_dir=str(target.parent)) as client,
    ):
        failed(client, server.url, filePath=str(target) if named else None, timeout=300)
    assert left_in(target.parent) == []


@pytest.mark.parametrize("cut", [0, 61_440, 1_000_000, 2_999_999])
def test_a_long_body_that_is_cut_leaves_nothing(
    cut: int, context: Any, tls: ThrowawayTls, target: Path
) -> None:
    with (
        AwkwardServer(OneFile(noise(3_000_000), cuts=[cut]), tls=context) as server,
        ft.Client(ca=tls.ca, trust_env=False) as client,
    ):
        error = failed(client, server.url, filePath=str(target))
    assert error.errno == INTERRUPTED
    assert left_in(target.parent) == []


def test_a_body_that_ends_without_close_notify_is_no_file(tls: ThrowawayTls, target: Path) -> None:
    behaviour = BEHAVIOURS["ends_without_close_notify"]
    with (
        AwkwardServer(behaviour, tls=tls.context) as server,
        ft.Client(ca=tls.ca, trust_env=False) as client,
    ):
        error = failed(client, server.url, filePath=str(target))
    assert error.errno in (INTERRUPTED, ft.Errno.TLS)
    assert left_in(target.parent) == []


def test_an_untrusted_server_gets_no_file_written(nginx: Any, target: Path) -> None:
    with ft.Client(ca=nginx.ca, trust_env=False) as client:
        error = failed(client, f"{nginx.untrusted}/text.txt", filePath=str(target))
    assert error.errno == ft.Errno.TLS
    assert left_in(target.parent) == []


@pytest.mark.parametrize("where", ["queue", "header", "body"])
def test_abort_leaves_nothing(where: str, target: Path) -> None:
    behaviour = BEHAVIOURS["silent_after_the_request"] if where == "header" else halves(bytes(1000))
    with AwkwardServer(behaviour) as server, ft.Client(max_connections=1) as client:
        task, told = begin(client, server.url, filePath=str(target))
        server.wait_for_requests(1)
        if where == "body":
            until_moved(task, 500)
        if where == "queue":
            queued, _ = begin(client, server.url, filePath=str(target.with_name("queued")))
            queued.abort()
            with pytest.raises(ft.FtError, match="^downloadFile:fail abort$"):
                queued.result(LIMIT)
            assert not [name for name in left_in(target.parent) if "queued" in name]
        task.abort()
        assert told.wait().error().errMsg == "downloadFile:fail abort"
    assert left_in(target.parent) == []
    assert descriptors_in(target.parent) == []


def test_a_thousand_queued_downloads_that_are_aborted_leave_nothing(target: Path) -> None:
    with AwkwardServer(halves(bytes(1000))) as server, ft.Client(max_connections=8) as client:
        tasks = [
            begin(client, server.url, filePath=str(target.with_name(str(number))))
            for number in range(1000)
        ]
        server.wait_for_peers(8)
        for task, _ in tasks:
            task.abort()
        for _, told in tasks:
            assert told.wait().error().errMsg == "downloadFile:fail abort"
    assert left_in(target.parent) == []


# --- the file system ------------------------------------------------------------------------------


def refused(client: ft.Client, target: str | Path, **options: Any) -> ft.FtError:
    """The error of a download whose file can't be opened; the server hears nothing of it."""
    with AwkwardServer(halves(noise(1000))) as server:
        server.gate.set()
        error = failed(client, server.url, filePath=str(target), **options)
        assert server.peers == []
    return error


def no_directory(target: Path) -> Path:
    return target / "file"


def a_directory(target: Path) -> Path:
    target.mkdir()
    return target


def below_a_file(target: Path) -> Path:
    target.write_bytes(b"old")
    return target / "file"


def a_loop_of_links(target: Path) -> Path:
    target.symlink_to(target.name)
    return target


def a_name_too_long(target: Path) -> Path:
    return target.with_name("n" * 256)


REFUSED: dict[Callable[[Path], Path], str] = {
    no_directory: "ENOENT",
    a_directory: "EISDIR",
    below_a_file: "ENOTDIR",
    a_loop_of_links: "ELOOP",
    a_name_too_long: "ENAMETOOLONG",
}


@pytest.mark.parametrize("resume", [False, True], ids=["plain", "resume"])
@pytest.mark.parametrize("make", REFUSED, ids=lambda make: make.__name__)
def test_a_target_that_cannot_be_is_told_by_its_os_error(
    make: Callable[[Path], Path], resume: bool, plain: ft.Client, target: Path
) -> None:
    place = make(target)
    before = left_in(target.parent)
    error = refused(plain, place, resume=resume)
    assert error.errno == SYSTEM
    assert error.cause is not None
    assert error.cause.name == REFUSED[make]
    assert error.cause.os_errno > 0
    assert place.name in error.errMsg
    assert left_in(target.parent) == before


@pytest.mark.parametrize("resume", [False, True], ids=["plain", "resume"])
@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_a_target_that_is_no_file_is_left_as_it_is(
    kind: str, resume: bool, plain: ft.Client, target: Path
) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        if kind == "pipe":
            os.mkfifo(target)
        else:
            listener.bind(str(target))
        error = refused(plain, target, resume=resume)
        assert error.errno == ft.Errno.ARGUMENT
        assert "not a regular file" in error.errMsg
        assert left_in(target.parent) == ["file"]
        assert target.is_fifo() or target.is_socket()


def test_a_device_cannot_be_taken_up_again(plain: ft.Client) -> None:
    assert refused(plain, "/dev/null", resume=True).errno == ft.Errno.ARGUMENT


def test_a_temporary_directory_that_went_away_is_told(server: Any, target: Path) -> None:
    target.mkdir()
    with ft.Client(trust_env=False, temp_dir=str(target)) as client:
        target.rmdir()
        error = failed(client, f"{server.http}/bytes/10")
        assert error.cause is not None
        assert (error.errno, error.cause.name) == (SYSTEM, "ENOENT")


def test_a_device_that_is_full_is_told(plain: ft.Client, server: Any) -> None:
    for size in (10, 500_000):
        error = failed(plain, f"{server.http}/bytes/{size}", filePath="/dev/full")
        assert error.cause is not None
        assert (error.errno, error.cause.name) == (SYSTEM, "ENOSPC")
        assert "/dev/full" in error.errMsg


@pytest.fixture
def megabyte() -> Iterator[Path]:
    """A file system of 1 MB."""
    with tempfile.TemporaryDirectory() as room:
        mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", room]
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no file system can be mounted: {done.stderr.strip()}")
        yield Path(room)
        subprocess.run(["umount", room], check=True)


@pytest.mark.parametrize("path", ["/bytes/3000000", "/stream/3000/1000", "/bomb/3000000"])
@pytest.mark.parametrize("options", [{}, {"resume": True}, {"sync": True}], ids=str)
def test_no_space_is_told_and_leaves_the_old_file(
    options: dict[str, Any], path: str, megabyte: Path, plain: ft.Client, server: Any
) -> None:
    target = megabyte / "file"
    target.write_bytes(b"old")
    error = failed(plain, server.http + path, filePath=str(target), **options)
    assert error.cause is not None
    assert (error.errno, error.cause.name) == (SYSTEM, "ENOSPC")
    assert str(target) in error.errMsg
    assert target.read_bytes() == b"old"
    assert left_in(megabyte) == ["file"]
    fetched(plain, f"{server.http}/bytes/900000", filePath=str(target))


@pytest.mark.parametrize("size", [5_000, 70_000])
def test_no_space_for_the_last_bytes_is_told(
    size: int, megabyte: Path, plain: ft.Client, server: Any
) -> None:
    filler = megabyte / "filler"
    filler.write_bytes(bytes((1 << 20) - (4096 if size < 61_440 else 61_440)))
    error = failed(plain, f"{server.http}/bytes/{size}", filePath=str(megabyte / "file"))
    assert error.cause is not None
    assert (error.errno, error.cause.name) == (SYSTEM, "ENOSPC")
    assert left_in(megabyte) == ["filler"]


def test_what_found_space_is_kept_for_the_next_time(megabyte: Path, plain: ft.Client) -> None:
    content, target = noise(1_000_000), megabyte / "file"
    filler = megabyte / "filler"
    filler.write_bytes(bytes(300_000))
    shelf = OneFile(content)
    first_half = halves(content, 'ETag: "first"')
    with AwkwardServer(lambda peer: (shelf if peer.number else first_half)(peer)) as server:
        _, told = begin(plain, server.url, filePath=str(target), resume=True)
        eventually(note_of(target).exists, "it is noted what comes")
        server.gate.set()
        assert told.wait().error().errno == SYSTEM
        kept = kept_of(target).stat().st_size
        assert 500_000 < kept < 750_000
        filler.unlink()
        fetched(plain, server.url, filePath=str(target), resume=True)
    assert shelf.asked == [f"bytes={kept}-"]
    assert target.read_bytes() == content
    assert left_in(megabyte) == ["file"]


def test_a_limit_on_the_size_of_files_is_told(server: Any, target: Path) -> None:
    source = """
        import resource, sys
        import ftnet as ft
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
        task = ft.run(lambda: ft.downloadFile(url=sys.argv[1], filePath=sys.argv[2]))
        print(task.outcome.cause.name)
    """
    assert run_script(source, f"{server.http}/bytes/1000000", str(target)) == ["EFBIG"]
    assert left_in(target.parent) == []


AS_NOBODY = """
    import hashlib, json, mimetypes, os, sys, tempfile, threading
    import ftnet as ft
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
    for resume in (False, True):
        options = {"url": sys.argv[1], "filePath": sys.argv[2], "resume": resume}
        task = ft.run(lambda: ft.downloadFile(options))
        print(getattr(task.outcome, "cause", None) and task.outcome.cause.name)
"""


@pytest.fixture
def shared() -> Iterator[Path]:
    """A directory that everybody may enter."""
    if os.geteuid():
        pytest.skip("only root can become somebody else")
    room = Path(tempfile.mkdtemp())
    room.chmod(0o755)
    yield room
    shutil.rmtree(room)


@pytest.mark.parametrize("what", ["directory", "file", "way"])
def test_permission_denied_is_told_and_changes_nothing(
    what: str, shared: Path, server: Any
) -> None:
    folder = shared / "folder"
    folder.mkdir()
    folder.chmod({"directory": 0o755, "file": 0o777, "way": 0o700}[what])
    (folder / "file").write_bytes(b"old")
    (folder / "file").chmod(0o644 if what == "file" else 0o666)
    lines = run_script(AS_NOBODY, f"{server.http}/bytes/10", str(folder / "file"))
    assert lines == ["EACCES", "EACCES"]
    assert (folder / "file").read_bytes() == b"old"
    assert left_in(folder) == ["file"]


def test_a_file_of_ones_own_is_replaced_by_anybody(shared: Path, server: Any) -> None:
    folder = shared / "folder"
    folder.mkdir()
    folder.chmod(0o777)
    lines = run_script(AS_NOBODY, f"{server.http}/bytes/10", str(folder / "file"))
    assert lines == ["None", "None"]
    assert (folder / "file").stat().st_uid == 65534
    assert left_in(folder) == ["file"]


def remove_directory(folder: Path) -> None:
    shutil.rmtree(folder)


def remove_the_part(folder: Path) -> None:
    (part,) = folder.iterdir()
    part.unlink()


def put_a_directory_there(folder: Path) -> None:
    (folder / "file").mkdir()


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (remove_directory, "ENOENT"),
        (remove_the_part, "ENOENT"),
        (put_a_directory_there, "EISDIR"),
    ],
)
def test_a_place_that_is_lost_meanwhile_is_told(
    change: Callable[[Path], None], name: str, plain: ft.Client, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with AwkwardServer(halves(bytes(300_000))) as server:
        task, told = begin(plain, server.url, filePath=str(folder / "file"))
        until_moved(task, 150_000)
        change(folder)
        server.gate.set()
        error = told.wait().error()
    assert error.cause is not None
    assert (error.errno, error.cause.name) == (SYSTEM, name)
    assert not folder.exists() or left_in(folder) in ([], ["file"])


def test_too_many_open_files_is_told_and_passes(server: Any, target: Path) -> None:
    source = """
        import os, resource, sys
        import ftnet as ft
        url, path = sys.argv[1:]

        def one():
            return ft.run(lambda: ft.downloadFile(url=url, filePath=path)).outcome

        print(one().dataLength)
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
        held = []
        while True:
            try:
                held.append(os.open("/dev/null", os.O_RDONLY))
            except OSError:
                break
        error = one()
        print(error.errno == ft.Errno.SYSTEM, error.cause.name)
        for descriptor in held:
            os.close(descriptor)
        print(one().dataLength)
    """
    lines = run_script(source, f"{server.http}/bytes/10", str(target))
    assert lines == ["10", "True EMFILE", "10"]
    assert left_in(target.parent) == ["file"]


SLOW_DISK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>
#include <unistd.h>

/* 60 MB a second. */
ssize_t write(int fd, const void *from, size_t length) {
  struct timespec pause = {0, 1000000};
  if (length >= 4096) nanosleep(&pause, 0);
  return ((ssize_t (*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write"))(fd, from, length);
}
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="preloads as glibc has it")
@pytest.mark.parametrize("base", ["http", "https"])
def test_a_disk_slower_than_the_network_holds_up_neither_timers_nor_others(
    base: str, server: Any, target: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    source = """
        import sys, time
        import ftnet as ft
        base, ca, path = sys.argv[1:]
        begun, heard = time.monotonic(), {"progress": [], "other": []}
        timeout = 2.0

        def hears(what):
            return lambda _: heard[what].append(time.monotonic() - begun)

        def start():
            url = base + "/bytes/1000000000"  # at least 16 s
            large = client.downloadFile(url=url, filePath=path, timeout=timeout * 1000)
            large.onProgressUpdate(hears("progress"))
            client.request(url=base + "/hello", success=hears("other"))
            return large

        client = ft.Client(ca=ca)
        large = ft.run(start)
        print(large.outcome.errMsg, time.monotonic() - begun < 8)
        print(heard["other"][0] < timeout, len(heard["progress"]) > 2)
    """
    shim = preloaded(tmp_path_factory.mktemp("slow"), SLOW_DISK)
    with Script(source, getattr(server, base), server.ca, str(target), **shim) as script:
        assert script.finish() == ["downloadFile:fail timeout True", "True True"]
    assert left_in(target.parent) == []
