"""Plans from HAR files (http://www.softwareishard.com/blog/har-12-spec/): what a browser sent."""

from __future__ import annotations

import itertools
import os
from collections.abc import Collection
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import msgspec

from ftnet.plan.model import Plan
from ftnet.plan.problems import PlanError, Problem
from ftnet.plan.recorded import CREDENTIALS, Asked, LeftOut, make_plan, read_text

__all__ = ["from_har"]

_STATIC: Final = ("image/", "font/", "audio/", "video/", "text/css", "text/javascript")
_STATIC_TYPES: Final = frozenset({"image", "stylesheet", "script", "font", "media", "manifest"})
_STATIC_ENDINGS: Final = (
    ".css", ".gif", ".ico", ".jpeg", ".jpg", ".js", ".map", ".mjs", ".mp4", ".png", ".svg",
    ".ttf", ".webp", ".woff", ".woff2",
)  # fmt: skip
_LEAST_THINK: Final = 0.01  # s; shorter gaps are the browser's own


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
    taken: list[tuple[Asked, dict[str, Any]]] = []
    for number, entry in enumerate(_entries(os.fspath(path), read_text(path)), 1):
        try:
            reason = _reason_against(entry, hosts, static)
            asked = None if reason else _asked(entry)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            wrong = f"entry {number} is none of HAR 1.2: {type(error).__name__}: {error}"
            raise PlanError([Problem(os.fspath(path), 0, "", wrong)]) from None
        if asked is None:
            left.append(f"{_told(entry)}: {reason}")
            continue
        if asked.body is None and _has_body(entry):
            left.append(f"the body of {_told(entry)}: it is not text, or was not kept")
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


def _entries(path: str, text: str) -> list[dict[str, Any]]:
    try:
        entries = msgspec.json.decode(text)["log"]["entries"]
        if isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries):
            return entries
        reason = "log.entries must be a list of objects"
    except (msgspec.DecodeError, RecursionError) as error:
        reason = f"is no JSON: {error}"
    except (KeyError, TypeError):
        reason = "is no HAR file: there is no log.entries"
    raise PlanError([Problem(path, 0, "", reason)])


def _reason_against(entry: dict[str, Any], hosts: Collection[str], static: bool) -> str:
    """Why an entry is left out; "" when it is not."""
    request = entry["request"]
    parts = urlsplit(request["url"])
    kind = entry.get("_resourceType", "")
    if parts.scheme not in ("http", "https"):
        return f"{parts.scheme or 'no scheme'} is not sent as a request"
    if request["method"].upper() == "CONNECT":
        return "CONNECT makes a tunnel"
    if kind == "websocket":
        return "a WebSocket"
    if hosts and parts.hostname not in {host.lower() for host in hosts}:
        return "another host"
    if kind == "preflight":
        return "the browser's question before another request"
    if entry.get("_fromCache"):
        return "it came from the browser's cache"
    if not entry.get("response", {}).get("status"):
        return "it was not answered"
    if not static and _is_static(entry, kind, parts.path):
        return "static"
    return ""


def _is_static(entry: dict[str, Any], kind: str, path: str) -> bool:
    mime = entry["response"].get("content", {}).get("mimeType", "").lower()
    if kind in _STATIC_TYPES or mime.startswith(_STATIC) or "javascript" in mime:
        return True
    return path.lower().endswith(_STATIC_ENDINGS)


def _asked(entry: dict[str, Any]) -> Asked:
    request, status = entry["request"], entry["response"]["status"]
    header = [(one["name"], one["value"]) for one in request.get("headers", [])]
    asked = Asked(request["url"], request["method"].upper(), header, _text_of(request))
    kind = (request.get("postData") or {}).get("mimeType")
    if asked.body is not None and kind and not asked.content_type():
        asked.header.append(("Content-Type", kind))
    if 300 <= status < 400 and entry["response"].get("redirectURL"):
        asked.given["follow"] = False  # where it leads to is an entry of its own
    if status >= 400:
        asked.given["expect"] = {"status": status}
    return asked


def _text_of(request: dict[str, Any]) -> str | None:
    post = request.get("postData")
    if not post or post.get("_encoding") == "base64" or post.get("encoding") == "base64":
        return None
    if post.get("text"):
        return str(post["text"])
    if post.get("params"):
        pairs = [(one["name"], one.get("value", "")) for one in post["params"]]
        files = any(one.get("fileName") for one in post["params"])
        return None if files else urlencode(pairs)
    return None


def _has_body(entry: dict[str, Any]) -> bool:
    request = entry["request"]
    return bool(request.get("postData")) or request.get("bodySize", 0) > 0


def _told(entry: dict[str, Any]) -> str:
    url = str(entry["request"]["url"])
    return f"{entry['request']['method']} {url if len(url) <= 60 else url[:57] + '...'}"


# --- times ------------------------------------------------------------------------------------


def _begun(entry: dict[str, Any]) -> float:
    """Seconds since the Unix epoch; 0 where the entry does not tell."""
    try:
        return datetime.fromisoformat(entry["startedDateTime"]).timestamp()
    except (KeyError, TypeError, ValueError):
        return 0.0


def _add_think(taken: list[tuple[Asked, dict[str, Any]]]) -> None:
    """To each, the time from its end, and of all before, to the next one's start."""
    over = 0.0
    for (asked, entry), (_, following) in itertools.pairwise(taken):
        spent = entry.get("time")
        over = max(over, _begun(entry) + (spent / 1000 if isinstance(spent, (int, float)) else 0))
        gap = round(_begun(following) - over, 3)
        if _begun(entry) and gap >= _LEAST_THINK:
            asked.given["think"] = gap
