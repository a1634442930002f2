"""werkzeug, which httpbin and Flask stand on, as a reader of forms: /post tells what it has read.

The application is served by granian in a process of its own.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tests.servers.program import Program, free_ports

ROOT = Path(__file__).parent.parent.parent


def app(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    """WSGI: form and files as JSON; bytes that are no text as a data URL, as httpbin does."""
    from werkzeug.wrappers import Request, Response

    request = Request(environ)
    files = {name: _text(file.read()) for name, file in request.files.items()}
    told = {"form": dict(request.form.items()), "files": files, "headers": dict(request.headers)}
    return Response(json.dumps(told), mimetype="application/json")(environ, start)


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return f"data:application/octet-stream;base64,{base64.b64encode(data).decode()}"


class Forms:
    """One process, HTTP/1.1 without TLS: `.http`."""

    def __init__(self, directory: Path) -> None:
        (port,) = free_ports(1)
        self.http = f"http://127.0.0.1:{port}"
        command = [
            *(sys.executable, "-m", "granian", "--interface", "wsgi"),
            *("tests.servers.werkzeug_forms:app", "--host", "127.0.0.1", "--port", str(port)),
            *("--log-level", "warning", "--working-dir", str(ROOT)),
        ]
        self.program = Program(command, directory, (port,))
