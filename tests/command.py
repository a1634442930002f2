"""Runs the `ftnet` command in a process of its own, as a shell would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

LIMIT = 60.0
COMMAND = [sys.executable, "-m", "ftnet"]
PROXIES = {"http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy"}


def environment(**variables: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in PROXIES}
    return {**kept, "PYTHONIOENCODING": "utf-8", **variables}


def request(
    *arguments: str, data: bytes = b"", **variables: str
) -> subprocess.CompletedProcess[bytes]:
    """Runs `ftnet request` to its end."""
    return subprocess.run(
        [*COMMAND, "request", *arguments],
        input=data,
        env=environment(**variables),
        capture_output=True,
        timeout=LIMIT,
        check=False,
    )


def started(*arguments: str, **streams: Any) -> subprocess.Popen[bytes]:
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    return subprocess.Popen([*COMMAND, "request", *arguments], env=environment(), **pipes)


def echoed(*arguments: str, data: bytes = b"") -> dict[str, Any]:
    """What /echo says it received; the URL is among the arguments."""
    done = request(*arguments, data=data)
    assert done.returncode == 0, done.stderr.decode()
    told: dict[str, Any] = json.loads(done.stdout)
    told["fields"] = {}
    for name, value in told["headers"]:
        told["fields"].setdefault(name, []).append(value)
    return told
