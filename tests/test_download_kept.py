"""What a download with resume=True keeps beside its target, when it is of use, and to whom."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import sys
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
    fetched,
    halves,
    kept_of,
    left_in,
    mode_of,
    noise,
    note_of,
    preloaded,
    resumed,
    umask,
    until_moved,
)
from tests.processes import Script
from tests.servers.awkward import AwkwardServer, eventually
from tests.servers.behaviours import BEHAVIOURS

SIZE = 300_000
CONTENT = noise(SIZE)
HALF = 150_001


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "file"


def cut(client: ft.Client, url: str, target: Path) -> None:
    failed(client, url, filePath=str(target), resume=True)
    assert not target.exists()


# --- the options ----------------------------------------------------------------------------------


def test_resume_needs_a_path(plain: ft.Client) -> None:
    with pytest.raises(ValueError, match="^downloadFile: resume needs filePath"):
        plain.downloadFile(url="http://127.0.0.1:9/", resume=True)


@pytest.mark.parametrize("name", ["Range", "range", "If-Range", "RANGE"])
def test_resume_and_a_range_of_the_callers_own_are_refused(
    name: str, plain: ft.Client, target: Path
) -> None:
    options = {"url": "http://127.0.0.1:9/", "filePath": str(target), "header": {name: "bytes=5-"}}
    with pytest.raises(ValueError, match="^downloadFile: resume sets the header Range itself"):
        plain.downloadFile(**options, resume=True)
    assert left_in(target.parent) == []


def test_a_coding_of_the_callers_own_is_asked_for(plain: ft.Client, target: Path) -> None:
    with AwkwardServer(OneFile(CONTENT)) as server:
        resumed(plain, server.url, target, header={"Accept-Encoding": "br"})
        assert server.requests[0].get("accept-encoding") == "br"
    assert complete(target, CONTENT)


# --- the validator --------------------------------------------------------------------------------

DATE = "Date: Tue, 03 Mar 2026 12:00:00 GMT"
OLD = "Last-Modified: Tue, 03 Mar 2026 11:59:00 GMT"
STRONG = {
    "an ETag": ('"x"', ()),
    "an ETag with odd characters": ('"a, b\' W/<5>"', ()),
    "an ETag and a young date": ('"x"', (DATE, "Last-Modified: Tue, 03 Mar 2026 12:00:00 GMT")),
    "an old date": ("", (DATE, OLD)),
}
WEAK = {
    "nothing": ("", ()),
    "a weak ETag": ('W/"x"', ()),
    "a weak ETag and an old date": ('W/"x"', (DATE, OLD)),
    "an ETag without quotes": ("x", ()),
    "a young date": ("", (DATE, "Last-Modified: Tue, 03 Mar 2026 11:59:01 GMT")),
    "a date from the future": ("", (DATE, "Last-Modified: Wed, 04 Mar 2026 12:00:00 GMT")),
    "a date without another": ("", (OLD,)),
    "a date that is none": ("", (DATE, "Last-Modified: yesterday")),
    "a date beside one that is none": ("", ("Date: now", OLD)),
}


@pytest.mark.parametrize("name", STRONG)
def test_a_part_with_a_strong_validator_is_kept(name: str, plain: ft.Client, target: Path) -> None:
    etag, fields = STRONG[name]
    shelf = OneFile(CONTENT, etag=etag, fields=fields, cuts=[HALF])
    with AwkwardServer(shelf) as server:
        cut(plain, server.url, target)
        resumed(plain, server.url, target)
        asked = server.requests[1].get("if-range")
    assert asked == shelf.validator
    assert complete(target, CONTENT)
    assert shelf.sent == SIZE


@pytest.mark.parametrize("name", WEAK)
def test_without_a_strong_validator_nothing_is_kept(
    name: str, plain: ft.Client, target: Path
) -> None:
    etag, fields = WEAK[name]
    shelf = OneFile(CONTENT, etag=etag, fields=fields, cuts=[HALF])
    with AwkwardServer(shelf) as server:
        cut(plain, server.url, target)
        assert left_in(target.parent) == []
        resumed(plain, server.url, target)
    assert complete(target, CONTENT)
    assert shelf.asked == [None, None]


@pytest.mark.parametrize("etag", ['"é"', '"中"', '"\x80"'])
def test_an_etag_beyond_ascii_does_no_harm(etag: str, plain: ft.Client, target: Path) -> None:
    shelf = OneFile(CONTENT, etag=etag, cuts=[HALF])
    with AwkwardServer(shelf) as server:
        cut(plain, server.url, target)
        resumed(plain, server.url, target)
        assert server.requests[1].get("if-range") in (None, shelf.validator)
    assert complete(target, CONTENT)


def test_a_coded_body_is_decoded_but_not_kept(plain: ft.Client, target: Path) -> None:
    packed = gzip.compress(CONTENT)
    coded = OneFile(packed, fields=("Content-Encoding: gzip",), cuts=[HALF])
    with AwkwardServer(coded) as server:
        cut(plain, server.url, target)
        assert left_in(target.parent) == []
        resumed(plain, server.url, target)
    assert complete(target, CONTENT)
    assert coded.asked == [None, None]


# --- what is of use -------------------------------------------------------------------------------


def test_a_part_that_is_complete_costs_one_byte(plain: ft.Client, target: Path) -> None:
    shelf = OneFile(CONTENT, cuts=[SIZE - 1])
    with AwkwardServer(shelf) as server:
        cut(plain, server.url, target)
        with kept_of(target).open("ab") as file:
            file.write(CONTENT[-1:])  # as of one that was killed between its end and the rename
        resumed(plain, server.url, target)
    assert complete(target, CONTENT)
    assert shelf.asked == [None, f"bytes={SIZE - 1}-"]


def spoil_longer(target: Path) -> None:
    with kept_of(target).open("ab") as file:
        file.write(bytes(SIZE))


def spoil_note(target: Path) -> None:
    note_of(target).write_bytes(b'{"url":"')


def spoil_note_of_another_kind(target: Path) -> None:
    note_of(target).write_bytes(b'{"url":5,"validator":[]}')


def spoil_validator(target: Path, validator: str = '"first"\r\nX-Planted: yes') -> None:
    told = json.loads(note_of(target).read_bytes())
    note_of(target).write_text(json.dumps({**told, "validator": validator}))


def spoil_validator_beyond_ascii(target: Path) -> None:
    spoil_validator(target, '"中"')


def spoil_empty(target: Path) -> None:
    kept_of(target).write_bytes(b"")


def spoil_part_away(target: Path) -> None:
    kept_of(target).unlink()


def spoil_note_away(target: Path) -> None:
    note_of(target).unlink()


SPOILERS = [
    spoil_longer,
    spoil_note,
    spoil_note_of_another_kind,
    spoil_validator,
    spoil_validator_beyond_ascii,
    spoil_empty,
    spoil_part_away,
    spoil_note_away,
]


@pytest.mark.parametrize("spoil", SPOILERS)
def test_what_cannot_be_gone_on_with_is_fetched_anew(
    spoil: Any, plain: ft.Client, target: Path
) -> None:
    shelf = OneFile(CONTENT, cuts=[HALF])
    with AwkwardServer(shelf) as server:
        cut(plain, server.url, target)
        spoil(target)
        resumed(plain, server.url, target)
        assert server.requests[1].get("x-planted") is None
    assert complete(target, CONTENT)
    assert shelf.asked == [None, None]


def test_a_part_of_another_url_is_fetched_anew(plain: ft.Client, target: Path) -> None:
    shelf = OneFile(CONTENT, cuts=[HALF])
    with AwkwardServer(shelf) as server:
        cut(plain, f"{server.url}/one?token=secret", target)
        assert b"secret" not in note_of(target).read_bytes()
        resumed(plain, f"{server.url}/two", target)
    assert complete(target, CONTENT)
    assert shelf.asked == [None, None]


def test_the_part_may_shrink_while_the_download_is_queued(target: Path) -> None:
    shelf = OneFile(CONTENT, cuts=[HALF])
    with (
        AwkwardServer(shelf) as server,
        AwkwardServer(BEHAVIOURS["answers_behind_the_gate"]) as gated,
        ft.Client(trust_env=False, max_connections=1) as client,
    ):
        cut(client, server.url, target)
        first = client.request(url=gated.url)
        gated.wait_for_requests(1)
        queued, _ = begin(client, server.url, filePath=str(target), resume=True)
        os.truncate(kept_of(target), HALF - 1)
        gated.gate.set()
        assert first.result(LIMIT).statusCode == 200
        assert queued.result(LIMIT).statusCode == 200
        assert server.requests[-1].get("if-range") is None
    assert complete(target, CONTENT)
    assert shelf.asked == [None, None]


def test_two_that_wait_for_one_connection_do_not_mix(target: Path) -> None:
    shelf = OneFile(CONTENT, cuts=[HALF])
    with AwkwardServer(shelf) as server, ft.Client(trust_env=False, max_connections=1) as client:
        cut(client, server.url, target)
        options = {"url": server.url, "filePath": str(target), "resume": True}
        tasks = [client.downloadFile(options) for _ in range(2)]
        assert tasks[0].result(LIMIT).dataLength == SIZE
        with contextlib.suppress(ft.FtError):
            tasks[1].result(LIMIT)
    # where the first is not delivered yet when its connection is free, it holds the part still
    second = getattr(tasks[1].outcome, "errMsg", "")
    assert second == "downloadFile:ok" or "another download is writing the file" in second
    assert complete(target, CONTENT)
    assert shelf.asked in ([None, f"bytes={HALF}-"], [None, f"bytes={HALF}-", None])


def test_a_download_without_resume_leaves_the_part_alone(plain: ft.Client, target: Path) -> None:
    shelf = OneFile(CONTENT, cuts=[HALF])
    with AwkwardServer(shelf) as server, AwkwardServer(answers_with(body=b"other")) as other:
        cut(plain, server.url, target)
        fetched(plain, other.url, filePath=str(target))
        assert target.read_bytes() == b"other"
        assert kept_of(target).read_bytes() == CONTENT[:HALF]
        resumed(plain, server.url, target)
    assert complete(target, CONTENT)
    assert shelf.sent == SIZE


def test_nothing_is_left_when_no_response_came(plain: ft.Client, target: Path) -> None:
    with AwkwardServer(BEHAVIOURS["closes_unanswered"]) as server:
        cut(plain, server.url, target)
    assert left_in(target.parent) == []


def test_a_failure_before_the_response_leaves_the_part_alone(
    plain: ft.Client, target: Path
) -> None:
    shelf = OneFile(CONTENT, cuts=[HALF], instead={1: b"HTTP/1.1 2\r\nConnection: close"})
    with AwkwardServer(shelf) as server:
        cut(plain, server.url, target)
        cut(plain, server.url, target)
        assert kept_of(target).read_bytes() == CONTENT[:HALF]
        resumed(plain, server.url, target)
    assert complete(target, CONTENT)
    assert shelf.sent == SIZE


@pytest.mark.parametrize("name", ["file.0123456789abcdef", "0123456789abcdef"])
def test_a_part_is_kept_whatever_its_target_is_called(
    name: str, plain: ft.Client, tmp_path: Path
) -> None:
    target = tmp_path / name
    shelf = OneFile(CONTENT, cuts=[HALF])
    with AwkwardServer(shelf) as server:
        with Script(ANOTHER, server.url, str(target)) as script:
            assert script.finish() == ["fail"]
        resumed(plain, server.url, target)  # the first one of this process there
    assert complete(target, CONTENT)
    assert shelf.sent == SIZE


ANOTHER = """
    import sys
    import ftnet as ft
    options = {"url": sys.argv[1], "filePath": sys.argv[2], "resume": True}
    ends = {"success": lambda res: print("success"), "fail": lambda err: print("fail")}
    ft.run(lambda: ft.downloadFile({**options, **ends}))
"""


# --- who may use it -------------------------------------------------------------------------------


def test_of_two_at_once_the_second_is_told_that_the_first_is_busy(
    plain: ft.Client, target: Path
) -> None:
    with AwkwardServer(halves(CONTENT, 'ETag: "x"')) as server:
        first, _ = begin(plain, server.url, filePath=str(target), resume=True)
        until_moved(first, SIZE // 2)
        error = failed(plain, server.url, filePath=str(target), resume=True)
        assert error.errno == ft.Errno.SYSTEM
        assert error.errMsg.startswith("downloadFile:fail another download is writing the file")
        assert str(target) in error.errMsg
        server.gate.set()
        assert first.result(LIMIT).dataLength == SIZE
        assert complete(target, CONTENT)
        assert resumed(plain, server.url, target).statusCode == 200


def test_another_processs_download_is_busy_too(plain: ft.Client, target: Path) -> None:
    with (
        AwkwardServer(halves(CONTENT, 'ETag: "x"')) as server,
        Script(ANOTHER, server.url, str(target)) as script,
    ):
        eventually(note_of(target).exists, "it is under way", LIMIT)
        assert (
            "another download"
            in failed(plain, server.url, filePath=str(target), resume=True).errMsg
        )
        server.gate.set()
        assert script.finish() == ["success"]
    assert complete(target, CONTENT)


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_what_is_kept_is_no_more_open_than_the_file_will_be(
    mask: int, plain: ft.Client, target: Path
) -> None:
    with AwkwardServer(OneFile(CONTENT, cuts=[HALF])) as server, umask(mask):
        cut(plain, server.url, target)
    assert mode_of(kept_of(target)) == 0o666 & ~mask
    assert mode_of(note_of(target)) == 0o600


@pytest.mark.parametrize("suffix", ["", ".note", ".note.new"])
def test_a_planted_link_is_never_followed(suffix: str, plain: ft.Client, tmp_path: Path) -> None:
    victim, folder = tmp_path / "victim", tmp_path / "folder"
    victim.write_bytes(b"precious")
    folder.mkdir()
    (folder / f".file.ftpart{suffix}").symlink_to(victim)
    shelf = OneFile(CONTENT, cuts=[HALF])
    with AwkwardServer(shelf) as server:
        failed(plain, server.url, filePath=str(folder / "file"), resume=True)
    assert victim.read_bytes() == b"precious"


def test_a_planted_pipe_holds_nobody_up(plain: ft.Client, target: Path) -> None:
    os.mkfifo(kept_of(target))
    with AwkwardServer(OneFile(CONTENT)) as server:
        failed(plain, server.url, filePath=str(target), resume=True)
    assert not target.exists()


GATED_FLOCK = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

/* Before the first lock: says so at one pipe, and waits at the other. */
int flock(int fd, int how) {
  static int passed;
  if (!passed++) {
    close(open(getenv("FLOCK_REACHED"), O_WRONLY));
    close(open(getenv("FLOCK_GATE"), O_RDONLY));
  }
  return ((int (*)(int, int))dlsym(RTLD_NEXT, "flock"))(fd, how);
}
"""


@pytest.fixture
def gated_flock(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process that waits before it locks a file."""
    room = tmp_path_factory.mktemp("flock")
    names = {"FLOCK_REACHED": str(room / "reached"), "FLOCK_GATE": str(room / "gate")}
    for path in names.values():
        os.mkfifo(path)
    return {**preloaded(room, GATED_FLOCK), **names}


def touch(pipe: str, how: int) -> None:
    os.close(os.open(pipe, how))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="preloads as glibc has it")
def test_a_part_that_becomes_the_file_meanwhile_is_not_written_to(
    plain: ft.Client, target: Path, gated_flock: dict[str, str]
) -> None:
    shelf = OneFile(CONTENT, cuts=[HALF, SIZE, 10])
    with AwkwardServer(shelf) as server:
        cut(plain, server.url, target)
        with Script(ANOTHER, server.url, str(target), **gated_flock) as script:
            touch(gated_flock["FLOCK_REACHED"], os.O_RDONLY)  # it has opened what is kept
            resumed(plain, server.url, target)
            assert complete(target, CONTENT)
            touch(gated_flock["FLOCK_GATE"], os.O_WRONLY)
            script.finish()
    assert target.read_bytes() == CONTENT
