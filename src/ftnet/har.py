"""Requests as an HTTP Archive: HAR 1.2 (http://www.softwareishard.com/blog/har-12-spec/)."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl, urlsplit

from ftnet.client import VERSION
from ftnet.errors import redact
from ftnet.exchange import Exchange, Sent, content, exchange_of, sent
from ftnet.header import CREDENTIALS
from ftnet.results import content_charset, to_dict

if TYPE_CHECKING:
    from ftnet.profile import Profile

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_VERSIONS: Final = {"http/1.1": "HTTP/1.1", "h2": "HTTP/2", "quic": "HTTP/3"}
_UNKNOWN: Final = "unknown"
#: What Chrome leaves out of the HAR files that it calls sanitized.
_SENSITIVE: Final = CREDENTIALS | {"set-cookie"}
_URLS: Final = frozenset({"location", "content-location"})


def to_har(
    exchanges: Iterable[Exchange | tuple[Any, ...]], *, sensitive: bool = False
) -> dict[str, Any]:
    """Return requests and what came of them as one HAR 1.2 log, ready for `json.dump`.

    ``exchanges`` are pairs of the options that a request was made with (a mapping, or the URL
    alone) and its result or `FtError`, or `ftnet.export.Exchange` objects, which can carry more.

    Times are in milliseconds with microsecond digits. An entry's ``time`` is from the call
    (`Profile.invokeStart`) to the end and the sum of its ``timings``, which are those of the
    profile: ``connect`` holds ``ssl``, -1 stands for what did not take place, and ``blocked`` is
    the rest: the queue, redirects and any moment between two phases (``_blocked_queueing`` and
    ``_blocked_redirects`` say how much of it was which). A phase that a failure cut off lasts until
    the failure. Where the answer began before the request was sent, the time of both counts as
    ``send``; ``_profile`` has every moment as it was.

    A task has one entry, redirects or not: its request is the one that was asked for, its response
    the last one. A task that failed has status 0, unless ``head`` is there, and ``_error``.
    ``serverIPAddress`` and ``connection`` (a port) are those of the peer, which may be a proxy.

    Without ``sensitive`` the fields Authorization, Cookie and Set-Cookie are left out, as Chrome
    does; so is, in URLs, ``user:password@``. Query, body and other fields stay as they are.

    Raises ValueError for an outcome without a profile, TypeError for one that is not of HTTP, and
    what the call itself raises for options that it does not take.
    """
    entries = [_entry(exchange_of(one), sensitive) for one in exchanges]
    creator = {"name": "ftnet", "version": VERSION}
    return {"log": {"version": "1.2", "creator": creator, "pages": [], "entries": entries}}


def _entry(exchange: Exchange, sensitive: bool) -> dict[str, Any]:
    profile, asked = exchange.timed(), sent(exchange)
    spans = timings(profile)
    entry = {
        "startedDateTime": _date_time(profile.invokeStart),
        "time": _ms(sum(_us(spans[name]) for name in _SUMMED if spans[name] > 0)),
        "request": _request(exchange, asked, sensitive),
        "response": _response(exchange, asked, sensitive),
        "cache": {},
        "timings": spans,
    }
    if profile.peerIP:
        entry |= {"serverIPAddress": profile.peerIP, "connection": str(profile.port)}
    if profile.redirectStart:
        entry["comment"] = "Redirects were followed: the response is that of the last request."
    # the first is what Chrome's developer tools, and those that read its files, ask for
    return {**entry, "_resourceType": "fetch", "_profile": to_dict(profile)}


# ---- times

_SUMMED: Final = ("blocked", "dns", "connect", "send", "wait", "receive")


def timings(profile: Profile) -> dict[str, float]:
    """Return ``timings`` of an entry, in ms, from the durations of a profile."""
    us = {name: _us(ms) for name, ms in profile.durations.items()}
    dns = connect = ssl = -1
    if profile.domainLookUpStart and not profile.socketReused:
        dns = us["dns"]
    if profile.connectStart and not profile.socketReused:
        connect = us["connect"] + us["ssl"]
    if connect >= 0 and profile.SSLconnectionStart:
        ssl = us["ssl"]
    parts = {
        "blocked": us["queue"] + us["redirect"] + us["blocked"],
        "dns": dns,
        "connect": connect,
        "ssl": ssl,
        "send": us["send"],
        "wait": us["ttfb"],
        "receive": us["download"],
        "_blocked_queueing": us["queue"],
        "_blocked_redirects": us["redirect"],
    }
    return {name: -1 if spent < 0 else _ms(spent) for name, spent in parts.items()}


def _us(ms: float) -> int:
    return round(ms * 1000)


def _ms(us: int) -> float:
    return us / 1000


def _date_time(ms: float) -> str:
    moment = _EPOCH + timedelta(microseconds=_us(ms))
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


# ---- the request


def _request(exchange: Exchange, asked: Sent, sensitive: bool) -> dict[str, Any]:
    fields = _kept(asked.fields, sensitive)
    cookies = [pair for name, value in fields if name.lower() == "cookie" for pair in _pairs(value)]
    request: dict[str, Any] = {
        "method": asked.method,
        "url": asked.url if sensitive else redact(asked.url),
        "httpVersion": _version(exchange),
        "cookies": cookies,
        "headers": [{"name": name, "value": value} for name, value in fields],
        "queryString": _query(asked.url),
        "headersSize": _header_size(exchange, asked),
        "bodySize": asked.size,
        "comment": "Fields that the engine adds (Host, User-Agent, Accept ...) are not listed.",
    }
    if asked.size:
        request["postData"] = _post_data(asked)
    return request


def _version(exchange: Exchange) -> str:
    """As the connection had it, or else as the status line says (HTTP/1.0)."""
    known = _VERSIONS.get(exchange.timed().protocol)
    if known is None and exchange.response is not None:
        known = exchange.response.header.status_line.partition(" ")[0]
    return known or _UNKNOWN


def _kept(fields: list[tuple[str, str]], sensitive: bool) -> list[tuple[str, str]]:
    if sensitive:
        return fields
    safe = [field for field in fields if field[0].lower() not in _SENSITIVE]
    return [(n, redact(value) if n.lower() in _URLS else value) for n, value in safe]


def _pairs(cookie: str) -> list[dict[str, Any]]:
    parts = [part.strip().partition("=") for part in cookie.split(";") if part.strip()]
    return [{"name": name, "value": value} for name, _, value in parts]


def _query(url: str) -> list[dict[str, str]]:
    pairs = parse_qsl(urlsplit(url).query, keep_blank_values=True)
    return [{"name": name, "value": value} for name, value in pairs]


def _header_size(exchange: Exchange, asked: Sent) -> int:
    """Bytes of the request's head, where all that was sent was this one request."""
    profile = exchange.timed()
    alone = profile.requestEnd and not profile.redirectStart and asked.size >= 0
    return max(-1, profile.sendBytesCount - asked.size) if alone else -1


def _post_data(asked: Sent) -> dict[str, Any]:
    kind = asked.field("content-type")
    if asked.body is None:
        return {"mimeType": kind, "text": "", "comment": "The body was not kept."}
    raw = bytes(memoryview(asked.body))
    try:
        return {"mimeType": kind, "text": raw.decode(content_charset(kind))}
    except UnicodeDecodeError:
        text = base64.b64encode(raw).decode()
    comment = "HAR has no place for binary: the text is base64."
    return {"mimeType": kind, "text": text, "_encoding": "base64", "comment": comment}


# ---- the response


def _response(exchange: Exchange, asked: Sent, sensitive: bool) -> dict[str, Any]:
    came = exchange.response
    body, body_size = _content(exchange, asked)
    response: dict[str, Any] = {
        "status": 0,
        "statusText": "",
        "httpVersion": _version(exchange),
        "cookies": [],
        "headers": [],
        "content": body,
        "redirectURL": "",
        "headersSize": -1,
        "bodySize": body_size,
        "_transferSize": exchange.timed().receivedBytedCount,
    }
    if came is not None:
        fields = _kept(came.header.raw_items(), sensitive)
        location = came.header.get("location", "")
        response |= {
            "status": came.statusCode,
            "statusText": came.header.reason,
            "headers": [{"name": name, "value": value} for name, value in fields],
            "cookies": [_cookie(line) for line in came.header.set_cookies] if sensitive else [],
            "redirectURL": location if sensitive else redact(location),
            "headersSize": len(came.header.raw),
        }
    if exchange.error is not None:
        response["_error"] = exchange.error.errMsg
    return response


def _content(exchange: Exchange, asked: Sent) -> tuple[dict[str, Any], int]:
    """``content`` of the response, and its ``bodySize``."""
    known, came = content(exchange, asked.method), exchange.response
    kind = None if came is None else came.header.get("content-type")
    body: dict[str, Any] = {"size": known.size, "mimeType": kind or "x-unknown"}
    if known.coded and known.size >= 0 and known.encoded_size >= 0:
        body["compression"] = known.size - known.encoded_size
    if known.text is not None:
        body["text"] = known.text
    elif known.data is not None:
        body["text"] = base64.b64encode(bytes(memoryview(known.data))).decode()
        body["encoding"] = "base64"
    if exchange.error is not None and known.data is not None:
        body["comment"] = "The body as far as it came."
    elif known.rewritten:
        body["comment"] = "The text is JSON written anew from what the body was decoded to."
    elif "text" not in body and known.size:
        body["comment"] = "The body was not kept."
    return body, known.encoded_size


def _cookie(line: str) -> dict[str, Any]:
    """A Set-Cookie field (RFC 6265 5.2) as HAR has it; a date that can't be read is left out."""
    (name, _, value), *attributes = [part.strip().partition("=") for part in line.split(";")]
    told = {key.strip().lower(): text.strip() for key, _, text in attributes}
    cookie: dict[str, Any] = {"name": name.strip(), "value": value.strip()}
    for key in ("path", "domain"):
        if told.get(key):
            cookie[key] = told[key]
    expires = _expires(told.get("expires", ""))
    if expires:
        cookie["expires"] = expires
    return {**cookie, "httpOnly": "httponly" in told, "secure": "secure" in told}


def _expires(text: str) -> str:
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError, IndexError):
        return ""
    return moment.replace(tzinfo=moment.tzinfo or UTC).isoformat()
