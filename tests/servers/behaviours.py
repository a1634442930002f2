"""What the awkward server can do wrong, each by a name that says it.

`BEHAVIOURS` maps the name to a function of one `Peer`. Most entries read a whole request and then
send something a client must not take for a good response; `broken_answers.py` lists those that are
no more than bytes. The rest need to time, count or look at what they were sent.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable, Iterator
from functools import cache

from .awkward import Behaviour, Gone, Peer
from .broken_answers import ANSWERS, CHUNKED, OK, encoded

BEHAVIOURS: dict[str, Behaviour] = {}


def behaviour(function: Behaviour) -> Behaviour:
    BEHAVIOURS[function.__name__] = function
    return function


def length_of(head: bytes) -> int:
    """The Content-Length of a request."""
    return int(head.lower().split(b"\r\ncontent-length:")[1].split(b"\r\n")[0])


def says(data: bytes) -> Behaviour:
    """Read one request, send `data`, close."""

    def speak(peer: Peer) -> None:
        peer.read_request()
        peer.send(data)

    return speak


BEHAVIOURS.update({name: says(data) for name, data in ANSWERS.items()})


# Good manners, to compare with and to recover on.


@behaviour
def answers(peer: Peer) -> None:
    """Keep-alive; each answer is JSON that tells what arrived and on which connection."""
    while True:
        request = peer.read_request()
        told = {
            "target": request.target,
            "method": request.method,
            "body": request.body.decode("latin-1"),
            "connection": peer.number,
        }
        body = json.dumps(told).encode()
        peer.answer(body, "Content-Type: application/json", head=request.method == "HEAD")


@behaviour
def answers_behind_the_gate(peer: Peer) -> None:
    """As `answers`, but nothing is sent before the test opens `server.gate`."""
    while True:
        request = peer.read_request()
        peer.server.gate.wait()
        peer.answer(request.target.encode(), head=request.method == "HEAD")
        peer.server.passed.set()


# Silence, closing, resets.


@behaviour
def silent(peer: Peer) -> None:
    peer.until_gone()


@behaviour
def silent_after_the_request(peer: Peer) -> None:
    peer.read_request()
    peer.until_gone()


@behaviour
def closes_unanswered(peer: Peer) -> None:
    peer.read_request()


@behaviour
def resets_unanswered(peer: Peer) -> None:
    peer.read_request()
    peer.reset()


@behaviour
def resets_at_once(peer: Peer) -> None:
    peer.reset()


@behaviour
def resets_in_header_block(peer: Peer) -> None:
    peer.read_request()
    peer.send(OK + b"Content-Le")
    peer.reset()


@behaviour
def resets_in_body(peer: Peer) -> None:
    peer.read_request()
    peer.send(OK + b"Content-Length: 1000000\r\n\r\n12345")
    peer.reset()


@behaviour
def stalls_in_header_block(peer: Peer) -> None:
    peer.read_request()
    peer.send(OK + b"Content-Type: te")
    peer.until_gone()


@behaviour
def stalls_in_body(peer: Peer) -> None:
    peer.read_request()
    peer.send(OK + b"Content-Length: 10\r\n\r\n12345")
    peer.until_gone()


@behaviour
def stalls_between_chunks(peer: Peer) -> None:
    peer.read_request()
    peer.send(CHUNKED + b"5\r\n12345\r\n")
    peer.until_gone()


@behaviour
def drips_for_ever(peer: Peer) -> None:
    """Never silent for long, never done: only a limit on the whole task ends it."""
    peer.read_request()
    peer.send(OK + b"Content-Length: 1000000\r\n\r\n")
    while True:
        peer.send(b".")
        peer.pace(0.02)


@behaviour
def drips_its_header_block(peer: Peer) -> None:
    peer.read_request()
    peer.send(OK)
    while True:
        peer.send(b"X: 1\r\n")
        peer.pace(0.02)


# Too much.

MEGABYTE = 1 << 20


def pours(opening: bytes, block: bytes, size: int) -> Behaviour:
    """Read one request, send `opening`, then `block` again and again up to `size` bytes."""

    def pour(peer: Peer) -> None:
        peer.read_request()
        peer.send(opening)
        for _ in range(size // len(block)):
            peer.send(block)
        peer.until_gone()

    return pour


TOO_MUCH = {
    "header_line_of_64_mb": pours(OK + b"X-Long: ", b"a" * 65536, 64 * MEGABYTE),
    "header_block_of_64_mb": pours(OK, b"X-Many: " + b"a" * 1014 + b"\r\n", 64 * MEGABYTE),
    "status_line_of_64_mb": pours(b"HTTP/1.1 200 ", b"a" * 65536, 64 * MEGABYTE),
    "ten_thousand_header_lines": says(
        OK + b"".join(b"X-%d: a\r\n" % n for n in range(10_000)) + b"Content-Length: 0\r\n\r\n"
    ),
    "interim_responses_for_ever": pours(
        b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", 256 * MEGABYTE
    ),
    "bare_continue_for_ever": pours(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 256 * MEGABYTE),
    "chunk_extension_for_ever": pours(CHUNKED + b"5;x=", b"a" * 65536, 64 * MEGABYTE),
    "trailers_for_ever": pours(
        CHUNKED + b"5\r\n12345\r\n0\r\n", b"X-More: " + b"a" * 1014 + b"\r\n", 64 * MEGABYTE
    ),
    "body_for_ever": pours(CHUNKED, b"10000\r\n" + b"a" * 65536 + b"\r\n", 256 * MEGABYTE),
    "body_of_2_mb": pours(OK + b"Content-Length: 2097152\r\n\r\n", b"a" * 65536, 2 * MEGABYTE),
}
BEHAVIOURS.update(TOO_MUCH)


@cache
def _bomb() -> bytes:
    press = zlib.compressobj(9, zlib.DEFLATED, 31)
    block = bytes(MEGABYTE)
    return b"".join(press.compress(block) for _ in range(100)) + press.flush()


@behaviour
def gzip_bomb(peer: Peer) -> None:
    """100 MB of zeros in 100 KB."""
    peer.read_request()
    peer.send(encoded(_bomb(), "gzip"))


# Surprises in a conversation that otherwise works.


@behaviour
def closes_after_each_answer(peer: Peer) -> None:
    """Says nothing of closing, as a server whose keep-alive time ran out."""
    peer.answer(peer.read_request().target.encode())


@behaviour
def answers_twice(peer: Peer) -> None:
    """A second response nobody asked for follows each answer in the same segment."""
    while True:
        target = peer.read_request().target.encode()
        good = OK + b"Content-Length: %d\r\n\r\n" % len(target) + target
        peer.send(good + OK + b"Content-Length: 4\r\n\r\nevil")


@behaviour
def speaks_while_idle(peer: Peer) -> None:
    """As `answers_twice`, but on the first connection only, and when the test opens the gate."""
    peer.answer(peer.read_request().target.encode())
    while peer.number:
        peer.answer(peer.read_request().target.encode())
    peer.server.gate.wait()
    peer.send(OK + b"Content-Length: 4\r\n\r\nevil")
    peer.server.passed.set()
    peer.until_gone()


@behaviour
def body_after_no_content(peer: Peer) -> None:
    while True:
        peer.read_request()
        peer.send(
            b"HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
        )


@behaviour
def chunked_with_content_length(peer: Peer) -> None:
    """RFC 9112 section 6.3: chunked wins, and the connection must not be used again."""
    while True:
        peer.read_request()
        peer.send(
            OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n0\r\n\r\n"
        )


@behaviour
def slices_of_64_bytes(peer: Peer) -> None:
    while True:
        peer.read_request()
        body = bytes(range(256)) * 64
        peer.send(OK + b"Content-Length: %d\r\n\r\n" % len(body))
        for start in range(0, len(body), 64):
            peer.send(body[start : start + 64])


@behaviour
def one_byte_at_a_time(peer: Peer) -> None:
    peer.read_request()
    for byte in b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n0\r\n\r\n":
        peer.send(bytes([byte]))
    peer.until_gone()


@behaviour
def answers_after_300_ms(peer: Peer) -> None:
    while True:
        peer.read_request()
        peer.pace(0.3)
        peer.answer(b"late")


@behaviour
def refuses_early_and_closes(peer: Peer) -> None:
    """413 after the first bytes of the body, then no more reading than TCP manners ask."""
    peer.read_head()
    peer.send(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    peer.finish_sending()
    peer.until_gone()


@behaviour
def never_says_continue(peer: Peer) -> None:
    body = peer.read_exactly(length_of(peer.read_head()))
    peer.answer(str(len(body)).encode())


@behaviour
def dies_in_the_request_body(peer: Peer) -> None:
    peer.read_head()
    peer.read_exactly(65536)
    peer.reset()


@behaviour
def counts_the_body(peer: Peer) -> None:
    """Answers with how many bytes of a body came, and keeps none of them."""
    block = bytearray(MEGABYTE)
    while True:
        head = peer.read_head()
        size = left = length_of(head)
        if b"expect:" in head.lower():
            peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        left -= len(peer.read())
        while left:
            came = peer.sock.recv_into(block)
            if not came:
                raise Gone
            left -= came
        peer.answer(b"%d" % size)


# Redirects.


def redirects_to(location: str, status: str = "302 Found") -> Behaviour:
    """Answers every request with a redirect to `location`."""

    def redirect(peer: Peer) -> None:
        while True:
            peer.read_request()
            peer.answer(b"", f"Location: {location}", status=status)

    return redirect


@behaviour
def counts_down(peer: Peer) -> None:
    """/n redirects to /n-1 and so on; /0 is the end."""
    while True:
        left = int(peer.read_request().target.rsplit("/", 1)[1])
        if left:
            peer.answer(b"moved", f"Location: /{left - 1}", status="302 Found")
        else:
            peer.answer(b"arrived")


BEHAVIOURS["redirect_loop"] = redirects_to("/again")


# TLS that goes wrong (all but the last want a server without TLS of its own).


def tls_answers(data: bytes, then: Callable[[Peer], None]) -> Behaviour:
    def speak(peer: Peer) -> None:
        peer.read()
        if data:
            peer.send(data)
        then(peer)

    return speak


BEHAVIOURS["handshake_is_cut"] = tls_answers(b"", lambda peer: None)
BEHAVIOURS["handshake_is_reset"] = tls_answers(b"", Peer.reset)
BEHAVIOURS["handshake_is_cut_in_server_hello"] = tls_answers(
    b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03", lambda peer: None
)
BEHAVIOURS["handshake_stalls_in_server_hello"] = tls_answers(
    b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03", Peer.until_gone
)
BEHAVIOURS["handshake_is_answered_in_plain_text"] = tls_answers(
    b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", Peer.until_gone
)
BEHAVIOURS["handshake_is_refused_by_alert"] = tls_answers(
    b"\x15\x03\x03\x00\x02\x02\x28", Peer.until_gone
)


@behaviour
def ends_without_close_notify(peer: Peer) -> None:
    """A body that ends with the connection, cut off below TLS: an attacker's FIN looks the same."""
    peer.read_request()
    peer.send(OK + b"Connection: close\r\n\r\nhalf of the bo")


# Name servers (DNS over HTTPS, RFC 8484) that fail; `silent` is the one that never answers.


def _questions(message: bytes) -> Iterator[int]:
    """The type of each question in a DNS message (RFC 1035 section 4.1.2)."""
    position = 12
    for _ in range(struct.unpack_from("!H", message, 4)[0]):
        while length := message[position]:
            position += length + 1
        yield struct.unpack_from("!H", message, position + 1)[0]
        position += 5


def resolves(addresses: list[str], code: int = 0) -> Behaviour:
    """A resolver that answers A questions with `addresses` and everything with `code`."""

    def resolve(peer: Peer) -> None:
        while True:
            query = peer.read_request().body
            found = addresses if 1 in _questions(query) else []
            flags = 0x8180 | code
            answer = struct.pack("!HHHHHH", 0, flags, 1, len(found), 0, 0) + query[12:]
            for address in found:
                packed = bytes(int(part) for part in address.split("."))
                answer += struct.pack("!HHHIH", 0xC00C, 1, 1, 60, 4) + packed
            peer.answer(answer, "Content-Type: application/dns-message")

    return resolve


BEHAVIOURS["name_does_not_exist"] = resolves([], code=3)
BEHAVIOURS["resolver_fails"] = resolves([], code=2)
BEHAVIOURS["resolves_to_loopback"] = resolves(["127.0.0.1"])
BEHAVIOURS["name_has_no_address"] = resolves([])
