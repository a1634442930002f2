"""hypercorn: the endpoints of the test server over HTTP/1.1, h2 and h3 on one port."""

from __future__ import annotations

import sys
from pathlib import Path

from tests.servers.certs import Certificates
from tests.servers.program import Program, free_ports, quic_answers


class Hypercorn:
    """`ftnet.testing.app` served by hypercorn and its QUIC, aioquic."""

    def __init__(self, directory: Path, certificates: Certificates) -> None:
        self.ca = str(certificates.ca)
        (port,) = free_ports(1, udp=True)
        self.https = f"https://127.0.0.1:{port}"
        command = [
            *(sys.executable, "-m", "hypercorn", "ftnet.testing.app:app"),
            *("--bind", f"127.0.0.1:{port}", "--quic-bind", f"127.0.0.1:{port}"),
            *("--certfile", str(certificates.good.chain)),
            *("--keyfile", str(certificates.good.key)),
            *("--keep-alive", "60", "--log-level", "WARNING", "--graceful-timeout", "0"),
        ]
        self.program = Program(command, directory, (port,))
        try:
            self.program.wait_for(lambda: quic_answers(port), f"UDP port {port} speaks QUIC")
        except BaseException:
            self.program.stop()
            raise
