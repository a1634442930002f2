"""The command takes curl's options, and its exit codes and JSON tell machines what came of it."""

from __future__ import annotations

import argparse
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ftnet import cli, cli_request
from ftnet.errors import Errno, FtError, from_engine
from ftnet.testing.app import pattern
from ftnet.testing.server import Server
from tests.command import COMMAND, LIMIT, echoed, environment, request
from tests.servers.awkward import AwkwardServer, Peer, closed_port
from tests.servers.behaviours import BEHAVIOURS, answers, says
from tests.servers.certs import Certificates
from tests.servers.hypercorn_h3 import Hypercorn
from tests.servers.nginx import Nginx


def parse(*arguments: str) -> argparse.Namespace:
    return cli.build_parser().parse_args(["request", *arguments])


# ---- the command line


@pytest.mark.parametrize("arguments", [["--help"], ["request", "--help"], ["doctor", "--help"]])
def test_help_goes_to_stdout(arguments: list[str]) -> None:
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, timeout=LIMIT, check=False)
    assert done.returncode == 0
    assert done.stdout.startswith(b"usage: ftnet")
    assert done.stderr == b""


def test_help_shows_examples_and_every_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["request", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "examples:\n  ftnet request https://" in shown
    for code in (0, 1, 2, 3, 5, 6, 7, 18, 22, 23, 26, 28, 35, 47, 52, 55, 56, 58, 60, 63, 77, 97):
        assert f"  {code} " in shown


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nosuch"],
        ["request"],
        ["request", "--nosuch", "http://127.0.0.1/"],
        ["request", "--incl", "http://127.0.0.1/"],
        ["request", "--http2", "--http3", "http://127.0.0.1/"],
        ["request", "-d", "a", "--data-json", "1", "http://127.0.0.1/"],
        ["request", "-m", "0", "http://127.0.0.1/"],
        ["request", "--max-filesize", "-1", "http://127.0.0.1/"],
        ["request", "-H", "no colon", "http://127.0.0.1/"],
        ["request", "--resolve", "nowhere", "http://127.0.0.1/"],
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 2
    assert capsys.readouterr().err.startswith("usage: ftnet")


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        ("host:80:127.0.0.1", ("host:80", ["127.0.0.1"])),
        ("host:80:[::1]", ("host:80", ["::1"])),
        ("host:80:::1", ("host:80", ["::1"])),
        ("host:80:127.0.0.1,[::1]", ("host:80", ["127.0.0.1", "::1"])),
    ],
)
def test_resolve_entries_are_read_as_curl_does(text: str, entry: tuple[str, list[str]]) -> None:
    assert cli.resolve_entry(text) == entry


@pytest.mark.parametrize(
    ("text", "line"),
    [("A: b", ("A", "b")), ("A:b: c", ("A", "b: c")), ("A:", ("A", "")), ("A;", ("A", ""))],
)
def test_header_lines_are_read_as_curl_does(text: str, line: tuple[str, str]) -> None:
    assert cli.header_line(text) == line


def test_repeated_headers_become_a_list() -> None:
    lines = [("Accept", "a"), ("X-One", "1"), ("accept", "b"), ("ACCEPT", "c")]
    assert cli_request.grouped_headers(lines) == {"Accept": ["a", "b", "c"], "X-One": "1"}


@pytest.mark.parametrize(
    ("arguments", "settings"),
    [
        ([], {}),
        (["-k"], {"verify": False}),
        (["--http1.1"], {"http_version": "1.1"}),
        (["--http2-prior-knowledge"], {"http_version": "2-prior-knowledge"}),
        (["--http3-only"], {"http_version": "3-only"}),
        (["-x", "proxy.test:3128"], {"proxy": "http://proxy.test:3128"}),
        (["-x", "socks5h://p.test"], {"proxy": "socks5h://p.test"}),
        (["--noproxy", "a,b"], {"no_proxy": "a,b"}),
        (["--interface", "lo"], {"interface": "lo"}),
        (["-A", "me/1"], {"user_agent": "me/1"}),
        (["--max-filesize", "9"], {"max_body_bytes": 9}),
        (
            ["--resolve", "a:1:::1", "--resolve", "b:2:::1"],
            {"resolve": {"a:1": ["::1"], "b:2": ["::1"]}},
        ),
    ],
)
def test_options_become_client_settings(arguments: list[str], settings: dict[str, Any]) -> None:
    assert cli.client_settings(parse(*arguments, "http://127.0.0.1/")) == settings


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("ftp://127.0.0.1/", 1),
        ("file:///etc/passwd", 1),
        ("http://", 3),
        ("http://127.0.0.1:99999/", 3),
        ("http://127.0.0.1/a b", 3),
        ("http://[::1/", 3),
        ("://x", 3),
    ],
)
def test_urls_that_cannot_be_asked_for(url: str, code: int) -> None:
    with pytest.raises(cli.CommandError) as caught:
        cli_request.checked_url(url)
    assert caught.value.code == code


def test_http_is_assumed_when_the_url_names_no_scheme() -> None:
    assert cli_request.checked_url("localhost:8080/x") == "http://localhost:8080/x"


@pytest.mark.parametrize(
    ("code", "os_errno", "expected"),
    [(code, 0, code) for code in (1, 3, 5, 6, 7, 8, 16, 18, 28, 35, 47, 52, 55, 56, 60, 61, 92, 97)]
    + [(7, 111, 7), (56, 104, 56), (-2, 0, 28), (-3, 0, 47), (-5, 0, 3), (-6, 0, 63), (-7, 0, 8),
       (-1, 0, 56), (-9, 0, 27), (0, 13, 27)],
)  # fmt: skip
def test_exit_codes_are_those_of_curl(code: int, os_errno: int, expected: int) -> None:
    assert cli.exit_code(from_engine("request", code, os_errno, "")) == expected


@pytest.mark.parametrize("errno", Errno)
def test_every_failure_has_an_exit_code(errno: Errno) -> None:
    assert 0 < cli.exit_code(FtError("request:fail", errno)) < 100


@pytest.mark.parametrize(
    ("body", "content_type", "document"),
    [
        (b"", None, {"data": ""}),
        (b'{"a": [1, 2.5, null]}', None, {"data": {"a": [1, 2.5, None]}}),
        ("schön".encode(), None, {"data": "schön"}),
        ("schön".encode("latin-1"), "text/plain; charset=iso-8859-1", {"data": "schön"}),
        (b"\xff\xfe\0", None, {"data": "//4A", "dataEncoding": "base64"}),
        (b"[" * 100_000, None, {"data": "[" * 100_000}),
    ],
)
def test_json_output_carries_any_body(
    body: bytes, content_type: str | None, document: dict[str, Any]
) -> None:
    assert cli_request.readable(body, content_type) == document


# ---- requests


def test_the_body_goes_to_stdout_byte_for_byte(server: Server) -> None:
    done = request(f"{server.http}/bytes/100000")
    assert (done.returncode, done.stdout, done.stderr) == (0, pattern(100_000), b"")


def test_compressed_bodies_are_decoded(server: Server) -> None:
    assert json.loads(request(f"{server.http}/gzip").stdout)["encoding"] == "gzip"


def test_a_get_is_sent_by_default(server: Server) -> None:
    told = echoed(f"{server.http}/echo?a=b")
    assert (told["method"], told["query"], told["body_text"]) == ("GET", "a=b", "")


def test_data_is_posted_as_a_form(server: Server) -> None:
    told = echoed("-d", "a=1", "-d", "b=2", f"{server.http}/echo")
    assert (told["method"], told["body_text"]) == ("POST", "a=1&b=2")
    assert told["fields"]["content-type"] == ["application/x-www-form-urlencoded"]


def test_json_data_is_posted_as_json(server: Server) -> None:
    told = echoed("--data-json", '{"a": 1}', f"{server.http}/echo")
    assert (told["method"], told["body_text"]) == ("POST", '{"a": 1}')
    assert told["fields"]["content-type"] == ["application/json"]


def test_data_comes_from_a_file_unchanged(server: Server, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"one\r\n\0two\n")
    told = echoed("-d", f"@{tmp_path}/data", f"{server.http}/echo")
    assert told["body_text"] == "one\r\n\0two\n"


def test_data_comes_from_stdin(server: Server) -> None:
    told = echoed("-X", "PUT", "-d", "@-", f"{server.http}/echo", data=b"from stdin\n")
    assert (told["method"], told["body_text"]) == ("PUT", "from stdin\n")


def test_data_that_is_not_text_is_sent_as_it_is(server: Server) -> None:
    done = subprocess.run(
        [*COMMAND, "request", "-d", b"\xff\xfe", f"{server.http}/echo"],
        env=environment(), capture_output=True, timeout=LIMIT, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout)["body"] == "//4="


def test_headers_are_sent_as_given(server: Server) -> None:
    headers = ("X-One: 1", "X-Two: a", "x-two: b", "X-None;", "content-type: text/csv")
    given = [word for header in headers for word in ("-H", header)]
    told = echoed(*given, "-A", "me/1", "-d", "x", f"{server.http}/echo")
    fields = told["fields"]
    assert fields["x-one"] == ["1"]
    assert ", ".join(fields["x-two"]) == "a, b"
    assert fields["x-none"] == [""]
    assert fields["content-type"] == ["text/csv"]
    assert fields["user-agent"] == ["me/1"]


def test_include_prints_the_header_before_the_body(server: Server) -> None:
    head, _, body = request("-i", f"{server.http}/hello").stdout.partition(b"\r\n\r\n")
    lines = head.decode().lower().split("\r\n")
    assert lines[0].startswith("http/1.1 200")
    assert "content-length: 13" in lines
    assert body == b"Hello, World!"


def test_head_prints_only_the_header(server: Server) -> None:
    done = request("-I", f"{server.http}/hello")
    assert done.returncode == 0
    assert done.stdout.startswith(b"HTTP/1.1 200")
    assert done.stdout.endswith(b"\r\n\r\n")


def test_redirects_are_followed_unless_told_not_to(server: Server) -> None:
    url = f"{server.http}/redirect/2"
    assert json.loads(request("--json", url).stdout)["statusCode"] == 200
    stopped = json.loads(request("--json", "--no-location", url).stdout)
    assert stopped["statusCode"] == 302
    assert {name.lower() for name in stopped["header"]} >= {"location"}


def test_bad_status_is_a_success_by_default(server: Server) -> None:
    assert request(f"{server.http}/status/404").returncode == 0


def test_fail_turns_a_bad_status_into_22_without_a_body(server: Server, tmp_path: Path) -> None:
    done = request("-f", f"{server.http}/nosuch")
    assert (done.returncode, done.stdout) == (22, b"")
    assert done.stderr.startswith(b"ftnet: (22) ")
    assert b"404" in done.stderr
    assert request("-f", "-o", f"{tmp_path}/body", f"{server.http}/nosuch").returncode == 22
    assert list(tmp_path.iterdir()) == []


def test_fail_lets_a_good_status_pass(server: Server) -> None:
    done = request("-f", f"{server.http}/hello")
    assert (done.returncode, done.stdout) == (0, b"Hello, World!")


@pytest.mark.parametrize(
    ("flag", "protocol"), [("--http1.1", "http/1.1"), ("--http2", "h2"), (None, "h2")]
)
def test_the_protocol_can_be_chosen(server: Server, flag: str | None, protocol: str) -> None:
    arguments = [flag] if flag else []
    done = request(*arguments, "--cacert", server.ca, "--json", f"{server.https}/hello")
    assert json.loads(done.stdout)["profile"]["protocol"] == protocol


@pytest.mark.parametrize("flag", ["--http3", "--http3-only"])
def test_http3_can_be_chosen(hypercorn: Hypercorn, flag: str) -> None:
    done = request(flag, "--cacert", hypercorn.ca, "--json", f"{hypercorn.https}/hello")
    document = json.loads(done.stdout)
    assert (document["data"], document["profile"]["protocol"]) == ("Hello, World!", "quic")


def test_http2_with_prior_knowledge_needs_no_tls(server: Server) -> None:
    done = request("--http2-prior-knowledge", "--json", f"{server.http}/hello")
    assert json.loads(done.stdout)["profile"]["protocol"] == "h2"


def test_certificates_are_verified_unless_told_not_to(server: Server) -> None:
    refused = request(f"{server.https}/hello")
    assert (refused.returncode, refused.stdout) == (60, b"")
    assert request("-k", f"{server.https}/hello").stdout == b"Hello, World!"
    assert request("--cacert", server.ca, f"{server.https}/hello").stdout == b"Hello, World!"


def test_a_client_certificate_is_presented(nginx: Nginx, certificates: Certificates) -> None:
    pair = ("--cert", str(certificates.client.chain), "--key", str(certificates.client.key))
    wanted = ("-f", "--cacert", nginx.ca, f"{nginx.client_only}/json")
    assert request(*pair, *wanted).returncode == 0
    assert request(*wanted).returncode == 22


def test_a_name_can_be_given_an_address(server: Server) -> None:
    url = f"http://somewhere.test:{server.port}/echo"
    told = echoed("--resolve", f"somewhere.test:{server.port}:127.0.0.1", url)
    assert told["fields"]["host"] == [f"somewhere.test:{server.port}"]


def test_a_proxy_is_asked_for_the_whole_url() -> None:
    with AwkwardServer(answers) as proxy:
        done = request("-x", proxy.authority, "http://somewhere.test/x")
    assert json.loads(done.stdout)["target"] == "http://somewhere.test/x"


# ---- failures


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [
        ("closes_unanswered", 52),
        ("closed_before_content_length", 18),
        ("closed_without_last_chunk", 18),
        ("resets_in_body", 56),
        ("speaks_ssh", 1),
    ],
)
def test_a_broken_answer_has_the_exit_code_of_curl(behaviour: str, code: int) -> None:
    with AwkwardServer(BEHAVIOURS[behaviour]) as server:
        done = request(server.url)
    assert done.returncode == code
    assert done.stderr.decode().startswith(f"ftnet: ({code}) request:fail ")
    assert done.stderr.count(b"\n") == 1


def test_a_refused_connection_is_7() -> None:
    with closed_port() as port:
        done = request(f"http://127.0.0.1:{port}/")
    assert (done.returncode, done.stdout) == (7, b"")
    assert done.stderr.startswith(b"ftnet: (7) request:fail ")


def test_silent_says_nothing() -> None:
    with closed_port() as port:
        done = request("-s", f"http://127.0.0.1:{port}/")
    assert (done.returncode, done.stdout, done.stderr) == (7, b"", b"")


def test_an_unknown_host_is_6() -> None:
    assert request("http://nowhere.invalid/").returncode == 6


def test_an_unknown_proxy_is_5() -> None:
    assert request("-x", "http://nowhere.invalid:1", "http://127.0.0.1/").returncode == 5


def test_a_proxy_that_refuses_a_tunnel_has_the_code_of_libcurl() -> None:
    with AwkwardServer(says(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")) as proxy:
        done = request("-x", proxy.url, "https://somewhere.test/")
    assert done.returncode in (7, 56)  # libcurl 8.23 says 7, older ones 56
    assert b"CONNECT tunnel failed, response 403" in done.stderr


def refuses_socks(peer: Peer) -> None:
    peer.read_exactly(2)
    peer.send(b"\5\xff")  # RFC 1928, 3: no acceptable methods
    peer.until_gone()


def test_a_proxy_handshake_that_fails_is_97() -> None:
    with AwkwardServer(refuses_socks) as proxy:
        done = request("-x", f"socks5h://{proxy.authority}", "http://somewhere.test/")
    assert done.returncode == 97


def test_no_answer_in_time_is_28() -> None:
    with AwkwardServer(BEHAVIOURS["silent_after_the_request"]) as server:
        done = request("-m", "0.3", server.url)
    assert done.returncode == 28
    assert done.stderr == b"ftnet: (28) request:fail timeout\n"


def test_a_handshake_with_a_plain_server_is_35(server: Server) -> None:
    assert request(f"https://127.0.0.1:{server.port}/").returncode == 35


def test_too_many_redirects_are_47(server: Server) -> None:
    assert request(f"{server.http}/redirect/21").returncode == 47


def test_a_body_over_the_limit_is_63(server: Server) -> None:
    assert request("--max-filesize", "1000", f"{server.http}/bytes/1001").returncode == 63
    assert request("--max-filesize", "1000", f"{server.http}/bytes/1000").returncode == 0


def test_what_the_api_refuses_is_a_usage_error() -> None:
    done = request("-X", "BREW", "http://127.0.0.1:9/")
    assert done.returncode == 2
    assert b"method" in done.stderr


def test_a_refused_client_setting_is_one_line() -> None:
    done = request("-x", "ftp://127.0.0.1/", "http://127.0.0.1:9/")
    assert done.returncode == 2
    assert done.stderr.startswith(b"ftnet: (2) Client: proxy ")
    assert done.stderr.count(b"\n") == 1


def test_a_missing_engine_is_2() -> None:
    done = request("http://127.0.0.1:9/", FTCORE_LIBCURL="/nowhere/libcurl.so")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"ftnet: (2) ftcore needs libcurl")
    assert done.stderr.endswith(b"`ftnet doctor` says more\n")


# ---- what machines read


def test_json_holds_the_response_and_its_profile(server: Server) -> None:
    done = request("--json", f"{server.http}/json")
    document = json.loads(done.stdout)
    assert (done.returncode, done.stderr, done.stdout.count(b"\n")) == (0, b"", 1)
    assert list(document) == ["statusCode", "header", "cookies", "profile", "data", "errMsg"]
    assert document["statusCode"] == 200
    assert document["data"]["name"] == "widget"
    assert document["errMsg"] == "request:ok"
    assert document["profile"]["peerIP"] == "127.0.0.1"
    assert set(document["profile"]["durations"]) == {
        "queue", "redirect", "blocked", "dns", "connect", "ssl", "send", "ttfb", "download",
        "total",
    }  # fmt: skip


def test_json_names_the_file_that_has_the_body(server: Server, tmp_path: Path) -> None:
    done = request("--json", "-o", f"{tmp_path}/body", f"{server.http}/hello")
    document = json.loads(done.stdout)
    assert document["filePath"] == f"{tmp_path}/body"
    assert "data" not in document
    assert (tmp_path / "body").read_bytes() == b"Hello, World!"


def test_json_keeps_cookies_apart(server: Server) -> None:
    document = json.loads(request("--json", f"{server.http}/cookies/set?a=1&b=2").stdout)
    assert [cookie.split(";")[0] for cookie in document["cookies"]] == ["a=1", "b=2"]


def test_json_carries_binary_bodies(server: Server) -> None:
    document = json.loads(request("--json", f"{server.http}/bytes/256").stdout)
    assert document["dataEncoding"] == "base64"


def test_json_tells_of_a_failure() -> None:
    with closed_port() as port:
        done = request("--json", f"http://127.0.0.1:{port}/")
    document = json.loads(done.stdout)
    assert done.returncode == 7
    assert document["errno"] == Errno.CONNECT
    assert document["errMsg"].startswith("request:fail ")
    assert document["cause"]["code"] == 7
    assert document["profile"]["connectStart"] > 0
    assert document["profile"]["responseStart"] == 0


@pytest.mark.parametrize("arguments", [["ftp://127.0.0.1/"], ["-X", "BREW", "http://127.0.0.1:9/"]])
def test_json_tells_of_a_refused_argument(arguments: list[str]) -> None:
    done = request("--json", *arguments)
    document = json.loads(done.stdout)
    assert done.returncode in (1, 2)
    assert document["errno"] == Errno.ARGUMENT
    assert document["errMsg"].startswith("request:fail ")
