"""Check a request header at the call: what reaches the wire is names and values, nothing else."""

from __future__ import annotations

import math
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ftnet.body import scalar
from ftnet.options import TOKEN, shown

__all__ = ["CREDENTIALS", "header_lines", "warn_caller"]

#: Fields of a request that say who asks, in lower case: for its own origin alone.
CREDENTIALS: Final = frozenset({"authorization", "cookie"})

_OURS: Final = frozenset(
    {
        "content-length",
        "expect",
        "http2-settings",
        "keep-alive",
        "proxy-connection",
        "te",
        "transfer-encoding",
        "upgrade",
    }
)
_JSON: Final = "application/json"
_JSON_LINE: Final = b"content-type: application/json"
_names: dict[str, tuple[bytes, str]] = {}  # checked ones: bytes and lower case; at most 1024


def _header_name(name: object, api: str) -> tuple[bytes, str]:
    if not isinstance(name, str):
        raise TypeError(f"{api}: header names must be str, got {shown(name)}")
    if not name or not TOKEN.issuperset(name):
        raise ValueError(f"{api}: header name {shown(name)} is not a token (RFC 9110 5.6.2)")
    lower = name.lower()
    if lower in _OURS or lower.startswith("sec-websocket-"):
        raise ValueError(f"{api}: header {name} cannot be given: the engine sets it itself")
    if lower == "proxy-authorization":
        raise ValueError(
            f"{api}: header {name} cannot be given: it would reach the server;"
            " put user and password into the proxy's URL"
        )
    if len(_names) >= 1024:
        _names.clear()
    known = _names[name] = (name.encode("ascii"), lower)
    return known


def _header_value(name: str, value: object, api: str) -> bytes:
    """Return one field value in bytes. Messages never show it: it may be a secret."""
    if isinstance(value, str):
        text = value
    elif isinstance(value, (int, float)):
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{api}: header {name} must be a finite number, got {value!r}")
        text = scalar(value)
    else:
        raise TypeError(
            f"{api}: header {name} must be a str, a number, a bool or a sequence of these,"
            f" got {type(value).__name__}"
        )
    text = text.strip(" \t")
    if not text.isascii() or not text.isprintable():
        for position, char in enumerate(text):
            if (char < " " and char != "\t") or char == "\x7f":
                raise ValueError(
                    f"{api}: header {name} holds the control character U+{ord(char):04X}"
                    f" at position {position}"
                )
        try:
            return text.encode("latin-1")
        except UnicodeEncodeError:
            pass_on = text
        try:
            return pass_on.encode("utf-8")
        except UnicodeEncodeError as exc:
            where = exc.start
        raise ValueError(f"{api}: header {name} holds a lone surrogate at position {where}")
    return text.encode("ascii")


def warn_caller(message: str) -> None:
    """A UserWarning that points to the line outside of this package that made the call."""
    level = 1
    here = os.path.dirname(__file__)
    frame = sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(here):
        frame = frame.f_back
        level += 1
    warnings.warn(message, UserWarning, level)


def header_lines(
    header: Mapping[str, Any] | None,
    api: str = "request",
    *,
    default_json: bool = True,
    referer: bool = False,
) -> tuple[tuple[bytes, ...], str]:
    """Return the header as libcurl's lines, and its content-type, "" for none.

    Values are str, numbers, bools or a sequence of these for several lines; non-ASCII goes as
    latin-1 where that holds it, as UTF-8 otherwise. ``content-type: application/json`` is added
    when there is none and ``default_json``. Referer is dropped with a UserWarning, unless
    ``referer``. Raises TypeError for a name or value of another type, ValueError for an illegal
    name, a control character, a field the engine sets itself, and Content-Type or Host given twice.
    """
    if not header:
        return ((_JSON_LINE,), _JSON) if default_json else ((), "")
    lines: list[bytes] = []
    content_type: str | None = None
    host = False
    for name, value in header.items():
        known = _names.get(name) or _header_name(name, api)
        if (
            type(value) is str
            or not isinstance(value, Sequence)
            or isinstance(value, (str, bytes, bytearray, memoryview))
        ):
            values: Sequence[Any] = (value,)
        else:
            values = value
        raw, lower = known
        if lower == "referer" and not referer:
            warn_caller(f"{api}: the Referer header cannot be set; dropped")
            continue
        for one in values:
            encoded = _header_value(name, one, api)
            lines.append(b"%b: %b" % (raw, encoded) if encoded else raw + b";")
            if lower == "content-type":
                if content_type is not None:
                    raise ValueError(f"{api}: header {name} is given twice")
                content_type = encoded.decode("latin-1")
            elif lower == "host":
                if host or not encoded:
                    raise ValueError(f"{api}: header {name} must be given once and not be empty")
                host = True
    if content_type is None and default_json:
        lines.append(_JSON_LINE)
        content_type = _JSON
    return tuple(lines), content_type or ""
