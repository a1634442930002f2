"""nginx: HTTP/1.1 and h2 with and without TLS, static files, compression, and faulty TLS."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tests.servers.certs import Certificates, Pair
from tests.servers.program import Program, find, free_ports

WIDGET = {"id": 1, "name": "widget", "tags": ["a", "b"], "nested": {"x": 1, "y": [1, 2, 3]}}
TEXT = "All work and no play makes Jack a dull boy.\n" * 500
# What nginx saw of a request; `connection` is the serial number of the connection.
SEEN = (
    '{"remote_addr":"$remote_addr","remote_port":$remote_port,"protocol":"$server_protocol",'
    '"scheme":"$scheme","host":"$host","uri":"$request_uri","method":"$request_method",'
    '"request_length":$request_length,"connection":$connection,'
    '"connection_requests":$connection_requests,"user_agent":"$http_user_agent",'
    '"alpn":"$ssl_alpn_protocol","tls":"$ssl_protocol","cipher":"$ssl_cipher",'
    '"sni":"$ssl_server_name","client_verified":"$ssl_client_verify",'
    '"client":"$ssl_client_s_dn","session_reused":"$ssl_session_reused"}'
)
CONFIG = """
%(user)s
daemon off;
worker_processes 1;
pid %(dir)s/nginx.pid;
error_log stderr warn;
events { worker_connections 2048; }
http {
  access_log off;
  default_type application/octet-stream;
  types {
    application/json json;
    text/plain txt;
    text/html html;
  }
  keepalive_timeout 60s;
  keepalive_requests 100000;
  client_max_body_size 64m;
  client_body_temp_path %(dir)s/body;
  proxy_temp_path %(dir)s/proxy;
  fastcgi_temp_path %(dir)s/fastcgi;
  scgi_temp_path %(dir)s/scgi;
  uwsgi_temp_path %(dir)s/uwsgi;
  gzip on; gzip_types text/plain application/json; gzip_min_length 1000;
  ssl_protocols TLSv1.2 TLSv1.3;
  ssl_session_cache shared:sessions:1m;
  charset_types application/json text/plain;
%(servers)s
}
"""
SERVER = """
  server {
    listen 127.0.0.1:%(port)d%(flags)s;
    %(settings)s
    root %(dir)s/www;
    location = /hello { default_type text/plain; return 200 "Hello, World!"; }
    location = /json { default_type application/json; return 200 '%(widget)s'; }
    location = /seen { default_type application/json; return 200 '%(seen)s'; }
    location = /empty { default_type application/json; return 200 ""; }
    location = /moved { return 302 /seen; }
    location = /to/307 { return 307 $arg_url; }
    location = /to/308 { return 308 $arg_url; }
    location ~ ^/status/(?<code>[0-9]+)$ {
      if ($code = 204) { return 204; }
      if ($code = 304) { return 304; }
      if ($code = 404) { return 404; }
      if ($code = 503) { return 503; }
      return 400;
    }
    location /slow/ { alias %(dir)s/www/; limit_rate 200k; }
  }
"""


class Nginx:
    """nginx on six ports; every base URL answers the same paths."""

    def __init__(self, directory: Path, certificates: Certificates) -> None:
        self.certificates = certificates
        self.ca = str(certificates.ca)
        self.root = directory / "www"
        self.root.mkdir(exist_ok=True)
        (self.root / "text.txt").write_text(TEXT)
        ports = iter(free_ports(8))
        self._blocks: list[str] = []
        self._directory = directory
        self._ports: list[int] = []
        self.http = self._serve(next(ports))
        self.h2c = self._serve(next(ports), " http2")
        good, require_client = certificates.good, f"ssl_client_certificate {certificates.ca};"
        require_client += " ssl_verify_client on;"
        self.https = self._serve(next(ports), " ssl", good)
        self.h2 = self._serve(next(ports), " ssl http2", good)
        self.expired = self._serve(next(ports), " ssl", certificates.expired)
        self.other_name = self._serve(next(ports), " ssl", certificates.other_name)
        self.untrusted = self._serve(next(ports), " ssl", certificates.untrusted)
        self.client_only = self._serve(next(ports), " ssl", good, require_client)
        config = directory / "nginx.conf"
        # Started by root, its workers must still be able to read what root has written.
        user = "user root root;" if os.geteuid() == 0 else ""
        config.write_text(
            CONFIG % {"dir": directory, "user": user, "servers": "".join(self._blocks)}
        )
        command = [find("nginx"), "-p", str(directory), "-c", str(config), "-e", "stderr"]
        self.program = Program(command, directory, self._ports)

    def _serve(
        self, port: int, flags: str = "", pair: Pair | None = None, settings: str = ""
    ) -> str:
        if pair:
            settings += f" ssl_certificate {pair.chain}; ssl_certificate_key {pair.key};"
        self._ports.append(port)
        self._blocks.append(
            SERVER
            % {
                "port": port,
                "flags": flags,
                "settings": settings,
                "dir": self._directory,
                "widget": json.dumps(WIDGET),
                "seen": SEEN,
            }
        )
        return f"{'https' if pair else 'http'}://127.0.0.1:{port}"

    def serve_file(self, name: str, content: bytes) -> str:
        """Put a file under the root; the path to ask for, its type taken from the suffix."""
        (self.root / name).write_bytes(content)
        return f"/{name}"
