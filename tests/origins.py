"""The ways to one and the same application: each version of HTTP, with and without TLS."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

import ftnet as ft

LIMIT = 20.0  # seconds to wait for an answer of the loopback


@dataclass(frozen=True)
class Origin:
    """Where to ask, what a Client needs to get there, and what the profile should say of it."""

    name: str
    base: str
    protocol: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def tls(self) -> bool:
        return self.base.startswith("https:")

    @property
    def netloc(self) -> str:
        return self.base.partition("//")[2]

    def client(self, **settings: Any) -> ft.Client:
        """A Client for this origin that no environment variable reaches."""
        return ft.Client(**{"trust_env": False, **self.settings, **settings})


def origin_of(name: str, server: Callable[[str], Any]) -> Origin:
    """The origin `name`; `server` gives the running server of a name."""
    if name == "h3":
        quic = server("caddy")
        return Origin(name, quic.behind, "quic", {"ca": quic.ca, "http_version": "3-only"})
    echo = server("server")
    if name == "http":
        return Origin(name, echo.http, "http/1.1")
    if name == "https":
        settings = {"ca": echo.ca, "http_version": "1.1"}
        return Origin(name, echo.https, "http/1.1", settings)
    return Origin(name, echo.https, "h2", {"ca": echo.ca})


def fetch(client: ft.Client, url: str, **options: Any) -> ft.Response:
    """The response to one request, awaited in this thread; raises FtError as the task does."""
    return client.request(url=url, **options).result(LIMIT)


def failure(client: ft.Client, url: str, **options: Any) -> ft.FtError:
    """The error of one request that has to fail."""
    with pytest.raises(ft.FtError, match=r"^request:fail ") as caught:
        fetch(client, url, **options)
    return caught.value
