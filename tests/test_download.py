"""downloadFile: every option and every field of its result, over each version of HTTP."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ftnet as ft
from ftnet.testing.app import WIDGET, pattern
from tests.downloads import (
    LIMIT,
    History,
    begin,
    failed,
    fetched,
    left_in,
    noise,
)
from tests.drivers import in_run, run_uvloop
from tests.origins import Origin
from tests.processes import ROOT
from tests.profiles import check_profile
from tests.servers.awkward import AwkwardServer, Peer
from tests.servers.behaviours import BEHAVIOURS
from tests.servers.program import find

# --- the file and the result ----------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 60_000, 61_440, 61_441, 3_000_000])
def test_the_body_is_in_the_file(
    client: ft.Client, origin: Origin, tmp_path: Path, size: int
) -> None:
    target = tmp_path / "file.bin"
    result = fetched(client, f"{origin.base}/bytes/{size}", filePath=str(target))
    assert target.read_bytes() == pattern(size)
    assert result.statusCode == 200
    assert result.filePath == result.tempFilePath == str(target)
    assert result.dataLength == size
    assert result.header["Content-Length"] == str(size)
    assert result.errMsg == "downloadFile:ok"
    assert left_in(tmp_path) == ["file.bin"]
    check_profile(result, tls=origin.tls, protocol=origin.protocol)


def test_a_body_of_unknown_length_is_in_the_file(
    client: ft.Client, origin: Origin, tmp_path: Path
) -> None:
    target = tmp_path / "file.bin"
    result = fetched(client, f"{origin.base}/stream/40/10007", filePath=str(target))
    assert target.read_bytes() == pattern(400_280)
    assert result.dataLength == 400_280


@pytest.mark.parametrize("path", ["/bytes/0", "/stream/0/1"])
def test_an_empty_body_makes_an_empty_file(
    client: ft.Client, origin: Origin, tmp_path: Path, path: str
) -> None:
    target = tmp_path / "empty"
    target.write_bytes(b"old")
    result = fetched(client, origin.base + path, filePath=str(target))
    assert (result.statusCode, result.dataLength) == (200, 0)
    assert target.read_bytes() == b""
    assert left_in(tmp_path) == ["empty"]


@pytest.mark.parametrize("status", [201, 400, 401, 404, 416, 500, 503, 599])
def test_any_status_is_a_success_and_its_body_the_file(
    client: ft.Client, origin: Origin, tmp_path: Path, status: int
) -> None:
    target = tmp_path / "told.json"
    result = fetched(client, f"{origin.base}/status/{status}", filePath=str(target))
    assert result.statusCode == status
    assert json.loads(target.read_bytes()) == {"status": status}
    assert result.dataLength == target.stat().st_size


def test_no_content_makes_an_empty_file(plain: ft.Client, nginx: Any, tmp_path: Path) -> None:
    target = tmp_path / "nothing"
    result = fetched(plain, f"{nginx.http}/status/204", filePath=str(target))
    assert (result.statusCode, result.dataLength) == (204, 0)
    assert target.read_bytes() == b""


def test_the_file_is_what_the_last_of_several_redirects_leads_to(
    client: ft.Client, origin: Origin, tmp_path: Path
) -> None:
    target = tmp_path / "end.json"
    result = fetched(client, f"{origin.base}/redirect/3", filePath=str(target))
    assert result.statusCode == 200
    assert json.loads(target.read_bytes()) == {"redirected": True}
    check_profile(result)
    assert result.profile is not None
    assert result.profile.redirectEnd > 0


def test_the_body_of_a_redirect_never_reaches_the_file(plain: ft.Client, tmp_path: Path) -> None:
    def moved(peer: Peer) -> None:
        while True:
            there = peer.read_request().target == "/there"
            where = () if there else ("Location: /there",)
            status = "200 OK" if there else "302 Found"
            peer.answer(b"arrived" if there else noise(300_000), *where, status=status)

    target = tmp_path / "file"
    with AwkwardServer(moved) as server:
        result = fetched(plain, f"{server.url}/here", filePath=str(target))
    assert target.read_bytes() == b"arrived"
    assert result.dataLength == 7


@pytest.mark.parametrize("coding", ["gzip", "br"])
def test_a_coded_body_is_decoded_on_its_way_to_the_file(
    client: ft.Client, origin: Origin, tmp_path: Path, coding: str
) -> None:
    target = tmp_path / "widget.json"
    result = fetched(client, f"{origin.base}/{coding}", filePath=str(target))
    assert json.loads(target.read_bytes()) == WIDGET | {"encoding": coding}
    assert result.dataLength == target.stat().st_size
    assert result.header["content-encoding"] == coding


def test_a_long_body_is_decoded_in_pieces(plain: ft.Client, server: Any, tmp_path: Path) -> None:
    target = tmp_path / "zeros"
    result = fetched(plain, f"{server.http}/bomb/20000000", filePath=str(target))
    assert result.dataLength == 20_000_000
    assert target.read_bytes() == bytes(20_000_000)


def test_enable_profile_false_leaves_it_out(plain: ft.Client, server: Any, tmp_path: Path) -> None:
    target = str(tmp_path / "file")
    result = fetched(plain, f"{server.http}/bytes/10", filePath=target, enableProfile=False)
    assert result.profile is None
    assert result.dataLength == 10


def test_cookies_are_told_and_kept_where_the_client_has_a_jar(server: Any, tmp_path: Path) -> None:
    target = tmp_path / "cookies.json"
    with ft.Client(trust_env=False, cookies=True) as client:
        first = fetched(client, f"{server.http}/cookies/set?a=1&b=2", filePath=str(target))
        assert first.cookies == ["a=1; Path=/", "b=2; Path=/"]
        fetched(client, f"{server.http}/cookies", filePath=str(target))
    assert json.loads(target.read_bytes()) == {"cookies": {"a": "1", "b": "2"}}


def test_results_turn_into_plain_dicts(plain: ft.Client, server: Any, tmp_path: Path) -> None:
    target = str(tmp_path / "file")
    task, told = in_run(lambda: begin(plain, f"{server.http}/bytes/10", filePath=target))
    as_dict = ft.to_dict(task.result())
    assert isinstance(as_dict.pop("profile"), dict)
    assert as_dict.pop("header")["content-length"] == "10"
    assert as_dict == {
        "tempFilePath": target,
        "filePath": target,
        "dataLength": 10,
        "statusCode": 200,
        "cookies": [],
        "errMsg": "downloadFile:ok",
    }
    assert ft.to_dict(told.progress[-1]) == {
        "progress": 100,
        "totalBytesWritten": 10,
        "totalBytesExpectedToWrite": 10,
    }


@pytest.mark.libcurl_only
def test_enable_http2_false_keeps_to_http_1(server: Any, tmp_path: Path) -> None:
    target = str(tmp_path / "file")
    with ft.Client(ca=server.ca, trust_env=False) as client:
        spoken = []
        for choice in (None, False):
            url = f"{server.https}/bytes/9"
            result = fetched(client, url, filePath=target, enableHttp2=choice)
            assert result.profile is not None
            spoken.append(result.profile.protocol)
    assert spoken == ["h2", "http/1.1"]


# --- the task -------------------------------------------------------------------------------------


def test_every_driver_calls_back_by_the_rules(drive: Any, server: Any, tmp_path: Path) -> None:
    told: list[History] = []

    def start() -> list[Any]:
        tasks = []
        for number in range(6):
            path = str(tmp_path / f"{number % 5 or 'missing'}" / "file")
            url = f"{server.http}/bytes/{number * 100_000}"
            task, one = begin(client, url, filePath=path)
            told.append(one)
            tasks.append(task)
        return tasks

    for number in range(1, 5):
        (tmp_path / str(number)).mkdir()
    with ft.Client(trust_env=False) as client:
        thread = drive(start)
        threads = set().union(*(one.wait().threads for one in told))
    assert len(threads) == 1
    assert thread is None or threads == {thread}
    for number, one in enumerate(told):
        if number % 5:
            assert one.response().dataLength == number * 100_000
            assert (tmp_path / str(number) / "file").read_bytes() == pattern(number * 100_000)
        else:
            assert one.error().errno == ft.Errno.SYSTEM


def test_options_come_as_a_mapping_too(plain: ft.Client, server: Any, tmp_path: Path) -> None:
    told = History()
    options = {"url": f"{server.http}/bytes/5", "filePath": str(tmp_path / "file")}
    task = plain.downloadFile({**options, **told.callbacks()})
    result = task.result(LIMIT)
    assert told.wait().response() is result is task.result()
    assert task.done()


def test_the_modules_own_function_does_the_same(server: Any, tmp_path: Path) -> None:
    target = tmp_path / "file"
    task = ft.downloadFile(url=f"{server.http}/bytes/5", filePath=str(target))
    assert task.result(LIMIT).dataLength == 5
    assert target.read_bytes() == pattern(5)


@pytest.mark.parametrize("run", [asyncio.run, run_uvloop], ids=["asyncio", "uvloop"])
def test_a_download_can_be_awaited(run: Callable[[Any], Any], server: Any, tmp_path: Path) -> None:
    async def main() -> None:
        with ft.Client(trust_env=False) as client:
            url, target = f"{server.http}/bytes/70000", tmp_path / "file"
            result = await client.downloadFile(url=url, filePath=str(target))
            assert target.read_bytes() == pattern(70_000)
            assert result.dataLength == 70_000
            with pytest.raises(ft.FtError, match="^downloadFile:fail No such file or directory"):
                await client.downloadFile(url=url, filePath=str(tmp_path / "no" / "file"))

    run(main())


def test_abort_after_the_end_takes_nothing_back(
    plain: ft.Client, server: Any, tmp_path: Path
) -> None:
    target = tmp_path / "file"
    task, told = begin(plain, f"{server.http}/bytes/10", filePath=str(target))
    task.result(LIMIT)
    told.wait()
    task.abort()
    assert target.read_bytes() == pattern(10)
    assert task.result().dataLength == 10
    told.response()


def test_the_time_limit_is_the_options_else_the_clients(tmp_path: Path) -> None:
    target = tmp_path / "file"
    with (
        AwkwardServer(BEHAVIOURS["stalls_in_body"]) as server,
        ft.Client(trust_env=False, timeout=150) as client,
    ):
        for options in ({}, {"timeout": 100.5}):
            error = failed(client, server.url, filePath=str(target), **options)
            assert (error.errno, error.errMsg) == (ft.Errno.TIMEOUT, "downloadFile:fail timeout")
    assert left_in(tmp_path) == []


def test_a_closed_client_takes_no_download(server: Any, tmp_path: Path) -> None:
    client = ft.Client(trust_env=False)
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        client.downloadFile(url=server.http, filePath=str(tmp_path / "file"))
    assert left_in(tmp_path) == []


def test_connections_that_the_server_closes_in_between_do_no_harm(
    plain: ft.Client, tmp_path: Path
) -> None:
    with AwkwardServer(BEHAVIOURS["closes_after_each_answer"]) as server:
        for number in range(50):
            target = tmp_path / "file"
            fetched(plain, f"{server.url}/{number}", filePath=str(target))
            assert target.read_text() == f"/{number}"


# --- the request ----------------------------------------------------------------------------------


def echoed(client: ft.Client, base: str, target: Path, **options: Any) -> dict[str, list[str]]:
    """The header that the server saw."""
    fetched(client, f"{base}/echo", filePath=str(target), **options)
    told = json.loads(target.read_bytes())
    assert (told["method"], told["body"]) == ("GET", "")
    fields: dict[str, list[str]] = {}
    for name, value in told["headers"]:
        fields.setdefault(name, []).append(value)
    return fields


def test_the_header_goes_along_and_no_content_type_by_default(
    client: ft.Client, origin: Origin, tmp_path: Path
) -> None:
    fields = echoed(client, origin.base, tmp_path / "f", header={"X-One": "1", "x-two": [2, 3]})
    assert fields["x-one"] == ["1"]
    assert ", ".join(fields["x-two"]) == "2, 3"
    assert "content-type" not in fields
    assert "range" not in fields
    assert "content-type" not in echoed(client, origin.base, tmp_path / "f")


def test_a_content_type_of_the_callers_own_is_sent(
    plain: ft.Client, server: Any, tmp_path: Path
) -> None:
    fields = echoed(plain, server.http, tmp_path / "f", header={"content-type": "text/x"})
    assert fields["content-type"] == ["text/x"]


def test_referer_is_dropped_with_a_warning(plain: ft.Client, server: Any, tmp_path: Path) -> None:
    header = {"Referer": "http://elsewhere/", "x-kept": "yes"}
    with pytest.warns(UserWarning, match="downloadFile: the Referer header") as caught:
        fields = echoed(plain, server.http, tmp_path / "f", header=header)
    assert [Path(warning.filename).name for warning in caught] == ["downloads.py"]
    assert "referer" not in fields
    assert fields["x-kept"] == ["yes"]


def test_a_range_of_the_callers_own_is_his_business(
    plain: ft.Client, nginx: Any, tmp_path: Path
) -> None:
    content, target = noise(5000), tmp_path / "part"
    path = nginx.serve_file("range.bin", content)
    result = fetched(
        plain, nginx.http + path, filePath=str(target), header={"Range": "bytes=100-299"}
    )
    assert (result.statusCode, result.dataLength) == (206, 200)
    assert target.read_bytes() == content[100:300]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"data": {}}, "unknown option 'data'"),
        ({"method": "POST"}, "unknown option 'method'"),
        ({"filepath": "x"}, "unknown option 'filepath'"),
        ({"filePath": 5}, "filePath must be the path of a file"),
        ({"filePath": True}, "filePath must be"),
        ({"header": [("a", "b")]}, "header must be a mapping"),
        ({"header": {"a": None}}, "header a must be"),
        ({"timeout": "1"}, "timeout must be a number of milliseconds"),
        ({"timeout": True}, "timeout must be"),
        ({"enableProfile": 1}, "enableProfile must be True or False"),
        ({"resume": "yes"}, "resume must be True or False"),
        ({"sync": 0}, "sync must be True or False"),
        ({"enableHttp2": 2}, "enableHttp2 must be"),
        ({"success": "f"}, "success must be callable"),
        ({"fail": 1}, "fail must be callable"),
        ({"complete": []}, "complete must be callable"),
        ({"url": None}, "url is required"),
        ({"url": b"http://127.0.0.1/"}, "url must be a str"),
    ],
)
def test_a_wrong_type_or_unknown_option_is_refused_at_the_call(
    plain: ft.Client, tmp_path: Path, options: dict[str, Any], words: str
) -> None:
    usual = {"url": "http://127.0.0.1:9/", "filePath": str(tmp_path / "file")}
    with pytest.raises(TypeError, match="^downloadFile: ") as caught:
        plain.downloadFile({**usual, **options})
    assert words in str(caught.value)
    assert left_in(tmp_path) == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"filePath": ""}, "filePath must be"),
        (
            {"filePath": "a\0b"},
            "filePath must be the path of a file, got 'a\\x00b': it holds a NUL",
        ),
        ({"filePath": "directory/"}, "filePath must be"),
        ({"timeout": 0}, "timeout must be a number of milliseconds > 0"),
        ({"timeout": -5}, "timeout must be"),
        ({"timeout": float("nan")}, "timeout must be"),
        ({"url": "ftp://127.0.0.1/x"}, "url"),
        ({"url": "/relative"}, "url"),
        ({"header": {"a": "b\r\nc"}}, "control character"),
        ({"header": {"content-length": "5"}}, "the engine sets it itself"),
    ],
)
def test_a_wrong_value_is_refused_at_the_call(
    plain: ft.Client, tmp_path: Path, options: dict[str, Any], words: str
) -> None:
    usual = {"url": "http://127.0.0.1:9/", "filePath": str(tmp_path / "file")}
    with pytest.raises(ValueError, match="^downloadFile: ") as caught:
        plain.downloadFile({**usual, **options})
    assert words in str(caught.value)
    assert left_in(tmp_path) == []


def test_mapping_and_keywords_together_are_refused(plain: ft.Client) -> None:
    with pytest.raises(TypeError, match="^downloadFile: options come as one mapping or as"):
        plain.downloadFile({"url": "http://127.0.0.1:9/"}, timeout=5)
    with pytest.raises(TypeError, match="^downloadFile: options must be a mapping"):
        plain.downloadFile("http://127.0.0.1:9/")  # type: ignore[arg-type]


# --- sync -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("sync", [False, True])
def test_sync_has_file_and_directory_on_the_disk(sync: bool, server: Any, tmp_path: Path) -> None:
    source = """
import sys
import ftnet as ft
options = {"url": sys.argv[1], "filePath": sys.argv[2], "sync": sys.argv[3] == "True"}
print(ft.run(lambda: ft.downloadFile(options)).result().dataLength)
"""
    log = tmp_path / "log"
    command = [find("strace"), "-f", "-y", "-e", "trace=fsync,rename", "-o", str(log)]
    target = tmp_path / "file"
    command += [sys.executable, "-c", source, f"{server.http}/bytes/70000", str(target), str(sync)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=3 * LIMIT)
    assert done.stdout == "70000\n", done.stderr
    calls = [line.split(None, 1)[1] for line in log.read_text().splitlines() if "(" in line]
    seen = [call.partition("(")[0] for call in calls if str(tmp_path) in call]
    assert seen == (["fsync", "rename", "fsync"] if sync else ["rename"])
    assert target.read_bytes() == pattern(70_000)
