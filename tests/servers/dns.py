"""dnsmasq, and DNS over HTTPS (RFC 8484) in front of it.

The system's resolver can't be pointed at a port of our own, so the names of the tests reach
dnsmasq through the DoH endpoint, which hands each query on as it came.
"""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from tests.servers.certs import Certificates
from tests.servers.program import Program, find, free_ports

UPSTREAM = "FTNET_TEST_DNS_PORT"
# Names that dnsmasq knows; everything else under `test` does not exist.
HERE, BOTH, NOWHERE = "here.ftnet.test", "both.ftnet.test", "nowhere.ftnet.test"
CONFIG = """
no-daemon
keep-in-foreground
no-resolv
no-hosts
no-poll
listen-address=127.0.0.1
bind-interfaces
port=%(port)d
user=%(user)s
group=%(group)s
pid-file=%(dir)s/dnsmasq.pid
log-queries
log-facility=-
local=/test/
host-record=%(here)s,127.0.0.1
host-record=%(both)s,127.0.0.1,::1
"""


class Dnsmasq:
    """dnsmasq, and the DoH endpoint that asks it; `doh_url` is what a Client is given."""

    def __init__(self, directory: Path, certificates: Certificates) -> None:
        import grp
        import pwd

        dns_port, doh_port = free_ports(2, udp=True)
        self.port = dns_port  # dnsmasq's own, UDP and TCP
        config = directory / "dnsmasq.conf"
        config.write_text(
            CONFIG
            % {
                "port": dns_port,
                "user": pwd.getpwuid(os.getuid()).pw_name,
                "group": grp.getgrgid(os.getgid()).gr_name,
                "dir": directory,
                "here": HERE,
                "both": BOTH,
            }
        )
        self.dnsmasq = Program(
            [find("dnsmasq"), "--conf-file=" + str(config)], directory, (dns_port,)
        )
        doh_directory = directory / "doh"
        doh_directory.mkdir(exist_ok=True)
        command = [
            *(sys.executable, "-m", "hypercorn", "tests.servers.dns:doh"),
            *("--bind", f"127.0.0.1:{doh_port}", "--log-level", "WARNING"),
            *("--certfile", str(certificates.good.chain)),
            *("--keyfile", str(certificates.good.key), "--graceful-timeout", "0"),
        ]
        root = str(Path(__file__).parents[2])
        environment = {UPSTREAM: str(dns_port), "PYTHONPATH": root}
        try:
            self.program = Program(command, doh_directory, (doh_port,), environment=environment)
        except BaseException:
            self.dnsmasq.stop()
            raise
        self.dns_port = dns_port
        self.doh_url = f"https://127.0.0.1:{doh_port}/dns-query"

    def queries_for(self, name: str) -> int:
        """How many questions about `name` dnsmasq has logged."""
        return self.dnsmasq.log().count(f"] {name} from ")


class _Question(asyncio.DatagramProtocol):
    def __init__(self, query: bytes) -> None:
        self.query = query
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        transport.sendto(self.query)

    def datagram_received(self, data: bytes, addr: object) -> None:
        if not self.answer.done():
            self.answer.set_result(data)

    def error_received(self, exc: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(exc)


async def _ask(query: bytes) -> bytes:
    transport, question = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: _Question(query),
        remote_addr=("127.0.0.1", int(os.environ[UPSTREAM])),
        family=socket.AF_INET,
    )
    try:
        return await asyncio.wait_for(question.answer, 5)
    finally:
        transport.close()


async def doh(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """The ASGI application: a query by POST, or by GET in `dns`; the answer is dnsmasq's."""
    if scope["type"] == "lifespan":
        return
    if scope["method"] == "GET":
        text = parse_qs(scope["query_string"].decode())["dns"][0]
        query = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    else:
        query, more = b"", True
        while more:
            message = await receive()
            query += message.get("body", b"")
            more = message.get("more_body", False)
    answer = await _ask(query)
    head = [(b"content-type", b"application/dns-message"), (b"content-length", b"%d" % len(answer))]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": answer})
