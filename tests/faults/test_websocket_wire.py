"""The client's frames as they are on the wire (RFC 6455 5.2, 5.3, 5.4 and 5.5.1).

That every frame is masked, has its length in the shortest form, is in its place and has no RSV bit
that it must not have, the raw server checks with every frame that it reads (`WsPeer.frame`).
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from collections import Counter
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.faults.meetings import DEFLATE, meeting
from tests.processes import Script, run_script
from tests.servers.awkward import ThrowawayTls
from tests.servers.hostile_ws import HostileServer, WsPeer, data_messages
from tests.ws_streams import BINARY, CLOSE, CONTINUE, PING, PONG, RSV1, TEXT, close, frame

LIMIT = 10.0


def listens(peer: WsPeer) -> None:
    """Notes the client's frames, and answers its close frame."""
    peer.open()
    sent = peer.wait_for_close()
    peer.send(frame(CLOSE, sent.payload))


def test_the_opening_request_has_what_it_must_and_no_more() -> None:
    with meeting(listens, header={"X-Mine": "1"}, protocols=["a", "b"], **DEFLATE) as met:
        met.story.until("open")
        met.task.close()
        met.clean()
        (request,) = met.server.requests
        assert dict(request.fields) == {
            "host": met.server.authority,
            "upgrade": "websocket",
            "connection": "Upgrade",
            "sec-websocket-version": "13",
            "sec-websocket-key": request.get("sec-websocket-key"),
            "user-agent": request.get("user-agent"),
            "sec-websocket-protocol": "a, b",
            "sec-websocket-extensions": "permessage-deflate; client_max_window_bits",
            "x-mine": "1",
        }
        assert len(request.fields) == 9


def test_every_opening_has_a_key_of_its_own() -> None:
    with meeting(listens) as met:
        for _ in range(20):
            task = met.client.connectSocket(url=met.server.ws_url)
            task.wait_opened(LIMIT)
            task.close()
            task.wait_closed(LIMIT)
        met.task.close()
        met.clean()
        keys = {request.get("sec-websocket-key") for request in met.server.requests}
        assert len(keys) == 21


# --- lengths and parts ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("length", "header"),
    [
        (0, "8280"),
        (1, "8281"),
        (125, "82fd"),
        (126, "82fe007e"),
        (65535, "82feffff"),
        (65536, "82ff0000000000010000"),
        (70000, "82ff0000000000011170"),
    ],
)
@pytest.mark.parametrize("behind_tls", [False, True], ids=["ws", "wss"])
def test_lengths_have_their_shortest_form(
    length: int, header: str, behind_tls: bool, tls: ThrowawayTls
) -> None:
    payload = (bytes(range(256)) * 300)[:length]

    def speak(peer: WsPeer) -> None:
        peer.open()
        sent = peer.frame()
        assert sent.header == bytes.fromhex(header)
        assert sent.payload == payload
        peer.send(close(1000))
        peer.expect_close(1000)

    with meeting(speak, tls=tls if behind_tls else None) as met:
        met.story.until("open")
        met.task.send(data=payload)
        met.clean()


@pytest.mark.parametrize("data", ["grün", "", b"\xff", bytearray(b"x"), memoryview(b"abcd")[1:3]])
def test_text_goes_as_text_and_buffers_as_binary(data: Any) -> None:
    with meeting(listens) as met:
        met.story.until("open")
        met.task.send(data=data)
        met.task.close()
        met.clean()
        raw = data.encode() if isinstance(data, str) else bytes(data)
        opcode = TEXT if isinstance(data, str) else BINARY
        assert list(data_messages(met.server.frames)) == [(opcode, raw)]


def test_what_is_sent_is_what_it_was_at_the_call() -> None:
    """Masked at once: what the caller does with its buffer afterwards is its own affair."""
    with meeting(listens) as met:
        met.story.until("open")
        data = bytearray(b"before" * 1000)
        met.task.send(data=data)
        data[:] = b"after!" * 1000
        met.task.close()
        met.clean()
        assert met.server.frames[0].payload == b"before" * 1000


PARTS: dict[str, tuple[list[tuple[Any, bool]], list[tuple[int, bool, bytes]]]] = {
    "two": ([("a", False), ("b", True)], [(TEXT, False, b"a"), (CONTINUE, True, b"b")]),
    "three of bytes": (
        [(b"a", False), (b"b", False), (b"c", True)],
        [(BINARY, False, b"a"), (CONTINUE, False, b"b"), (CONTINUE, True, b"c")],
    ),
    "empty ones": (
        [("", False), ("", False), ("", True)],
        [(TEXT, False, b""), (CONTINUE, False, b""), (CONTINUE, True, b"")],
    ),
    "of another type go on": (
        [("a", False), (b"\xc3", False), (b"\xa4", True)],
        [(TEXT, False, b"a"), (CONTINUE, False, b"\xc3"), (CONTINUE, True, b"\xa4")],
    ),
    "and whole ones": (
        [("a", True), ("b", False), ("c", True), (b"d", True)],
        [(TEXT, True, b"a"), (TEXT, False, b"b"), (CONTINUE, True, b"c"), (BINARY, True, b"d")],
    ),
}


@pytest.mark.parametrize("name", PARTS)
def test_parts_of_a_message_are_frames_of_it(name: str) -> None:
    parts, expected = PARTS[name]
    with meeting(listens) as met:
        met.story.until("open")
        for data, final in parts:
            met.task.send(data=data, final=final)
        met.task.close()
        met.clean()
        assert [
            (sent.opcode, sent.fin, sent.payload) for sent in met.server.frames[:-1]
        ] == expected


@pytest.mark.parametrize("offered", [{}, DEFLATE], ids=["not offered", "not agreed to"])
def test_nothing_is_compressed_that_was_not_negotiated(offered: Mapping[str, Any]) -> None:
    with meeting(listens, **offered) as met:
        met.story.until("open")
        met.task.send(data="a" * 10_000)
        met.task.close()
        met.clean()
        assert met.server.frames[0].rsv == 0
        assert met.server.frames[0].payload == b"a" * 10_000


def test_what_was_negotiated_is_used() -> None:
    def speak(peer: WsPeer) -> None:
        peer.open(deflate=True)
        sent = peer.wait_for_close()
        peer.send(frame(CLOSE, sent.payload))

    with meeting(speak, **DEFLATE) as met:
        met.story.until("open")
        met.task.send(data="a" * 10_000)
        met.task.send(data=b"")
        met.task.close()
        met.clean()
        large, empty, _ = met.server.frames
        assert large.rsv == empty.rsv == RSV1
        assert len(large.payload) < 100
        assert empty.payload == b"\x00"


@pytest.mark.parametrize(
    ("options", "payload"),
    [
        ({}, b"\x03\xe8"),
        ({"code": 1000, "reason": "x"}, b"\x03\xe8x"),
        ({"code": 3000}, b"\x0b\xb8"),
        ({"code": 4999, "reason": "grün"}, b"\x13\x87gr\xc3\xbcn"),
        ({"reason": "r" * 123}, b"\x03\xe8" + b"r" * 123),
    ],
)
def test_the_bytes_of_our_close_frame(options: Mapping[str, Any], payload: bytes) -> None:
    with meeting(listens) as met:
        met.story.until("open")
        met.task.close(**options)
        met.clean()
        assert [sent.payload for sent in met.server.frames] == [payload]


def test_nothing_is_sent_behind_a_close_frame() -> None:
    with meeting(listens) as met:
        met.story.until("open")
        met.task.send(data="one")
        met.task.close()
        failed: list[str] = []
        met.task.send(data="two", fail=lambda error: failed.append(error.errMsg))
        met.task.close(code=3000)
        assert met.clean() == (1000, "")
        assert [sent.opcode for sent in met.server.frames] == [TEXT, CLOSE]
        assert failed == ["SocketTask.send:fail SocketTask.readyState is not OPEN"]


# --- masks ----------------------------------------------------------------------------------------


def test_masks_are_fresh_and_random() -> None:
    """S22: 32 bits of a CSPRNG for each frame; also for pongs."""
    count = 20_000

    def speak(peer: WsPeer) -> None:
        peer.open()
        for _ in range(50):
            peer.send(frame(PING, b"?"))
        peer.wait_for_close()
        peer.send(close(1000))

    with meeting(speak) as met:
        met.story.until("open")
        for n in range(count):
            met.task.send(data=b"%d" % n)
        met.task.close()
        met.clean()
        masks = [sent.mask for sent in met.server.frames]
        assert len(masks) > count
        # at 20,000 of 2^32, 0.05 pairs are alike by chance
        assert len(masks) - len(set(masks)) <= 2
        assert all(one != other for one, other in pairwise(masks))
        for place in range(4):
            counted = Counter(mask[place] for mask in masks)
            expected = len(masks) / 256
            chi_square = sum((counted[byte] - expected) ** 2 / expected for byte in range(256))
            assert chi_square < 400, "255 degrees of freedom: 1 in 10^8 by chance"


def test_masks_differ_after_a_fork() -> None:
    """The parent has masks in store when it forks: both must not go on with them."""
    source = """
    import os
    import sys
    import ftnet as ft

    def talk(task, name):
        for n in range(200):
            task.send(data=f"{name} {n}")

    first = ft.connectSocket(url=sys.argv[1])
    first.wait_opened(10)
    talk(first, "before")
    pid = os.fork()
    task = first if pid else ft.connectSocket(url=sys.argv[1])
    task.wait_opened(10)
    talk(task, "parent" if pid else "child")
    task.close()
    assert task.wait_closed(10).code == 1000
    if not pid:
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    """
    with HostileServer(listens) as server:
        run_script(source, server.ws_url)
        assert len(server.sockets) == 2
        parent, child = (
            [sent.mask for sent in peer.frames if sent.opcode == TEXT] for peer in server.sockets
        )
        assert (len(parent), len(child)) == (400, 200)
        assert not set(parent) & set(child)


# --- a kernel that takes little -------------------------------------------------------------------

SHORT_SENDS = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>

/* Of what is sent goes a part, of a length that changes; then for a little while nothing at all. */
static unsigned state = 1;
static long until;

static long microseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000L + now.tv_nsec / 1000;
}

static unsigned next(unsigned below) {
  state = state * 1103515245u + 12345u;
  return (state >> 16) % below;
}

ssize_t send(int fd, const void *data, size_t length, int flags) {
  static ssize_t (*real)(int, const void *, size_t, int);
  if (!real) real = (ssize_t (*)(int, const void *, size_t, int))dlsym(RTLD_NEXT, "send");
  if (microseconds() < until) {
    errno = EAGAIN;
    return -1;
  }
  size_t most = 1 + next(200);
  if (length > most) {
    length = most;
    until = microseconds() + next(1500);
  }
  return real(fd, data, length, flags);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
  char whole[512];
  size_t used = 0;
  for (size_t i = 0; i < message->msg_iovlen; i++) {
    const struct iovec *piece = &message->msg_iov[i];
    for (size_t k = 0; k < piece->iov_len && used < sizeof whole; k++)
      whole[used++] = ((const char *)piece->iov_base)[k];
  }
  return send(fd, whole, used, flags);
}
"""


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("short")
    source, library = folder / "short.c", folder / "short.so"
    source.write_text(SHORT_SENDS)
    compiler = os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc"
    flags = ["-O2", "-shared", "-fPIC"]
    subprocess.run([*compiler.split(), *flags, "-o", library, source, "-ldl"], check=True)
    return library


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="preloads as glibc has it")
@pytest.mark.parametrize("behind_tls", [False, True], ids=["ws", "wss"])
@pytest.mark.parametrize("deflate", [False, True], ids=["plain", "deflate"])
def test_frames_stay_whole_when_the_kernel_takes_them_in_shreds(
    behind_tls: bool, deflate: bool, shim: Path, tls: ThrowawayTls
) -> None:
    """Pings come meanwhile: a pong that has begun to go out must not make room for another."""
    source = """
    import sys
    import ftnet as ft

    client = ft.Client(ca=sys.argv[2])
    task = client.connectSocket(url=sys.argv[1], perMessageDeflate=sys.argv[3] == "True")
    task.onMessage(lambda event: [task.send(data=f"{n} ".ljust(n)) for n in range(300)])
    task.onOpen(lambda event: None)
    closed = task.wait_closed(20)
    assert closed.code == 1000, (closed.code, task._failure)
    client.close()
    """

    def speak(peer: WsPeer) -> None:
        peer.open(deflate=deflate)
        for n in range(2000):
            peer.send(frame(PING, b"%d " % n + b"p" * (n * 7 % 120)))
            if n == 1000:
                peer.send(frame(TEXT, b"now send"))
            if n % 30 == 0:
                peer.frame()
        peer.send(frame(PING, b"the last"))
        while peer.frame().payload != b"the last":
            continue
        peer.send(close(1000))
        peer.expect_close(1000)

    with HostileServer(speak, tls=tls.context if behind_tls else None) as server:
        with Script(source, server.ws_url, tls.ca, str(deflate), LD_PRELOAD=str(shim)) as script:
            script.finish()
        pongs = [sent.payload for sent in server.frames if sent.opcode == PONG]
        assert len(pongs) > 10
        if not deflate:
            texts = [text for _, text in data_messages(server.frames)]
            assert texts == [f"{n} ".ljust(n).encode() for n in range(300)]
