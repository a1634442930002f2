"""Downloads and processes: what a killed one leaves, who clears it away, what a fork may touch."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest

import ftnet as ft
from ftnet.testing.app import pattern
from tests.downloads import LIMIT, begin, fetched, halves, left_in, noise, until_moved
from tests.processes import Script, run_script
from tests.servers.awkward import AwkwardServer, eventually

CONTENT = noise(400_000)
STALE = ".file.0123456789abcdef.ftpart"

DOWNLOAD = """
    import os, sys
    import ftnet as ft

    def get(url, path):
        return ft.downloadFile(url=url, filePath=path)

    task = get(sys.argv[1], sys.argv[2])
"""


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "file"


def parts_in(directory: Path) -> list[str]:
    """Of files; a note is written beside its place, too."""
    names = [name for name in left_in(directory) if name.endswith(".ftpart")]
    return [name for name in names if ".note." not in name]


def written(directory: Path) -> bool:
    """Whether a part in it has bytes."""
    return any((directory / name).stat().st_size > 0 for name in parts_in(directory))


# --- killed ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_killed_download_leaves_the_old_file_and_a_part_that_the_next_process_removes(
    scheme: str, tls: Any, plain: ft.Client, server: Any, target: Path
) -> None:
    target.write_bytes(b"old")
    source = """
        import sys
        import ftnet as ft
        client = ft.Client(ca=sys.argv[3])
        ft.run(lambda: client.downloadFile(url=sys.argv[1], filePath=sys.argv[2]))
    """
    context = tls.context if scheme == "https" else None
    with (
        AwkwardServer(halves(CONTENT), tls=context) as slow,
        Script(source, slow.url, str(target), tls.ca) as script,
    ):
        eventually(lambda: written(target.parent), "some of it is on the disk")
        script.process.kill()
        script.process.wait(LIMIT)
    (part,) = parts_in(target.parent)
    assert left_in(target.parent) == [part, "file"]
    assert target.read_bytes() == b"old"
    fetched(plain, f"{server.http}/bytes/10", filePath=str(target.with_name("other")))
    assert left_in(target.parent) == ["file", "other"]
    assert target.read_bytes() == b"old"


def test_a_temporary_directory_of_the_callers_is_cleared_too(server: Any, tmp_path: Path) -> None:
    (tmp_path / ".tmp.0123456789abcdef.ftpart").write_bytes(b"left")
    with ft.Client(trust_env=False, temp_dir=str(tmp_path)) as client:
        result = fetched(client, f"{server.http}/bytes/10")
    assert left_in(tmp_path) == [Path(result.tempFilePath).name]


def test_the_part_of_a_living_process_stays(plain: ft.Client, server: Any, target: Path) -> None:
    with (
        AwkwardServer(halves(CONTENT)) as slow,
        Script(DOWNLOAD, slow.url, str(target)) as script,
    ):
        eventually(lambda: written(target.parent), "some of it is on the disk")
        (part,) = parts_in(target.parent)
        stale = target.with_name(STALE)
        stale.write_bytes(b"left")
        fetched(plain, f"{server.http}/bytes/10", filePath=str(target.with_name("other")))
        assert left_in(target.parent) == [part, "other"]
        slow.gate.set()
        script.finish()
    assert target.read_bytes() == CONTENT
    assert left_in(target.parent) == ["file", "other"]


def test_a_part_of_the_same_process_stays(plain: ft.Client, server: Any, target: Path) -> None:
    with AwkwardServer(halves(CONTENT)) as slow:
        task, _ = begin(plain, slow.url, filePath=str(target))
        until_moved(task, len(CONTENT) // 2)
        run_script(DOWNLOAD, f"{server.http}/bytes/10", str(target.with_name("other")))
        slow.gate.set()
        task.result(LIMIT)
    assert target.read_bytes() == CONTENT
    assert left_in(target.parent) == ["file", "other"]


def test_only_parts_are_cleared_away(plain: ft.Client, server: Any, target: Path) -> None:
    folder = target.parent
    kept = [
        ".file.ftpart",
        ".file.ftpart.note",
        "file.0123456789abcdef.ftpart",
        ".file.0123456789ABCDEF.ftpart",
        ".file.0123456789abcde.ftpart",
        ".file.0123456789abcdef.ftpart.txt",
        ".file.0123456789abcdef",
    ]
    for name in kept:
        (folder / name).write_bytes(b"mine")
    (folder / STALE).write_bytes(b"left")
    (folder / ".a directory.0123456789abcdef.ftpart").mkdir()
    (folder / ".a link.0123456789abcdef.ftpart").symlink_to(folder / ".file.ftpart")
    fetched(plain, f"{server.http}/bytes/10", filePath=str(target))
    others = [".a directory.0123456789abcdef.ftpart", ".a link.0123456789abcdef.ftpart"]
    assert left_in(folder) == sorted([*kept, *others, "file"])


def test_a_directory_is_cleared_once_by_a_process(
    plain: ft.Client, server: Any, target: Path
) -> None:
    fetched(plain, f"{server.http}/bytes/10", filePath=str(target))
    target.with_name(STALE).write_bytes(b"left")
    fetched(plain, f"{server.http}/bytes/10", filePath=str(target))
    assert left_in(target.parent) == [STALE, "file"]
    run_script(DOWNLOAD, f"{server.http}/bytes/10", str(target))
    assert left_in(target.parent) == ["file"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_signal_in_the_middle_leaves_the_old_file(number: int, target: Path) -> None:
    target.write_bytes(b"old")
    source = """
        import sys
        import ftnet as ft
        ft.run(lambda: ft.downloadFile(url=sys.argv[1], filePath=sys.argv[2]))
    """
    with AwkwardServer(halves(CONTENT)) as slow, Script(source, slow.url, str(target)) as script:
        eventually(lambda: written(target.parent), "some of it is on the disk")
        script.process.send_signal(number)
        script.process.wait(LIMIT)
    assert target.read_bytes() == b"old"
    if number == signal.SIGINT:  # an exception like any other
        assert left_in(target.parent) == ["file"]


def test_the_end_of_the_interpreter_waits_for_the_file(target: Path) -> None:
    with AwkwardServer(halves(CONTENT)) as slow, Script(DOWNLOAD, slow.url, str(target)) as script:
        eventually(lambda: written(target.parent), "some of it is on the disk")
        slow.gate.set()
        script.finish()
    assert target.read_bytes() == CONTENT
    assert left_in(target.parent) == ["file"]


# --- forked ---------------------------------------------------------------------------------------

FORK = (
    DOWNLOAD
    + """
    sys.stdin.readline()
    pid = os.fork()
    if pid == 0:
        task = None
        WORK
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    sys.stdin.readline()
    print(task.result(10).dataLength)
"""
)
WORKS = {
    "exits at once": "os._exit(0)",
    "exits": "sys.exit(0)",
    "collects garbage": "import gc; gc.collect(); sys.exit(0)",
    "downloads something else": 'get(sys.argv[3], sys.argv[2] + "2").result(10); sys.exit(0)',
    "downloads to the same path": "get(sys.argv[3], sys.argv[2]).result(10); sys.exit(0)",
    "is killed": "os.kill(os.getpid(), 9)",
}


@pytest.mark.parametrize("work", WORKS)
def test_a_fork_does_not_touch_the_file_of_its_parent(work: str, server: Any, target: Path) -> None:
    source = FORK.replace("WORK", WORKS[work])
    with (
        AwkwardServer(halves(CONTENT)) as slow,
        Script(source, slow.url, str(target), f"{server.http}/bytes/10") as script,
    ):
        eventually(lambda: written(target.parent), "some of it is on the disk")
        (part,) = parts_in(target.parent)
        script.tell()
        assert script.line() == ("-9" if work == "is killed" else "0")
        assert part in left_in(target.parent)
        slow.gate.set()
        script.tell()
        assert script.finish() == [str(len(CONTENT))]
    assert target.read_bytes() == CONTENT
    second = target.with_name("file2")
    assert left_in(target.parent) == (["file", "file2"] if second.exists() else ["file"])
    assert not second.exists() or second.read_bytes() == pattern(10)


def test_a_living_fork_of_a_killed_process_holds_no_part(
    plain: ft.Client, server: Any, target: Path
) -> None:
    source = (
        DOWNLOAD
        + """
    sys.stdin.readline()
    pid = os.fork()
    if pid == 0:
        print(os.getpid())
        sys.stdin.readline()
        os._exit(0)
    os.waitpid(pid, 0)
    """
    )
    with AwkwardServer(halves(CONTENT)) as slow, Script(source, slow.url, str(target)) as script:
        eventually(lambda: written(target.parent), "some of it is on the disk")
        script.tell()
        child = int(script.line())
        script.process.kill()
        script.process.wait(LIMIT)
        os.kill(child, 0)
        assert len(parts_in(target.parent)) == 1
        fetched(plain, f"{server.http}/bytes/10", filePath=str(target))
        assert left_in(target.parent) == ["file"]
        os.kill(child, signal.SIGKILL)


def test_a_fork_has_a_temporary_directory_of_its_own(server: Any) -> None:
    source = """
        import os, sys
        import ftnet as ft
        mine = ft.downloadFile(url=sys.argv[1]).result(10).tempFilePath
        pid = os.fork()
        if pid == 0:
            print(ft.downloadFile(url=sys.argv[1]).result(10).tempFilePath)
            sys.exit(0)
        os.waitpid(pid, 0)
        print(mine, os.path.exists(mine))
    """
    childs, parents = run_script(source, f"{server.http}/json")
    mine, there = parents.split()
    assert there == "True"
    assert Path(childs).parent != Path(mine).parent
    assert not Path(childs).parent.exists()
    assert not Path(mine).parent.exists()
