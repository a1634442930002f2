"""What a failed call carries: errno, cause and wording, all from one table of outcomes."""

from __future__ import annotations

import errno as os_errors
import os
import re
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, Final, Self

__all__ = ["Cause", "Errno", "FtError", "from_engine", "redact", "socket_error", "with_code"]


class Errno(IntEnum):
    """Failure classes, found in ``FtError.errno``, and those of TCP and UDP in ``errCode``.

    The numbers are those of the mini-program network APIs; each member's ``__doc__`` says what
    it stands for.
    """

    _value_: int

    def __new__(cls, value: int, doc: str) -> Self:
        member = int.__new__(cls, value)
        member._value_ = value
        member.__doc__ = doc
        return member

    TIMEOUT = 5, "The task did not end within its timeout."
    UNKNOWN = 600000, "A network error that fits no other class."
    INTERNAL = 600001, "The engine or libcurl misbehaved; worth a bug report."
    INTERRUPTED = 600003, "The task was aborted, or its connection broke before the end."
    PROTOCOL = 600004, "The peer broke HTTP, or answered in a way that cannot be used."
    ARGUMENT = 600005, "A bad argument that could only be seen while the task ran."
    SYSTEM = 600006, "The operating system refused: files, memory, descriptors, interfaces."
    TOO_MANY_TASKS = 600007, "More tasks are queued than the Client takes."
    TOO_MANY_REDIRECTS = 600008, "More than 20 redirects in a row."
    INVALID_URL = 600009, "A URL, mostly of a redirect, that must not or cannot be followed."
    INVALID_DATA = 600010, "A body over the limit, or one that does not fit the type asked for."
    TLS = 600011, "The TLS handshake or the check of a certificate failed."
    DNS = 600012, "The host name could not be resolved."
    CONNECT = 600013, "The host refused the connection or could not be reached."
    PROXY = 600014, "The proxy could not be used."

    SOCKET_SYSTEM = -1, "System error: memory, descriptors, an engine that was closed."
    SOCKET_INTERFACE = -2, "Socket interface error: `errNum` is the system's errno."
    SOCKET_PERMISSION = -3, "Not permitted."
    SOCKET_CONNECT = -4, "The connection could not be made in time, or at all."
    SOCKET_ADDRESS = 1, "Parameter error: invalid address."
    SOCKET_PORT = 2, "Parameter error: invalid port."


@dataclass(frozen=True, slots=True)
class Cause:
    """Where a failure came from, below ftnet.

    ``code`` is libcurl's CURLcode (https://curl.se/libcurl/c/libcurl-errors.html), 0 when libcurl
    did not fail; ``name`` its name, else the OS error's, else ``FT_...`` for a decision of the
    engine; ``text`` the detail, free of credentials; ``os_errno`` the OS error number or 0.
    """

    _fields_: ClassVar[tuple[str, ...]] = ("code", "name", "text", "os_errno")

    code: int
    name: str
    text: str
    os_errno: int


class FtError(Exception):
    """A task that failed: what ``fail`` receives and ``result()`` or ``await`` raises.

    ``errMsg`` is ``"<api>:fail <reason>"`` and the text of the exception, ``errno`` an `Errno`,
    ``cause`` a `Cause` or None, ``profile`` the phases reached or None. Those of TCP and UDP
    sockets, which ``onError`` gets, have the ft API's ``errCode`` too (an `Errno` as well; None
    elsewhere), and ``errNum``, the system's errno, where it gave one (else None).
    """

    def __init__(
        self,
        errMsg: str,
        errno: Errno = Errno.UNKNOWN,
        cause: Cause | None = None,
        profile: object = None,
        errCode: Errno | None = None,
    ) -> None:
        # the args are what pickle rebuilds from
        super().__init__(errMsg, errno, cause, profile, errCode)
        self.errMsg = errMsg
        self.errno = errno
        self.cause = cause
        self.profile = profile
        self.errCode = errCode

    @property
    def errNum(self) -> int | None:
        """The system's errno where a TCP or UDP socket met one, else None."""
        if self.errCode is None or self.cause is None:
            return None
        return self.cause.os_errno or None

    def __str__(self) -> str:
        return self.errMsg

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.errMsg!r}, errno={int(self.errno)})"


_CREDENTIALS: Final = re.compile(r"(?<=//)[^\s/?#]*@|[^\s/@:'\"]+:(?!//)[^\s@]+@")


def redact(text: str) -> str:
    """Return ``text`` without any ``user:password@``."""
    return _CREDENTIALS.sub("", text) if "@" in text else text


_OTHER: Final = "unexpected error of a protocol never asked for"

# code: (class, name, words). Positive codes are libcurl's, negative ones the engine's own.
_OUTCOMES: Final[dict[int, tuple[Errno, str, str]]] = {
    -19: (Errno.ARGUMENT, "FT_PLAN", "the plan's step can't be carried out"),
    -18: (Errno.ARGUMENT, "FT_NOT_A_FILE", "not a regular file"),
    -17: (Errno.SYSTEM, "FT_FILE_CHANGED", "the file changed while it was sent"),
    -16: (Errno.SYSTEM, "FT_FILE_BUSY", "another download is writing the file"),
    -15: (Errno.SYSTEM, "FT_FILE", "file error"),
    -14: (Errno.INTERRUPTED, "FT_NOT_REPEATED", "the connection broke; a POST is not sent twice"),
    -13: (Errno.PROTOCOL, "FT_BAD_FRAMING", "the response has an impossible Content-Length"),
    -12: (Errno.INVALID_DATA, "FT_BODY_TYPE", "the body does not fit the type asked for"),
    -11: (Errno.TOO_MANY_TASKS, "FT_TOO_MANY_TASKS", "too many queued tasks"),
    -10: (Errno.INTERRUPTED, "FT_ENGINE_CLOSED", "the engine was closed"),
    -9: (Errno.SYSTEM, "FT_OUT_OF_MEMORY", "out of memory"),
    -8: (Errno.PROTOCOL, "FT_TOO_MANY_INTERIM", "too many interim (1xx) responses"),
    -7: (Errno.PROTOCOL, "FT_HEADER_CUT", "the response was cut inside its header"),
    -6: (Errno.INVALID_DATA, "FT_BODY_TOO_LARGE", "the body is larger than max_body_bytes"),
    -5: (Errno.INVALID_URL, "FT_BAD_REDIRECT", "redirect to a URL that cannot be followed"),
    -4: (Errno.INVALID_URL, "FT_INSECURE_REDIRECT", "redirect from https to http refused"),
    -3: (Errno.TOO_MANY_REDIRECTS, "FT_TOO_MANY_REDIRECTS", "too many redirects"),
    -2: (Errno.TIMEOUT, "FT_TIMEOUT", "timeout"),
    -1: (Errno.INTERRUPTED, "FT_ABORT", "abort"),
    0: (Errno.SYSTEM, "FT_SYSTEM", "system error"),
    1: (Errno.INVALID_URL, "CURLE_UNSUPPORTED_PROTOCOL", "scheme not supported"),
    2: (Errno.INTERNAL, "CURLE_FAILED_INIT", "libcurl could not start"),
    3: (Errno.INVALID_URL, "CURLE_URL_MALFORMAT", "invalid url"),
    4: (Errno.INTERNAL, "CURLE_NOT_BUILT_IN", "this libcurl lacks a feature asked for"),
    5: (Errno.PROXY, "CURLE_COULDNT_RESOLVE_PROXY", "proxy name not resolved"),
    6: (Errno.DNS, "CURLE_COULDNT_RESOLVE_HOST", "host name not resolved"),
    7: (Errno.CONNECT, "CURLE_COULDNT_CONNECT", "connection failed"),
    8: (Errno.PROTOCOL, "CURLE_WEIRD_SERVER_REPLY", "the reply is not valid HTTP"),
    9: (Errno.INTERNAL, "CURLE_REMOTE_ACCESS_DENIED", _OTHER),
    10: (Errno.INTERNAL, "CURLE_FTP_ACCEPT_FAILED", _OTHER),
    11: (Errno.INTERNAL, "CURLE_FTP_WEIRD_PASS_REPLY", _OTHER),
    12: (Errno.INTERNAL, "CURLE_FTP_ACCEPT_TIMEOUT", _OTHER),
    13: (Errno.INTERNAL, "CURLE_FTP_WEIRD_PASV_REPLY", _OTHER),
    14: (Errno.INTERNAL, "CURLE_FTP_WEIRD_227_FORMAT", _OTHER),
    15: (Errno.INTERNAL, "CURLE_FTP_CANT_GET_HOST", _OTHER),
    16: (Errno.PROTOCOL, "CURLE_HTTP2", "HTTP/2 framing error"),
    17: (Errno.INTERNAL, "CURLE_FTP_COULDNT_SET_TYPE", _OTHER),
    18: (Errno.INTERRUPTED, "CURLE_PARTIAL_FILE", "the response ended early"),
    19: (Errno.INTERNAL, "CURLE_FTP_COULDNT_RETR_FILE", _OTHER),
    20: (Errno.UNKNOWN, "CURLE_OBSOLETE20", "network error"),
    21: (Errno.INTERNAL, "CURLE_QUOTE_ERROR", _OTHER),
    22: (Errno.INTERNAL, "CURLE_HTTP_RETURNED_ERROR", "libcurl failed on an HTTP status"),
    23: (Errno.SYSTEM, "CURLE_WRITE_ERROR", "the response could not be stored"),
    24: (Errno.UNKNOWN, "CURLE_OBSOLETE24", "network error"),
    25: (Errno.PROTOCOL, "CURLE_UPLOAD_FAILED", "the server did not take the upload"),
    26: (Errno.SYSTEM, "CURLE_READ_ERROR", "the request body could not be read"),
    27: (Errno.SYSTEM, "CURLE_OUT_OF_MEMORY", "out of memory"),
    28: (Errno.TIMEOUT, "CURLE_OPERATION_TIMEDOUT", "timeout"),
    29: (Errno.UNKNOWN, "CURLE_OBSOLETE29", "network error"),
    30: (Errno.INTERNAL, "CURLE_FTP_PORT_FAILED", _OTHER),
    31: (Errno.INTERNAL, "CURLE_FTP_COULDNT_USE_REST", _OTHER),
    32: (Errno.UNKNOWN, "CURLE_OBSOLETE32", "network error"),
    33: (Errno.PROTOCOL, "CURLE_RANGE_ERROR", "the server does not serve ranges"),
    34: (Errno.INTERNAL, "CURLE_HTTP_POST_ERROR", "libcurl could not build the request"),
    35: (Errno.TLS, "CURLE_SSL_CONNECT_ERROR", "TLS handshake failed"),
    36: (Errno.PROTOCOL, "CURLE_BAD_DOWNLOAD_RESUME", "the download could not be resumed"),
    37: (Errno.SYSTEM, "CURLE_FILE_COULDNT_READ_FILE", "a file could not be read"),
    38: (Errno.INTERNAL, "CURLE_LDAP_CANNOT_BIND", _OTHER),
    39: (Errno.INTERNAL, "CURLE_LDAP_SEARCH_FAILED", _OTHER),
    40: (Errno.UNKNOWN, "CURLE_OBSOLETE40", "network error"),
    41: (Errno.INTERNAL, "CURLE_FUNCTION_NOT_FOUND", "libcurl misses a function"),
    42: (Errno.INTERRUPTED, "CURLE_ABORTED_BY_CALLBACK", "abort"),
    43: (Errno.INTERNAL, "CURLE_BAD_FUNCTION_ARGUMENT", "libcurl refused an argument"),
    44: (Errno.UNKNOWN, "CURLE_OBSOLETE44", "network error"),
    45: (Errno.SYSTEM, "CURLE_INTERFACE_FAILED", "the local interface cannot be used"),
    46: (Errno.UNKNOWN, "CURLE_OBSOLETE46", "network error"),
    47: (Errno.TOO_MANY_REDIRECTS, "CURLE_TOO_MANY_REDIRECTS", "too many redirects"),
    48: (Errno.INTERNAL, "CURLE_UNKNOWN_OPTION", "libcurl does not know an option"),
    49: (Errno.INTERNAL, "CURLE_SETOPT_OPTION_SYNTAX", "libcurl refused an option's value"),
    50: (Errno.UNKNOWN, "CURLE_OBSOLETE50", "network error"),
    51: (Errno.TLS, "CURLE_OBSOLETE51", "TLS certificate not accepted"),
    52: (Errno.INTERRUPTED, "CURLE_GOT_NOTHING", "empty reply from the server"),
    53: (Errno.TLS, "CURLE_SSL_ENGINE_NOTFOUND", "TLS crypto engine not found"),
    54: (Errno.TLS, "CURLE_SSL_ENGINE_SETFAILED", "TLS crypto engine cannot be used"),
    55: (Errno.INTERRUPTED, "CURLE_SEND_ERROR", "the connection broke while sending"),
    56: (Errno.INTERRUPTED, "CURLE_RECV_ERROR", "the connection broke while receiving"),
    57: (Errno.UNKNOWN, "CURLE_OBSOLETE57", "network error"),
    58: (Errno.TLS, "CURLE_SSL_CERTPROBLEM", "the client certificate cannot be used"),
    59: (Errno.TLS, "CURLE_SSL_CIPHER", "TLS cipher cannot be used"),
    60: (Errno.TLS, "CURLE_PEER_FAILED_VERIFICATION", "TLS certificate not accepted"),
    61: (Errno.PROTOCOL, "CURLE_BAD_CONTENT_ENCODING", "content encoding not known, broken or cut"),
    62: (Errno.UNKNOWN, "CURLE_OBSOLETE62", "network error"),
    63: (Errno.INVALID_DATA, "CURLE_FILESIZE_EXCEEDED", "the body is larger than the limit"),
    64: (Errno.TLS, "CURLE_USE_SSL_FAILED", "TLS needed but not available"),
    65: (Errno.INTERRUPTED, "CURLE_SEND_FAIL_REWIND", "the body could not be sent again"),
    66: (Errno.TLS, "CURLE_SSL_ENGINE_INITFAILED", "TLS crypto engine could not start"),
    67: (Errno.UNKNOWN, "CURLE_LOGIN_DENIED", "login denied"),
    68: (Errno.INTERNAL, "CURLE_TFTP_NOTFOUND", _OTHER),
    69: (Errno.INTERNAL, "CURLE_TFTP_PERM", _OTHER),
    70: (Errno.INTERNAL, "CURLE_REMOTE_DISK_FULL", _OTHER),
    71: (Errno.INTERNAL, "CURLE_TFTP_ILLEGAL", _OTHER),
    72: (Errno.INTERNAL, "CURLE_TFTP_UNKNOWNID", _OTHER),
    73: (Errno.INTERNAL, "CURLE_REMOTE_FILE_EXISTS", _OTHER),
    74: (Errno.INTERNAL, "CURLE_TFTP_NOSUCHUSER", _OTHER),
    75: (Errno.UNKNOWN, "CURLE_OBSOLETE75", "network error"),
    76: (Errno.UNKNOWN, "CURLE_OBSOLETE76", "network error"),
    77: (Errno.TLS, "CURLE_SSL_CACERT_BADFILE", "the CA certificates cannot be read"),
    78: (Errno.INTERNAL, "CURLE_REMOTE_FILE_NOT_FOUND", _OTHER),
    79: (Errno.INTERNAL, "CURLE_SSH", _OTHER),
    80: (Errno.TLS, "CURLE_SSL_SHUTDOWN_FAILED", "TLS shutdown failed"),
    81: (Errno.INTERNAL, "CURLE_AGAIN", "libcurl asked to be called again"),
    82: (Errno.TLS, "CURLE_SSL_CRL_BADFILE", "the revocation list cannot be read"),
    83: (Errno.TLS, "CURLE_SSL_ISSUER_ERROR", "TLS issuer check failed"),
    84: (Errno.INTERNAL, "CURLE_FTP_PRET_FAILED", _OTHER),
    85: (Errno.INTERNAL, "CURLE_RTSP_CSEQ_ERROR", _OTHER),
    86: (Errno.INTERNAL, "CURLE_RTSP_SESSION_ERROR", _OTHER),
    87: (Errno.INTERNAL, "CURLE_FTP_BAD_FILE_LIST", _OTHER),
    88: (Errno.INTERNAL, "CURLE_CHUNK_FAILED", _OTHER),
    89: (Errno.TOO_MANY_TASKS, "CURLE_NO_CONNECTION_AVAILABLE", "no connection is free"),
    90: (Errno.TLS, "CURLE_SSL_PINNEDPUBKEYNOTMATCH", "TLS public key is not the pinned one"),
    91: (Errno.TLS, "CURLE_SSL_INVALIDCERTSTATUS", "TLS certificate status not accepted"),
    92: (Errno.PROTOCOL, "CURLE_HTTP2_STREAM", "HTTP/2 stream error"),
    93: (Errno.INTERNAL, "CURLE_RECURSIVE_API_CALL", "libcurl was called from its callback"),
    94: (Errno.PROTOCOL, "CURLE_AUTH_ERROR", "authentication failed"),
    95: (Errno.PROTOCOL, "CURLE_HTTP3", "HTTP/3 error"),
    96: (Errno.PROTOCOL, "CURLE_QUIC_CONNECT_ERROR", "QUIC connection failed"),
    97: (Errno.PROXY, "CURLE_PROXY", "proxy handshake failed"),
    98: (Errno.TLS, "CURLE_SSL_CLIENTCERT", "the server asks for a client certificate"),
    99: (Errno.SYSTEM, "CURLE_UNRECOVERABLE_POLL", "waiting on sockets failed"),
    100: (Errno.PROTOCOL, "CURLE_TOO_LARGE", "a part of the response is too large"),
    101: (Errno.TLS, "CURLE_ECH_REQUIRED", "TLS encrypted client hello is required"),
}

_CURL_CODES: Final = {name: code for code, (_, name, _) in _OUTCOMES.items() if code > 0}


def curl_code(name: str) -> int:
    """The CURLcode with the name ``"CURLE_..."``, known or not; 0 for other names."""
    number = name.removeprefix("CURLE_")
    return _CURL_CODES.get(name) or (int(number) if name != number and number.isdecimal() else 0)


# What the OS said is more exact than libcurl's own words for these codes.
_REFINED: Final = frozenset({-15, 0, 7, 45, 55, 56})
_OS_WORDS: Final[dict[int, str]] = {
    os_errors.ECONNREFUSED: "connection refused",
    os_errors.ECONNRESET: "connection reset by the peer",
    os_errors.ECONNABORTED: "connection aborted",
    os_errors.EPIPE: "connection closed by the peer",
    os_errors.EHOSTUNREACH: "host unreachable",
    os_errors.ENETUNREACH: "network unreachable",
    os_errors.EHOSTDOWN: "host down",
    os_errors.ENETDOWN: "network down",
    os_errors.ETIMEDOUT: "connection timed out",
    os_errors.EADDRNOTAVAIL: "no local address or port free",
    os_errors.EADDRINUSE: "local address in use",
    os_errors.EACCES: "permission denied",
    os_errors.EPERM: "not permitted",
    os_errors.EMFILE: "too many open files",
    os_errors.ENFILE: "too many open files in the system",
    os_errors.ENOMEM: "out of memory",
    os_errors.ENOBUFS: "no buffer space",
}
_OS_SYSTEM: Final = frozenset(
    {os_errors.EMFILE, os_errors.ENFILE, os_errors.ENOMEM, os_errors.ENOBUFS}
)
# libcurl gives these codes to broken connections and to invalid responses alike; its text tells.
_INVALID: Final = {
    1: (
        "HTTP/0.9",
        "HTTP version",
        "HTTP/1 subversion",
        "not an HTTP response",
        "response code",
    ),
    56: (
        "chunk",
        "Malformed encoding",
        "Too large",
        "too large",
        "Invalid",
        "invalid",
        "Nul byte",
        "folding",
    ),
}
# A refused CONNECT tunnel is a failed connection or a broken one to libcurl; its text tells.
_TUNNEL: Final = ("CONNECT tunnel failed", "Received HTTP code")
# These have one fixed errMsg, whatever the detail.
_BARE: Final = frozenset({-2, -1, 28, 42})


def one_line(text: str) -> str:
    """Return ``text`` without credentials and with every control character as a space."""
    text = redact(text)
    if not text.isprintable():
        text = "".join(char if char.isprintable() else " " for char in text)
    return text.strip()


def from_engine(api: str, code: int, os_errno: int, detail: str, profile: object = None) -> FtError:
    """Build the error of a task that ended with ``code``.

    ``code`` is a CURLcode, a negative code of the engine, or 0 for a bare OS error; ``os_errno``
    the OS error number or 0; ``detail`` libcurl's own message or ``""``. ``errMsg`` becomes
    ``"<api>:fail <words>[ (<OS error>)][: <detail>]"``; a timeout is ``"<api>:fail timeout"`` and
    an abort ``"<api>:fail abort"`` with the detail left to ``cause``.
    """
    known = _OUTCOMES.get(code)
    kind, name, words = known or (Errno.UNKNOWN, f"CURLE_{code}", "network error")
    text = one_line(detail)
    reason = words
    if os_errno:
        os_name = os_errors.errorcode.get(os_errno, f"errno {os_errno}")
        if code <= 0:
            name = os_name
        if code in _REFINED:
            reason = words = _OS_WORDS.get(os_errno) or os.strerror(os_errno)
            if os_errno in _OS_SYSTEM:
                kind = Errno.SYSTEM
        reason = f"{words} ({os_name})"
    if code in (7, 55, 56) and " over proxy " in text:
        kind = Errno.PROXY
        reason = f"the proxy can't be reached ({reason})"
    elif code in (55, 56) and text.startswith("Failed to connect"):
        kind = Errno.CONNECT
        reason = "connection failed"
    if code == 43 and ("key" in text or "cert" in text):
        kind = Errno.TLS
        reason = "the client certificate cannot be used"
    if code in (7, 56) and text.startswith(_TUNNEL):
        kind = Errno.PROXY
        reason = "the proxy refused the tunnel"
    elif code in _INVALID and not os_errno and any(word in text for word in _INVALID[code]):
        kind = Errno.PROTOCOL
        reason = "the response is not valid HTTP"
    if code in _BARE:
        reason = words
    elif text:
        reason = f"{reason}: {text}"
    cause = Cause(max(code, 0), name, text or words, os_errno)
    return FtError(f"{api}:fail {reason}", kind, cause, profile)


# What an errCode of a TCP or UDP socket stands for, where no outcome of the engine tells.
_SOCKET_KINDS: Final = {
    Errno.SOCKET_SYSTEM: Errno.SYSTEM,
    Errno.SOCKET_INTERFACE: Errno.INTERRUPTED,
    Errno.SOCKET_PERMISSION: Errno.SYSTEM,
    Errno.SOCKET_CONNECT: Errno.CONNECT,
    Errno.SOCKET_ADDRESS: Errno.ARGUMENT,
    Errno.SOCKET_PORT: Errno.ARGUMENT,
}
_SYSTEM_CAUSES: Final = frozenset({"FT_OUT_OF_MEMORY", "FT_ENGINE_CLOSED", "CURLE_OUT_OF_MEMORY"})
_NOT_PERMITTED: Final = frozenset({os_errors.EACCES, os_errors.EPERM})


def socket_error(
    api: str, code: Errno, reason: str, os_errno: int = 0, profile: object = None
) -> FtError:
    """Build the error of a TCP or UDP socket that ftnet itself, or a system call, refused.

    ``code`` is a ``SOCKET_`` one. ``errMsg`` is ``"<api>:fail <reason>[ (<OS error>)]"``. The
    reason "" is the system's own words; then it was the system that refused, and where it says
    "not permitted", or that it has no more of something, that is the code.
    """
    name = f"FT_{code.name}"
    reason = one_line(reason)
    if os_errno:
        name = os_errors.errorcode.get(os_errno, f"errno {os_errno}")
    if os_errno and not reason:
        reason = _OS_WORDS.get(os_errno) or os.strerror(os_errno)
        if os_errno in _NOT_PERMITTED:
            code = Errno.SOCKET_PERMISSION
        elif os_errno in _OS_SYSTEM:
            code = Errno.SOCKET_SYSTEM
    told = f"{reason} ({name})" if os_errno else reason
    cause = Cause(0, name, reason, os_errno)
    return FtError(f"{api}:fail {told}", _SOCKET_KINDS[code], cause, profile, code)


def with_code(error: FtError, code: Errno) -> FtError:
    """Return the error of an engine's outcome as one of a TCP or UDP socket: ``code``, unless what
    happened has one of its own."""
    if error.cause is not None:
        if error.cause.os_errno in _NOT_PERMITTED:
            code = Errno.SOCKET_PERMISSION
        elif error.cause.os_errno in _OS_SYSTEM or error.cause.name in _SYSTEM_CAUSES:
            code = Errno.SOCKET_SYSTEM
    error.errCode = code
    error.args = (*error.args[:4], code)
    return error
