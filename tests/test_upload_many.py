"""Many uploads through one Client: each body whole, each progress its own, nothing left behind.

The scripts run in an interpreter of their own, which is measured. FTNET_LONG=1 makes the loop of
small uploads 100,000 long.
"""

from __future__ import annotations

import json
import os
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest

import ftnet as ft
from tests.drivers import in_run
from tests.processes import run_script
from tests.servers.awkward import AwkwardServer, closed_port
from tests.servers.behaviours import BEHAVIOURS
from tests.test_leaks import MEASURE, measured
from tests.uploads import UploadHistory, begin, filled, increases, sparse

MANY, AT_ONCE = 200, 32
LOOP_LENGTH = 100_000 if os.environ.get("FTNET_LONG") else 2_000

PARALLEL = """
    import hashlib
    import json
    import os
    import re
    import sys
    import ftcore
    import ftnet as ft

    url, directory, ca, many, at_once = *sys.argv[1:4], int(sys.argv[4]), int(sys.argv[5])
    size = 1 << 20

    def kilobytes(field):
        with open("/proc/self/status") as status:
            return int(re.search(rf"{field}:\\s*(\\d+) kB", status.read())[1])

    def descriptors():
        return len(os.listdir("/proc/self/fd"))

    def start(client, number):
        name, seen = f"{directory}/{number}", progress[number]
        with open(name, "wb") as file:
            file.truncate(size + number * 1000)
            file.write(b"%d" % number)

        def succeeded(result):
            assert number not in results, "a second end"
            results[number] = result.statusCode, result.data

        task = client.uploadFile(url=url, filePath=name, name="f", success=succeeded)
        task.onProgressUpdate(
            lambda event: (
                seen.append((event.progress, event.totalBytesSent, event.totalBytesExpectedToSend)),
                most.append(descriptors()),
            )
        )

    progress, results, most = [[] for _ in range(many)], {}, []
    limits = {"max_connections_per_host": at_once, "timeout": 600_000}
    with ft.Client(ca=ca or None, trust_env=False, **limits) as client:
        ft.run(lambda: client.uploadFile(url=url, files=[{"name": "f", "data": "warm"}]))
        before = {"fds": descriptors(), "rss": kilobytes("VmRSS")}
        ft.run(lambda: [start(client, number) for number in range(many)])
        grown = kilobytes("VmHWM") - before["rss"]
        after = descriptors()
    print(json.dumps({
        "results": [results.get(number) for number in range(many)],
        "progress": progress,
        "before": before,
        "after": after,
        "most": max(most),
        "grown": grown,
        "counters": ftcore.counters(),
    }))
"""


@pytest.mark.parametrize("way", ["http", "h2"])
def test_two_hundred_at_once_stay_apart_and_bounded(tmp_path: Path, server: Any, way: str) -> None:
    with AwkwardServer(BEHAVIOURS["counts_the_body"]) as counting:
        url, ca = (counting.url, "") if way == "http" else (f"{server.https}/upload", server.ca)
        arguments = (url, str(tmp_path), ca, str(MANY), str(AT_ONCE))
        (line,) = run_script(PARALLEL, *arguments, limit=120)
        assert way != "http" or len(counting.peers) == AT_ONCE
    told = json.loads(line)
    assert {status for status, _ in told["results"]} == {200}
    for number, (result, events) in enumerate(zip(told["results"], told["progress"], strict=True)):
        length = json.loads(result[1]) if way == "http" else json.loads(result[1])["length"]
        assert 0 < length - ((1 << 20) + number * 1000) < 400
        percents, sent, totals = zip(*events, strict=True)
        assert set(totals) == {length}
        assert sent[-1] == length
        assert percents.count(100) == 1
        assert percents[-1] == 100
        assert increases(percents)
        assert increases(sent)
    # a socket and a file for each that is under way; over h2 one socket, and a file for each stream
    assert told["most"] <= told["before"]["fds"] + (2 * AT_ONCE if way == "http" else MANY) + 4
    assert told["after"] <= told["before"]["fds"] + AT_ONCE
    # what libcurl has for each that is under way, not what is sent: that is 220 MB
    assert told["grown"] < (16 << 10) + 512 * (AT_ONCE if way == "http" else MANY)
    assert told["counters"]["transfers"] == 0


FEW_DESCRIPTORS = """
    import collections
    import resource
    import sys

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (400, hard))
    import ftnet as ft

    url, path, ca = sys.argv[1:]
    ends = collections.Counter()
    callbacks = {
        "success": lambda result: ends.update([result.statusCode]),
        "fail": lambda error: ends.update([error.errMsg.partition(":")[2][:40]]),
    }
    with ft.Client(ca=ca, trust_env=False) as client:
        ft.run(lambda: [
            client.uploadFile(url=url, filePath=path, name="f", **callbacks) for _ in range(600)
        ])
    print(dict(ends))
"""


@pytest.mark.parametrize("way", ["http", "https"])
def test_uploads_beyond_the_descriptors_wait(tmp_path: Path, server: Any, way: str) -> None:
    path = sparse(tmp_path / "x", 300_000)
    url = f"{getattr(server, way)}/upload"
    (line,) = run_script(FEW_DESCRIPTORS, url, str(path), server.ca)
    assert line == "{200: 600}"


def test_every_body_is_that_of_its_own_file(client: ft.Client, origin: Any, tmp_path: Path) -> None:
    paths = [filled(tmp_path / f"{number}.bin", 20_000, seed=number) for number in range(MANY)]

    def start() -> list[UploadHistory]:
        return [
            begin(client, f"{origin.base}/echo", filePath=path, name=path.name)[1] for path in paths
        ]

    for path, history in zip(paths, in_run(start), strict=True):
        data = history.result().data
        assert f'name=\\"{path.name}\\"; filename=\\"{path.name}\\"' in data
        assert history.percents[-1] == 100
        assert content_of(data) == path.read_bytes()


def content_of(data: str) -> bytes:
    """What /echo has received, without the lines of the form around it."""
    body = b64decode(json.loads(data)["body"])
    return body.split(b"\r\n\r\n", 1)[1].rsplit(b"\r\n--", 1)[0]


LOOP = (
    MEASURE
    + """
    path = sys.argv[4]

    def begin(**ends):
        task = client.uploadFile(
            url=url,
            filePath=path,
            name="file",
            formData={"key": "value"},
            files=[{"name": "data", "data": bytes(5000)}],
            **ends,
        )
        task.onProgressUpdate(lambda event: None)

    client = ft.Client(trust_env=False)
    measure(lambda count: loop(begin, count, 32), client)
"""
)


def test_small_uploads_leave_nothing_behind(nginx: Any, tmp_path: Path) -> None:
    path = filled(tmp_path / "small.bin", 1000)
    report = measured(LOOP, f"{nginx.http}/json", LOOP_LENGTH, str(path))
    assert report["result"] == {"success": LOOP_LENGTH, "fail": 0}
    assert report["after"]["fds"] == report["before"]["fds"]


def test_uploads_that_fail_leave_nothing_behind(tmp_path: Path) -> None:
    path = filled(tmp_path / "small.bin", 1000)
    with closed_port() as port:
        url = f"http://127.0.0.1:{port}/"
        report = measured(LOOP, url, LOOP_LENGTH, str(path))
        assert report["result"] == {"success": 0, "fail": LOOP_LENGTH}
        report = measured(LOOP, url, LOOP_LENGTH, str(tmp_path / "missing"))
        assert report["result"] == {"success": 0, "fail": LOOP_LENGTH}


def test_uploads_that_break_off_leave_nothing_behind(tmp_path: Path) -> None:
    path = filled(tmp_path / "large.bin", 300_000)
    with AwkwardServer(BEHAVIOURS["dies_in_the_request_body"]) as server:
        report = measured(LOOP, server.url, 500, str(path))
    assert report["result"] == {"success": 0, "fail": 500}
