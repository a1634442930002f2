"""The UDP kernels by themselves: addresses, batches with and without help of the system, names."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.datagrams import LOCAL, peer
from tests.kernels import Kernels, build_kernels
from tests.sockets import LIMIT, until

TYPES = """
typedef uint32_t socklen_t;
struct sockaddr { uint16_t sa_family; char sa_data[14]; };
struct sockaddr_in { uint16_t sin_family, sin_port; uint32_t sin_addr; char sin_zero[8]; };
struct sockaddr_in6 { uint16_t sin6_family, sin6_port; uint32_t sin6_flowinfo;
                      uint8_t sin6_addr[16]; uint32_t sin6_scope_id; };
"""


def built(folder: Path, batches: str) -> Kernels:
    headers = ("datagram", "sock", "batch", "resolve")
    return build_kernels(folder, *headers, types=TYPES, code={"batch": batches})


@pytest.fixture(scope="module", params=["batch_linux", "batch_plain"])
def kernels(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Kernels:
    return built(tmp_path_factory.mktemp("kernels"), request.param)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Kernels:
    return built(tmp_path_factory.mktemp("kernels"), "batch_linux")


# --- addresses ------------------------------------------------------------------------------------

ADDRESSES = [
    ("127.0.0.1", 4),
    ("255.255.255.255", 4),
    ("0.0.0.0", 4),
    ("::", 6),
    ("::1", 6),
    ("2001:db8::1:2", 6),
    ("::ffff:1.2.3.4", 6),
    ("fe80::1%lo", 6),
]


@pytest.mark.parametrize(("text", "family"), ADDRESSES)
@pytest.mark.parametrize("port", [1, 80, 65535])
def test_addresses_keep_their_text(one: Kernels, text: str, family: int, port: int) -> None:
    address, back = one.ffi.new("datagram_address *"), one.ffi.new("int *")
    assert one.lib.datagram_address_from(address, text.encode(), port) == family
    room = one.ffi.new("char[]", one.lib.DATAGRAM_TEXT)
    assert one.lib.datagram_address_text(address, room, back) == family
    assert (one.ffi.string(room).decode(), back[0]) == (text, port)
    size = one.ffi.sizeof("struct sockaddr_in6" if family == 6 else "struct sockaddr_in")
    assert one.lib.datagram_address_length(address) == size
    other = one.ffi.new("datagram_address *")
    one.lib.datagram_at_port(other, address, 7)
    assert one.lib.datagram_address_text(other, room, back) == family
    assert (one.ffi.string(room).decode(), back[0]) == (text, 7)


@pytest.mark.parametrize(
    "text",
    ["", "localhost", "1.2.3", "1.2.3.4.5", "256.1.1.1", "1", "::g", "[::1]", "::1%nosuch", "::1%",
     "1.2.3.4%lo", ":" * 100, "1:2:3:4:5:6:7:8:9", "::1 "],
)  # fmt: skip
def test_what_is_no_address_is_none(one: Kernels, text: str) -> None:
    address = one.ffi.new("datagram_address *")
    assert one.lib.datagram_address_from(address, text.encode(), 1) == 0


def test_a_zone_is_known_by_its_number_too(one: Kernels) -> None:
    address, back = one.ffi.new("datagram_address *"), one.ffi.new("int *")
    room = one.ffi.new("char[]", one.lib.DATAGRAM_TEXT)
    number = socket.if_nametoindex("lo")
    assert one.lib.datagram_address_from(address, f"fe80::1%{number}".encode(), 1) == 6
    one.lib.datagram_address_text(address, room, back)
    assert one.ffi.string(room) == b"fe80::1%lo"


# --- sockets and batches --------------------------------------------------------------------------


@contextlib.contextmanager
def opened(kernels: Kernels, family: int = 4) -> Iterator[socket.socket]:
    """A socket of the kernel's making, as Python's."""
    port = kernels.ffi.new("int *", 0)
    fd = kernels.lib.datagram_open(family, port, 0)
    assert fd >= 0
    with socket.socket(fileno=fd) as sock:
        assert sock.getsockname()[1] == port[0] > 0
        assert not os.get_blocking(fd)
        assert not sock.get_inheritable()
        yield sock


def send(kernels: Kernels, sock: socket.socket, out: list[tuple[int, bytes]]) -> tuple[int, int]:
    """Sends to ports of the loopback, 0: where it is connected to; what it said, and `apart`."""
    ffi, keep = kernels.ffi, []
    batch, apart = ffi.new("datagram_out[]", len(out)), ffi.new("int *", 0)
    for one, (port, data) in zip(batch, out, strict=True):
        held = ffi.new("char[]", data or b"\0")
        keep.append(held)
        one.data, one.length = held, len(data)
        if port:
            address = ffi.new("datagram_address *")
            keep.append(address)
            kernels.lib.datagram_address_from(address, LOCAL.encode(), port)
            one.to = address
    return kernels.lib.batch_send(sock.fileno(), batch, len(out), apart), apart[0]


def receive(kernels: Kernels, sock: socket.socket, most: int = 64) -> list[tuple[bytes, int]]:
    """What came in one call: bytes and how many datagrams they are."""
    ffi, lib = kernels.ffi, kernels.lib
    receiver = ffi.gc(lib.batch_receiver_new(), lib.batch_receiver_free)
    came = ffi.new("datagram_in[]", 64)
    count = lib.batch_receive(sock.fileno(), receiver, came, most)
    if count < 0:
        raise OSError(-count, "batch_receive")
    assert not any(one.cut for one in came[0:count])
    return [(bytes(ffi.buffer(one.data, one.length)), one.piece) for one in came[0:count]]


def received(kernels: Kernels, sock: socket.socket, most: int = 64) -> list[tuple[bytes, int]]:
    """As `receive`, when something is there: the loopback, too, may take a moment."""
    assert select.select([sock], [], [], LIMIT)[0]
    return receive(kernels, sock, most)


def split(came: list[tuple[bytes, int]]) -> list[bytes]:
    out = []
    for data, piece in came:
        step = piece or len(data) or 1
        out += [data[at : at + step] for at in range(0, max(len(data), 1), step)]
    return out


SIZES: dict[str, list[int]] = {
    "one": [10],
    "equal": [100] * 64,
    "the last one shorter": [100] * 10 + [7],
    "one longer in between": [100, 100, 101, 100, 100],
    "growing": list(range(1, 40)),
    "shrinking": list(range(40, 0, -1)),
    "empty ones": [0, 0, 5, 5, 0, 5, 0],
    "large": [20_000] * 5,
    "the largest": [65_507, 65_507],
    "pairs": [n // 2 + 1 for n in range(40)],
}


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("connected", [False, True])
def test_what_goes_in_batches_comes_as_it_went(
    kernels: Kernels, sizes: list[int], connected: bool
) -> None:
    data = [bytes([number % 256]) * size for number, size in enumerate(sizes)]
    with opened(kernels) as sender, opened(kernels) as receiver, peer(SO_RCVBUF=4 << 20) as other:
        for there in (receiver, other):
            port = there.getsockname()[1]
            if connected:
                sender.connect((LOCAL, port))
            left = list(data)
            while left:
                count, apart = send(kernels, sender, [(0 if connected else port, d) for d in left])
                assert count > 0
                assert not apart
                left = left[count:]
            got: list[bytes] = []
            while len(got) < len(data):
                got += [there.recv(65536)] if there is other else split(received(kernels, receiver))
            assert got == data
        with pytest.raises(BlockingIOError):
            receive(kernels, receiver)


def test_each_goes_to_its_own(kernels: Kernels) -> None:
    with opened(kernels) as sender, peer() as one, peer() as other:
        ports = [one.getsockname()[1], other.getsockname()[1]]
        order = [ports[number // 3 % 2] for number in range(24)]
        batch = [(port, str(number).zfill(2).encode()) for number, port in enumerate(order)]
        assert send(kernels, sender, batch) == (24, 0)
        for there, port in ((one, ports[0]), (other, ports[1])):
            wanted = [data for to, data in batch if to == port]
            assert [there.recv(100) for _ in wanted] == wanted


def test_equal_ones_come_as_one_on_linux(one: Kernels) -> None:
    with opened(one) as sender, opened(one) as receiver:
        port = receiver.getsockname()[1]
        assert send(one, sender, [(port, b"abcd")] * 20) == (20, 0)
        assert received(one, receiver) == [(b"abcd" * 20, 4)]


def test_no_more_are_fetched_than_asked_for(kernels: Kernels) -> None:
    with opened(kernels) as receiver, peer() as sender:
        for number in range(5):
            sender.sendto(bytes([number]), (LOCAL, receiver.getsockname()[1]))
        assert split(received(kernels, receiver, 2)) == [b"\0", b"\1"]
        assert split(receive(kernels, receiver, 1)) == [b"\2"]
        assert split(receive(kernels, receiver)) == [b"\3", b"\4"]


def test_the_first_that_cannot_go_says_why_and_those_before_it_go(kernels: Kernels) -> None:
    with opened(kernels) as sender, peer() as there:
        port = there.getsockname()[1]
        count, _ = send(kernels, sender, [(port, b"a"), (port, b"b"), (port, bytes(65_508))])
        assert count == 2
        assert send(kernels, sender, [(port, bytes(65_508)), (port, b"c")])[0] == -errno.EMSGSIZE
        assert send(kernels, sender, [(0, b"to nobody")])[0] == -errno.EDESTADDRREQ
        assert [there.recv(10), there.recv(10)] == [b"a", b"b"]


def test_a_refusal_is_told_once(kernels: Kernels) -> None:
    with opened(kernels) as sender:
        with peer() as there:
            sender.connect(there.getsockname())
        assert send(kernels, sender, [(0, b"x")])[0] == 1
        until(lambda: kernels.lib.datagram_failure(sender.fileno()) == errno.ECONNREFUSED, "it")
        assert kernels.lib.datagram_failure(sender.fileno()) == 0


def test_a_port_that_is_taken_cannot_be_opened_but_shared(kernels: Kernels) -> None:
    port = kernels.ffi.new("int *")
    with opened(kernels) as taken:
        port[0] = taken.getsockname()[1]
        assert kernels.lib.datagram_open(4, port, 0) == -errno.EADDRINUSE
    port[0] = 0
    first = kernels.lib.datagram_open(4, port, 1)
    second = kernels.lib.datagram_open(4, port, 1)
    with socket.socket(fileno=first) as one, socket.socket(fileno=second) as other:
        assert one.getsockname() == other.getsockname()


@pytest.mark.parametrize("family", [4, 6])
def test_both_families_can_have_one_port(kernels: Kernels, family: int) -> None:
    with opened(kernels, family) as sock:
        port = kernels.ffi.new("int *", sock.getsockname()[1])
        fd = kernels.lib.datagram_open(10 - family, port, 0)
        with socket.socket(fileno=fd) as other:
            assert other.getsockname()[1] == sock.getsockname()[1]


# --- look-ups -------------------------------------------------------------------------------------


class Lookups:
    """Look-ups that write down how they ended."""

    def __init__(self, kernels: Kernels) -> None:
        self.ffi, self.lib = kernels.ffi, kernels.lib
        self.answered: list[Any] = []
        self.discarded: list[Any] = []
        self.held: dict[Any, Any] = {}
        self._answer = self.ffi.callback("void(void *, lookup *)", self._on_answer)
        self._discard = self.ffi.callback("void(lookup *)", self._on_discard)
        self.box = self.lib.lookup_box_new(self.ffi.cast("void *", 1), self._answer)

    def _on_answer(self, owner: Any, one: Any) -> None:
        self.answered.append(one)

    def _on_discard(self, one: Any) -> None:
        self.discarded.append(one)

    def start(self, name: str, family: int = socket.AF_INET) -> Any:
        one = self.ffi.new("lookup *")
        one.name = name.encode()
        one.family, one.discard = family, self._discard
        self.held[one] = one
        assert self.lib.lookup_start(one, self.box) == 0
        return one


def test_names_are_looked_up_on_other_threads(one: Kernels) -> None:
    lookups = Lookups(one)
    wanted = [lookups.start(name) for name in ("localhost", "127.0.0.1", "127.0.0.7")]
    until(lambda: len(lookups.answered) == 3, "three answers")
    room, port = one.ffi.new("char[]", one.lib.DATAGRAM_TEXT), one.ffi.new("int *")
    texts = []
    for lookup in wanted:
        assert (lookup.failed, lookup.count) == (0, 1)
        one.lib.datagram_address_text(lookup.found, room, port)
        texts.append(one.ffi.string(room).decode())
    assert texts == ["127.0.0.1", "127.0.0.1", "127.0.0.7"]
    one.lib.lookup_box_close(lookups.box)
    assert not lookups.discarded


def test_a_name_that_is_none_fails_with_the_reason(one: Kernels) -> None:
    lookups = Lookups(one)
    lookup = lookups.start("a..b")
    until(lambda: lookups.answered, "an answer")
    assert lookup.failed == socket.EAI_NONAME
    assert lookup.count == 0
    one.lib.lookup_box_close(lookups.box)


def test_more_than_there_are_threads_wait_their_turn(one: Kernels) -> None:
    lookups = Lookups(one)
    for number in range(200):
        lookups.start(f"127.0.1.{number}")
    until(lambda: len(lookups.answered) == 200, "two hundred answers")
    one.lib.lookup_box_close(lookups.box)


@pytest.mark.parametrize("turn", range(10))
def test_what_is_answered_after_the_box_was_closed_is_discarded(one: Kernels, turn: int) -> None:
    lookups = Lookups(one)
    for number in range(20 + turn):
        lookups.start(f"127.0.2.{number}")
    one.lib.lookup_box_close(lookups.box)
    answered = len(lookups.answered)
    until(lambda: answered + len(lookups.discarded) == 20 + turn, "each is answered or discarded")
    assert len(lookups.answered) == answered
