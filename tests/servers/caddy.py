"""caddy: HTTP/1.1, h2 and h3 on one port, a plain one, and the test server behind h3."""

from __future__ import annotations

from pathlib import Path

from tests.servers.certs import Certificates
from tests.servers.program import Program, find, free_ports, quic_answers

CONFIG = """
{
	admin off
	auto_https disable_redirects
	skip_install_trust
	servers {
		protocols h1 h2 h3
	}
}
(answers) {
	bind 127.0.0.1
	root * %(dir)s/www
	respond /hello "Hello, World!"
	header /seen Content-Type application/json
	respond /seen `{"protocol":"{http.request.proto}","port":{http.request.remote.port},"sni":"{http.request.tls.server_name}","alpn":"{http.request.tls.proto}","resumed":"{http.request.tls.resumed}"}`
	redir /moved /seen 302
	file_server
}
http://127.0.0.1:%(http)d {
	import answers
}
https://127.0.0.1:%(https)d, https://localhost:%(https)d {
	import answers
	tls %(chain)s %(key)s
}
https://:%(behind)d {
	bind 127.0.0.1
	tls %(chain)s %(key)s
	reverse_proxy %(upstream)s {
		flush_interval -1
	}
}
"""  # noqa: E501
FILE_SIZE = 2_000_000


class Caddy:
    """caddy with a plain port and TLS ports that speak all three versions.

    `behind` passes every request on to `upstream`, the base URL of a plain server.
    """

    def __init__(self, directory: Path, certificates: Certificates, upstream: str) -> None:
        self.ca = str(certificates.ca)
        self.file = bytes(range(250)) * (FILE_SIZE // 250)
        (directory / "www").mkdir(exist_ok=True)
        (directory / "www" / "file.bin").write_bytes(self.file)
        http, https, behind = free_ports(3, udp=True)
        self.http = f"http://127.0.0.1:{http}"
        self.https = f"https://127.0.0.1:{https}"
        self.behind = f"https://127.0.0.1:{behind}"
        config = directory / "Caddyfile"
        config.write_text(
            CONFIG
            % {
                "dir": directory,
                "http": http,
                "https": https,
                "behind": behind,
                "upstream": upstream,
                "chain": certificates.good.chain,
                "key": certificates.good.key,
            }
        )
        command = [find("caddy"), "run", "--config", str(config), "--adapter", "caddyfile"]
        home = {"HOME": str(directory), "XDG_DATA_HOME": str(directory)}
        home["XDG_CONFIG_HOME"] = str(directory)
        self.program = Program(command, directory, (http, https, behind), environment=home)
        try:
            for port in (https, behind):
                self.program.wait_for(
                    lambda port=port: quic_answers(port), f"UDP port {port} speaks QUIC"
                )
        except BaseException:
            self.program.stop()
            raise
