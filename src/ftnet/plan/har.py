"""Plans from HAR files (http://www.softwareishard.com/blog/har-12-spec/): what a browser sent."""

from __future__ import annotations

import itertools
import os
from collections.abc import Collection
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import msgspec

from ftnet.header import CREDENTIALS
from ftnet.plan.model import Plan
from ftnet.plan.problems import PlanError, Problem
from ftnet.plan.recorded import Asked, LeftOut, make_plan, read_text

__all__ = ["from_har"]

_STATIC: Final = ("image/", "font/", "audio/", "video/", "text/css", "text/javascript")
_STATIC_TYPES: Final = frozenset({"image", "stylesheet", "script", "font", "media", "manifest"})
_STATIC_ENDINGS: Final = (
    ".css", ".gif", ".ico", ".jpeg", ".jpg", ".js", ".map", ".mjs", ".mp4", ".png", ".svg",
    ".ttf", ".webp", ".woff", ".woff2",
)  # fmt: skip
_SWITCHED: Final = 101
_NO_TEXT: Final = "\ufffd"  # what recorders write for bytes that are none
_LEAST_THINK: Final = 0.01  # s; shorter gaps are the browser's own


# --- as much of HAR 1.2 as is needed, and what Chrome adds; `to_har` of ftnet adds _encoding ----


class _Pair(msgspec.Struct):
    name: str
    value: str = ""


class _Param(msgspec.Struct):
    name: str
    value: str | None = None
    fileName: str | None = None


class _Post(msgspec.Struct):
    mimeType: str | None = None
    text: str | None = None
    params: list[_Param] | None = None
    encoding: str | None = None  # of some recorders
    own_encoding: str | None = msgspec.field(name="_encoding", default=None)


class _Request(msgspec.Struct):
    method: str
    url: str
    headers: list[_Pair] = []
    postData: _Post | None = None
    bodySize: float | None = None


class _Content(msgspec.Struct):
    mimeType: str | None = None


class _Response(msgspec.Struct):
    status: int = 0
    redirectURL: str | None = None
    content: _Content | None = None


class _Entry(msgspec.Struct):
    request: _Request
    response: _Response
    startedDateTime: str = ""
    time: float | None = None
    kind: str | None = msgspec.field(name="_resourceType", default=None)
    cached: Any = msgspec.field(name="_fromCache", default=None)

    def __str__(self) -> str:
        url = self.request.url
        return f"{self.request.method} {url if len(url) <= 60 else url[:57] + '...'}"


class _Log(msgspec.Struct):
    entries: list[_Entry]


class _Har(msgspec.Struct):
    log: _Log


def from_har(
    path: str | os.PathLike[str],
    *,
    hosts: Collection[str] = (),
    static: bool = True,
    think: bool = False,
    credentials: bool = False,
    left_out: LeftOut | None = None,
) -> Plan:
    """The plan of the requests in a HAR file, in the order in which they were begun.

    ``hosts``: only requests to these. ``static=False``: no images, styles, scripts and fonts.
    ``think``: the times between a request's end and the next one's start are kept. Without
    ``credentials``, Cookie and Authorization are not. What was not taken over is added to
    ``left_out``. `PlanError` says what is wrong with the file.
    """
    left: LeftOut = [] if left_out is None else left_out
    taken: list[tuple[Asked, _Entry]] = []
    for entry in _entries(os.fspath(path), read_text(path)):
        reason = _reason_against(entry, hosts, static)
        if reason:
            left.append(f"{entry}: {reason}")
            continue
        asked = _asked(entry)
        request = entry.request
        if asked.body is None and (request.postData or (request.bodySize or 0) > 0):
            left.append(f"the body of {entry}: it is not text, or was not kept")
        taken.append((asked, entry))
    taken.sort(key=lambda one: _begun(one[1]))
    left += _credentials([asked for asked, _ in taken]) if not credentials else []
    for asked, _ in taken:
        asked.clean(credentials=credentials)
    if think:
        _add_think(taken)
    return make_plan(path, [asked for asked, _ in taken])


def _credentials(asked: list[Asked]) -> list[str]:
    """What is said of fields that are left out because they are somebody's own."""
    out = []
    for field in sorted(CREDENTIALS):
        many = sum(any(name.lower() == field for name, _ in one.header) for one in asked)
        if many:
            out.append(f"{field.title()} of {many} {'request' if many == 1 else 'requests'}")
    return out


def _entries(path: str, text: str) -> list[_Entry]:
    try:
        return msgspec.json.decode(text, type=_Har).log.entries
    except msgspec.ValidationError as error:
        reason = f"is no HAR file: {error}"
    except (msgspec.DecodeError, RecursionError) as error:
        reason = f"is no JSON: {error}"
    raise PlanError([Problem(path, 0, "", reason)])


def _reason_against(entry: _Entry, hosts: Collection[str], static: bool) -> str:
    """Why an entry is left out; "" when it is not."""
    try:
        parts = urlsplit(entry.request.url)
    except ValueError as error:
        return f"its URL is none: {error}"
    if parts.scheme not in ("http", "https"):
        return f"{parts.scheme or 'no scheme'} is not sent as a request"
    if entry.request.method.upper() == "CONNECT":
        return "CONNECT makes a tunnel"
    if entry.kind == "websocket" or entry.response.status == _SWITCHED:
        return "a WebSocket"
    if hosts and parts.hostname not in {host.lower() for host in hosts}:
        return "another host"
    if entry.kind == "preflight":
        return "the browser's question before another request"
    if entry.cached:
        return "it came from the browser's cache"
    if not entry.response.status:
        return "it was not answered"
    return "static" if not static and _is_static(entry, parts.path) else ""


def _is_static(entry: _Entry, path: str) -> bool:
    content = entry.response.content
    mime = (content.mimeType or "").lower() if content else ""
    if entry.kind in _STATIC_TYPES or mime.startswith(_STATIC) or "javascript" in mime:
        return True
    return path.lower().endswith(_STATIC_ENDINGS)


def _asked(entry: _Entry) -> Asked:
    request, status = entry.request, entry.response.status
    text = _text_of(request.postData)
    left = "" if text is None else "content-encoding"  # a text is what was decoded
    header = [(one.name, one.value) for one in request.headers if one.name.lower() != left]
    asked = Asked(request.url, request.method.upper(), header, text)
    kind = request.postData.mimeType if request.postData else None
    if asked.body is not None and kind and not asked.content_type():
        asked.header.append(("Content-Type", kind))
    if 300 <= status < 400 and entry.response.redirectURL:
        asked.given["follow"] = False  # where it leads to is an entry of its own
    if status >= 400:
        asked.given["expect"] = {"status": status}
    return asked


def _text_of(post: _Post | None) -> str | None:
    """The body; None without, and for one that is not text."""
    if post is None or "base64" in (post.encoding, post.own_encoding):
        return None
    if post.text or not post.params:
        return None if _NO_TEXT in (post.text or _NO_TEXT) else post.text
    if any(one.fileName for one in post.params) or "multipart" in (post.mimeType or ""):
        return None
    return urlencode([(one.name, one.value or "") for one in post.params])


# --- times ------------------------------------------------------------------------------------


def _begun(entry: _Entry) -> float:
    """Seconds since the Unix epoch; 0 where the entry does not tell."""
    try:
        return datetime.fromisoformat(entry.startedDateTime).timestamp()
    except (ValueError, OverflowError):
        return 0.0


def _add_think(taken: list[tuple[Asked, _Entry]]) -> None:
    """To each, the time from its end, and of all before, to the next one's start."""
    over = 0.0
    for (asked, entry), (_, following) in itertools.pairwise(taken):
        over = max(over, _begun(entry) + (entry.time or 0) / 1000)
        gap = round(_begun(following) - over, 3)
        if _begun(entry) and gap >= _LEAST_THINK:
            asked.given["think"] = gap
