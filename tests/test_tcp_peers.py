"""TCP sockets and peers that are not ours: openssl, socat, dnsmasq, and networks without any."""

from __future__ import annotations

import errno
import socket as python_socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ftnet as ft
from tests.processes import run_script
from tests.servers.certs import Certificates
from tests.servers.program import Program, find, free_ports
from tests.tcp_sockets import HERE, connected, until

MEGABYTE = 1 << 20


@pytest.fixture
def trusting(certificates: Certificates) -> Iterator[ft.Client]:
    with ft.Client(ca=str(certificates.ca), trust_env=False) as client:
        yield client


def test_openssls_server(trusting: ft.Client, certificates: Certificates, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    pair = certificates.good
    command = [find("openssl"), "s_server", "-accept", f"{HERE}:{port}", "-rev", "-quiet"]
    command += ["-cert", str(pair.chain), "-key", str(pair.key)]
    program = Program(command, tmp_path, (port,))
    try:
        task, story = connected(trusting, port, tls=True)
        task.write("a line\n")
        until(lambda: story.bytes == b"enil a\n", "it comes back reversed")
        task.close()
        story.end()
    finally:
        program.stop()
    assert story.of("error") == []


@pytest.fixture(scope="module")
def socat(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """socat, that sends everything through `cat`."""
    (port,) = free_ports(1)
    patient = ["-t", "10"]  # s that it waits for what `cat` still has behind our end
    command = [find("socat"), *patient, f"TCP-LISTEN:{port},bind={HERE},fork,reuseaddr", "EXEC:cat"]
    program = Program(command, tmp_path_factory.mktemp("socat"), (port,))
    yield port
    program.stop()


def test_socat(plain: ft.Client, socat: int) -> None:
    task, story = connected(plain, socat)
    for number in range(1000):
        task.write(f"{number}\n")
    task.end()
    story.end()
    assert story.bytes == b"".join(b"%d\n" % number for number in range(1000))


def test_dnsmasq_answers_over_tcp(plain: ft.Client, dns: Any) -> None:
    from tests.servers.dns import HERE as name

    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    query = struct.pack(">6H", 0x1234, 0x0100, 1, 0, 0, 0) + labels + b"\0\0\1\0\1"
    task, story = connected(plain, dns.port)
    task.write([struct.pack(">H", len(query)), query])
    until(lambda: len(story.bytes) > 2, "an answer")
    (length,) = struct.unpack(">H", story.bytes[:2])
    until(lambda: len(story.bytes) == 2 + length, "all of it")
    number, flags, _, answers = struct.unpack(">4H", story.bytes[2:10])
    assert (number, flags & 0x800F, answers) == (0x1234, 0x8000, 1)
    assert story.bytes.endswith(python_socket.inet_aton(HERE))
    task.close()
    story.end()


def namespaces() -> str:
    """The program to run in a network of its own; skips with the reason where that can't be."""
    unshare = find("unshare")
    make = "ip link set lo up && ip link add v0 type veth peer name v1"
    able = subprocess.run([unshare, "-rn", "sh", "-c", make], capture_output=True, text=True)
    if able.returncode:
        pytest.skip(f"no network namespaces here: {able.stderr.strip()}")
    return unshare


def test_hosts_that_are_not_there() -> None:
    """In a network of its own: an address that nobody has, no way, a link that is down."""
    lines = run_script(
        """
        import subprocess
        import ftnet as ft
        def shell(*commands):
            for command in commands:
                subprocess.run(command, shell=True, check=True)
        shell("ip link set lo up", "ip link add v0 type veth peer name v1",
              "ip addr add 10.77.0.1/24 dev v0", "ip link set v0 up", "ip link set v1 up")
        def fails(address, timeout):
            task = ft.createTCPSocket()
            task.connect(address=address, port=80, timeout=timeout)
            try:
                task.wait_connected(20)
            except ft.FtError as error:
                print(address, int(error.errCode), error.errNum, flush=True)
        fails("10.78.0.1", 5)
        fails("10.77.0.2", 10)
        fails("10.77.0.3", 0.2)
        shell("ip link set v0 down")
        fails("10.77.0.2", 5)
        """,
        under=(namespaces(), "-rn"),
    )
    assert lines == [
        f"10.78.0.1 -4 {errno.ENETUNREACH}",
        f"10.77.0.2 -4 {errno.EHOSTUNREACH}",
        "10.77.0.3 -4 None",
        f"10.77.0.2 -4 {errno.ENETUNREACH}",
    ]


def test_a_connection_whose_network_is_gone() -> None:
    """Packets are dropped on the way: `close` gives up, and says what was lost."""
    lines = run_script(
        """
        import socket, subprocess, threading
        import ftnet as ft
        def shell(*commands):
            for command in commands:
                subprocess.run(command, shell=True, check=True)
        shell("ip link set lo up")
        server = socket.create_server(("127.0.0.1", 0))
        task = ft.createTCPSocket()
        errors, closed = [], threading.Event()
        task.onError(errors.append)
        task.onClose(lambda event: closed.set())
        task.connect(address="127.0.0.1", port=server.getsockname()[1], closeTimeout=0.5)
        task.wait_connected(10)
        shell("ip link set lo down")
        task.write(b"x" * (32 << 20))
        task.close()
        assert closed.wait(20)
        print(int(errors[0].errCode), "were not sent" in errors[0].errMsg, len(errors))
        """,
        under=(namespaces(), "-rn"),
    )
    assert lines == ["-2 True 1"]
