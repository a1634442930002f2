"""uploadFile: what goes out, what comes back, and what is refused at the call."""

from __future__ import annotations

import array
import asyncio
import ctypes
import inspect
import json
import mmap
import warnings
from base64 import b64decode
from collections import UserDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ftnet as ft
from tests.drivers import in_run
from tests.origins import Origin
from tests.profiles import check_profile
from tests.servers.awkward import AwkwardServer, Peer, closed_port
from tests.servers.behaviours import BEHAVIOURS, answers
from tests.uploads import (
    ASKED,
    LIMIT,
    Part,
    UploadHistory,
    begin,
    filled,
    open_files,
    parts_of,
    run,
    send,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file to send."""
    return filled(tmp_path / "picture.png", 300_000)


def echoed(result: ft.UploadResult) -> dict[str, Any]:
    """What /echo says it received, with the `parts` of the form and the `fields` of the header."""
    assert result.statusCode == 200, result.data
    told: dict[str, Any] = json.loads(result.data)
    told["fields"] = dict(told["headers"])
    assert len(told["fields"]) == len(told["headers"]), "a header field came twice"
    told["parts"] = parts_of(b64decode(told["body"]), told["fields"]["content-type"])
    return told


# --- what goes out --------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 4097, 65_536, 300_000, ASKED])
def test_a_file_arrives_whole(client: ft.Client, origin: Origin, tmp_path: Path, size: int) -> None:
    path = filled(tmp_path / "picture.png", size)
    result = send(client, f"{origin.base}/echo", path, formData={"key": "value"})
    told = echoed(result)
    assert told["method"] == "POST"
    assert told["parts"] == [
        Part(b"key", b"value"),
        Part(b"file", path.read_bytes(), b"picture.png", "image/png"),
    ]
    length = len(b64decode(told["body"]))
    assert told["fields"].get("content-length") == str(length)
    profile = check_profile(result, tls=origin.tls, protocol=origin.protocol)
    assert length < profile.sendBytesCount < length + 2000


@pytest.mark.parametrize("size", [0, 1000, 70_000, ASKED, 5_000_000])
def test_the_bytes_sent_are_those_the_server_got(
    plain: ft.Client, tmp_path: Path, size: int
) -> None:
    with AwkwardServer(answers) as server:
        result = send(plain, server.url, filled(tmp_path / "x", size))
        assert result.profile.sendBytesCount == len(server.received)


def test_several_files_and_buffers_arrive_in_their_order(
    client: ft.Client, origin: Origin, path: Path, tmp_path: Path
) -> None:
    other = filled(tmp_path / "other.txt", 70_000, seed=3)
    large = bytes(range(256)) * 300
    files = [
        {"name": "second", "filePath": other},
        {"name": "text", "data": "grüße", "fileName": "t.txt"},
        {"name": "large", "data": large, "fileName": "l.bin"},
        {"name": "again", "filePath": path, "fileName": "again.png"},
    ]
    told = echoed(send(client, f"{origin.base}/echo", path, files=files, formData={"n": 1}))
    assert [part.name for part in told["parts"]] == [
        *(b"n", b"file", b"second", b"text", b"large", b"again")
    ]
    assert [part.value for part in told["parts"][1:]] == [
        *(path.read_bytes(), other.read_bytes(), "grüße".encode(), large, path.read_bytes())
    ]


BUFFERS: dict[str, Callable[[bytes], Any]] = {
    "bytes": bytes,
    "bytearray": bytearray,
    "memoryview": memoryview,
    "slice of a memoryview": lambda data: memoryview(b"--" + data + b"--")[2:-2],
    "memoryview of two dimensions": lambda data: memoryview(data).cast("B", [len(data) // 8, 8]),
    "array": lambda data: array.array("d", data),
    "ctypes": lambda data: (ctypes.c_ubyte * len(data)).from_buffer_copy(data),
    "ctypes of int": lambda data: (ctypes.c_int * (len(data) // 4)).from_buffer_copy(data),
}


@pytest.mark.parametrize("size", [8, 4096, 40_000])
@pytest.mark.parametrize("kind", BUFFERS)
def test_any_buffer_can_be_sent(plain: ft.Client, server: Any, kind: str, size: int) -> None:
    data = bytes(number % 251 for number in range(size))
    files = [{"name": "f", "data": BUFFERS[kind](data)}]
    told = echoed(send(plain, f"{server.http}/echo", files=files))
    assert [part.value for part in told["parts"]] == [data]


@pytest.mark.parametrize("data", [b"", "", bytearray(), memoryview(b""), array.array("d")])
def test_an_empty_buffer_can_be_sent(plain: ft.Client, server: Any, data: Any) -> None:
    told = echoed(send(plain, f"{server.http}/echo", files=[{"name": "f", "data": data}]))
    assert told["parts"] == [Part(b"f", b"", b"blob", "application/octet-stream")]


def test_a_mapped_file_can_be_sent(plain: ft.Client, server: Any, path: Path) -> None:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        files = [{"name": "f", "data": mapped}]
        told = echoed(send(plain, f"{server.http}/echo", files=files))
    assert told["parts"][0].value == path.read_bytes()


def test_a_buffer_is_held_while_it_is_sent_and_let_go_after(plain: ft.Client) -> None:
    with AwkwardServer(BEHAVIOURS["answers_behind_the_gate"]) as server:
        data = bytearray(100_000)
        task = plain.uploadFile(url=server.url, files=[{"name": "f", "data": data}])
        server.wait_for_requests(1)
        with pytest.raises(BufferError):
            data.append(1)
        server.gate.set()
        task.result(LIMIT)
        data.append(1)


def test_the_file_is_looked_for_where_the_call_was_made(
    plain: ft.Client, server: Any, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)

    def start() -> ft.UploadTask:
        task = plain.uploadFile(url=f"{server.http}/echo", filePath=path.name, name="f")
        monkeypatch.chdir("/")
        return task

    told = echoed(in_run(start).result(LIMIT))
    assert told["parts"][0].value == path.read_bytes()


def test_a_file_is_open_only_while_it_is_sent(plain: ft.Client, server: Any, path: Path) -> None:
    send(plain, f"{server.http}/upload", path)
    assert open_files(lambda name: name == str(path)) == []


# --- the header -----------------------------------------------------------------------------------


def call(upload: Callable[..., ft.UploadTask], **options: Any) -> tuple[ft.UploadTask, int]:
    """The task of an upload, and the line in which it was called."""
    frame = inspect.currentframe()
    assert frame is not None
    return upload(**options), frame.f_lineno


def test_header_fields_go_along(client: ft.Client, origin: Origin, path: Path) -> None:
    header = {"X-Own": "1", "Authorization": "Bearer x", "Content-Language": "en"}
    told = echoed(send(client, f"{origin.base}/echo", path, header=header))
    assert {"x-own": "1", "authorization": "Bearer x"}.items() <= told["fields"].items()
    assert told["fields"]["content-language"] == "en"


@pytest.mark.parametrize("given", ["multipart/form-data", "Multipart/Form-Data; boundary=mine"])
def test_a_boundary_of_the_callers_is_dropped_without_a_word(
    plain: ft.Client, server: Any, path: Path, given: str
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        told = echoed(send(plain, f"{server.http}/echo", path, header={"Content-TYPE": given}))
    assert "mine" not in told["fields"]["content-type"]
    assert len(told["parts"]) == 1


@pytest.mark.parametrize("given", ["application/json", "image/png", "multipart/mixed"])
def test_another_content_type_is_dropped_with_a_warning(
    plain: ft.Client, server: Any, path: Path, given: str
) -> None:
    header = {"content-type": given, "X-Kept": "1"}
    with pytest.warns(UserWarning, match="uploadFile: the content-type header"):
        told = echoed(send(plain, f"{server.http}/echo", path, header=header))
    assert told["fields"]["content-type"].startswith("multipart/form-data; boundary=")
    assert told["fields"]["x-kept"] == "1"


@pytest.mark.parametrize("field", ["content-type", "Referer"])
@pytest.mark.parametrize("way", ["module", "client"])
def test_the_warning_points_to_the_call(path: Path, field: str, way: str) -> None:
    with closed_port() as port, ft.Client() as client:
        upload = client.uploadFile if way == "client" else ft.uploadFile
        options = {"filePath": path, "name": "f", "header": {field: "text/plain"}}
        with pytest.warns(UserWarning, match=field) as caught:
            task, line = call(upload, url=f"http://127.0.0.1:{port}/", **options)
        with pytest.raises(ft.FtError):
            task.result(LIMIT)
    assert [(one.filename, one.lineno) for one in caught] == [(__file__, line)]


def test_a_referer_does_not_go_along(plain: ft.Client, server: Any, path: Path) -> None:
    with pytest.warns(UserWarning, match="uploadFile: the Referer header cannot be set; dropped"):
        told = echoed(send(plain, f"{server.http}/echo", path, header={"referer": "http://x"}))
    assert "referer" not in told["fields"]


def test_an_empty_content_type_is_dropped_too(plain: ft.Client, path: Path) -> None:
    with AwkwardServer(answers) as server:
        send(plain, server.url, path, header={"content-type": ""})
        (types,) = [request.get("content-type") for request in server.requests]
    assert types is not None
    assert types.startswith("multipart/form-data; boundary=")


def test_a_field_whose_name_begins_with_content_type_is_another(
    plain: ft.Client, server: Any, path: Path
) -> None:
    header = {"Content-Type": "multipart/form-data", "Content-Type-Hint": "kept"}
    told = echoed(send(plain, f"{server.http}/echo", path, header=header))
    assert told["fields"]["content-type-hint"] == "kept"


# --- what comes back ------------------------------------------------------------------------------


def says(body: bytes, *fields: str) -> Callable[[Peer], None]:
    """Takes a request and answers with these bytes, again and again."""

    def answer(peer: Peer) -> None:
        while True:
            peer.read_request()
            peer.answer(body, *fields)

    return answer


@pytest.mark.parametrize(
    ("body", "content_type", "data"),
    [
        (b'{"a":1}', "application/json", '{"a":1}'),
        (b"null", "application/json", "null"),
        (b"", "application/json", ""),
        ("grüße".encode(), "text/plain", "grüße"),
        ("grüße".encode("latin-1"), "text/plain; charset=ISO-8859-1", "grüße"),
        ("你好".encode("gbk"), 'text/plain; charset="gbk"', "你好"),
        (b"\xef\xbb\xbfbom", "text/plain", "bom"),
        (b"a\xffb", "application/octet-stream", "a\ufffdb"),
        (b"a\xffb", "text/plain; charset=no-such", "a\ufffdb"),
    ],
)
def test_data_is_always_text(
    plain: ft.Client, path: Path, body: bytes, content_type: str, data: str
) -> None:
    with AwkwardServer(says(body, f"Content-Type: {content_type}")) as server:
        result = send(plain, server.url, path)
        assert type(result.data) is str
        assert result.data == data


def test_a_compressed_answer_is_read(client: ft.Client, origin: Origin, path: Path) -> None:
    assert json.loads(send(client, f"{origin.base}/gzip", path).data)["encoding"] == "gzip"


@pytest.mark.parametrize("status", [201, 204, 400, 404, 500, 503])
def test_any_status_is_a_success(
    client: ft.Client, origin: Origin, path: Path, status: int
) -> None:
    result = send(client, f"{origin.base}/status/{status}", path)
    assert result.statusCode == status
    assert result.errMsg == "uploadFile:ok"
    assert result.data == ("" if status == 204 else json.dumps({"status": status}))
    check_profile(result, tls=origin.tls, protocol=origin.protocol)


def test_header_and_cookies_are_there(client: ft.Client, origin: Origin, path: Path) -> None:
    result = send(client, f"{origin.base}/headers/1", path)
    assert result.header["X-REPEATED"] == "one, two"
    assert result.header.get_all("x-repeated") == ["one", "two"]
    assert result.cookies == ["first=1; Path=/headers", "second=2; Path=/headers"]


def test_a_result_becomes_a_dict(plain: ft.Client, server: Any, path: Path) -> None:
    told = ft.to_dict(send(plain, f"{server.http}/hello", path))
    assert (told["data"], told["statusCode"]) == ("Hello, World!", 200)
    assert set(told) == {"data", "statusCode", "header", "cookies", "profile", "errMsg"}
    assert told["profile"]["sendBytesCount"] > 300_000


def test_without_a_profile_there_is_none(client: ft.Client, origin: Origin, path: Path) -> None:
    result = send(client, f"{origin.base}/hello", path, enableProfile=False)
    assert (result.data, result.profile) == ("Hello, World!", None)


def test_a_second_upload_goes_over_the_same_connection(
    client: ft.Client, origin: Origin, path: Path
) -> None:
    for reused in (False, True, True):
        result = send(client, f"{origin.base}/hello", path)
        check_profile(result, reused=reused, protocol=origin.protocol)


def test_cookies_go_along_and_are_kept(server: Any, path: Path) -> None:
    with ft.Client(cookies=True, trust_env=False) as client:
        send(client, f"{server.http}/cookies/set?a=1", path)
        assert json.loads(send(client, f"{server.http}/cookies", path).data) == {
            "cookies": {"a": "1"}
        }


def test_the_response_begins_after_the_request_has_ended(
    client: ft.Client, origin: Origin, tmp_path: Path
) -> None:
    result = send(client, f"{origin.base}/upload", filled(tmp_path / "x", 4_000_000))
    check_profile(result, tls=origin.tls, protocol=origin.protocol)
    digest = json.loads(result.data)
    assert digest["length"] < result.profile.sendBytesCount < digest["length"] + 2000


# --- ways to wait ---------------------------------------------------------------------------------


def test_each_driver_delivers_the_same_story(drive: Any, server: Any, path: Path) -> None:
    histories: list[UploadHistory] = []
    tasks: list[ft.UploadTask] = []

    def start() -> list[ft.UploadTask]:
        for _ in range(5):
            task, history = begin(client, f"{server.http}/upload", filePath=path, name="f")
            tasks.append(task)
            histories.append(history)
        return tasks

    with ft.Client(trust_env=False) as client:
        thread = drive(start)
    for task, history in zip(tasks, histories, strict=True):
        assert history.wait().names == ["headers", "success", "complete"]
        assert history.result() is task.result(LIMIT)
        assert history.percents[-1] == 100
        assert thread is None or history.threads == {thread}


def test_an_upload_can_be_awaited(client: ft.Client, origin: Origin, path: Path) -> None:
    async def main() -> list[ft.UploadResult]:
        url = f"{origin.base}/upload"
        tasks = [client.uploadFile(url=url, filePath=path, name="f") for _ in range(3)]
        return [await task for task in tasks]

    results = asyncio.run(main())
    assert len({json.loads(result.data)["length"] for result in results}) == 1


def test_a_cancelled_wait_aborts_the_upload(path: Path) -> None:
    async def main(url: str) -> ft.UploadTask:
        with ft.Client(trust_env=False) as client:
            task = client.uploadFile(url=url, filePath=path, name="f")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(_awaited(task), 0.05)
            return task

    with AwkwardServer(BEHAVIOURS["silent"]) as server:
        task = asyncio.run(main(server.url))
        with pytest.raises(ft.FtError, match="^uploadFile:fail abort$"):
            task.result(LIMIT)


async def _awaited(task: ft.UploadTask) -> ft.UploadResult:
    return await task


def test_options_come_as_a_mapping_too(plain: ft.Client, server: Any, path: Path) -> None:
    options = {"url": f"{server.http}/echo", "filePath": str(path), "name": "f"}
    for given in (options, UserDict(options)):
        told = echoed(plain.uploadFile(given).result(LIMIT))
        assert told["parts"][0].value == path.read_bytes()


def test_the_module_function_uses_the_default_client(server: Any, path: Path) -> None:
    told = echoed(ft.uploadFile(url=f"{server.http}/echo", filePath=path, name="f").result(LIMIT))
    assert told["parts"][0].file_name == b"picture.png"


# --- what is refused ------------------------------------------------------------------------------

ONE = {"name": "f", "data": b"x"}
WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({}, TypeError, "filePath is required: the path of a file"),
    ({"filePath": "/x"}, TypeError, "name is required: a str"),
    ({"name": "f"}, TypeError, "filePath is required: the path of a file"),
    ({"files": []}, TypeError, "filePath is required: the path of a file"),
    ({"files": [ONE], "name": "f"}, TypeError, "name must come with filePath"),
    ({"files": [ONE], "filePath": "/x"}, TypeError, "name is required: a str"),
    ({"filePath": 3, "name": "f"}, TypeError, "filePath must be the path of a file, got 3"),
    ({"filePath": "", "name": "f"}, ValueError, "filePath must be the path of a file, got ''"),
    ({"filePath": "/x/", "name": "f"}, ValueError, "filePath must be the path of a file"),
    ({"filePath": "a\0b", "name": "f"}, ValueError, "filePath must be the path of a file"),
    ({"filePath": "/x", "name": b"f"}, TypeError, "name must be a str, got b'f'"),
    ({"filePath": "/x", "name": "\ud800"}, ValueError, "the name of the form field"),
    ({"files": {"name": "f"}}, TypeError, "files must be a sequence of mappings"),
    ({"files": "f"}, TypeError, "files must be a sequence of mappings, got 'f'"),
    ({"files": ["f"]}, TypeError, "files must hold mappings, got 'f'"),
    ({"files": [{"data": b""}]}, TypeError, "files: name is required: a str"),
    ({"files": [{"name": "f"}]}, ValueError, "files: each entry takes filePath or data"),
    ({"files": [{**ONE, "filePath": "/x"}]}, ValueError, "files: each entry takes filePath or"),
    ({"files": [{**ONE, "path": 1}]}, TypeError, "files: unknown entry 'path'; it takes name"),
    ({"files": [{**ONE, "data": 5}]}, TypeError, "files: data must be a str or bytes-like, got 5"),
    ({"files": [{**ONE, "data": [1]}]}, TypeError, "files: data must be a str or bytes-like"),
    ({"files": [{**ONE, "data": "\ud800"}]}, ValueError, "files: data holds a lone surrogate"),
    ({"files": [{**ONE, "data": memoryview(b"abc")[::2]}]}, ValueError, "files: data must be a"),
    ({"files": [{**ONE, "fileName": 5}]}, TypeError, "files: fileName must be a str, got 5"),
    ({"files": [{**ONE, "fileName": "\ud800"}]}, ValueError, "files: fileName holds a lone"),
    ({"files": [{**ONE, "contentType": "text"}]}, ValueError, "files: contentType must be a media"),
    ({"files": [{**ONE, "contentType": "a/b\r\nX: 1"}]}, ValueError, "files: contentType must be"),
    ({"files": [{**ONE, "contentType": "ü/b"}]}, ValueError, "files: contentType must be"),
    ({"files": [ONE], "formData": [1]}, TypeError, "formData must be a mapping of names to"),
    ({"files": [ONE], "formData": {"k": object()}}, ValueError, "formData field 'k' holds"),
    ({"files": [ONE], "header": [1]}, TypeError, "header must be a mapping"),
    ({"files": [ONE], "header": {"X": "a\nb"}}, ValueError, "header X holds the control"),
    ({"files": [ONE], "header": {"Expect": "x"}}, ValueError, "header Expect cannot be given"),
    ({"files": [ONE], "header": {"Content-Length": 1}}, ValueError, "header Content-Length"),
    ({"files": [ONE], "timeout": 0}, ValueError, "timeout must be a number of milliseconds > 0"),
    ({"files": [ONE], "timeout": "1"}, TypeError, "timeout must be a number of milliseconds"),
    ({"files": [ONE], "enableProfile": 1}, TypeError, "enableProfile must be True or False"),
    ({"files": [ONE], "enableHttp2": 1}, TypeError, "enableHttp2 must be True, False or None"),
    ({"files": [ONE], "success": 1}, TypeError, "success must be callable or None, got 1"),
    ({"files": [ONE], "method": "PUT"}, TypeError, "unknown option 'method'; it takes url, file"),
    ({"files": [ONE], "url": "ftp://x/"}, ValueError, "url"),
    ({"files": [ONE], "url": None}, TypeError, "url is required"),
]


@pytest.mark.parametrize(("options", "kind", "words"), WRONG)
def test_what_cannot_be_is_refused_at_the_call_by_name(
    plain: ft.Client, options: dict[str, Any], kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind) as caught:
        plain.uploadFile({"url": "http://127.0.0.1:9/", **options})
    assert str(caught.value).startswith(f"uploadFile: {words}")


def test_options_do_not_come_both_ways(plain: ft.Client) -> None:
    with pytest.raises(TypeError, match="one mapping or as keywords, not as both"):
        plain.uploadFile({"url": "http://127.0.0.1:9/"}, files=[ONE])


def test_a_released_buffer_is_refused_by_name(plain: ft.Client) -> None:
    view = memoryview(b"abc")
    view.release()
    with pytest.raises(ValueError, match="^uploadFile: files: data "):
        plain.uploadFile(url="http://127.0.0.1:9/", files=[{"name": "f", "data": view}])


# --- headers --------------------------------------------------------------------------------------


def test_the_header_comes_before_the_result(client: ft.Client, origin: Origin, path: Path) -> None:
    history = run(client, f"{origin.base}/headers/2", filePath=path, name="f")
    assert history.names == ["headers", "success", "complete"]
    event = history.events[0][1]
    assert event.statusCode == 200
    assert event.header["x-header-1"] == "value-1"
    assert len(event.cookies) == 2
