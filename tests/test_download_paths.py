"""downloadFile: where the file goes, under what name, with which permissions, and when."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import ftnet as ft
from ftnet.testing.app import WIDGET, pattern
from tests.downloads import (
    LIMIT,
    answers_with,
    begin,
    fetched,
    halves,
    left_in,
    mode_of,
    noise,
    umask,
    until_moved,
)
from tests.origins import Origin
from tests.processes import run_script
from tests.servers.awkward import AwkwardServer


def test_without_a_path_the_file_is_temporary_and_the_users_alone(
    client: ft.Client, origin: Origin
) -> None:
    results = [fetched(client, f"{origin.base}/json") for _ in range(2)]
    paths = [Path(result.tempFilePath) for result in results]
    assert [result.filePath for result in results] == [None, None]
    assert paths[0] != paths[1]
    for path in paths:
        assert json.loads(path.read_bytes()) == WIDGET
        assert (path.suffix, mode_of(path), mode_of(path.parent)) == (".json", 0o600, 0o700)
        path.unlink()


def test_temporary_files_go_with_their_process(server: Any) -> None:
    source = """
        import os, sys
        import ftnet as ft
        result = ft.downloadFile(url=sys.argv[1]).result(10)
        late = ft.downloadFile(url=sys.argv[1], complete=lambda res: print(res.dataLength))
        print(result.tempFilePath, os.path.getsize(result.tempFilePath))
    """
    lines = sorted(run_script(source, f"{server.http}/json"))
    path, size = lines[0].split()
    assert lines[1] == size
    assert not Path(path).parent.exists()


def test_the_client_names_the_directory_of_temporary_files(server: Any, tmp_path: Path) -> None:
    with ft.Client(trust_env=False, temp_dir=str(tmp_path)) as client:
        result = fetched(client, f"{server.http}/json")
    path = Path(result.tempFilePath)
    assert left_in(tmp_path) == [path.name]
    assert path.parent == tmp_path
    assert mode_of(path) == 0o600


SUFFIXES = [
    ("image/png", "/x.exe", ".png"),
    ("text/html; charset=utf-8", "/", ".html"),
    ("APPLICATION/JSON", "/x", ".json"),
    ("application/octet-stream", "/a/b.tar.gz", ".gz"),
    ("binary/octet-stream", "/b.Dat?x=.sh", ".Dat"),
    ("application/x-download", "/a.zip", ".zip"),
    ("x/unheard-of", "/file.xyz", ".xyz"),
    ("", "/pic.jpeg?a=/b.sh", ".jpeg"),
    ("", "/a.b/c", ""),
    ("", "/", ""),
    ("", "/file.", ""),
    ("", "/.profile", ""),
    ("", "/file.longerthanten", ""),
    ("", "/file.%2e%2e%2fx", ""),
    ("", "/file.e-x", ""),
    ("../../evil", "/x", ""),
]


@pytest.mark.parametrize(("media_type", "path", "suffix"), SUFFIXES)
def test_the_suffix_is_the_content_types_else_the_urls(
    tmp_path: Path, media_type: str, path: str, suffix: str
) -> None:
    fields = (f"Content-Type: {media_type}",) if media_type else ()
    with (
        AwkwardServer(answers_with(*fields)) as server,
        ft.Client(trust_env=False, temp_dir=str(tmp_path)) as client,
    ):
        result = fetched(client, server.url + path)
    (name,) = left_in(tmp_path)
    assert result.tempFilePath == str(tmp_path / name)
    stem, dot, rest = name.partition(".")
    assert dot + rest == suffix
    assert len(stem) == len("tmp_0123456789abcdef")


@pytest.mark.parametrize(
    "disposition",
    [
        "attachment; filename=evil.sh",
        'attachment; filename="../../evil.sh"',
        "attachment; filename*=UTF-8''%2Ftmp%2Fevil.sh",
        'inline; filename="/tmp/evil.sh"',
    ],
)
def test_content_disposition_never_chooses_a_path(tmp_path: Path, disposition: str) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    fields = (f"Content-Disposition: {disposition}", "Content-Type: text/plain")
    with (
        AwkwardServer(answers_with(*fields)) as server,
        ft.Client(trust_env=False, temp_dir=str(inner)) as client,
    ):
        unnamed = fetched(client, server.url)
        named = fetched(client, server.url, filePath=str(inner / "mine"))
    assert left_in(tmp_path) == ["inner"]
    assert left_in(inner) == sorted(["mine", Path(unnamed.tempFilePath).name])
    assert Path(unnamed.tempFilePath).suffix == ".txt"
    assert named.tempFilePath == str(inner / "mine")


def test_a_relative_path_is_meant_where_the_call_was_made(
    plain: ft.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, elsewhere = tmp_path / "here", tmp_path / "elsewhere"
    (here / "sub").mkdir(parents=True)
    elsewhere.mkdir()
    with AwkwardServer(halves(b"0123456789")) as server:
        monkeypatch.chdir(here)
        task, _ = begin(plain, server.url, filePath="sub/../sub/file")
        until_moved(task, 5)
        monkeypatch.chdir(elsewhere)
        server.gate.set()
        result = task.result(LIMIT)
    assert result.filePath == result.tempFilePath == "sub/../sub/file"
    assert (here / "sub" / "file").read_bytes() == b"0123456789"
    assert left_in(elsewhere) == []


@pytest.mark.parametrize("kind", [Path, os.fsencode])
def test_a_path_may_be_an_object_or_bytes(
    plain: ft.Client, server: Any, tmp_path: Path, kind: Callable[[str], Any]
) -> None:
    target = tmp_path / "file"
    result = fetched(plain, f"{server.http}/bytes/5", filePath=kind(str(target)))
    assert result.filePath == str(target)
    assert target.read_bytes() == pattern(5)


NAMES = ["-rf", " blank ", "new\nline", "ünï", "%2e%2e", ".hidden", "x.ftpart", "a" * 255]


@pytest.mark.parametrize("name", [*map(os.fsencode, NAMES), b"\xff\xfe", "é".encode() * 127])
def test_any_name_a_file_may_have_will_do(
    plain: ft.Client, server: Any, tmp_path: Path, name: bytes
) -> None:
    target = os.path.join(os.fsencode(tmp_path), name)
    for options in ({}, {"resume": True}):
        fetched(plain, f"{server.http}/bytes/70000", filePath=target, **options)
        with open(target, "rb") as file:
            assert file.read() == pattern(70_000)
        assert os.listdir(os.fsencode(tmp_path)) == [name]


@pytest.mark.parametrize("there", [True, False], ids=["good", "dangling"])
@pytest.mark.parametrize("resume", [False, True], ids=["plain", "resume"])
def test_what_a_link_points_to_is_replaced_not_the_link(
    plain: ft.Client, server: Any, tmp_path: Path, there: bool, resume: bool
) -> None:
    links, files = tmp_path / "links", tmp_path / "files"
    links.mkdir()
    files.mkdir()
    if there:
        (files / "file").write_bytes(b"old")
    (links / "link").symlink_to("../files/file")
    link = str(links / "link")
    result = fetched(plain, f"{server.http}/bytes/9", filePath=link, resume=resume)
    assert result.filePath == link
    assert (links / "link").is_symlink()
    assert (files / "file").read_bytes() == pattern(9)
    assert left_in(links) == ["link"]
    assert left_in(files) == ["file"]


def test_another_name_of_the_old_file_keeps_the_old_content(
    plain: ft.Client, server: Any, tmp_path: Path
) -> None:
    target, other = tmp_path / "file", tmp_path / "other"
    target.write_bytes(b"old")
    other.hardlink_to(target)
    fetched(plain, f"{server.http}/bytes/9", filePath=str(target))
    assert target.read_bytes() == pattern(9)
    assert other.read_bytes() == b"old"


def test_the_old_file_is_there_until_the_new_one_is_complete(
    plain: ft.Client, tmp_path: Path
) -> None:
    target, content = tmp_path / "file", noise(400_000)
    target.write_bytes(b"old")
    with AwkwardServer(halves(content)) as server, target.open("rb") as reader:
        task, told = begin(plain, server.url, filePath=str(target))
        until_moved(task, 200_000)
        assert target.read_bytes() == b"old"
        hidden, name = left_in(tmp_path)
        assert (hidden[0], name) == (".", "file")
        server.gate.set()
        task.result(LIMIT)
        assert reader.read() == b"old"
    assert target.read_bytes() == content
    assert left_in(tmp_path) == ["file"]
    told.wait().response()


@pytest.mark.parametrize("resume", [False, True], ids=["plain", "resume"])
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o755, 0o444])
def test_a_replaced_file_keeps_its_permissions(
    plain: ft.Client, server: Any, tmp_path: Path, mode: int, resume: bool
) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    target.chmod(mode)
    with umask(0o077):
        fetched(plain, f"{server.http}/bytes/9", filePath=str(target), resume=resume)
    assert mode_of(target) == mode


@pytest.mark.parametrize("mode", [0o4755, 0o2755, 0o6711])
def test_what_comes_from_the_net_runs_as_nobody_else(
    plain: ft.Client, server: Any, tmp_path: Path, mode: int
) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    target.chmod(mode)
    fetched(plain, f"{server.http}/bytes/9", filePath=str(target))
    assert mode_of(target) == mode & 0o777


@pytest.mark.parametrize("resume", [False, True], ids=["plain", "resume"])
@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077])
def test_a_new_file_has_the_permissions_of_any_new_file(
    plain: ft.Client, server: Any, tmp_path: Path, mask: int, resume: bool
) -> None:
    target = tmp_path / "file"
    with umask(mask):
        fetched(plain, f"{server.http}/bytes/9", filePath=str(target), resume=resume)
    assert mode_of(target) == 0o666 & ~mask


def test_a_device_is_written_to_and_stays_one(plain: ft.Client, server: Any) -> None:
    before = os.stat("/dev/null")
    result = fetched(plain, f"{server.http}/bytes/200000", filePath="/dev/null")
    assert (result.dataLength, result.filePath) == (200_000, "/dev/null")
    after = os.stat("/dev/null")
    assert (after.st_mode, after.st_rdev, after.st_ino) == (
        before.st_mode,
        before.st_rdev,
        before.st_ino,
    )
    assert not [name for name in os.listdir("/dev") if name.endswith(".ftpart")]


def test_two_downloads_to_one_path_leave_one_whole_file(plain: ft.Client, tmp_path: Path) -> None:
    one, other = noise(300_000, "one"), noise(200_000, "other")
    target = tmp_path / "file"
    with AwkwardServer(halves(one)) as first, AwkwardServer(halves(other)) as second:
        tasks = [begin(plain, raw.url, filePath=str(target))[0] for raw in (first, second)]
        until_moved(tasks[0], 150_000)
        until_moved(tasks[1], 100_000)
        for task, raw, content in zip(tasks, (first, second), (one, other), strict=True):
            raw.gate.set()
            assert task.result(LIMIT).dataLength == len(content)
            assert target.read_bytes() == content
    assert left_in(tmp_path) == ["file"]
