"""Check a URL at the call: what libcurl gets is ASCII, absolute and of a scheme that is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ftnet.options import shown

__all__ = ["ascii_host", "prepare_url"]

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


def ascii_host(host: str) -> str:
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
    return f"{_escaped(login)}{at_sign}{ascii_host(host)}{port}"


def _check_scheme(scheme: str, url: str, api: str, schemes: Sequence[str], name: str) -> str:
    lower = scheme.lower()
    if len(scheme) < len(url) and lower in schemes:
        return lower
    takes = " or ".join(schemes)
    if len(scheme) < len(url) and _HOST_CHARS.issuperset(scheme.replace("+", "-")) and scheme:
        raise ValueError(f"{api}: {name} has a wrong scheme, got {shown(scheme)}; takes {takes}")
    raise ValueError(f"{api}: {name} must be an absolute {takes} URL, got {shown(url)}")


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
        raise TypeError(f"{api}: {name} must be a str, got {shown(url)}")
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
            wrong = f"{api}: {name} is not valid, got {shown(url)}: {exc}"
        else:
            wrong = ""
        if wrong or checked is None:
            raise ValueError(wrong)
        if "@" not in authority:
            if len(_authorities) >= 1024:
                _authorities.clear()
            _authorities[authority] = checked
    return f"{scheme}://{checked}{_escaped(rest[len(authority) :])}"
