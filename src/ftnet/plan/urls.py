"""Where the steps of a plan go: texts that may hold variables."""

from __future__ import annotations

import re
from typing import Final

from ftnet.options import METHODS, TOKEN
from ftnet.plan import template
from ftnet.url import prepare_url

__all__ = [
    "check_place",
    "check_request",
    "check_url",
    "for_websocket",
    "split_request",
    "whole_url",
]

_METHOD: Final = re.compile(r"([^\s/:?#$]+)\s+(?=\S)")


def split_request(text: str) -> tuple[str, str]:
    """Method and URL of ``"POST /cart"`` or ``"/cart"``."""
    text = text.strip()
    found = _METHOD.match(text)
    return (found[1].upper(), text[found.end() :]) if found else ("GET", text)


def whole_url(base: str, url: str) -> str:
    """A step's URL, relative to the plan's base; either may hold variables."""
    if not base or "://" in url.partition("?")[0] or url.startswith("${"):
        return url
    if url.startswith("/"):  # from the root, whatever the base's path is
        scheme, _, rest = base.partition("://")
        return f"{scheme}://{rest.partition('/')[0]}{url}"
    return f"{base.rstrip('/')}/{url}" if url else base


def for_websocket(base: str) -> str:
    """The base URL for WebSockets: ws for http, wss for https."""
    return f"ws{base[4:]}" if base.startswith("http") else base


def check_request(text: str, base: str) -> None:
    """Holds ``request`` of a step to what it takes; ValueError says what is wrong."""
    method, url = split_request(text)
    if not url or url in METHODS:
        raise ValueError("the URL is missing")
    if not TOKEN.issuperset(method) or method == "CONNECT":
        raise ValueError(f"{method!r:.40} is no method of a request")
    check_url(url, base, ("http", "https"))


def check_url(text: str, base: str, schemes: tuple[str, ...]) -> None:
    """Holds a URL to what it takes, as far as it can be known before its variables are."""
    url = whole_url(base, text)
    filled = template.compile(url).fill("0")
    if url.startswith("${"):
        return
    if "://" not in url.partition("?")[0]:
        raise ValueError(f"it must be an absolute {' or '.join(schemes)} URL without a base_url")
    try:
        prepare_url(filled, "", schemes)
    except ValueError as error:
        raise ValueError(str(error).removeprefix(": url ")) from None


def check_place(text: str) -> None:
    """Holds ``HOST:PORT`` to what it takes."""
    place = template.compile(text).fill("0")
    if not re.search(r":\d+$", place) or set("/@?") & set(place):
        raise ValueError
    try:
        prepare_url(f"http://{place}", "")
    except ValueError as error:
        raise ValueError(str(error).rpartition(": ")[2]) from None
