"""`ftnet request --har`: a valid archive, whatever came of the request, or none at all."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from ftnet import cli, cli_har
from ftnet.testing.app import pattern
from ftnet.testing.server import Server
from tests.archives import check_har, named
from tests.command import request
from tests.servers.awkward import AwkwardServer, closed_port
from tests.servers.behaviours import BEHAVIOURS


def read(path: Path) -> dict[str, Any]:
    return check_har(json.loads(path.read_text()))


@pytest.mark.parametrize("flag", ["--http1.1", "--http2"])
def test_the_archive_is_written_beside_the_body(server: Server, tmp_path: Path, flag: str) -> None:
    done = request("-k", flag, "--har", f"{tmp_path}/a.har", f"{server.https}/bytes/3000")
    assert (done.returncode, done.stdout, done.stderr) == (0, pattern(3000), b"")
    entry = read(tmp_path / "a.har")
    content = entry["response"]["content"]
    assert base64.b64decode(content["text"]) == done.stdout
    assert entry["response"]["bodySize"] == 3000
    assert entry["timings"]["ssl"] > 0
    assert [path.name for path in tmp_path.iterdir()] == ["a.har"]


def test_the_archive_can_go_to_stdout_instead_of_the_body(server: Server) -> None:
    done = request("--har", "-", "-d", "a=1&b=2", "-H", "X-One: 1", f"{server.http}/echo?q=1")
    assert (done.returncode, done.stderr) == (0, b"")
    entry = check_har(json.loads(done.stdout))
    assert entry["request"]["method"] == "POST"
    assert entry["request"]["postData"]["text"] == "a=1&b=2"
    assert named(entry["request"]["headers"])["x-one"] == "1"
    assert json.loads(entry["response"]["content"]["text"])["body_text"] == "a=1&b=2"


def test_a_body_in_a_file_is_not_in_the_archive(server: Server, tmp_path: Path) -> None:
    done = request("--har", "-", "-o", f"{tmp_path}/body", f"{server.http}/bytes/3000")
    content = check_har(json.loads(done.stdout))["response"]["content"]
    assert (tmp_path / "body").read_bytes() == pattern(3000)
    assert "text" not in content
    assert content["size"] == 3000


def test_json_and_an_archive_go_together(server: Server, tmp_path: Path) -> None:
    done = request("--json", "--har", f"{tmp_path}/a.har", f"{server.http}/gzip")
    content = read(tmp_path / "a.har")["response"]["content"]
    assert json.loads(content["text"]) == json.loads(done.stdout)["data"]
    assert content["compression"] != 0


def test_credentials_are_not_in_the_archive(server: Server, tmp_path: Path) -> None:
    url = server.http.replace("//", "//me:s3cret@") + "/hello"
    headers = ("-H", "Authorization: Bearer s3cret", "-H", "Cookie: sid=s3cret")
    assert request("--har", f"{tmp_path}/a.har", "-o", "/dev/null", *headers, url).returncode == 0
    read(tmp_path / "a.har")
    assert "s3cret" not in (tmp_path / "a.har").read_text()


def test_a_bad_status_under_fail_is_in_the_archive(server: Server, tmp_path: Path) -> None:
    done = request("-f", "--har", f"{tmp_path}/a.har", f"{server.http}/status/404")
    assert (done.returncode, done.stdout) == (22, b"")
    assert read(tmp_path / "a.har")["response"]["status"] == 404


def test_a_refused_connection_is_in_the_archive(tmp_path: Path) -> None:
    with closed_port() as port:
        done = request("--har", f"{tmp_path}/a.har", f"http://127.0.0.1:{port}/")
    assert done.returncode == 7
    response = read(tmp_path / "a.har")["response"]
    assert response["status"] == 0
    assert f"ftnet: (7) {response['_error']}\n" == done.stderr.decode()


def test_a_body_that_was_cut_off_is_in_the_archive_as_far_as_it_came(tmp_path: Path) -> None:
    with AwkwardServer(BEHAVIOURS["stalls_in_body"]) as server:
        done = request("-m", "2", "--har", "-", server.url)
    assert done.returncode == 28
    response = check_har(json.loads(done.stdout))["response"]
    assert (response["status"], response["_error"]) == (200, "request:fail timeout")
    assert response["content"]["text"] == "12345"


def test_a_long_body_leaves_its_length(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, server: Server
) -> None:
    monkeypatch.setattr(cli_har, "_KEPT", 2999)
    url = f"{server.http}/bytes/3000"
    assert cli.main(["request", "--har", f"{tmp_path}/a.har", url]) == 0
    content = read(tmp_path / "a.har")["response"]["content"]
    assert (content["size"], "text" in content) == (3000, False)


def test_a_path_that_cannot_be_written_is_told_before_the_request(tmp_path: Path) -> None:
    with AwkwardServer(BEHAVIOURS["answers"]) as server:
        path = f"{tmp_path}/nowhere/a.har"
        done = request("--har", path, "-o", f"{tmp_path}/body", server.url)
        assert server.requests == []
    assert (done.returncode, done.stdout) == (23, b"")
    message = f"ftnet: (23) can't write to {path}: No such file or directory\n"
    assert done.stderr.decode() == message
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_told_and_the_body_is_there(server: Server, tmp_path: Path) -> None:
    done = request("--har", "/dev/full", "-o", f"{tmp_path}/body", f"{server.http}/hello")
    assert done.returncode == 23
    assert done.stderr == b"ftnet: (23) can't write to /dev/full: No space left on device\n"
    assert (tmp_path / "body").read_bytes() == b"Hello, World!"


def test_an_archive_replaces_an_older_one_only_when_there_is_one(
    server: Server, tmp_path: Path
) -> None:
    path = tmp_path / "a.har"
    path.write_text("older")
    assert request("--har", str(path), "-X", "BREW", f"{server.http}/hello").returncode == 2
    assert path.read_text() == "older"
    assert request("--har", str(path), f"{server.http}/hello").returncode == 0
    read(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.har"]


@pytest.mark.parametrize("other", [("--json",), ("-o", "-")])
def test_two_things_for_stdout_are_a_usage_error(other: tuple[str, ...]) -> None:
    done = request("--har", "-", *other, "http://127.0.0.1:9/")
    assert done.returncode == 2
    assert b"would both write to stdout" in done.stderr
