"""Check what the caller gives, at the call: the options of each API as tables."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NoReturn

import msgspec

from ftnet.errors import redact
from ftnet.handshake import deflate_option

__all__ = [
    "CLOSE_OPTIONS",
    "DATAGRAM_OPTIONS",
    "DOWNLOAD_OPTIONS",
    "METHODS",
    "REQUEST_OPTIONS",
    "SEND_OPTIONS",
    "SOCKET_OPTIONS",
    "UDP_OPTIONS",
    "UPLOAD_OPTIONS",
    "Option",
    "Table",
    "json_decoder",
    "merge_options",
]

#: Characters of a token (RFC 9110 5.6.2).
TOKEN: Final = frozenset(
    "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)
_MAX_MS: Final = 2_147_483_647


# --- tables ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Option:
    """One row of a table: an option, what it takes in words, and the check that holds it to that.

    ``check`` returns the value to use and raises a TypeError or ValueError, with a reason or
    without, for one it refuses. A value of exactly the type ``exact`` needs no check. None means
    "not given", except where ``nullable``.
    """

    name: str
    takes: str
    check: Callable[[Any], Any]
    default: Any = None
    doc: str = ""
    exact: type | None = None
    required: bool = False
    nullable: bool = False


class Table:
    """The options one API takes, by name, in the order its documentation lists them."""

    __slots__ = ("defaults", "noun", "required", "rows")

    def __init__(self, noun: str, *rows: Option) -> None:
        self.noun = noun
        self.rows = {row.name: row for row in rows}
        self.defaults = {row.name: row.default for row in rows}
        self.required = tuple(row for row in rows if row.required)


def shown(value: object) -> str:
    """Return the repr of ``value`` for a message: no credentials, 80 characters at most."""
    try:
        text = redact(repr(value))
    except Exception as exc:
        text = f"<{type(value).__name__} whose repr raised {type(exc).__name__}>"
    return text if len(text) <= 80 else f"{text[:77]}..."


def _refused(api: str, row: Option, value: object, exc: Exception) -> TypeError | ValueError:
    kind = TypeError if isinstance(exc, TypeError) else ValueError
    reason = redact(str(exc))
    got = f"{api}: {row.name} must be {row.takes}, got {shown(value)}"
    return kind(f"{got}: {reason}" if reason else got)


def merge(api: str, given: Mapping[str, Any], table: Table) -> dict[str, Any]:
    """As `merge_options`, of one mapping."""
    merged = table.defaults.copy()
    rows = table.rows
    for name, value in given.items():
        row = rows.get(name)
        if row is None:
            takes = ", ".join(rows)
            raise TypeError(f"{api}: unknown {table.noun} {shown(name)}; it takes {takes}")
        if type(value) is row.exact:
            merged[name] = value
        elif value is not None:
            try:
                merged[name] = row.check(value)
            except (TypeError, ValueError) as exc:
                raise _refused(api, row, value, exc) from None
        elif row.nullable:
            merged[name] = None
    for row in table.required:
        if merged[row.name] is None:
            raise TypeError(f"{api}: {row.name} is required: {row.takes}")
    return merged


def merge_options(
    api: str, options: Mapping[str, Any] | None, kw: Mapping[str, Any], table: Table
) -> dict[str, Any]:
    """Return every option of ``table`` with its checked value or its default.

    The options come as one mapping or as keywords. Raises TypeError for both at once, an unknown
    option, a missing one or a wrong type, and ValueError for a wrong value, saying what the
    option takes and what it got.
    """
    if options is None:
        return merge(api, kw, table)
    if kw:
        raise TypeError(f"{api}: options come as one mapping or as keywords, not as both")
    if not isinstance(options, Mapping):
        raise TypeError(f"{api}: options must be a mapping or keywords, got {shown(options)}")
    return merge(api, options, table)


# --- checks -----------------------------------------------------------------------------------


def _anything(value: Any) -> Any:
    return value


def _wrong_type(value: Any) -> NoReturn:
    raise TypeError


def _mapping(value: Any) -> Any:
    if not isinstance(value, Mapping):
        raise TypeError
    return value


def text(value: Any) -> str:
    """Any str."""
    if not isinstance(value, str):
        raise TypeError
    return value


def _callback(value: Any) -> Any:
    if not callable(value):
        raise TypeError
    return value


def file_path(value: Any) -> str:
    """A path, which need not be there; with os.PathLike and bytes as a str."""
    path = os.fsdecode(value)  # TypeError when it is no path
    if not path or "\0" in path or path.endswith("/"):
        raise ValueError("it holds a NUL" if "\0" in path else "")
    return path


def _sequence(value: Any) -> Any:
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        raise TypeError
    return value


def _media_type(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    if not value.isascii() or not value.isprintable() or "/" not in value:
        raise ValueError
    return value


def _message(value: Any) -> Any:
    if isinstance(value, str):
        if not value.isascii():
            value.encode()  # UnicodeEncodeError, a ValueError, for a lone surrogate
        return value
    try:
        view = memoryview(value)
    except TypeError:
        raise TypeError from None
    if not view.c_contiguous:
        raise ValueError("the buffer is not contiguous; pass bytes(data)")
    return value


def _protocols(value: Any) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise TypeError
    for name in value:
        if not isinstance(name, str):
            raise TypeError
        if not name or not TOKEN.issuperset(name):
            raise ValueError(f"{name!r:.40} is no token (RFC 9110 5.6.2)")
    if len(set(value)) != len(value):
        raise ValueError("one of them comes twice")
    return tuple(value)


def _close_code(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError
    if value != 1000 and not 3000 <= value <= 4999:
        raise ValueError
    return value


def _close_reason(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    length = len(value.encode())  # UnicodeEncodeError, a ValueError, for a lone surrogate
    if length > 123:
        raise ValueError(f"it has {length} bytes")
    return value


def milliseconds(value: Any) -> float:
    """A time in ms that a timer can be set to."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError
    if not 0 < value <= _MAX_MS:
        raise ValueError("" if not value > _MAX_MS else f"more than {_MAX_MS} (24.8 days)")
    return value


def count(value: Any) -> int:
    """A whole number from 1 up."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError
    if not 1 <= value < 2**63:
        raise ValueError
    return value


def word(*words: str) -> Callable[[Any], str]:
    """The check for one of a few words."""

    def check(value: Any) -> str:
        if not isinstance(value, str):
            raise TypeError
        if value not in words:
            raise ValueError
        return value

    return check


METHODS: Final = ("OPTIONS", "GET", "HEAD", "POST", "PUT", "DELETE", "TRACE", "CONNECT")
_METHOD_OF: Final = {form: name for name in METHODS for form in (name, name.lower())}


def _method(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    method = _METHOD_OF.get(value) or (_METHOD_OF.get(value.upper()) if value.isascii() else None)
    if method is None:
        raise ValueError
    return method


@lru_cache(maxsize=256)
def json_decoder(data_type: Any) -> msgspec.json.Decoder[Any]:
    """Return the one decoder for ``data_type``; TypeError when msgspec cannot decode it."""
    return msgspec.json.Decoder(data_type)


def _data_type(value: Any) -> Any:
    if not isinstance(value, str):
        json_decoder(value)
    return value


def _no_cache(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    if value:
        raise ValueError("the cache is not available yet")
    return False


def flag(name: str, default: bool | None, doc: str) -> Option:
    """An option that is True or False; None too, where that is the default."""
    takes = "True or False" if default is not None else "True, False or None"
    return Option(name, takes, _wrong_type, default, doc, exact=bool)


_CALLBACKS: Final = (
    Option("success", "callable or None", _callback, doc="called with the result"),
    Option("fail", "callable or None", _callback, doc="called with the FtError"),
    Option("complete", "callable or None", _callback, doc="called last, with the same object"),
)

_URL: Final = Option(
    "url",
    "a str, an absolute http:// or https:// URL",
    text,
    doc="where the request goes",
    exact=str,
    required=True,
)
_HEADER: Final = Option(
    "header", "a mapping of names to values", _mapping, doc="request header", exact=dict
)
_TIMEOUT: Final = Option(
    "timeout", "a number of milliseconds > 0", milliseconds, doc="ms for the whole task"
)
_PROFILE: Final = flag("enableProfile", True, "whether the result has a profile")
_VERSIONS: Final = (
    flag("enableHttp2", None, "None negotiates, False keeps to HTTP/1.1"),
    flag("enableQuic", False, "whether HTTP/3 is tried first"),
)

REQUEST_OPTIONS: Final = Table(
    "option",
    _URL,
    Option("data", "a mapping, str, bytes-like or JSON value", _anything, doc="query or body"),
    _HEADER,
    Option("method", f"one of {', '.join(METHODS)}", _method, "GET", "in any case"),
    _TIMEOUT,
    Option(
        "dataType",
        "'json', another str, or a type msgspec decodes",
        _data_type,
        "json",
        "how data is decoded; a str other than 'json' leaves it as it came",
        exact=str,
    ),
    Option(
        "responseType", "'text' or 'arraybuffer'", word("text", "arraybuffer"), "text", "of data"
    ),
    _PROFILE,
    flag("enableChunked", False, "whether data goes to onChunkReceived as it comes"),
    flag("forceCellularNetwork", False, "accepted and ignored: of Android only"),
    *_CALLBACKS,
    Option("redirect", "'follow' or 'manual'", word("follow", "manual"), "follow", "3xx answers"),
    *_VERSIONS,
    Option("enableCache", "False", _no_cache, False, "whether answers come from a cache"),
)

DOWNLOAD_OPTIONS: Final = Table(
    "option",
    _URL,
    _HEADER,
    _TIMEOUT,
    Option("filePath", "the path of a file", file_path, doc="where the file goes"),
    _PROFILE,
    *_CALLBACKS,
    flag("resume", False, "whether an interrupted download to filePath is taken up again"),
    flag("sync", False, "whether the file is on the disk when success is called (fsync)"),
    *_VERSIONS,
)

UPLOAD_OPTIONS: Final = Table(
    "option",
    _URL,
    Option("filePath", "the path of a file", file_path, doc="the file to send"),
    Option("name", "a str", text, doc="name of the form field that the file goes in", exact=str),
    _HEADER,
    Option("formData", "a mapping of names to values", _mapping, doc="fields of the form"),
    _TIMEOUT,
    _PROFILE,
    *_CALLBACKS,
    Option("files", "a sequence of mappings", _sequence, doc="further files and buffers"),
    *_VERSIONS,
)

UPLOAD_FILE_OPTIONS: Final = Table(
    "entry",
    Option("name", "a str", text, doc="name of the form field", exact=str, required=True),
    Option("filePath", "the path of a file", file_path, doc="the file to send"),
    Option("data", "a str or bytes-like", _anything, doc="what to send in place of a file"),
    Option("fileName", "a str", text, doc="name that the server is told", exact=str),
    Option("contentType", "a media type", _media_type, doc="default: guessed from the name"),
)

SOCKET_OPTIONS: Final = Table(
    "option",
    Option(
        "url",
        "a str, an absolute ws:// or wss:// URL",
        text,
        doc="where to connect",
        exact=str,
        required=True,
    ),
    _HEADER,
    Option("protocols", "a sequence of tokens, each once", _protocols, (), "sub-protocols"),
    flag("tcpNoDelay", False, "whether Nagle's algorithm is off"),
    Option(
        "perMessageDeflate",
        "True, False or a mapping of parameters",
        deflate_option,
        doc="compression",
    ),
    Option("timeout", "a number of milliseconds > 0", milliseconds, doc="ms for the opening"),
    *_CALLBACKS,
    flag("enableChunked", False, "whether messages come in pieces"),
    Option(
        "pingInterval",
        "a number of milliseconds > 0",
        milliseconds,
        doc="ms between pings; None: none",
    ),
    Option(
        "closeTimeout",
        "a number of milliseconds > 0",
        milliseconds,
        10_000,
        "ms to wait for the server's close frame",
    ),
)

SEND_OPTIONS: Final = Table(
    "option",
    Option("data", "a str or bytes-like", _message, doc="the message", exact=bytes, required=True),
    *_CALLBACKS,
    flag("final", True, "whether the message is complete with this"),
)

CLOSE_OPTIONS: Final = Table(
    "option",
    Option("code", "1000 or 3000 to 4999", _close_code, 1000, "close code"),
    Option("reason", "a str of at most 123 bytes of UTF-8", _close_reason, "", "why"),
    *_CALLBACKS,
)

UDP_OPTIONS: Final = Table(
    "option",
    Option("type", "'udp4' or 'udp6'", word("udp4", "udp6"), "udp4", "family of names and bind"),
    flag("reuseAddr", False, "whether others may be bound to the same port"),
)

# What an address or a port can't be is told by an error event.
_PLACE: Final = (
    Option("address", "an IP address or a host name", _anything, doc="where it goes", exact=str),
    Option("port", "an int from 1 to 65535", _anything, doc="where it goes", exact=int),
)

PEER_OPTIONS: Final = Table("option", *_PLACE)

DATAGRAM_OPTIONS: Final = Table(
    "option",
    *_PLACE,
    Option("message", "a str or bytes-like", _message, doc="data", exact=bytes, required=True),
    Option("offset", "an int >= 0", _anything, 0, "first byte of a buffer to send", exact=int),
    Option("length", "an int >= 0", _anything, doc="bytes of a buffer to send", exact=int),
    flag("setBroadcast", False, "whether it may go to a broadcast address"),
)
