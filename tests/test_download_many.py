"""Many downloads through one Client: each right, each with its own events, nothing piling up.

FTNET_LONG=1 makes the loops a hundred thousand downloads long.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ftcore
import ftnet as ft
from ftnet.testing.app import pattern
from tests.downloads import LIMIT, History, begin, left_in, noise
from tests.drivers import in_run
from tests.processes import run_script
from tests.servers.awkward import AwkwardServer, closed_port
from tests.servers.behaviours import BEHAVIOURS
from tests.servers.nginx import Nginx
from tests.test_leaks import MEASURE, measured

COUNT = 200
AT_ONCE = 32
OWN_FDS = 8  # of an engine, and what opens and closes within a call
LONG = bool(os.environ.get("FTNET_LONG"))
LOOPS = 100_000 if LONG else 2_000


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def resident() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")


class Peaks:
    """The most descriptors and memory that were seen, asked at each progress event."""

    def __init__(self) -> None:
        self.before = descriptors(), resident()
        self.descriptors, self.resident = self.before

    def look(self, _: object = None) -> None:
        self.descriptors = max(self.descriptors, descriptors())
        self.resident = max(self.resident, resident())

    @property
    def grown(self) -> tuple[int, int]:
        return self.descriptors - self.before[0], self.resident - self.before[1]


def two_hundred_files(nginx: Any) -> dict[str, bytes]:
    """The paths of files of 1 byte to 500 KB, and what is in them."""
    sizes = random.Random("sizes")
    files = {}
    for number in range(COUNT):
        content = noise(sizes.choice([1, 10_000, 61_440, sizes.randrange(1, 500_000)]), number)
        files[nginx.serve_file(f"many-{number}.bin", content)] = content
    return files


@pytest.mark.parametrize("base", ["http", "https", "h2"])
def test_two_hundred_at_once_are_right_and_take_no_more_than_their_share(
    base: str, nginx: Any, tmp_path: Path, lane: str
) -> None:
    files = two_hundred_files(nginx)
    settings = {"ca": nginx.ca, "trust_env": False, "max_connections_per_host": AT_ONCE}
    if base == "https":
        settings["http_version"] = "1.1"
    peaks = Peaks()

    def start() -> list[History]:
        histories = []
        for path in files:
            url, target = getattr(nginx, base) + path, str(tmp_path / Path(path).name)
            task, told = begin(client, url, filePath=target)
            task.onProgressUpdate(peaks.look)
            histories.append(told)
        return histories

    with ft.Client(**settings) as client:
        histories = in_run(start)
    for (path, content), told in zip(files.items(), histories, strict=True):
        got = (tmp_path / Path(path).name).read_bytes()
        assert hashlib.sha256(got).digest() == hashlib.sha256(content).digest()
        assert told.response().dataLength == len(content)
        assert {event.totalBytesExpectedToWrite for event in told.progress} == {len(content)}
        assert [event.progress for event in told.progress].count(100) == 1
        assert told.progress[-1].totalBytesWritten == len(content)
    assert len(left_in(tmp_path)) == COUNT
    most, memory = peaks.grown
    parts = COUNT if base == "h2" else 2 * AT_ONCE  # those that ended in this turn, those begun
    # over TLS each connection of the native lane has a multi handle, with two descriptors
    own = 3 if (lane, base) == ("native", "https") else 1
    assert AT_ONCE <= most <= own * AT_ONCE + parts + OWN_FDS
    assert memory < 48 << 20
    assert descriptors() <= peaks.before[0] + OWN_FDS
    assert ftcore.counters()["transfers"] == 0


def test_two_hundred_by_threads_of_their_own_are_right(nginx: Any, tmp_path: Path) -> None:
    files = two_hundred_files(nginx)
    with ft.Client(trust_env=False, max_connections_per_host=AT_ONCE) as client:
        tasks = {
            path: client.downloadFile(
                url=nginx.http + path, filePath=str(tmp_path / Path(path).name), resume=bool(n % 2)
            )
            for n, path in enumerate(files)
        }
        for path, task in tasks.items():
            assert task.result(LIMIT).dataLength == len(files[path])
            assert (tmp_path / Path(path).name).read_bytes() == files[path]
    assert len(left_in(tmp_path)) == COUNT


def test_a_large_file_takes_no_memory(plain: ft.Client, server: Any, tmp_path: Path) -> None:
    target = tmp_path / "large"
    url = f"{server.http}/bytes/200000000"
    in_run(lambda: begin(plain, f"{server.http}/bytes/1000000", filePath=str(target)))
    peaks = Peaks()

    def start() -> History:
        task, told = begin(plain, url, filePath=str(target))
        task.onProgressUpdate(peaks.look)
        return told

    assert in_run(start).response().dataLength == 200_000_000
    assert peaks.grown[1] < 8 << 20
    with target.open("rb") as file:
        assert file.read(1_000_000) == pattern(1_000_000)
        file.seek(-1000, os.SEEK_END)
        assert file.read() == pattern(1000, 200_000_000 - 1000)


def test_waiting_downloads_hold_no_descriptors(server: Any, tmp_path: Path) -> None:
    peaks = Peaks()

    def start() -> None:
        for number in range(1000):
            target = str(tmp_path / f"{number % 50}-{number}")
            client.downloadFile(url=f"{server.http}/bytes/10", filePath=target, success=peaks.look)

    with ft.Client(trust_env=False, max_connections=4) as client:
        ft.run(start)
    assert peaks.grown[0] <= 2 * 4 + OWN_FDS
    assert len(left_in(tmp_path)) == 1000


@pytest.mark.parametrize(
    ("base", "path"),
    [("http", "/bytes/10"), ("http", "/delay?before=20"), ("https", "/delay?before=20")],
)
def test_more_downloads_than_descriptors_all_succeed(
    base: str, path: str, server: Any, tmp_path: Path
) -> None:
    source = """
        import collections, resource, sys
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
        import ftnet as ft
        url, ca, folder = sys.argv[1:]
        client = ft.Client(ca=ca)
        tasks = ft.run(lambda: [client.downloadFile(url=url, filePath=f"{folder}/{n}")
                                for n in range(600)])
        causes = [getattr(task.outcome, "cause", None) for task in tasks]
        print(dict(collections.Counter(cause and cause.name for cause in causes)))
    """
    lines = run_script(source, getattr(server, base) + path, server.ca, str(tmp_path))
    assert lines == ["{None: 600}"]
    assert len(left_in(tmp_path)) == 600


# --- loops ----------------------------------------------------------------------------------------

LOOP = (
    MEASURE
    + """
    import itertools

    folder, options = sys.argv[4], json.loads(sys.argv[5])
    abort = options.pop("abort", False)
    names = itertools.count()

    def loop(client, count):
        '''`count` downloads, 64 at once, each to a name that another may have had before.'''
        left, ends = count, {"success": 0, "fail": 0}

        def start():
            nonlocal left
            left -= 1
            path = {} if folder == "-" else {"filePath": f"{folder}/{next(names) % 500}"}
            task = client.downloadFile({"url": url, "success": success, "fail": fail,
                                        **path, **options})
            if abort:
                task.onProgressUpdate(lambda event: task.abort())
            else:
                task.onProgressUpdate(lambda event: None)

        def success(res):
            ends["success"] += 1
            if folder == "-":
                os.unlink(res.tempFilePath)
            if left:
                start()

        def fail(err):
            ends["fail"] += 1
            if left:
                start()

        ft.run(lambda: [start() for _ in range(min(64, count))])
        return ends

    client = ft.Client()
    measure(lambda count: loop(client, count), client)
"""
)


def looped(url: str, count: int, folder: Path | str, **options: Any) -> dict[str, int]:
    """How that many downloads ended, in a process that ends with what it began with."""
    report = measured(LOOP, url, count, str(folder), json.dumps(options))
    assert report["after"]["fds"] <= report["before"]["fds"]
    ends: dict[str, int] = report["result"]
    return ends


KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "resume": {"resume": True},
    "without profile": {"enableProfile": False},
    "with fields": {"header": {"x-one": "1"}},
}


@pytest.mark.parametrize("kind", KINDS)
def test_thousands_of_downloads_leave_nothing_behind(
    kind: str, nginx: Nginx, tmp_path: Path
) -> None:
    count = LOOPS if kind == "plain" else 2_000
    ends = looped(f"{nginx.http}/text.txt", count, tmp_path, **KINDS[kind])
    assert ends == {"success": count, "fail": 0}
    assert len(left_in(tmp_path)) == 500


def test_thousands_of_temporary_files_leave_nothing_behind(nginx: Nginx) -> None:
    ends = looped(f"{nginx.http}/json", 2_000, "-")
    assert ends == {"success": 2_000, "fail": 0}


def cut_off(_: Path) -> dict[str, Any]:
    return {}


def to_a_missing_directory(folder: Path) -> dict[str, Any]:
    folder.rmdir()
    return {}


def aborted(_: Path) -> dict[str, Any]:
    return {"abort": True}


@pytest.mark.parametrize("resume", [False, True], ids=["plain", "resume"])
@pytest.mark.parametrize("way", [cut_off, to_a_missing_directory, aborted])
def test_downloads_that_fail_leave_nothing_behind(
    way: Callable[[Path], dict[str, Any]], resume: bool, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    options = way(folder)
    with AwkwardServer(BEHAVIOURS["closed_before_content_length"]) as server:
        ends = looped(server.url, 1_000, folder, resume=resume, **options)
    assert ends == {"success": 0, "fail": 1_000}
    assert not folder.exists() or left_in(folder) == []


def test_downloads_that_are_refused_leave_nothing_behind(tmp_path: Path) -> None:
    with closed_port() as port:
        ends = looped(f"http://127.0.0.1:{port}/", 2_000, tmp_path)
    assert ends == {"success": 0, "fail": 2_000}
    assert left_in(tmp_path) == []
