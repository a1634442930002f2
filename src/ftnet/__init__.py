"""The ft mini-program network API for Python, on a compiled engine that times every phase.

    import ftnet as ft

    res = ft.request(url="https://example.com/").result()
    print(res.statusCode, res.profile.durations)

API reference: https://super-apps.ai/mop/document/en/develop/api/network.html
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ftcore import Chunk
from ftnet.client import VERSION as __version__
from ftnet.client import Client, default_client
from ftnet.dispatch import run
from ftnet.errors import Cause, Errno, FtError
from ftnet.info import engine_info
from ftnet.profile import NetType, Profile
from ftnet.request import ChunkReceived, HeadersReceived, RequestTask, Response
from ftnet.results import Headers, to_dict

__all__ = [
    "Cause",
    "Chunk",
    "ChunkReceived",
    "Client",
    "Errno",
    "FtError",
    "Headers",
    "HeadersReceived",
    "NetType",
    "Profile",
    "RequestTask",
    "Response",
    "__version__",
    "engine_info",
    "request",
    "run",
    "to_dict",
]


def request(options: Mapping[str, Any] | None = None, /, **kw: Any) -> RequestTask:
    """Sends an HTTP request; returns a `RequestTask` at once.

    Options come as keywords or as one mapping:

    ``url`` absolute http or https URL. ``data`` a mapping goes into the query of GET and HEAD;
    else it is the body: str as UTF-8, bytes-like as it is (uncopied, kept until sent), anything
    else as form pairs or JSON by content-type. ``header`` mapping; content-type defaults to
    application/json, Referer can't be set. ``method`` OPTIONS GET HEAD POST PUT DELETE TRACE
    CONNECT. ``timeout`` ms for the whole task, waiting in the queue included (60000).
    ``dataType`` "json" decodes the body when it is JSON and leaves the text when not; another
    str leaves the text; a type is what msgspec decodes into, and a body that doesn't fit fails.
    ``responseType`` "text" or "arraybuffer" (a read-only buffer). ``enableChunked`` body bytes go
    to `onChunkReceived`. ``redirect`` "follow" (20 at most) or "manual". ``enableHttp2`` None
    negotiates, False keeps to HTTP/1.1. ``enableQuic`` tries HTTP/3, falls back.
    ``enableProfile`` (True) whether the result has a `Profile`. ``forceCellularNetwork`` is
    accepted and ignored. ``success``, ``fail``, ``complete`` callbacks.

    Any HTTP status is a success. Raises TypeError or ValueError at the call for an option that
    can't be; everything else goes to ``fail``, or comes out of ``result()`` or ``await``, as
    `FtError`.
    """
    return default_client().request(options, **kw)
