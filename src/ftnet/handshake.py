"""The opening of a WebSocket: what is asked, whether the answer is good (RFC 6455, RFC 7692)."""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from ftnet.results import Headers

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_EXTENSION: Final = "permessage-deflate"
_FIELD: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+[ \t]*:[^\0\r\n]*|[ \t][^\0\r\n]*")
_BITS: Final = range(8, 16)


class HandshakeError(Exception):
    """Why the answer is none that a WebSocket can begin with."""


@dataclass(frozen=True, slots=True)
class Deflate:
    """Parameters of permessage-deflate (RFC 7692 7.1): those offered, or those agreed on."""

    server_bits: int = 15
    client_bits: int = 15
    server_context: bool = True
    client_context: bool = True

    def offer(self) -> str:
        """The value of Sec-WebSocket-Extensions."""
        words = [_EXTENSION]
        if not self.server_context:
            words.append("server_no_context_takeover")
        if not self.client_context:
            words.append("client_no_context_takeover")
        if self.server_bits != 15:
            words.append(f"server_max_window_bits={self.server_bits}")
        words.append(
            "client_max_window_bits"
            if self.client_bits == 15
            else f"client_max_window_bits={self.client_bits}"
        )
        return "; ".join(words)


@dataclass(frozen=True, slots=True)
class Opening:
    """An opening request, and what a good answer to it is."""

    request: bytes
    url: bytes  # where to connect
    tls: bool
    accept: str
    protocols: Sequence[str]
    deflate: Deflate | None

    def judge(self, status: int, header: Headers) -> Deflate | None:
        """The compression agreed on. Raises HandshakeError, saying what is wrong."""
        if status != 101:
            raise HandshakeError(f"the server answered {status} {header.reason}".rstrip())
        if not header.status_line.startswith("HTTP/1.1 "):
            raise HandshakeError(f"the answer is no HTTP/1.1: {header.status_line!r:.80}")
        for line in header._raw.split(b"\r\n")[1:-2]:
            if not _FIELD.fullmatch(line):
                raise HandshakeError(f"the answer's header has a bad line: {line!r:.80}")
        if "websocket" not in _tokens(header, "upgrade"):
            raise HandshakeError("the answer has no 'Upgrade: websocket'")
        if "upgrade" not in _tokens(header, "connection"):
            raise HandshakeError("the answer has no 'Connection: Upgrade'")
        if header.get_all("sec-websocket-accept") != [self.accept]:
            raise HandshakeError("the answer's Sec-WebSocket-Accept is wrong")
        chosen = header.get_all("sec-websocket-protocol")
        if len(chosen) > 1 or (chosen and chosen[0] not in self.protocols):
            raise HandshakeError(
                f"the server chose a sub-protocol that was not offered: {', '.join(chosen)!r:.80}"
            )
        return self._agreed(header.get("sec-websocket-extensions", ""))

    def _agreed(self, text: str) -> Deflate | None:
        if not text.strip():
            return None
        name, *parameters = (part.strip() for part in text.split(";"))
        if self.deflate is None or name.lower() != _EXTENSION or "," in text:
            raise HandshakeError(f"the server uses an extension that was not offered: {text!r:.80}")
        return _parameters(self.deflate, parameters)


def _tokens(header: Headers, name: str) -> list[str]:
    return [token.strip().lower() for token in header.get(name, "").split(",")]


def _parameters(offered: Deflate, parameters: Sequence[str]) -> Deflate:
    """What the server made of the offer; HandshakeError for what it must not say."""
    seen: dict[str, str] = {}
    for parameter in parameters:
        name, equals, value = (part.strip() for part in parameter.partition("="))
        if name in seen:
            raise HandshakeError(f"{_EXTENSION}: {name!r:.40} comes twice")
        seen[name] = value.strip('"') if equals else ""
    server_bits = _bits(seen, "server_max_window_bits", offered.server_bits)
    client_bits = _bits(seen, "client_max_window_bits", offered.client_bits)
    flags = ("server_no_context_takeover", "client_no_context_takeover")
    for name in flags:
        if seen.get(name):
            raise HandshakeError(f"{_EXTENSION}: {name} takes no value")
    if not offered.server_context and flags[0] not in seen:
        raise HandshakeError(f"{_EXTENSION}: the server did not agree to {flags[0]}")
    if offered.server_bits != 15 and "server_max_window_bits" not in seen:
        raise HandshakeError(f"{_EXTENSION}: the server did not agree to server_max_window_bits")
    unknown = seen.keys() - {*flags, "server_max_window_bits", "client_max_window_bits"}
    if unknown:
        raise HandshakeError(f"{_EXTENSION}: unknown parameter {min(unknown)!r:.40}")
    client_context = offered.client_context and flags[1] not in seen
    return Deflate(server_bits, client_bits, flags[0] not in seen, client_context)


def _bits(seen: Mapping[str, str], name: str, offered: int) -> int:
    if name not in seen:
        return offered
    value = seen[name]
    if not (value.isascii() and value.isdigit() and value[0] != "0" and len(value) < 3):
        raise HandshakeError(f"{_EXTENSION}: {name} must be a number, got {value!r:.40}")
    bits = int(value)
    if bits not in _BITS or bits > offered:
        raise HandshakeError(f"{_EXTENSION}: {name} must be from 8 to {offered}, got {bits}")
    return bits


def opening(
    url: str,
    lines: Sequence[bytes],
    user_agent: str,
    protocols: Sequence[str],
    deflate: Deflate | None,
) -> Opening:
    """The opening request to a checked ws or wss URL, with the caller's header lines."""
    scheme, _, rest = url.partition("://")
    tls = scheme == "wss"
    end = min((rest.find(mark) for mark in "/?" if mark in rest), default=len(rest))
    place, target = rest[:end], rest[end:]
    if not target.startswith("/"):
        target = f"/{target}"
    login, _, host = place.rpartition("@")
    key = base64.b64encode(os.urandom(16))
    named = {line.partition(b":")[0].lower() for line in lines}
    fields = [] if b"host" in named else [b"Host: " + host.encode("ascii")]
    fields += [b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Version: 13"]
    fields.append(b"Sec-WebSocket-Key: " + key)
    if b"user-agent" not in named and user_agent:
        fields.append(b"User-Agent: " + user_agent.encode())
    if login and b"authorization" not in named:
        fields.append(b"Authorization: " + basic(login).encode())
    if protocols:
        fields.append(b"Sec-WebSocket-Protocol: " + ", ".join(protocols).encode("ascii"))
    if deflate is not None:
        fields.append(b"Sec-WebSocket-Extensions: " + deflate.offer().encode("ascii"))
    fields += [
        line[:-1] + b":" if line.endswith(b";") and b":" not in line else line for line in lines
    ]
    head = [b"GET %b HTTP/1.1" % target.encode("ascii"), *fields, b"", b""]
    accept = base64.b64encode(hashlib.sha1(key + _GUID).digest()).decode()
    where = f"{'https' if tls else 'http'}://{host}/".encode("ascii")
    return Opening(b"\r\n".join(head), where, tls, accept, protocols, deflate)


def basic(login: str, *, quoted: bool = True) -> str:
    """The Authorization field for ``user:password`` (RFC 7617), percent-encoded as in URLs if
    ``quoted``."""
    user, _, password = login.partition(":")
    text = f"{user}:{password}"
    secret = unquote_to_bytes(text) if quoted else text.encode()
    return f"Basic {base64.b64encode(secret).decode()}"


def shown_body(body: bytes, header: Headers) -> str:
    """The beginning of what a server said when it refused, for an error message."""
    if header.get("transfer-encoding", "").lower() == "chunked":
        body = _unchunked(body)
    text = body[:500].decode("utf-8", "replace")
    return " ".join(text.split())


def _unchunked(body: bytes) -> bytes:
    whole = bytearray()
    while True:
        size, _, rest = body.partition(b"\r\n")
        try:
            length = int(size.split(b";")[0], 16)
        except ValueError:
            return bytes(whole)
        if length == 0 or not rest:
            return bytes(whole)
        whole += rest[:length]
        body = rest[length + 2 :]


def deflate_option(value: Any) -> Deflate | None:
    """``perMessageDeflate``: True, False, or a mapping of parameters; TypeError, ValueError."""
    if isinstance(value, bool):
        return Deflate() if value else None
    if not isinstance(value, Mapping):
        raise TypeError
    known = {
        "serverNoContextTakeover": ("server_context", bool),
        "clientNoContextTakeover": ("client_context", bool),
        "serverMaxWindowBits": ("server_bits", int),
        "clientMaxWindowBits": ("client_bits", int),
    }
    chosen: dict[str, Any] = {}
    for name, given in value.items():
        if name not in known:
            raise TypeError(f"{name!r:.40} is none of {', '.join(known)}")
        field, kind = known[name]
        if type(given) is not kind:
            raise TypeError(f"{name} must be of type {kind.__name__}")
        if kind is int and given not in range(9, 16):
            raise ValueError(f"{name} must be from 9 to 15")
        chosen[field] = not given if kind is bool else given
    return Deflate(**chosen)


__all__ = ["Deflate", "HandshakeError", "Opening", "deflate_option", "opening", "shown_body"]
