"""A real nginx on a processor of its own, so that a measured client has the other one to itself."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Self

STOP_SECONDS = 10.0

_CONF = """\
worker_processes 1;
worker_cpu_affinity {affinity};
worker_rlimit_nofile 20000;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 20000; multi_accept on; }}
http {{
  access_log off; keepalive_requests 100000000; keepalive_timeout 600s;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  sendfile on; tcp_nopush on; tcp_nodelay on;
  server {{ listen 127.0.0.1:{port} backlog=4096;
    location = /hello {{ default_type text/plain; return 200 "Hello, World!"; }}
    location = /json {{ default_type application/json; return 200 '{json}'; }}
    {root}
  }}
  {secure}
}}
"""
_SECURE = """server {{ listen 127.0.0.1:{port} ssl{h2} backlog=4096;
    ssl_certificate {pair}; ssl_certificate_key {pair}; {root}
    location = /hello {{ default_type text/plain; return 200 "Hello, World!"; }} }}"""
JSON = '{"id":1,"name":"widget","tags":["a","b","c"],"price":12.5,"nested":{"x":1,"y":[1,2,3]}}'


def cores() -> tuple[int | None, int | None]:
    """The processors of the client and of the server; None where they cannot be pinned apart."""
    if not hasattr(os, "sched_getaffinity"):
        return None, None
    mine = sorted(os.sched_getaffinity(0))
    return (mine[0], mine[1]) if len(mine) > 1 else (None, None)


class Nginx:
    """nginx with one worker, as a context manager: `base` is its URL.

    With `root` it serves that folder's files too, and with `pair`, a PEM file of certificate and
    key, over TLS on `secure`, with HTTP/2 if `h2`. Raises FileNotFoundError where nginx is not
    installed and RuntimeError when it does not start.
    """

    def __init__(
        self, root: Path | None = None, pair: Path | None = None, *, h2: bool = False
    ) -> None:
        self.base = self.secure = ""
        self._files = f"root {root};" if root else ""
        self._pair = pair
        self._h2 = " http2" if h2 else ""
        self._process: subprocess.Popen[bytes] | None = None
        self._resources = ExitStack()

    @staticmethod
    def find() -> str:
        """The path of nginx; raises FileNotFoundError."""
        path = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
        if path is None:
            raise FileNotFoundError("nginx is not installed (Debian: apt-get install nginx)")
        return path

    def __enter__(self) -> Self:
        program = self.find()
        folder = self._resources.enter_context(tempfile.TemporaryDirectory(prefix="ftnet-bench-"))
        # nginx takes over a listening socket named in $NGINX: nobody else can have the port, and
        # connections wait in its backlog from now on, so there is nothing to wait for.
        listeners = [self._listener() for _ in range(2 if self._pair else 1)]
        port, secure_port = listeners[0].getsockname()[1], listeners[-1].getsockname()[1]
        secure = ""
        if self._pair:
            secure = _SECURE.format(
                port=secure_port, pair=self._pair, root=self._files, h2=self._h2
            )
            self.secure = f"https://127.0.0.1:{secure_port}"
        core = cores()[1]
        affinity = "auto" if core is None else "1" + "0" * core
        conf = os.path.join(folder, "nginx.conf")
        with open(conf, "w", encoding="ascii") as file:
            file.write(
                _CONF.format(
                    affinity=affinity,
                    folder=folder,
                    port=port,
                    json=JSON,
                    root=self._files,
                    secure=secure,
                )
            )
        self._process = subprocess.Popen(
            [program, "-p", folder, "-c", conf],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,  # it repeats error.log
            pass_fds=[one.fileno() for one in listeners],
            env={**os.environ, "NGINX": "".join(f"{one.fileno()};" for one in listeners)},
        )
        self._resources.callback(self._stop, self._process)
        self.base = f"http://127.0.0.1:{port}"
        try:
            self._answers(port, os.path.join(folder, "error.log"))
        except BaseException:
            self._resources.close()
            raise
        return self

    def _listener(self) -> socket.socket:
        listener = self._resources.enter_context(socket.create_server(("127.0.0.1", 0)))
        listener.setblocking(False)  # as nginx makes its own, and takes this one to be
        return listener

    def __exit__(self, *exc: object) -> None:
        self._resources.close()

    @staticmethod
    def version() -> str:
        """What `nginx -v` says, as in 1.22.1."""
        run = subprocess.run([Nginx.find(), "-v"], capture_output=True, text=True, check=True)
        return run.stderr.strip().rpartition("/")[2]

    @staticmethod
    def _answers(port: int, log: str) -> None:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
                connection.sendall(b"GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n")
                answer = connection.recv(4096)
        except OSError as error:
            answer = str(error).encode()
        if not answer.startswith(b"HTTP/1.1 200 "):
            with open(log, encoding="utf-8") as file:
                raise RuntimeError(f"nginx answered {answer!r}; its log: {file.read()}")

    @staticmethod
    def _stop(process: subprocess.Popen[bytes]) -> None:
        with process:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
