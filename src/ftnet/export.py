"""A profile for other tools: HAR 1.2, W3C Resource Timing, OpenTelemetry attributes.

    from ftnet import export

    asked = {"url": "https://example.com/"}
    result = ft.request(asked).result()
    json.dump(export.to_har([(asked, result)]), file)

Each function takes what was asked for, the mapping of options that `ftnet.request`, `downloadFile`
or `uploadFile` got (or the URL alone), and what came of it: the result, or the `ftnet.FtError`.
Nothing is kept or measured for them: they only read. ``import ftnet`` does not load this module.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from ftnet.errors import FtError, redact
from ftnet.exchange import Content, Exchange, content, exchange_of, sent
from ftnet.har import to_har
from ftnet.http import HttpResult

__all__ = ["Exchange", "to_har", "to_otel", "to_resource_timing"]

_ALPN: Final = {"http/1.1": "http/1.1", "h2": "h2", "quic": "h3"}
_VERSIONS: Final = {"http/1.1": "1.1", "h2": "2", "quic": "3"}
#: What transferSize counts for the header, whatever its size (Resource Timing, transferSize).
_HEADER_SIZE: Final = 300
_NOT_REACHED: Final = dict.fromkeys(
    (
        "workerStart",
        "redirectStart",
        "redirectEnd",
        "fetchStart",
        "domainLookupStart",
        "domainLookupEnd",
        "connectStart",
        "connectEnd",
        "secureConnectionStart",
        "requestStart",
        "firstInterimResponseStart",
        "finalResponseHeadersStart",
        "responseStart",
        "responseEnd",
    ),
    0.0,
)


def to_resource_timing(
    asked: Mapping[str, Any] | str, outcome: HttpResult | FtError, *, time_origin: float = 0.0
) -> dict[str, Any]:
    """Return a request as a PerformanceResourceTiming (https://www.w3.org/TR/resource-timing/).

    Times are in milliseconds after ``time_origin``, which is one since the Unix epoch itself (a
    page's ``performance.timeOrigin``, a `Profile.invokeStart`); by default they are since the
    epoch. ``startTime`` is the call, ``duration`` ends with the response. 0 is what it is in the
    standard: did not take place, not known, or 0 bytes.

    On a reused connection the look-up and connect times equal ``fetchStart``, and so does
    ``secureConnectionStart`` on https; on http that is 0. A queue is between ``startTime`` and
    ``fetchStart``. Interim responses are not timed: ``firstInterimResponseStart`` is 0.
    ``transferSize`` is the body's encoded size and 300, by the standard. A failure has
    ``startTime``, ``fetchStart``, ``responseEnd`` and ``duration`` alone, by the standard, too:
    its phases are in the error's own profile, and in HAR.

    Raises ValueError for an outcome without a profile and what `to_har` raises.
    """
    exchange = exchange_of((asked, outcome))
    profile, request = exchange.timed(), sent(exchange)
    body = content(exchange, request.method)
    start = profile.invokeStart
    total = round(profile.durations["total"], 3)
    moments = {"fetchStart": profile.fetchStart, "responseEnd": profile.responseEnd}
    if exchange.error is None:
        moments |= _moments(profile, request.url.startswith("https:"))
        total = round(profile.responseEnd - start, 3)
    else:
        moments |= {"fetchStart": profile.fetchStart or start, "responseEnd": start + total}
    times = {name: round(at - time_origin, 3) for name, at in moments.items() if at}
    return {
        "name": redact(request.url),
        "entryType": "resource",
        "startTime": round(start - time_origin, 3),
        "duration": total,
        "initiatorType": "fetch",
        "deliveryType": "",
        "nextHopProtocol": _ALPN.get(profile.protocol, "") if exchange.error is None else "",
        **_NOT_REACHED,
        **times,
        **_sizes(exchange, body),
        "renderBlockingStatus": "non-blocking",
    }


def _moments(profile: Any, https: bool) -> dict[str, float]:
    secured = profile.SSLconnectionStart
    if profile.socketReused and https:
        secured = profile.fetchStart
    return {
        "redirectStart": profile.redirectStart,
        "redirectEnd": profile.redirectEnd,
        "domainLookupStart": profile.domainLookUpStart,
        "domainLookupEnd": profile.domainLookUpEnd,
        "connectStart": profile.connectStart,
        "connectEnd": profile.connectEnd,
        "secureConnectionStart": secured,
        "requestStart": profile.requestStart,
        "finalResponseHeadersStart": profile.responseStart,
        "responseStart": profile.responseStart,
    }


def _sizes(exchange: Exchange, body: Content) -> dict[str, Any]:
    response = exchange.response
    if response is None:
        sizes = dict.fromkeys(("transferSize", "encodedBodySize", "decodedBodySize"), 0)
        return {**sizes, "responseStatus": 0, "contentType": "", "contentEncoding": ""}
    encoded = max(0, body.encoded_size)
    return {
        "transferSize": encoded + _HEADER_SIZE,
        "encodedBodySize": encoded,
        "decodedBodySize": max(0, body.size),
        "responseStatus": response.statusCode,
        "contentType": _essence(response.header.get("content-type", "")),
        "contentEncoding": response.header.get("content-encoding", "").strip().lower(),
    }


def _essence(content_type: str) -> str:
    return content_type.partition(";")[0].strip().lower()


# ---- OpenTelemetry

_CREDENTIALS: Final = re.compile(r"(?<=://)[^/?#@]*@")
#: Values of the query that the conventions have redacted: signatures of signed URLs.
_SIGNED: Final = re.compile(r"(?<=[?&])(AWSAccessKeyId|Signature|sig|X-Goog-Signature)=[^&#]*")


def to_otel(
    asked: Mapping[str, Any] | str, outcome: HttpResult | FtError
) -> dict[str, str | bool | int | float]:
    """Return a request as attributes of an OpenTelemetry client span.

    Names and values are those of the stable HTTP conventions
    (https://opentelemetry.io/docs/specs/semconv/http/http-spans/); the sizes of bodies, in bytes,
    are in development there. An attribute whose value is not known is left out. ``url.full`` is
    what was asked for, before redirects, with credentials and signatures as REDACTED.
    ``error.type`` is the status of a response of 400 and above, or the `Errno` of a failure in
    lower case: ``timeout``, ``dns``, ``tls`` and so on.

    Ours are ``ftnet.phase.*``, in seconds, the `Profile.durations` of phases that took place (of a
    failure those that were over, and the total), and
    ``ftnet.connection.reused`` and ``ftnet.connection.rtt`` (seconds). For the span itself:
    ``int(profile.invokeStart * 1e6)`` is its start in ns since the epoch; its end is that plus
    ``ftnet.phase.total``.

    Raises what `to_har` raises, but an outcome without a profile is as good.
    """
    exchange = exchange_of((asked, outcome))
    request = sent(exchange)
    parts = urlsplit(request.url)
    told: dict[str, Any] = {
        "http.request.method": request.method,
        "url.full": _redacted(request.url),
        "url.scheme": parts.scheme,
        "server.address": parts.hostname,
        "server.port": parts.port or (443 if parts.scheme == "https" else 80),
        "user_agent.original": request.field("user-agent") or None,
        "http.request.body.size": request.size if request.size >= 0 else None,
        "error.type": exchange.error.errno.name.lower() if exchange.error else None,
    }
    if exchange.response is not None:
        status, body = exchange.response.statusCode, content(exchange, request.method)
        told["http.response.status_code"] = status
        told["http.response.body.size"] = body.encoded_size if body.encoded_size >= 0 else None
        if status >= 400:
            told["error.type"] = str(status)
    if exchange.profile is not None:
        told |= _connection(exchange.profile) | _phases(exchange.profile)
    return {name: value for name, value in told.items() if value is not None}


def _redacted(url: str) -> str:
    url = _CREDENTIALS.sub("REDACTED:REDACTED@", url)
    return _SIGNED.sub(r"\1=REDACTED", url)


def _connection(profile: Any) -> dict[str, Any]:
    version = _VERSIONS.get(profile.protocol)
    if not profile.peerIP:
        return {}
    return {
        "network.peer.address": profile.peerIP,
        "network.peer.port": profile.port,
        "network.protocol.name": "http" if version else None,
        "network.protocol.version": version,
        "ftnet.connection.reused": profile.socketReused,
        "ftnet.connection.rtt": profile.rtt / 1000 if profile.rtt else None,
    }


#: The moments that say that one of `Profile.durations` is over.
_OVER: Final = {
    "queue": ("queueEnd",),
    "redirect": ("redirectEnd",),
    "blocked": ("responseEnd",),
    "dns": ("domainLookUpEnd",),
    "connect": ("SSLconnectionStart", "connectEnd"),
    "ssl": ("SSLconnectionEnd",),
    "send": ("requestEnd",),
    "ttfb": ("responseStart",),
    "download": ("responseEnd",),
    "total": ("invokeStart",),
}
_OF_A_NEW_CONNECTION: Final = ("dns", "connect", "ssl")


def _phases(profile: Any) -> dict[str, float]:
    phases = {
        name: ms
        for name, ms in profile.durations.items()
        if any(getattr(profile, moment) for moment in _OVER[name])
        and not (profile.socketReused and name in _OF_A_NEW_CONNECTION)
    }
    return {f"ftnet.phase.{name}": round(ms / 1000, 9) for name, ms in phases.items()}
