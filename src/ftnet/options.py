"""Check what the caller gives, at the call: option tables, Client settings, URLs and headers."""

from __future__ import annotations

import math
import os
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, NoReturn

import msgspec

from ftnet.body import scalar
from ftnet.errors import redact

__all__ = [
    "CLIENT_SETTINGS",
    "METHODS",
    "REQUEST_OPTIONS",
    "Option",
    "Table",
    "check_client_settings",
    "header_lines",
    "json_decoder",
    "merge_options",
    "prepare_url",
]

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


def _shown(value: object) -> str:
    """Return the repr of ``value`` for a message: no credentials, 80 characters at most."""
    try:
        text = redact(repr(value))
    except Exception as exc:
        text = f"<{type(value).__name__} whose repr raised {type(exc).__name__}>"
    return text if len(text) <= 80 else f"{text[:77]}..."


def _refused(api: str, row: Option, value: object, exc: Exception) -> TypeError | ValueError:
    kind = TypeError if isinstance(exc, TypeError) else ValueError
    reason = redact(str(exc))
    got = f"{api}: {row.name} must be {row.takes}, got {_shown(value)}"
    return kind(f"{got}: {reason}" if reason else got)


def _merge(api: str, given: Mapping[str, Any], table: Table) -> dict[str, Any]:
    merged = table.defaults.copy()
    rows = table.rows
    for name, value in given.items():
        row = rows.get(name)
        if row is None:
            takes = ", ".join(rows)
            raise TypeError(f"{api}: unknown {table.noun} {_shown(name)}; it takes {takes}")
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
        return _merge(api, kw, table)
    if kw:
        raise TypeError(f"{api}: options come as one mapping or as keywords, not as both")
    if not isinstance(options, Mapping):
        raise TypeError(f"{api}: options must be a mapping or keywords, got {_shown(options)}")
    return _merge(api, options, table)


# --- checks -----------------------------------------------------------------------------------


def _anything(value: Any) -> Any:
    return value


def _wrong_type(value: Any) -> NoReturn:
    raise TypeError


def _mapping(value: Any) -> Any:
    if not isinstance(value, Mapping):
        raise TypeError
    return value


def _str(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _callback(value: Any) -> Any:
    if not callable(value):
        raise TypeError
    return value


def _milliseconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError
    if not 0 < value <= _MAX_MS:
        raise ValueError("" if not value > _MAX_MS else f"more than {_MAX_MS} (24.8 days)")
    return value


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError
    if not 1 <= value < 2**63:
        raise ValueError
    return value


def _word(*words: str) -> Callable[[Any], str]:
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


def _flag(name: str, default: bool | None, doc: str) -> Option:
    takes = "True or False" if default is not None else "True, False or None"
    return Option(name, takes, _wrong_type, default, doc, exact=bool)


_CALLBACKS: Final = (
    Option("success", "callable or None", _callback, doc="called with the result"),
    Option("fail", "callable or None", _callback, doc="called with the FtError"),
    Option("complete", "callable or None", _callback, doc="called last, with the same object"),
)

REQUEST_OPTIONS: Final = Table(
    "option",
    Option(
        "url",
        "a str, an absolute http:// or https:// URL",
        _str,
        doc="where the request goes",
        exact=str,
        required=True,
    ),
    Option("data", "a mapping, str, bytes-like or JSON value", _anything, doc="query or body"),
    Option("header", "a mapping of names to values", _mapping, doc="request header", exact=dict),
    Option("method", f"one of {', '.join(METHODS)}", _method, "GET", "in any case"),
    Option("timeout", "a number of milliseconds > 0", _milliseconds, doc="ms for the whole task"),
    Option(
        "dataType",
        "'json', another str, or a type msgspec decodes",
        _data_type,
        "json",
        "how data is decoded; a str other than 'json' leaves it as it came",
        exact=str,
    ),
    Option(
        "responseType", "'text' or 'arraybuffer'", _word("text", "arraybuffer"), "text", "of data"
    ),
    _flag("enableProfile", True, "whether the result has a profile"),
    _flag("enableChunked", False, "whether data goes to onChunkReceived as it comes"),
    _flag("forceCellularNetwork", False, "accepted and ignored: of Android only"),
    *_CALLBACKS,
    Option("redirect", "'follow' or 'manual'", _word("follow", "manual"), "follow", "3xx answers"),
    _flag("enableHttp2", None, "None negotiates, False keeps to HTTP/1.1"),
    _flag("enableQuic", False, "whether HTTP/3 is tried first"),
    Option("enableCache", "False", _no_cache, False, "whether answers come from a cache"),
)


# --- URL ----------------------------------------------------------------------------------------

_HOST_CHARS: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_PERCENT: Final = tuple(chr(byte) if byte < 0x80 else f"%{byte:02X}" for byte in range(256))
_authorities: dict[str, str] = {}  # checked ones without credentials; at most 1024


def _escaped(text: str) -> str:
    """Return ``text`` with its non-ASCII characters percent-encoded as UTF-8."""
    return text if text.isascii() else "".join([_PERCENT[byte] for byte in text.encode()])


def _refuse_blank(url: str, api: str, name: str) -> None:
    for position, char in enumerate(url):
        if char.isspace() or char < " " or "\x7f" <= char <= "\x9f" or "\ud800" <= char <= "\udfff":
            what = "a space" if char == " " else f"the character U+{ord(char):04X}"
            raise ValueError(f"{api}: {name} must not hold {what}, found at position {position}")


def _ascii_host(host: str) -> str:
    """Return ``host`` in ASCII; ValueError with the reason when it is no host name."""
    if host.startswith("["):
        import ipaddress  # rarely needed, slow to import

        address, _, zone = host[1:-1].replace("%25", "%").partition("%")
        if not _HOST_CHARS.issuperset(zone):
            raise ValueError("the zone holds a character no zone has")
        ipaddress.IPv6Address(address)
        return host
    if not host:
        raise ValueError("the host is missing")
    if not host.isascii():
        import idna  # rarely needed, slow to import

        try:
            host = idna.encode(host, uts46=True).decode("ascii")
        except (idna.IDNAError, IndexError) as exc:
            raise ValueError(f"the host is no valid international name ({exc})") from None
    if not _HOST_CHARS.issuperset(host):
        raise ValueError("the host holds a character no host name has")
    return host


def _ascii_authority(authority: str) -> str:
    """Return ``[user[:password]@]host[:port]`` in ASCII; ValueError with the reason if wrong."""
    login, at_sign, place = authority.rpartition("@")
    if "\\" in login:  # where a browser's host ends and libcurl's does not
        raise ValueError("a backslash before the host")
    if place.startswith("["):
        end = place.find("]") + 1
        if end == 0:
            raise ValueError("the bracket of the IPv6 address is not closed")
        host, port = place[:end], place[end:]
    else:
        host, colon, digits = place.partition(":")
        if ":" in digits and digits.strip("0123456789abcdefABCDEF:.") == "":
            raise ValueError("an IPv6 address goes in brackets")
        port = colon + digits
    if port:
        digits = port[1:]
        good = port[0] == ":" and len(digits) <= 5 and digits.isascii()
        if not good or (digits and (not digits.isdigit() or int(digits) > 65535)):
            raise ValueError("the port is not a number from 0 to 65535")
    return f"{_escaped(login)}{at_sign}{_ascii_host(host)}{port}"


def _check_scheme(scheme: str, url: str, api: str, schemes: Sequence[str], name: str) -> str:
    lower = scheme.lower()
    if len(scheme) < len(url) and lower in schemes:
        return lower
    takes = " or ".join(schemes)
    if len(scheme) < len(url) and _HOST_CHARS.issuperset(scheme.replace("+", "-")) and scheme:
        raise ValueError(f"{api}: {name} has a wrong scheme, got {_shown(scheme)}; takes {takes}")
    raise ValueError(f"{api}: {name} must be an absolute {takes} URL, got {_shown(url)}")


def prepare_url(
    url: str,
    api: str = "request",
    schemes: Sequence[str] = ("http", "https"),
    name: str = "url",
) -> str:
    """Return ``url`` as the ASCII absolute URL that libcurl gets.

    The fragment is dropped, an international host becomes its A-label (UTS 46), non-ASCII
    elsewhere is percent-encoded as UTF-8; every other byte stays as it is. Raises TypeError for
    no str, ValueError for a control character or space, a scheme not in ``schemes``, a missing or
    impossible host or port.
    """
    if not isinstance(url, str):
        raise TypeError(f"{api}: {name} must be a str, got {_shown(url)}")
    if not url.isascii() or not url.isprintable() or " " in url:
        _refuse_blank(url, api, name)
    scheme, _, rest = url.partition("://")
    if scheme not in schemes or not rest:
        scheme = _check_scheme(scheme, url, api, schemes, name)
    if "#" in rest:
        rest = rest.partition("#")[0]
    authority = rest.partition("/")[0]
    if "?" in authority:
        authority = authority.partition("?")[0]
    checked = _authorities.get(authority)
    if checked is None:
        try:
            checked = _ascii_authority(authority)
        except ValueError as exc:
            wrong = f"{api}: {name} is not valid, got {_shown(url)}: {exc}"
        else:
            wrong = ""
        if wrong or checked is None:
            raise ValueError(wrong)
        if "@" not in authority:
            if len(_authorities) >= 1024:
                _authorities.clear()
            _authorities[authority] = checked
    return f"{scheme}://{checked}{_escaped(rest[len(authority) :])}"


# --- header ---------------------------------------------------------------------------------------

# RFC 9110 5.6.2
_TOKEN: Final = frozenset(
    "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)
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
        raise TypeError(f"{api}: header names must be str, got {_shown(name)}")
    if not name or not _TOKEN.issuperset(name):
        raise ValueError(f"{api}: header name {_shown(name)} is not a token (RFC 9110 5.6.2)")
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


def _warn_referer(api: str) -> None:
    level = 1
    here = os.path.dirname(__file__)
    frame = sys._getframe()
    while frame.f_back is not None and frame.f_code.co_filename.startswith(here):
        frame = frame.f_back
        level += 1
    warnings.warn(f"{api}: the Referer header cannot be set; dropped", UserWarning, level)


def header_lines(
    header: Mapping[str, Any] | None, api: str = "request"
) -> tuple[tuple[bytes, ...], str]:
    """Return the header as libcurl's lines, and its content-type.

    Values are str, numbers, bools or a sequence of these for several lines; non-ASCII goes as
    latin-1 where that holds it, as UTF-8 otherwise. ``content-type: application/json`` is added
    when there is none. Referer is dropped with a UserWarning. Raises TypeError for a name or
    value of another type, ValueError for an illegal name, a control character, a field the engine
    sets itself, and Content-Type or Host given twice.
    """
    if not header:
        return (_JSON_LINE,), _JSON
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
        if lower == "referer":
            _warn_referer(api)
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
    if content_type is None:
        lines.append(_JSON_LINE)
        content_type = _JSON
    return tuple(lines), content_type


# --- Client settings ------------------------------------------------------------------------------


def _path(holds: Callable[[str], bool], what: str) -> Callable[[Any], str]:
    def check(value: Any) -> str:
        path = os.fsdecode(value)  # TypeError when it is no path
        if not path or "\0" in path or not holds(path):
            raise ValueError(what)
        return path

    return check


def _can_hold_file(path: str) -> bool:
    return not os.path.isdir(path) and os.path.isdir(os.path.dirname(os.path.abspath(path)))


def _printable(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    if any((char < " " and char != "\t") or char == "\x7f" for char in value):
        raise ValueError("it holds a control character")
    return value


def _interface(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    if not value or "!" in value or " " in value or not value.isprintable():
        raise ValueError
    return value


def _no_proxy(value: Any) -> str:
    hosts = (value,) if isinstance(value, str) else value
    if not isinstance(hosts, Sequence) or not all(isinstance(host, str) for host in hosts):
        raise TypeError
    return _printable(",".join(hosts))


def _address(value: Any) -> str:
    import ipaddress  # rarely needed, slow to import

    if not isinstance(value, str):
        raise TypeError
    address = ipaddress.ip_address(value)
    if address.version == 4:
        return str(address)
    if "%" in value:
        raise ValueError(f"{value!r} has a zone")
    return f"[{address}]"


def _resolve(value: Any) -> tuple[str, ...]:
    if not isinstance(value, Mapping):
        raise TypeError
    entries = []
    for place, given in value.items():
        addresses = (given,) if isinstance(given, str) else given
        if not isinstance(place, str) or not isinstance(addresses, Sequence):
            raise TypeError
        host, _, port = place.rpartition(":")
        good_port = port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535
        if not good_port or not addresses or ":" in host:
            raise ValueError(f"{_shown(place)} is no 'host:port', or has no address")
        name = host if host == "*" else _ascii_host(host)
        entries.append(f"{name}:{port}:{','.join([_address(one) for one in addresses])}")
    return tuple(entries)


def _policy(value: Any) -> Any:
    if not callable(getattr(value, "check", None)):
        raise TypeError
    return value


def _limit(name: str, default: int | None, doc: str) -> Option:
    return Option(name, "an int >= 1, or None for no limit", _count, default, doc, nullable=True)


_PROXIES: Final = ("http", "https", "socks5", "socks5h")
_MS: Final = "a number of milliseconds > 0"
_ca = _path(os.path.exists, "there is no such file or directory")
_file = _path(os.path.isfile, "there is no such file")

CLIENT_SETTINGS: Final = Table(
    "setting",
    Option("ca", "the path of a bundle or directory of CA certificates", _ca, doc="trusted CAs"),
    Option("cert", "the path of a PEM file", _file, doc="client certificate"),
    Option("key", "the path of a PEM file", _file, doc="private key of cert"),
    _flag("verify", True, "whether certificates and their names are checked"),
    Option("proxy", f"a {', '.join(_PROXIES)} URL", _str, doc="proxy for everything", exact=str),
    Option("no_proxy", "a str or a sequence of host names", _no_proxy, doc="hosts without proxy"),
    Option(
        "resolve",
        "a mapping of 'host:port' to an IP address, or to several",
        _resolve,
        (),
        "answers instead of DNS; kept as entries of CURLOPT_RESOLVE",
    ),
    Option("doh_url", "an https:// URL", _str, doc="DNS over HTTPS server", exact=str),
    Option("interface", "the name of an interface or an IP address", _interface, doc="sent from"),
    _flag("cookies", False, "whether a cookie jar is kept"),
    Option("user_agent", "a str without control characters", _printable, doc="User-Agent"),
    Option("timeout", _MS, _milliseconds, 60000, "ms for a task that has no timeout of its own"),
    _limit("max_connections", None, "open connections at once"),
    _limit("max_connections_per_host", None, "open connections at once to one host"),
    _limit("max_body_bytes", 256 << 20, "bytes of a body, decoded"),
    _limit("max_message_bytes", 64 << 20, "bytes of a WebSocket message"),
    _limit("max_buffered_bytes", 4 << 20, "bytes of chunks waiting for their listener"),
    Option(
        "temp_dir",
        "the path of a directory",
        _path(os.path.isdir, "there is no such directory"),
        doc="where downloads are written first",
    ),
    Option(
        "http_version",
        "None, '1.1', '2', '2-prior-knowledge', '3' or '3-only'",
        _word("1.1", "2", "2-prior-knowledge", "3", "3-only"),
        doc="None negotiates",
    ),
    _flag("allow_insecure_redirects", False, "whether https may redirect to http"),
    Option(
        "keylog_file",
        "the path of a file in a directory that exists",
        _path(_can_hold_file, "there is no such directory"),
        doc="TLS secrets in NSS key log format, for Wireshark",
    ),
    Option("policy", "None or an object with a check method", _policy, doc="what may be reached"),
    _flag("trust_env", True, "whether proxies of the environment are used"),
    Option("happy_eyeballs_timeout", _MS, _milliseconds, doc="ms IPv6 is ahead of IPv4"),
    _flag("tcp_nodelay", True, "whether Nagle's algorithm is off"),
    Option("tcp_keepalive", f"None or {_MS}", _milliseconds, doc="idle ms before a probe"),
    _flag("estimate_private_hosts", True, "whether private hosts count in the estimates"),
)


def check_client_settings(kw: Mapping[str, Any]) -> dict[str, Any]:
    """Return every Client setting with its checked value or its default.

    Paths become str, ``no_proxy`` one comma-separated str, ``resolve`` a tuple of
    ``host:port:address[,address]`` entries. Raises TypeError for an unknown setting or a wrong
    type and ValueError for a wrong value, saying what the setting takes and what it got.
    """
    settings = _merge("Client", kw, CLIENT_SETTINGS)
    if settings["key"] is not None and settings["cert"] is None:
        raise ValueError("Client: key must come with cert, the certificate it belongs to")
    if settings["proxy"] is not None:
        settings["proxy"] = prepare_url(settings["proxy"], "Client", _PROXIES, "proxy")
    if settings["doh_url"] is not None:
        settings["doh_url"] = prepare_url(settings["doh_url"], "Client", ("https",), "doh_url")
    return settings
