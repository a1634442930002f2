"""The restrictions of mini-programs, entry by entry, and that nobody has them unasked."""

from __future__ import annotations

import errno
import ipaddress
import subprocess
from collections import deque
from typing import Any

import pytest

import ftnet as ft
from ftnet import policy as policies
from ftnet.policy import MINI_PROGRAM_POLICY, Refusal
from tests.processes import run_script
from tests.servers.awkward import AwkwardServer
from tests.servers.program import find
from tests.tcp_sockets import HERE, LIMIT, TcpStory, connected, echo, failure

#: As the reference lists them.
LISTED = """1099 1433 1521 1719 1720 1723 2049 2375 3128 3306 3389 3659 4045 5060 5061 5432 5984
6379 6000 6566 7001 7002 8443 8888 9200 9300 10051 10080 11211 27017 27018 27019"""
SINGLE = [int(port) for port in LISTED.split()]
REFUSED = {*range(1, 1024), *SINGLE, *range(8000, 8101)}
LAN = "192.168.77.77"


@pytest.fixture
def restricted() -> Any:
    with ft.Client(policy=ft.MINI_PROGRAM_POLICY, trust_env=False) as client:
        yield client


@pytest.fixture(autouse=True)
def no_address_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the machine's own addresses are: only the loopback's count here."""
    monkeypatch.setattr(policies, "_is_ours", lambda ip: ip.is_loopback)


@pytest.mark.parametrize("port", [1, 22, 80, 443, 1023, *SINGLE, 8000, 8001, 8080, 8099, 8100])
def test_a_listed_port_is_refused(restricted: ft.Client, port: int) -> None:
    error = failure(restricted, address=LAN, port=port)
    assert (error.errCode, error.errNum) == (2, None)
    assert error.errMsg == f"TCPSocket.connect:fail the policy does not allow port {port}"


def test_exactly_the_listed_ports_are_refused() -> None:
    check = MINI_PROGRAM_POLICY.check
    got = {port for port in range(1, 65536) if check(LAN, port) is not None}
    assert got == REFUSED


@pytest.mark.parametrize(
    "address",
    ["10.0.0.0", "10.255.255.255", "172.16.0.0", "172.31.255.255", "192.168.0.0",
     "192.168.255.255", "169.254.0.0", "169.254.255.255", "fc00::1",
     "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fe80::1", "febf::1", "fe80::1%eth0",
     "::ffff:192.168.1.1"],
)  # fmt: skip
def test_the_lan_is_allowed(address: str) -> None:
    assert MINI_PROGRAM_POLICY.check(address, 5000) is None


@pytest.mark.parametrize(
    "address",
    ["9.255.255.255", "11.0.0.0", "172.15.255.255", "172.32.0.0", "192.167.255.255", "192.169.0.0",
     "169.253.255.255", "169.255.0.0", "127.0.0.1", "127.255.255.255", "::1", "0.0.0.0", "8.8.8.8",
     "2001:db8::1", "fbff::1", "fe00::1", "fec0::1", "::ffff:127.0.0.1", "::ffff:8.8.8.8",
     "255.255.255.255", "224.0.0.1", "localhost", "example.com"],
)  # fmt: skip
def test_what_is_not_in_the_lan_is_refused(restricted: ft.Client, address: str) -> None:
    error = failure(restricted, address=address, port=5000)
    assert (error.errCode, error.errNum) == (1, None)
    assert "the policy allows" in error.errMsg


def test_this_host_is_refused_by_its_own_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert policies._is_ours(ipaddress.ip_address("127.0.0.1"))
    assert policies._is_ours(ipaddress.ip_address("::1"))
    assert not policies._is_ours(ipaddress.ip_address("198.51.100.7"))
    unshare = find("unshare")
    make = "ip link set lo up && ip link add v0 type veth peer name v1"
    able = subprocess.run([unshare, "-rn", "sh", "-c", make], capture_output=True, text=True)
    if able.returncode:
        pytest.skip(f"no network namespaces here: {able.stderr.strip()}")
    lines = run_script(
        """
        import subprocess
        from ftnet.policy import MINI_PROGRAM_POLICY as policy
        for command in ("ip link set lo up", "ip link add v0 type veth peer name v1",
                        "ip addr add 10.77.0.1/24 dev v0", "ip link set v0 up"):
            subprocess.run(command, shell=True, check=True)
        print(policy.check("10.77.0.1", 5000).reason)
        print(policy.check("10.77.0.2", 5000))
        """,
        under=(unshare, "-rn"),
    )
    assert lines == ["the policy allows other hosts, not 10.77.0.1", "None"]


def test_twenty_sockets_in_five_minutes(
    restricted: ft.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(policies, "monotonic", lambda: now)
    for _ in range(20):
        restricted.createTCPSocket()
        now += 1
    late = restricted.createTCPSocket()
    story = TcpStory().listen(late)
    late.connect(address=LAN, port=5000)
    error = story.until("error")
    assert (error.errCode, error.errNum) == (-1, None)
    assert "20 sockets in 300 s" in error.errMsg
    now = 1299.9
    assert restricted.createTCPSocket()._refused is not None
    now = 1300.0  # five minutes after the first
    assert restricted.createTCPSocket()._refused is None
    assert restricted.createTCPSocket()._refused is not None
    now = 1301.0
    assert restricted.createTCPSocket()._refused is None
    late.connect(address=LAN, port=5000)  # one that was too much stays so
    assert story.until("error", 2).errCode == -1


def test_each_client_counts_for_itself() -> None:
    with (
        ft.Client(policy=ft.MINI_PROGRAM_POLICY) as one,
        ft.Client(policy=ft.MINI_PROGRAM_POLICY) as other,
    ):
        for _ in range(20):
            one.createTCPSocket()
        assert one.createTCPSocket()._refused is not None
        assert other.createTCPSocket()._refused is None


def test_nobody_is_restricted_unasked(plain: ft.Client) -> None:
    with AwkwardServer(echo) as server:
        for _ in range(25):
            task, story = connected(plain, server)
            task.close()
            story.end()
    error = failure(plain, address=HERE, port=1)
    assert (error.errCode, error.errNum) == (-4, errno.ECONNREFUSED)


def test_what_the_policy_allows_connects() -> None:
    loopback = ft.Policy(
        ports=(), networks=(ipaddress.ip_network("127.0.0.0/8"),), creations=3, period=60
    )
    with AwkwardServer(echo) as server, ft.Client(policy=loopback, trust_env=False) as client:
        error = failure(client, address=HERE, port=server.port)
        assert error.errMsg.endswith("the policy allows other hosts, not 127.0.0.1")


def test_a_policy_of_ones_own() -> None:
    class Mine:
        def check(self, address: str, port: int) -> Refusal | None:
            return Refusal(ft.Errno.SOCKET_PERMISSION, "not on my watch") if port == 5000 else None

    with AwkwardServer(echo) as server, ft.Client(policy=Mine(), trust_env=False) as client:
        assert failure(client, address=HERE, port=5000).errCode == -3
        task, story = connected(client, server)
        task.close()
        assert story.end().error is None
        assert task.wait_closed(LIMIT)


def test_other_apis_are_not_restricted(restricted: ft.Client, server: Any) -> None:
    assert restricted.request(url=f"{server.http}/json").result(LIMIT).statusCode == 200


def test_the_period_is_a_window() -> None:
    made: deque[float] = deque()
    policy = ft.Policy(ports=(), networks=(), creations=2, period=10.0)
    assert policy.count(made) is None
    assert policy.count(made) is None
    assert policy.count(made) == Refusal(
        ft.Errno.SOCKET_SYSTEM, "the policy allows 2 sockets in 10 s"
    )
    assert len(made) == 2
