"""Cookies of one virtual user (RFC 6265), between the steps of its iterations.

Kept small, for there are many: no public suffixes, and what the engine's own jar does for a
`Client` with ``cookies=True`` is not shared between users.
"""

from __future__ import annotations

import contextlib
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from ftcore.visitor import User
    from ftnet.results import Headers

__all__ = ["Jar", "keep_cookies", "with_cookie"]


class _Cookie(NamedTuple):
    name: str
    value: str
    domain: str
    host_only: bool
    path: str
    secure: bool
    expires: float  # s since the epoch; inf: with the session


_NEVER = float("inf")


class Jar:
    """What a server has set, by domain, path and name, in the order in which it came."""

    __slots__ = ("_cookies", "_known", "_plain")

    def __init__(self) -> None:
        self._cookies: dict[tuple[str, str, str], _Cookie] = {}
        self._plain = True  # none has an end or a path, so that the origin alone decides
        self._known: dict[str, str] = {}  # then: fields by what a URL begins with

    def __bool__(self) -> bool:
        return bool(self._cookies)

    def clear(self) -> None:
        """Forgets all of them."""
        self._cookies.clear()
        self._known.clear()

    def header(self, url: str) -> str:
        """The Cookie field for a request to an absolute URL; "": there is none to send."""
        if not self._plain:
            return self._header(url)
        origin = url[: url.find("/", 8)] if url.find("/", 8) > 0 else url
        known = self._known.get(origin)
        if known is None:
            known = self._known[origin] = self._header(url)
        return known

    def _header(self, url: str) -> str:
        parts = urlsplit(url)
        host, path = (parts.hostname or "").lower(), parts.path or "/"
        now = time.time()
        fits = [
            one
            for one in self._cookies.values()
            if one.expires > now
            and (parts.scheme == "https" or not one.secure)
            and (host == one.domain if one.host_only else _within(host, one.domain))
            and _under(path, one.path)
        ]
        fits.sort(key=lambda one: -len(one.path))  # RFC 6265 5.4: longer paths first
        return "; ".join([f"{one.name}={one.value}" for one in fits])

    def take(self, url: str, lines: list[str]) -> None:
        """Keeps what the Set-Cookie fields of an answer from `url` say (RFC 6265 5.3)."""
        parts = urlsplit(url)
        host, path = (parts.hostname or "").lower(), parts.path
        for line in lines:
            cookie = _parsed(line, host, path)
            if cookie is None:
                continue
            key = (cookie.domain, cookie.path, cookie.name)
            if cookie.expires <= time.time():
                self._cookies.pop(key, None)
            else:
                self._cookies[key] = cookie
        self._known.clear()
        every = self._cookies.values()
        self._plain = all(one.path == "/" and one.expires == _NEVER for one in every)


def keep_cookies(user: User, url: str, header: Headers) -> None:
    """Into the user's jar, if it has one, with what an answer from `url` sets."""
    if user.jar is not None:
        user.jar.take(url, header.set_cookies)
        user.has_cookies = bool(user.jar)


def with_cookie(header: dict[str, str], cookie: str) -> dict[str, str]:
    """The header with a Cookie field of a jar, behind the one that it has, or without for ""."""
    own = [name for name in header if name.lower() == "cookie"]
    if not cookie or not own:
        return {**header, "cookie": cookie} if cookie else header
    return {**header, own[0]: f"{header[own[0]]}; {cookie}"}


def _within(host: str, domain: str) -> bool:
    return host == domain or host.endswith("." + domain)


def _may_set(host: str, domain: str) -> bool:
    """Whether a host may set cookies for a domain: no top level, and no part of an address."""
    if host == domain:
        return True
    is_address = ":" in host or host.replace(".", "").isdigit()
    return _within(host, domain) and "." in domain and not is_address


def _under(path: str, folder: str) -> bool:
    return path == folder or (
        path.startswith(folder) and (folder.endswith("/") or path[len(folder)] == "/")
    )


def _parsed(line: str, host: str, path: str) -> _Cookie | None:
    """None: it is none, or not for this host to set."""
    pair, *attributes = line.split(";")
    name, equals, value = pair.partition("=")
    name = name.strip()
    if not equals or not name:
        return None
    given = {}
    for attribute in attributes:
        key, _, content = attribute.partition("=")
        given[key.strip().lower()] = content.strip()
    domain = given.get("domain", "").lstrip(".").lower()
    if domain and not _may_set(host, domain):
        return None
    folder = given.get("path", "")
    if not folder.startswith("/"):
        folder = path[: path.rfind("/")] if path.count("/") > 1 else "/"
    return _Cookie(
        name, value.strip(), domain or host, not domain, folder, "secure" in given, _end(given)
    )


def _end(given: dict[str, str]) -> float:
    """Max-Age, else Expires; what can't be read is not there."""
    with contextlib.suppress(KeyError, ValueError, OverflowError):
        seconds = int(given["max-age"])
        return time.time() + seconds if seconds > 0 else 0.0
    with contextlib.suppress(KeyError, ValueError, OverflowError):
        return parsedate_to_datetime(given["expires"]).timestamp()
    return _NEVER
