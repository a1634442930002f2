"""Responses of HTTP/1.1 as a server may send them: good ones, and some for each fault.

Also the seeds of the fuzzers, so that nothing but the standard library is imported here.
"""

from __future__ import annotations

from dataclasses import dataclass

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
NGINX = (
    OK
    + b"Server: nginx/1.22.1\r\nDate: Sat, 28 Nov 2026 21:00:00 GMT\r\nContent-Type: text/plain\r\n"
    b"Content-Length: 12\r\nConnection: keep-alive\r\n\r\nhello, world"
)
PLAIN, HEAD, CONNECT, UPGRADE = "plain", "head", "connect", "upgrade"
REQUESTS = [PLAIN, HEAD, CONNECT, UPGRADE]


@dataclass(frozen=True)
class Sample:
    """Bytes from a server, the request they answer, and whether the server closes after them."""

    data: bytes
    request: str = PLAIN
    closes: bool = False


def fields(*lines: bytes, body: bytes = b"") -> bytes:
    return OK + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


def sized(*lines: bytes) -> bytes:
    return fields(*lines, b"Content-Length: 2", body=b"ok")


EMPTY = b"Content-Length: 0\r\n\r\n"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"

GOOD = {
    "of nginx": Sample(NGINX),
    "without a reason": Sample(b"HTTP/1.1 200 \r\n" + EMPTY),
    "without a space after the status": Sample(b"HTTP/1.1 200\r\n" + EMPTY),
    "a reason of other octets": Sample(b"HTTP/1.1 200 tr\xe8s\tbien\r\n" + EMPTY),
    "a status beyond 599": Sample(b"HTTP/1.1 999 Odd\r\n" + EMPTY),
    "without any field": Sample(OK + b"\r\nbody", closes=True),
    "an empty body up to the close": Sample(OK + b"\r\n", closes=True),
    "HTTP/1.0": Sample(b"HTTP/1.0 200 OK\r\n\r\nbody", closes=True),
    "HTTP/1.0 kept": Sample(b"HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n" + EMPTY),
    "a value with white space": Sample(sized(b"X:  \t a \t b\t ", b"Y:", b"Z: \t ")),
    "a value of other octets": Sample(sized(b"X: \x80\xff \xc3\xa9")),
    "a name of every token character": Sample(sized(b"!#$%&'*+-.^_`|~09azAZ: x")),
    "a long value": Sample(sized(b"X: " + b"v" * 3000)),
    "a name of one byte": Sample(sized(b"x:y")),
    "names in another case": Sample(OK + b"CONTENT-LENGTH: 2\r\ncOnNeCtIoN: ClOsE\r\n\r\nok"),
    "one length twice": Sample(sized(b"Content-Length: 2", b"Content-Length: 2, 02")),
    "the longest length": Sample(fields(b"Content-Length: 9223372036854775807"), HEAD),
    "the answer to HEAD": Sample(fields(b"Content-Length: 10"), HEAD),
    "the chunked answer to HEAD": Sample(CHUNKED, HEAD),
    "no content": Sample(b"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"),
    "not modified": Sample(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"),
    "interim responses": Sample(b"HTTP/1.1 100 Continue\r\n\r\n" + HINTS + NGINX),
    "chunks": Sample(CHUNKED + b"5\r\nhello\r\n00A\r\n, 12345678\r\nb\r\nABCDEFGHIJK\r\n0\r\n\r\n"),
    "no chunk": Sample(CHUNKED + b"0\r\n\r\n"),
    "a chunk size with zeros": Sample(CHUNKED + b"0" * 40 + b"1\r\nx\r\n000\r\n\r\n"),
    "chunk extensions": Sample(
        CHUNKED + b'1;a\r\nx\r\n1 ; a="b;\xff" ;c\t\r\ny\r\n2 \t \r\nzz\r\n0;last\r\n\r\n'
    ),
    "trailers": Sample(CHUNKED + b"1\r\nx\r\n0\r\nX-Sum: 1\r\nContent-Length: zero\r\n\r\n"),
    "chunked, and a length": Sample(
        fields(b"Content-Length: 3", b"Transfer-Encoding: chunked", body=b"1\r\nx\r\n0\r\n\r\n")
    ),
    "chunked HTTP/1.0": Sample(
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n" + CHUNKED[17:] + b"1\r\nx\r\n0\r\n\r\n"
    ),
    "many chunks": Sample(CHUNKED + b"1;abc\r\nx\r\n" * 800 + b"0\r\n\r\n"),
    "closing": Sample(sized(b"Connection: foo, close , bar")),
    "closing, in the second line": Sample(sized(b"Connection: keep-alive", b"Connection: close")),
    "a switch": Sample(SWITCH + b"\x81\x00", UPGRADE),
    "a switch after an interim response": Sample(HINTS + SWITCH, UPGRADE),
    "no switch": Sample(NGINX, UPGRADE),
    "a tunnel": Sample(OK + b"Via: 1.1 x\r\n\r\n\x16\x03\x01", CONNECT),
    "a tunnel whose fields mean nothing": Sample(
        fields(b"Content-Length: five", b"Transfer-Encoding: gzip"), CONNECT
    ),
    "no tunnel": Sample(b"HTTP/1.1 407 Proxy\r\nContent-Length: 2\r\n\r\nno", CONNECT),
    "what the engine reads": Sample(
        sized(
            b"Location: /there",
            b"Content-Type: text/html; charset=utf-8",
            b"Content-Encoding: gzip",
            b"content-encoding:  br ",
            b"Content-Range: bytes 5-6/10",
            b'ETag: "1"',
            b"Last-Modified: Sat, 28 Nov 2026 20:00:00 GMT",
        )
    ),
}

#: By fault, as in http1.h.
BAD = {
    "NOT_HTTP": [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"<html>",
        bytes(30),
        b"\r\n" + NGINX,
        b"http/1.1 200 OK\r\n\r\n",
        b"HTTP 1.1 200 OK\r\n\r\n",
        NGINX + b"x" + NGINX,
    ],
    "BAD_VERSION": [
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/7.3 200 OK\r\n",
        b"HTTP/1.2 200 OK\r\n\r\n",
        b"HTTP/1.10 200 OK\r\n\r\n",
        b"HTTP/1.1\t200 OK\r\n\r\n",
        b"HTTP/1\r\n",
        b"HTTP/\r\n",
    ],
    "BAD_STATUS": [
        b"HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 \r\n",
        b"HTTP/1.1 20\r\n",
        b"HTTP/1.1 abc OK\r\n",
        b"HTTP/1.1 099 Low\r\n",
        b"HTTP/1.1 2000 OK\r\n",
        b"HTTP/1.1 200OK\r\n",
        b"HTTP/1.1  200 OK\r\n",
        b"HTTP/1.1 +20 OK\r\n",
        b"HTTP/1.1 200\tOK\r\n",
    ],
    "BARE_CR": [
        OK + b"X: a\rb\r\n\r\n",
        OK + b"X: a\r\r\n\r\n",
        OK + b"X: a\r\n\rX",
        b"HTTP/1.1 200 O\rK\r\n\r\n",
        CHUNKED + b"1\rx",
        CHUNKED + b"1;a\rx",
        CHUNKED + b"0\r\nX: a\rb",
    ],
    "BARE_LF": [
        OK + b"X: a\n\r\n",
        OK + b"\n",
        b"HTTP/1.1 200 OK\n\n",
        CHUNKED + b"1\nx\r\n",
        CHUNKED + b"1 \nx\r\n",
        CHUNKED + b"1;a\nx\r\n",
        CHUNKED + b"0\r\n\n",
    ],
    "NUL": [OK + b"X: a\0b\r\n\r\n", OK + b"X\0: a\r\n", CHUNKED + b"1;\0", b"HTTP/1.1 200 \0\r\n"],
    "CONTROL": [OK + b"X: \x01\r\n", OK + b"X: 12345\x7f\r\n", OK + b"X: \x0b\r\n"],
    "FOLDED": [OK + b"X: a\r\n b\r\n\r\n", OK + b" X: a\r\n\r\n", OK + b"X: a\r\n\t\r\n\r\n"],
    "NO_COLON": [OK + b"no colon here\r\n\r\n", OK + b"X\r\n\r\n", CHUNKED + b"0\r\nabc\r\n"],
    "EMPTY_NAME": [OK + b": a\r\n\r\n", OK + b":\r\n"],
    "SPACE_BEFORE_COLON": [OK + b"Content-Length : 5\r\n\r\n", OK + b"X\t : 5\r\n"],
    "BAD_NAME": [OK + b"X Y: a\r\n", OK + b"X(: a\r\n", OK + b"long-enough-\xe9: a\r\n"],
    "HEAD_TOO_LARGE": [
        OK + b"X: " + b"a" * (300 << 10),
        b"HTTP/1.1 200 " + b"a" * (300 << 10),
        CHUNKED + b"0\r\n" + (b"X: " + b"a" * 997 + b"\r\n") * 307,
    ],
    "TOO_MANY_FIELDS": [OK + b"X: a\r\n" * 5001, CHUNKED + b"0\r\n" + b"X: a\r\n" * 5001],
    "TOO_MANY_INTERIM": [HINTS * 101],
    "UNASKED_SWITCH": [SWITCH],
    "BAD_LENGTH": [
        fields(b"Content-Length: " + value)
        for value in [
            *(b"", b"-5", b"+5", b"five", b"5 5", b"0x5", b"5;", b"5,", b",5", b"5.0", b"1_0"),
            *(b"9223372036854775808", b"99999999999999999999", b"18446744073709551621"),
        ]
    ],
    "LENGTHS_DIFFER": [
        fields(b"Content-Length: 5", b"Content-Length: 6"),
        fields(b"Content-Length: 5, 6"),
    ],
    "UNKNOWN_CODING": [
        fields(b"Transfer-Encoding: " + value)
        for value in (b"gzip, chunked", b"gzip", b"identity", b"", b"chunked;q=1", b"xchunked")
    ],
    "CHUNKED_NOT_LAST": [
        fields(b"Transfer-Encoding: chunked, gzip"),
        fields(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"),
        fields(b"Transfer-Encoding: chunked,"),
    ],
    "BAD_CHUNK_SIZE": [
        CHUNKED + line
        for line in (
            b"zz\r\n",
            b"\r\n",
            b"-5\r\n",
            b"+5\r\n",
            b" 5\r\n",
            b"0x5\r\n",
            b";a\r\n",
            b"5_",
        )
    ],
    "CHUNK_TOO_LARGE": [CHUNKED + b"8000000000000000\r\n", CHUNKED + b"F" * 17 + b"\r\n"],
    "CHUNK_LINE_TOO_LONG": [CHUNKED + b"5;x=" + b"a" * 4096, CHUNKED + b"0" * 5000],
    "BAD_CHUNK_END": [
        CHUNKED + b"5\r\n12345XX0\r\n\r\n",
        CHUNKED + b"5\r\n12345\rX",
        CHUNKED + b"1\r\nx\n",
    ],
}

#: By fault: the server closes behind these.
CUT = {
    "CUT_BEFORE": [b"", NGINX],
    "CUT_AFTER_INTERIM": [HINTS, b"HTTP/1.1 100 Continue\r\n\r\n" * 2],
    "CUT_IN_STATUS": [b"H", b"HTTP/1.1 2", b"HTTP/1.1 200 OK\r", HINTS + b"HTTP/1.1 2"],
    "CUT_IN_HEAD": [
        OK,
        OK + b"Content-Le",
        OK + b"Content-Length: 0\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r",
        HINTS + OK,
    ],
    "CUT_IN_BODY": [fields(b"Content-Length: 10"), fields(b"Content-Length: 10", body=b"12345")],
    "CUT_IN_CHUNK_LINE": [CHUNKED, CHUNKED + b"5", CHUNKED + b"1\r\nx\r\n", CHUNKED + b"0;a\r"],
    "CUT_IN_CHUNK": [
        CHUNKED + b"5\r\n",
        CHUNKED + b"5\r\n123",
        CHUNKED + b"1\r\nx",
        CHUNKED + b"1\r\nx\r",
    ],
    "CUT_IN_TRAILERS": [CHUNKED + b"0\r\n", CHUNKED + b"0\r\nX: 1\r\n", CHUNKED + b"0\r\n\r"],
}
