"""What a Client can be set to, checked when it is made."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from ftnet.options import Option, Table, count, flag, merge, milliseconds, shown, text, word
from ftnet.url import ascii_host, prepare_url

__all__ = ["CLIENT_SETTINGS", "check_client_settings"]


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
            raise ValueError(f"{shown(place)} is no 'host:port', or has no address")
        name = host if host == "*" else ascii_host(host)
        entries.append(f"{name}:{port}:{','.join([_address(one) for one in addresses])}")
    return tuple(entries)


def _policy(value: Any) -> Any:
    if not callable(getattr(value, "check", None)):
        raise TypeError
    return value


def _limit(name: str, default: int | None, doc: str) -> Option:
    return Option(name, "an int >= 1, or None for no limit", count, default, doc, nullable=True)


_PROXIES: Final = ("http", "https", "socks5", "socks5h")
_MS: Final = "a number of milliseconds > 0"
_ca = _path(os.path.exists, "there is no such file or directory")
_file = _path(os.path.isfile, "there is no such file")

CLIENT_SETTINGS: Final = Table(
    "setting",
    Option("ca", "the path of a bundle or directory of CA certificates", _ca, doc="trusted CAs"),
    Option("cert", "the path of a PEM file", _file, doc="client certificate"),
    Option("key", "the path of a PEM file", _file, doc="private key of cert"),
    flag("verify", True, "whether certificates and their names are checked"),
    Option("proxy", f"a {', '.join(_PROXIES)} URL", text, doc="proxy for everything", exact=str),
    Option("no_proxy", "a str or a sequence of host names", _no_proxy, doc="hosts without proxy"),
    Option(
        "resolve",
        "a mapping of 'host:port' to an IP address, or to several",
        _resolve,
        (),
        "answers instead of DNS; kept as entries of CURLOPT_RESOLVE",
    ),
    Option("doh_url", "an https:// URL", text, doc="DNS over HTTPS server", exact=str),
    Option("interface", "the name of an interface or an IP address", _interface, doc="sent from"),
    flag("cookies", False, "whether a cookie jar is kept"),
    Option("user_agent", "a str without control characters", _printable, doc="User-Agent"),
    Option("timeout", _MS, milliseconds, 60000, "ms for a task that has no timeout of its own"),
    _limit("max_connections", None, "open connections at once"),
    _limit("max_connections_per_host", None, "open connections at once to one host"),
    _limit("max_body_bytes", 256 << 20, "bytes of a body, decoded"),
    _limit("max_message_bytes", 64 << 20, "bytes of a WebSocket message"),
    _limit("max_buffered_bytes", 4 << 20, "bytes of chunks waiting for their listener"),
    Option(
        "temp_dir",
        "the path of a directory",
        _path(os.path.isdir, "there is no such directory"),
        doc="where downloads without a filePath go",
    ),
    Option(
        "http_version",
        "None, '1.1', '2', '2-prior-knowledge', '3' or '3-only'",
        word("1.1", "2", "2-prior-knowledge", "3", "3-only"),
        doc="None negotiates",
    ),
    flag("allow_insecure_redirects", False, "whether https may redirect to http"),
    Option(
        "keylog_file",
        "the path of a file in a directory that exists",
        _path(_can_hold_file, "there is no such directory"),
        doc="TLS secrets in NSS key log format, for Wireshark",
    ),
    Option("policy", "None or an object with a check method", _policy, doc="what may be reached"),
    flag("trust_env", True, "whether proxies of the environment are used"),
    Option("happy_eyeballs_timeout", _MS, milliseconds, doc="ms IPv6 is ahead of IPv4"),
    flag("tcp_nodelay", True, "whether Nagle's algorithm is off"),
    Option("tcp_keepalive", f"None or {_MS}", milliseconds, doc="idle ms before a probe"),
    flag("estimate_private_hosts", True, "whether private hosts count in the estimates"),
)


def check_client_settings(kw: Mapping[str, Any]) -> dict[str, Any]:
    """Return every Client setting with its checked value or its default.

    Paths become str, ``no_proxy`` one comma-separated str, ``resolve`` a tuple of
    ``host:port:address[,address]`` entries. Raises TypeError for an unknown setting or a wrong
    type and ValueError for a wrong value, saying what the setting takes and what it got.
    """
    settings = merge("Client", kw, CLIENT_SETTINGS)
    if settings["key"] is not None and settings["cert"] is None:
        raise ValueError("Client: key must come with cert, the certificate it belongs to")
    if settings["proxy"] is not None:
        settings["proxy"] = prepare_url(settings["proxy"], "Client", _PROXIES, "proxy")
    if settings["doh_url"] is not None:
        settings["doh_url"] = prepare_url(settings["doh_url"], "Client", ("https",), "doh_url")
    return settings
