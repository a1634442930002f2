"""The test server's process and relay: it starts, ends and delays as it promises."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import select
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ftnet.testing import ports
from ftnet.testing.app import pattern
from ftnet.testing.exchange import Exchange, Message
from ftnet.testing.relay import Relay
from ftnet.testing.server import Server

LIMIT = 30.0
COMMAND = [sys.executable, "-m", "ftnet.testing.server"]


def get(port: int, path: str = "/hello", host: str = "127.0.0.1") -> bytes:
    with closing(http.client.HTTPConnection(host, port, timeout=LIMIT)) as connection:
        connection.request("GET", path)
        return connection.getresponse().read()


def get_tls(server: Server, path: str) -> bytes:
    context = ssl.create_default_context(cafile=server.ca)
    connection = http.client.HTTPSConnection(
        "127.0.0.1", server.tls_port, timeout=LIMIT, context=context
    )
    with closing(connection):
        connection.request("GET", path)
        return connection.getresponse().read()


def wait_for_exit(pid_fd: int) -> bool:
    return bool(select.select([pid_fd], [], [], LIMIT)[0])


@pytest.fixture
def launch() -> Iterator[Callable[..., tuple[subprocess.Popen[bytes], dict[str, Any]]]]:
    """Runs the command and returns the process and its ready line; ends it after the test."""
    started: list[subprocess.Popen[bytes]] = []

    def run(*arguments: str) -> tuple[subprocess.Popen[bytes], dict[str, Any]]:
        process = subprocess.Popen(
            [*COMMAND, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        started.append(process)
        assert process.stdout is not None
        return process, json.loads(process.stdout.readline())

    yield run
    for process in started:
        process.terminate()
        process.communicate(timeout=LIMIT)


def test_ready_line_tells_urls_and_ca(launch: Callable[..., Any], tmp_path: Path) -> None:
    process, ready = launch(f"--cert-dir={tmp_path}")
    assert ready["pid"] == process.pid
    assert ready["ca"] == str(tmp_path / "ca.pem")
    assert ready["h3"] is None
    assert get(int(ready["http"].removeprefix("http://127.0.0.1:"))) == b"Hello, World!"
    assert ready["https"].startswith("https://127.0.0.1:")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_it_cleanly(launch: Callable[..., Any], number: signal.Signals) -> None:
    process, ready = launch("--h3")
    process.send_signal(number)
    out, err = process.communicate(timeout=LIMIT)
    assert (process.returncode, out, err) == (0, b"", b"")
    assert not Path(ready["ca"]).exists()


def test_end_of_input_ends_it_when_asked(launch: Callable[..., Any]) -> None:
    process, _ = launch("--no-tls", "--exit-with-parent")
    out, err = process.communicate(timeout=LIMIT)
    assert (process.returncode, out, err) == (0, b"", b"")


def test_certificates_in_a_directory_are_used_again(
    launch: Callable[..., Any], tmp_path: Path
) -> None:
    launch(f"--cert-dir={tmp_path}")
    first = (tmp_path / "ca.pem").read_bytes()
    launch(f"--cert-dir={tmp_path}")
    assert (tmp_path / "ca.pem").read_bytes() == first


@pytest.mark.parametrize(
    "arguments", [["--h3", "--no-tls"], ["--port=x"], ["--no-such"]], ids=" ".join
)
def test_wrong_arguments_exit_with_2(arguments: list[str]) -> None:
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, timeout=LIMIT, check=False)
    assert done.returncode == 2
    assert b"error: " in done.stderr


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="pidfd is Linux's")
def test_server_dies_with_its_parent() -> None:
    program = (
        "import sys; from ftnet.testing.server import Server; server = Server(tls=False).start(); "
        "print(server.pid, flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        pid_fd = os.pidfd_open(int(parent.stdout.readline()))
        parent.kill()
        try:
            assert wait_for_exit(pid_fd)
        finally:
            os.close(pid_fd)


def test_taken_port_raises_with_the_servers_words() -> None:
    with Server(tls=False) as first, pytest.raises(RuntimeError, match=r"in use"):
        Server(tls=False, port=first.port).start()


def test_slow_start_raises_after_the_limit() -> None:
    server = Server(limit=0.0)
    with pytest.raises(RuntimeError, match="took over 0 s"):
        server.start()
    with pytest.raises(RuntimeError, match="not running"):
        _ = server.pid


def test_stop_leaves_nothing_behind() -> None:
    server = Server()
    with server:
        pid, directory, port = server.pid, Path(server.ca).parent, server.port
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(ConnectionRefusedError):
        get(port)
    assert not directory.exists()
    server.stop()


def test_start_after_stop_serves_again() -> None:
    server = Server(tls=False)
    for _ in range(2):
        with server:
            assert get(server.port) == b"Hello, World!"


def test_start_twice_is_refused() -> None:
    with Server(tls=False) as server, pytest.raises(RuntimeError, match="running already"):
        server.start()


def test_stop_breaks_off_endless_answers() -> None:
    with Server(tls=False) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=LIMIT)
        connection.request("GET", "/stream/1000000/10?interval=1")
        answer = connection.getresponse()
        answer.read(1)
        process = server._process
        server.stop()
    assert process is not None
    assert process.returncode == 0
    with closing(connection), pytest.raises((http.client.IncompleteRead, ConnectionError)):
        answer.read()


def test_without_tls_there_is_no_https() -> None:
    with Server(tls=False) as server:
        assert server.h3 is None
        for name in ("https", "ca", "tls_port"):
            with pytest.raises(RuntimeError, match="without TLS"):
                getattr(server, name)


@pytest.mark.parametrize("name", ["http", "https", "ca", "port", "pid"])
def test_addresses_are_known_only_while_it_runs(name: str) -> None:
    with pytest.raises(RuntimeError, match="not running"):
        getattr(Server(), name)


def test_ipv6() -> None:
    with Server(host="::1") as server:
        assert server.http == f"http://[::1]:{server.port}"
        assert json.loads(get(server.port, "/echo", "::1"))["client"][0] == "::1"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_speaks_every_tcp_protocol() -> None:
    curl = ["curl", "-sS", "--noproxy", "*", "-o", os.devnull, "-w", "%{http_version} %{http_code}"]
    with Server() as server:
        for arguments, version in (
            ([server.http], "1.1"),
            (["--http2-prior-knowledge", server.http], "2"),
            (["--http1.1", server.https], "1.1"),
            (["--http2", server.https], "2"),
        ):
            out = subprocess.run(
                [*curl, "--cacert", server.ca, *arguments],
                capture_output=True,
                timeout=LIMIT,
                check=True,
            ).stdout
            assert out.decode() == f"{version} 200"


def test_importing_the_face_loads_no_server_library() -> None:
    program = (
        "import sys, ftnet.testing.server; "
        "print(*{'granian', 'hypercorn', 'aioquic', 'trustme'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout.split() == []


def test_accept_delay_holds_plain_requests_only() -> None:
    with Server(accept_delay=0.3) as server:
        begin = time.monotonic()
        assert get(server.port, "/bytes/300000") == pattern(300_000)
        assert time.monotonic() - begin >= 0.299
    with (
        Server(accept_delay=LIMIT) as server,
        socket.create_connection(("127.0.0.1", server.port), LIMIT) as waiting,
    ):
        waiting.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert get_tls(server, "/hello") == b"Hello, World!"
        assert select.select([waiting], [], [], 0)[0] == []


def test_tls_delay_answers_the_client_hello_late() -> None:
    with Server(tls_delay=0.3) as server:
        context = ssl.create_default_context(cafile=server.ca)
        context.set_alpn_protocols(["h2"])
        with socket.create_connection(("127.0.0.1", server.tls_port), LIMIT) as sock:
            begin = time.monotonic()
            with context.wrap_socket(sock, server_hostname="localhost") as tls:
                assert time.monotonic() - begin >= 0.298
                assert tls.selected_alpn_protocol() == "h2"


def relayed(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any],
    talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any],
) -> Any:
    """Run `talk` as a client of a relay to a server that runs `serve`; the result of `talk`."""

    async def run() -> Any:
        far = await asyncio.start_server(serve, "127.0.0.1", 0)
        near = ports.listen("127.0.0.1", 0)
        async with far, Relay(near, ("127.0.0.1", ports.port_of(far.sockets[0])), 0.01):
            reader, writer = await asyncio.open_connection(*near.getsockname())
            try:
                return await asyncio.wait_for(talk(reader, writer), LIMIT)
            finally:
                writer.transport.abort()

    return asyncio.run(run())


def test_relay_carries_half_closes() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"%d" % len(await reader.read()))
        writer.close()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
        writer.write(bytes(1_000_000))
        writer.write_eof()
        return await reader.read()

    assert relayed(serve, talk) == b"1000000"


def test_relay_carries_a_break() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        linger = b"\x01\0\0\0\0\0\0\0"  # close with a reset
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        writer.write(b"x")
        try:
            return await reader.read() == b""
        except ConnectionError:
            return True

    assert relayed(serve, talk)


def test_work_is_given_up_when_the_client_leaves() -> None:
    async def run() -> bool:
        ended = asyncio.Event()
        messages: list[Message] = [{"type": "http.request"}, {"type": "http.disconnect"}]

        async def receive() -> Message:
            return messages.pop(0)

        async def send(message: Message) -> None:
            raise AssertionError(f"nothing is to be sent: {message}")

        async def endless() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        scope = {"method": "GET", "query_string": b""}
        exchange = Exchange(scope, receive, send, [])
        await asyncio.wait_for(exchange.while_connected(endless()), LIMIT)
        return ended.is_set()

    assert asyncio.run(run())
