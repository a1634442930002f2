"""From options to what the engine works by: the bytes of the request, the schedule, the share."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Final

from ftcore.engine import Engine
from ftcore.libcurl import HTTP_VERSIONS
from ftcore.load import Load
from ftnet.client import VERSION, engine_settings, proxy_of
from ftnet.handshake import basic
from ftnet.load.options import Options
from ftnet.settings import check_client_settings

#: Methods whose requests may be sent twice (RFC 9110 9.2.2).
_IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})
#: Methods whose requests say that their body is empty (RFC 9110 8.6).
_WITH_BODY: Final = frozenset({"POST", "PUT", "PATCH"})


def share(whole: int, index: int, of: int) -> int:
    """How many of `whole` are of share `index` when each takes every `of`-th."""
    return whole // of + (index < whole % of)


def stages_of(options: Options) -> list[tuple[float, float, float]]:
    """(seconds, rate at the start, at the end) from the start of the run; the last rate stays.

    Stages are of the measured part. The warm-up goes at `rate`, or at the first of the stages'
    that is more than 0.
    """
    rate = options.rate or 0.0
    out = []
    if options.warmup:
        warm = rate or next((at for _, at in options.stages if at), 0.0)
        out.append((options.warmup, warm, warm))
    for seconds, at in options.stages:
        out.append((seconds, rate, at))
        rate = at
    return out


def head_of(options: Options, user_agent: str) -> bytes:
    """The header block of the request as it goes over HTTP/1.1."""
    target = options.url.partition("://")[2]
    authority = target.partition("/")[0].partition("?")[0]
    login, at_sign, place = authority.rpartition("@")
    target = target[len(authority) :]
    if not target.startswith("/"):
        target = f"/{target}"
    given = {name.lower() for name in options.header}
    lines = [f"{options.method} {target} HTTP/1.1"]
    for name, value in {"Host": place, "User-Agent": user_agent, "Accept": "*/*"}.items():
        if name.lower() not in given:
            lines.append(f"{name}: {value}")
    if at_sign and "authorization" not in given:  # as libcurl sends it
        lines.append(f"Authorization: {basic(login)}")
    lines += [f"{name}: {value}" for name, value in options.header.items()]
    if options.data or options.method in _WITH_BODY:
        lines.append(f"Content-Length: {len(options.data)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def lines_of(options: Options) -> list[bytes]:
    """Header lines as libcurl takes them: "Name;" sends a field that is empty."""
    lines = [f"{name}: {value}" if value else f"{name};" for name, value in options.header.items()]
    if options.data and not any(name.lower() == "content-type" for name in options.header):
        lines.append("Content-Type:")  # nobody said that it is a form
    if not options.data and options.method in _WITH_BODY:
        lines.append("Content-Length: 0")
    return [line.encode() for line in [*lines, "Expect:"]]


def is_native(options: Options, checked: Mapping[str, Any]) -> bool:
    """Whether the engine speaks HTTP/1.1 itself: all of it, but through a proxy that takes http
    URLs, and with DNS over HTTPS. FTNET_LANE=libcurl keeps it from that, for comparisons."""
    if os.environ.get("FTNET_LANE") == "libcurl":
        return False
    proxied = proxy_of(checked) != "" and options.url.startswith("http:")
    return options.http_version in (None, "1.1") and not proxied and not checked["doh_url"]


def make_load(options: Options, engine: Engine, index: int, of: int) -> Load:
    """Share `index` of so many."""
    checked = check_client_settings(options.settings)
    settings = engine_settings(checked, limits_chunks=False)
    agent = checked["user_agent"]
    stages = [(_ns(seconds), at, to) for seconds, at, to in stages_of(options)]
    requests = options.requests
    native = is_native(options, checked)
    plain_verb = options.method in ("HEAD", "POST" if options.data else "GET")
    return Load(
        engine,
        settings,
        url=options.url.encode(),
        head=head_of(options, f"ftnet/{VERSION}" if agent is None else agent),
        body=options.data,
        for_head=options.method == "HEAD",
        idempotent=options.method in _IDEMPOTENT,
        verb=None if plain_verb else options.method.encode(),
        lines=[] if native else lines_of(options),
        http_version=0 if native else HTTP_VERSIONS[options.http_version or "1.1"],
        connections=share(options.connections, index, of),
        streams=options.streams,
        open_model=options.open_model,
        stages=stages,
        rate_after=stages[-1][2] if options.stages else options.rate or 0.0,
        poisson=options.arrivals == "poisson",
        seed=options.seed,
        first=index,
        every=of,
        warmup=_ns(options.warmup),
        duration=-1 if options.duration is None else _ns(options.duration),
        requests=-1 if requests is None else share(requests, index, of),
        think=_ns(options.think),
        timeout=_ns(options.timeout),
        grace=_ns(options.grace),
        late_after=_ns(options.late_after),
        statuses=options.expect_status,
        length=-1 if options.expect_length is None else options.expect_length,
    )


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)
