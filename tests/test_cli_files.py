"""`ftnet download` and `ftnet upload`: the right file in the right place, and curl's exit codes."""

from __future__ import annotations

import argparse
import base64
import email
import email.policy
import json
import os
import re
import signal
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ftnet import cli, cli_files
from ftnet.errors import Errno, from_engine
from ftnet.testing.app import pattern
from ftnet.testing.server import Server
from tests.command import COMMAND, LIMIT, environment, request
from tests.servers.awkward import AwkwardServer, Behaviour, Peer, closed_port, eventually
from tests.servers.behaviours import BEHAVIOURS, says
from tests.servers.nginx import Nginx

FILE = pattern(1_000_000)
SAVED = r"saved {}: {} in [\d.]+ s, [\d.]+ [kMG]?B/s\n"


def parse(*arguments: str) -> argparse.Namespace:
    return cli.build_parser().parse_args(arguments)


def run(
    *arguments: str, directory: Path | None = None, **variables: str
) -> subprocess.CompletedProcess[bytes]:
    """Runs `ftnet` to its end."""
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=directory,
        env=environment(**variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=LIMIT,
        check=False,
    )


def running(*arguments: str, directory: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=directory,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def serves(file: bytes, stops_at: int | None = None) -> Behaviour:
    """Serves a file with ranges and an ETag; the first time only up to a point, then the gate."""

    def behave(peer: Peer) -> None:
        while True:
            wanted = re.match(r"bytes=(\d+)-", peer.read_request().get("range") or "")
            first = int(wanted[1]) if wanted else 0
            fields = [f"Content-Length: {len(file) - first}", 'ETag: "one"']
            if wanted:
                fields.append(f"Content-Range: bytes {first}-{len(file) - 1}/{len(file)}")
            status = "206 Partial Content" if wanted else "200 OK"
            peer.send("\r\n".join([f"HTTP/1.1 {status}", *fields, "", ""]).encode())
            if stops_at is not None and not wanted:
                peer.send(file[:stops_at])
                peer.server.gate.wait()
                peer.send(file[stops_at:])
            else:
                peer.send(file[first:])

    return behave


# ---- the command line


@pytest.mark.parametrize("command", ["download", "upload"])
def test_help_shows_examples_and_exit_codes(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert f"examples:\n  ftnet {command} https://" in shown
    assert "22 status 400 or above   23" in shown
    assert "(default: none)" in shown


@pytest.mark.parametrize(
    "arguments",
    [
        ["download"],
        ["download", "http://a/", "http://b/"],
        ["upload", "http://127.0.0.1/"],
        ["upload", "--field", "novalue", "http://127.0.0.1/", "file"],
        ["upload", "--field", "=x", "http://127.0.0.1/", "file"],
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 2
    assert capsys.readouterr().err.startswith("usage: ftnet")


def test_files_have_all_the_time_that_can_be_asked_for() -> None:
    assert parse("download", "http://x/").max_time == 2_147_483
    assert parse("upload", "http://x/", "file").max_time == 2_147_483
    assert parse("download", "-m", "2147483", "http://x/").max_time == 2_147_483
    assert parse("request", "http://x/").max_time == 60


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/a/b.iso", "b.iso"),
        ("/b.iso?version=3#part", "b.iso"),
        ("", "download"),
        ("/", "download"),
        ("/a/", "download"),
        ("/a%20b", "a b"),
        ("/%E4%B8%96", "世"),
        ("/..%2F..%2Fetc%2Fpasswd", "_.._etc_passwd"),
        ("/a%5Cb", "a_b"),
        ("/.bashrc", "bashrc"),
        ("/...", "download"),
        ("/.%20.x", "x"),
        ("/..", "download"),
        ("/%2e%2e", "download"),
        ("/%20", "download"),
        ("/a%00%1B%5B2Jb%0A", "a__[2Jb_"),
        ("/%FF", "\ufffd"),
    ],
)
def test_a_file_is_named_by_the_url(path: str, name: str) -> None:
    assert cli_files.file_name(f"http://x.test{path}") == name


@pytest.mark.parametrize(
    ("code", "os_errno", "expected"),
    [
        (-15, 28, 99), (-15, 2, 99), (-15, 0, 99), (-16, 0, 99), (-17, 0, 99), (-18, 0, 99),
        (-1, 0, 56), (-2, 0, 28), (-2, 115, 28), (-6, 0, 63), (-9, 0, 27), (7, 111, 7), (33, 0, 33),
    ],
)  # fmt: skip
def test_a_file_at_fault_has_an_exit_code_of_its_own(
    code: int, os_errno: int, expected: int
) -> None:
    assert cli_files.exit_code(from_engine("downloadFile", code, os_errno, ""), 99) == expected


def test_a_field_is_a_name_and_a_value() -> None:
    assert cli.field_entry("a=b=c") == ("a", "b=c")
    assert cli.field_entry("a=") == ("a", "")
    assert cli_files.form_fields([("a", "1"), ("b", "ö\udcff")]) == {
        "a": b"1",
        "b": b"\xc3\xb6\xff",
    }


# ---- downloads


def test_a_download_appears_under_the_name_in_the_url(server: Server, tmp_path: Path) -> None:
    done = run("download", f"{server.http}/bytes/200000?x=1", directory=tmp_path)
    assert (done.returncode, done.stdout) == (0, b"")
    assert re.fullmatch(SAVED.format("200000", "200 kB"), done.stderr.decode())
    assert (tmp_path / "200000").read_bytes() == pattern(200_000)
    assert list(tmp_path.iterdir()) == [tmp_path / "200000"]


def test_the_server_does_not_name_the_file(tmp_path: Path) -> None:
    head = b'Content-Length: 2\r\nContent-Disposition: attachment; filename="../evil"\r\n\r\nhi'
    with AwkwardServer(says(b"HTTP/1.1 200 OK\r\n" + head)) as server:
        assert run("download", server.url, directory=tmp_path).returncode == 0
    assert list(tmp_path.iterdir()) == [tmp_path / "download"]


def test_a_redirect_does_not_name_the_file(server: Server, tmp_path: Path) -> None:
    assert run("download", f"{server.http}/redirect/2", directory=tmp_path).returncode == 0
    assert json.loads((tmp_path / "2").read_bytes()) == {"redirected": True}


def test_an_existing_file_is_replaced_and_keeps_its_permissions(
    server: Server, tmp_path: Path
) -> None:
    (tmp_path / "hello").write_bytes(b"something longer than what replaces it")
    (tmp_path / "hello").chmod(0o640)
    assert run("download", f"{server.http}/hello", directory=tmp_path).returncode == 0
    assert (tmp_path / "hello").read_bytes() == b"Hello, World!"
    assert stat.filemode((tmp_path / "hello").stat().st_mode) == "-rw-r-----"


def test_the_file_can_be_named(server: Server, tmp_path: Path) -> None:
    done = run("download", "--sync", "-o", f"{tmp_path}/a b", f"{server.http}/hello")
    assert (tmp_path / "a b").read_bytes() == b"Hello, World!"
    assert done.stderr.startswith(f"saved {tmp_path}/a b: 13 B in ".encode())


def test_what_is_told_is_one_line_whatever_the_name(server: Server, tmp_path: Path) -> None:
    done = run("download", "-o", "a\n\x1b[2Jb", f"{server.http}/hello", directory=tmp_path)
    assert done.stderr.startswith(b"saved a??[2Jb: 13 B in ")
    assert (tmp_path / "a\n\x1b[2Jb").exists()


def test_stdout_is_not_a_file(server: Server, tmp_path: Path) -> None:
    done = run("download", "-o", "-", f"{server.http}/hello", directory=tmp_path)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"ftnet request" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_size_told_is_that_of_the_file(server: Server, tmp_path: Path) -> None:
    done = run("download", f"{server.http}/bomb/1000000", directory=tmp_path)
    assert re.fullmatch(SAVED.format("1000000", "1.00 MB"), done.stderr.decode())
    assert (tmp_path / "1000000").read_bytes() == bytes(1_000_000)


def test_silent_says_nothing_but_what_went_wrong(server: Server, tmp_path: Path) -> None:
    done = run("download", "-s", f"{server.http}/hello", directory=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    done = run("download", "-s", f"{server.http}/status/500", directory=tmp_path)
    assert (done.returncode, done.stderr.count(b"\n")) == (22, 1)


def test_headers_and_connection_options_are_those_of_request(
    server: Server, tmp_path: Path
) -> None:
    options = ["-H", "X-One: 1", "-A", "me/1", "--cacert", server.ca, "--http1.1"]
    assert run("download", *options, f"{server.https}/echo", directory=tmp_path).returncode == 0
    told = json.loads((tmp_path / "echo").read_bytes())
    assert ["x-one", "1"] in told["headers"]
    assert ["user-agent", "me/1"] in told["headers"]
    assert told["http_version"] == "1.1"


def test_the_profile_is_drawn_after_the_line(server: Server, tmp_path: Path) -> None:
    done = run("download", "--profile", f"{server.http}/hello", directory=tmp_path)
    first, second, *_ = done.stderr.decode().splitlines()
    assert first.startswith("saved hello: ")
    assert second.startswith("http/1.1 · 127.0.0.1:")


def test_json_is_the_result(server: Server, tmp_path: Path) -> None:
    done = run("download", "--json", "-s", f"{server.http}/hello", directory=tmp_path)
    document = json.loads(done.stdout)
    assert (done.returncode, done.stderr, done.stdout.count(b"\n")) == (0, b"", 1)
    assert (document["filePath"], document["dataLength"]) == ("hello", 13)
    assert (document["statusCode"], document["errMsg"]) == (200, "downloadFile:ok")
    assert document["profile"]["durations"]["total"] > 0


def test_json_tells_of_a_bad_status(server: Server, tmp_path: Path) -> None:
    done = run("download", "--json", f"{server.http}/status/404", directory=tmp_path)
    document = json.loads(done.stdout)
    assert done.returncode == 22
    assert (document["statusCode"], document["errno"]) == (404, Errno.PROTOCOL)
    assert document["errMsg"].startswith("downloadFile:fail the server answered HTTP/1.1 404")
    assert document["profile"]["responseStart"] > 0
    assert "content-length" in {name.lower() for name in document["header"]}


def test_json_tells_of_a_failure(tmp_path: Path) -> None:
    with closed_port() as port:
        done = run("download", "--json", f"http://127.0.0.1:{port}/", directory=tmp_path)
    document = json.loads(done.stdout)
    assert done.returncode == 7
    assert document["errMsg"].startswith("downloadFile:fail ")
    assert document["cause"]["code"] == 7
    assert document["profile"]["durations"]["ttfb"] == 0


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["ftp://127.0.0.1/"], 1),
        (["http://"], 3),
        (["-o", "-", "http://127.0.0.1:9/"], 2),
        (["-o", "", "http://127.0.0.1:9/"], 2),
        (["-x", "ftp://127.0.0.1/", "http://127.0.0.1:9/"], 2),
        (["--resume", "-H", "Range: bytes=1-", "http://127.0.0.1:9/x"], 2),
    ],
)
def test_json_tells_of_a_refused_argument(arguments: list[str], code: int, tmp_path: Path) -> None:
    done = run("download", "--json", *arguments, directory=tmp_path)
    document = json.loads(done.stdout)
    assert (done.returncode, document["errno"]) == (code, Errno.ARGUMENT)
    assert document["errMsg"].startswith("downloadFile:fail ")
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("resume", [[], ["--resume"]])
def test_an_error_page_is_not_the_file(server: Server, tmp_path: Path, resume: list[str]) -> None:
    (tmp_path / "404").write_bytes(b"old")
    done = run("download", *resume, f"{server.http}/status/404", directory=tmp_path)
    assert (done.returncode, done.stdout) == (22, b"")
    assert done.stderr.startswith(b"ftnet: (22) the server answered HTTP/1.1 404")
    assert done.stderr.count(b"\n") == 1
    assert (tmp_path / "404").read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [tmp_path / "404"]


@pytest.mark.parametrize(
    ("target", "told"),
    [
        ("missing/file", b"No such file"),
        (".", b"Is a directory"),
        ("x" * 256, b"too long"),
    ],
)
def test_a_file_that_cannot_be_written_is_23_before_anything_is_sent(
    tmp_path: Path, target: str, told: bytes
) -> None:
    with AwkwardServer(serves(FILE)) as server:
        done = run("download", "-o", f"{tmp_path}/{target}", server.url)
        assert server.peers == []
    assert done.returncode == 23
    assert told in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_23(server: Server) -> None:
    done = run("download", "-o", "/dev/full", f"{server.http}/bytes/300000")
    assert done.returncode == 23
    assert b"No space left" in done.stderr


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [("closed_before_content_length", 18), ("resets_in_body", 56), ("closes_unanswered", 52)],
)
def test_a_broken_download_leaves_the_old_file(tmp_path: Path, behaviour: str, code: int) -> None:
    (tmp_path / "x").write_bytes(b"old")
    with AwkwardServer(BEHAVIOURS[behaviour]) as server:
        done = run("download", f"{server.url}/x", directory=tmp_path)
    assert done.returncode == code
    assert done.stderr.startswith(f"ftnet: ({code}) downloadFile:fail ".encode())
    assert (tmp_path / "x").read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [tmp_path / "x"]


def test_too_late_is_28_and_too_large_is_63(server: Server, tmp_path: Path) -> None:
    with AwkwardServer(BEHAVIOURS["stalls_in_body"]) as slow:
        assert run("download", "-m", "0.3", slow.url, directory=tmp_path).returncode == 28
    large = run("download", "--max-filesize", "9", f"{server.http}/hello", directory=tmp_path)
    assert large.returncode == 63
    assert list(tmp_path.iterdir()) == []


def test_a_missing_engine_is_2(tmp_path: Path) -> None:
    done = run("download", "http://127.0.0.1:9/x", FTCORE_LIBCURL="/nowhere", directory=tmp_path)
    assert done.returncode == 2
    assert done.stderr.endswith(b"`ftnet doctor` says more\n")


def parts(directory: Path) -> list[Path]:
    """Of files; a note is written beside its place, too."""
    names = [path for path in directory.iterdir() if path.name.endswith(".ftpart")]
    return [path for path in names if ".note." not in path.name]


def some_has_come(directory: Path, notes: bool) -> bool:
    """Bytes of a file, and the note that a later download needs."""
    noted = not notes or any(path.name.endswith(".note") for path in directory.iterdir())
    return noted and any(path.stat().st_size > 0 for path in parts(directory))


def interrupt(directory: Path, url: str, *options: str) -> None:
    """Ctrl-C when some of the file has come."""
    with running("download", *options, url, directory=directory) as process:
        eventually(lambda: some_has_come(directory, "--resume" in options), "a part", LIMIT)
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT) == 130
        assert process.stderr is not None
        assert process.stderr.read() == b""


def test_ctrl_c_leaves_no_file(tmp_path: Path) -> None:
    with AwkwardServer(serves(FILE, stops_at=500_000)) as server:
        interrupt(tmp_path, f"{server.url}/x")
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_download_goes_on(tmp_path: Path) -> None:
    with AwkwardServer(serves(FILE, stops_at=500_000)) as server:
        interrupt(tmp_path, f"{server.url}/x", "--resume")
        (kept,) = parts(tmp_path)
        length = kept.stat().st_size
        assert 0 < length <= 500_000
        done = run("download", "--resume", f"{server.url}/x", directory=tmp_path)
        assert server.requests[-1].get("range") == f"bytes={length}-"
    assert re.fullmatch(SAVED.format("x", "1.00 MB"), done.stderr.decode())
    assert (tmp_path / "x").read_bytes() == FILE
    assert list(tmp_path.iterdir()) == [tmp_path / "x"]


def test_a_bad_status_does_not_cost_what_is_kept(tmp_path: Path) -> None:
    gone = says(b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nlate")
    with AwkwardServer(serves(FILE, stops_at=500_000)) as server:
        interrupt(tmp_path, f"{server.url}/x", "--resume")
        before = {path: path.read_bytes() for path in tmp_path.iterdir()}
        server.behaviour = gone
        done = run("download", "--resume", f"{server.url}/x", directory=tmp_path)
    assert done.returncode == 22
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_file_from_nginx_goes_on_too(nginx: Nginx, tmp_path: Path) -> None:
    path = nginx.serve_file("cli.bin", FILE)
    os.utime(nginx.root / "cli.bin", (1e9, 1e9))
    interrupt(tmp_path, f"{nginx.http}/slow{path}", "--resume")
    done = run("download", "--resume", f"{nginx.http}{path}", "-o", "cli.bin", directory=tmp_path)
    assert done.returncode == 0
    assert (tmp_path / "cli.bin").read_bytes() == FILE


# ---- uploads


def sent_form(document: dict[str, Any]) -> list[tuple[str, str | None, str, bytes]]:
    """(name, file name, type, content) of each part of what /echo was sent, as Python reads it."""
    (content_type,) = [value for name, value in document["headers"] if name == "content-type"]
    raw = f"Content-Type: {content_type}\r\n\r\n".encode() + base64.b64decode(document["body"])
    message = email.message_from_bytes(raw, policy=email.policy.HTTP)
    found = []
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        found.append((str(name), part.get_filename(), part.get_content_type(), content))
    return found


def test_files_are_sent_as_a_form(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"one\r\n")
    (tmp_path / "b.bin").write_bytes(FILE)
    options = ["--name", "photo", "--field", "album=cats", "--field", "x=a=b", "-H", "X-One: 1"]
    done = run("upload", *options, f"{server.http}/echo", "a.txt", "b.bin", directory=tmp_path)
    document = json.loads(done.stdout)
    assert done.returncode == 0
    assert re.fullmatch(
        r"sent 2 files: 1\.00 MB in [\d.]+ s, [\d.]+ [kMG]?B/s\n", done.stderr.decode()
    )
    assert ["x-one", "1"] in document["headers"]
    assert document["method"] == "POST"
    assert sent_form(document) == [
        ("album", None, "text/plain", b"cats"),
        ("x", None, "text/plain", b"a=b"),
        ("photo", "a.txt", "text/plain", b"one\r\n"),
        ("photo", "b.bin", "application/octet-stream", FILE),
    ]


def test_a_file_goes_in_the_field_file(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"one")
    done = run("upload", f"{server.http}/echo", f"{tmp_path}/a.txt")
    assert sent_form(json.loads(done.stdout)) == [("file", "a.txt", "text/plain", b"one")]
    assert done.stderr.startswith(f"sent {tmp_path}/a.txt: ".encode())


def test_the_answer_is_printed_as_it_came(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    answer = "grüße\n\n".encode("latin-1")
    head = f"Content-Type: text/plain; charset=latin-1\r\nContent-Length: {len(answer)}\r\n\r\n"
    with AwkwardServer(says(b"HTTP/1.1 200 OK\r\n" + head.encode() + answer)) as server:
        done = run("upload", "-s", server.url, f"{tmp_path}/x")
    assert (done.returncode, done.stdout, done.stderr) == (0, "grüße\n\n".encode(), b"")


def test_a_bad_status_is_22_after_its_body(server: Server, tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    done = run("upload", f"{server.http}/status/507", "x", directory=tmp_path)
    assert (done.returncode, json.loads(done.stdout)) == (22, {"status": 507})
    assert done.stderr.startswith(b"ftnet: (22) the server answered HTTP/1.1 507")
    assert done.stderr.count(b"\n") == 1


def test_json_is_the_result_of_an_upload(server: Server, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(FILE)
    done = run("upload", "--json", f"{server.http}/upload", "x", directory=tmp_path)
    document = json.loads(done.stdout)
    assert (document["statusCode"], document["errMsg"]) == (200, "uploadFile:ok")
    assert json.loads(document["data"])["length"] > len(FILE)
    assert document["profile"]["durations"]["send"] > 0
    bad = run("upload", "--json", f"{server.http}/status/400", "x", directory=tmp_path)
    assert (bad.returncode, json.loads(bad.stdout)["statusCode"]) == (22, 400)


@pytest.mark.parametrize(
    ("name", "told"),
    [("missing", b"No such file"), ("directory", b"directory"), ("pipe", b"not a regular file")],
)
def test_a_file_that_cannot_be_read_is_26_before_anything_is_sent(
    tmp_path: Path, name: str, told: bytes
) -> None:
    (tmp_path / "good").touch()
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with AwkwardServer(serves(FILE)) as server:
        done = run("upload", server.url, "good", name, directory=tmp_path)
        assert server.peers == []
    assert done.returncode == 26
    assert told in done.stderr
    assert f"/{name}" in done.stderr.decode()


def test_a_field_is_given_once(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    fields = ["--field", "a=1", "--field", "a=2"]
    done = run("upload", "--json", *fields, "http://127.0.0.1:9/", "x", directory=tmp_path)
    assert done.returncode == 2
    assert done.stderr == b"ftnet: (2) --field a is given twice\n"
    assert json.loads(done.stdout)["errMsg"].startswith("uploadFile:fail --field a")


def test_ctrl_c_ends_an_upload(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    with (
        AwkwardServer(BEHAVIOURS["silent_after_the_request"]) as server,
        running("upload", server.url, "x", directory=tmp_path) as process,
    ):
        server.wait_for_requests(1, LIMIT)
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT) == 130
        assert process.stderr is not None
        assert process.stderr.read() == b""


# ---- parts of `ftnet request -o` are those of downloads


def test_a_part_that_a_killed_request_left_goes_with_the_next_file(
    server: Server, tmp_path: Path
) -> None:
    with AwkwardServer(serves(FILE, stops_at=500_000)) as stalled:
        command = ["request", "-o", "x", stalled.url]
        with running(*command, directory=tmp_path) as process:
            eventually(lambda: parts(tmp_path) != [], "a part", LIMIT)
            assert run("download", f"{server.http}/hello", directory=tmp_path).returncode == 0
            assert len(parts(tmp_path)) == 1  # somebody writes it
            process.kill()
    assert request("-o", f"{tmp_path}/y", f"{server.http}/hello").returncode == 0
    assert {path.name for path in tmp_path.iterdir()} == {"hello", "y"}
