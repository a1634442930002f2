"""Chunks: the body as it comes, in memory that Python reads without a copy and gives back."""

from __future__ import annotations

import gc
import hashlib
import io
import struct
import threading
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from cffi import FFI

import ftcore
import ftnet as ft
from ftnet.testing.app import WIDGET, pattern
from tests.drivers import ask, in_callback, in_run
from tests.history import History
from tests.origins import LIMIT, Origin, fetch
from tests.profiles import check_profile
from tests.servers.awkward import AwkwardServer, Peer, eventually

MEGABYTE = 1_000_000
ffi = FFI()


def address(buffer: Any) -> int:
    return int(ffi.cast("uintptr_t", ffi.from_buffer(buffer)))


def chunks_of(history: History) -> list[ftcore.Chunk]:
    return [event.data for name, event in history.events if name == "chunk"]


def stream(client: ft.Client, url: str, **options: Any) -> tuple[ft.Response, list[ftcore.Chunk]]:
    task, history = in_run(lambda: ask(client, url, enableChunked=True, **options))
    return task.result(), chunks_of(history)


LETTERS = b"abcdefghijklmnopqrstuvwxyz"


def listen(client: ft.Client, url: str, listener: Callable[[Any], object]) -> ft.RequestTask:
    """A task that has ended and whose every chunk `listener` was told of."""

    def start() -> ft.RequestTask:
        task = client.request(url=url, enableChunked=True)
        task.onChunkReceived(listener)
        return task

    return in_run(start)


@pytest.fixture
def a_chunk(plain: ft.Client) -> Callable[[], ftcore.Chunk]:
    """Gets one chunk of the 26 letters; a function, so that no fixture holds on to the chunk."""

    def get() -> ftcore.Chunk:
        with AwkwardServer(letters) as raw:
            _, (chunk,) = stream(plain, raw.url)
        return chunk

    return get


def letters(peer: Peer) -> None:
    peer.read_request()
    peer.answer(LETTERS)
    peer.until_gone()


# --- delivery -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "size"), [(1, 1), (7, 1000), (40, 65_536)])
def test_chunks_are_the_body_and_data_is_empty(
    client: ft.Client, origin: Origin, count: int, size: int
) -> None:
    response, chunks = stream(client, f"{origin.base}/stream/{count}/{size}")
    assert b"".join(bytes(chunk) for chunk in chunks) == pattern(count * size)
    assert len(response.data) == 0
    assert all(type(chunk) is ftcore.Chunk and len(chunk) > 0 for chunk in chunks)
    check_profile(response, tls=origin.tls, protocol=origin.protocol)


def test_a_chunk_is_what_the_network_delivered(plain: ft.Client) -> None:
    pieces = [b"one", b"second", b"3"]
    came: list[bytes] = []

    def piece_by_piece(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for number, piece in enumerate(pieces):
            peer.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            eventually(lambda seen=number: len(came) > seen, "the piece is there")
        peer.send(b"0\r\n\r\n")

    with AwkwardServer(piece_by_piece) as raw:
        task = listen(plain, raw.url, lambda event: came.append(bytes(event.data)))
    assert task.result().statusCode == 200
    assert came == pieces


def test_chunks_come_before_the_response_is_over(client: ft.Client, origin: Origin) -> None:
    first, history = threading.Event(), History()

    def start() -> ft.RequestTask:
        url = f"{origin.base}/delay?chunks=2&between=15000"
        task = client.request(url=url, enableChunked=True, **history.callbacks())
        task.onChunkReceived(lambda _: first.set())
        return task

    task = in_callback(start)
    assert first.wait(LIMIT)
    assert history.names == []
    task.abort()
    assert history.wait().error().errMsg == "request:fail abort"


def test_compressed_bodies_come_in_decoded_chunks(client: ft.Client, origin: Origin) -> None:
    _, chunks = stream(client, f"{origin.base}/gzip")
    text = b"".join(bytes(chunk) for chunk in chunks)
    assert text.startswith(b'{"id": 1')
    assert b'"encoding": "gzip"' in text


def test_without_a_listener_the_chunks_are_kept_for_data(client: ft.Client, origin: Origin) -> None:
    assert fetch(client, f"{origin.base}/json", enableChunked=True).data == WIDGET
    response = fetch(
        client, f"{origin.base}/stream/9/5000", enableChunked=True, responseType="arraybuffer"
    )
    assert bytes(response.data) == pattern(45_000)


def test_without_enable_chunked_a_listener_hears_nothing(plain: ft.Client, server: Any) -> None:
    task, history = in_run(lambda: ask(plain, f"{server.http}/json"))
    assert task.result().data == WIDGET
    assert history.names == ["headers", "success", "complete"]


def test_an_empty_body_gives_no_chunk(plain: ft.Client, nginx: Any) -> None:
    response, chunks = stream(plain, f"{nginx.http}/empty")
    assert (chunks, response.statusCode) == ([], 200)


def test_every_listener_gets_the_same_chunk(plain: ft.Client, server: Any) -> None:
    seen: list[list[Any]] = [[], []]

    def start() -> None:
        task = plain.request(url=f"{server.http}/stream/3/1000", enableChunked=True)
        for kept in seen:
            task.onChunkReceived(lambda event, kept=kept: kept.append(event.data))

    ft.run(start)
    assert len(seen[0]) == len(seen[1])
    assert all(one is other for one, other in zip(*seen, strict=True))


# --- the object -----------------------------------------------------------------------------------


def test_a_chunk_has_a_length_and_bytes(a_chunk: Callable[[], ftcore.Chunk]) -> None:
    chunk = a_chunk()
    assert len(chunk) == 26
    assert bytes(chunk) == LETTERS
    assert chunk == LETTERS
    assert chunk != b"other"
    assert list(chunk)[:3] == [97, 98, 99]


def test_slices_are_views_into_the_same_memory(a_chunk: Callable[[], ftcore.Chunk]) -> None:
    chunk = a_chunk()
    for part in (slice(2, 5), slice(None), slice(-3, None), slice(30, 40)):
        view = chunk[part]
        assert type(view) is memoryview
        assert view.tobytes() == LETTERS[part]
        assert view.obj is chunk
    assert chunk[0] == ord("a")
    assert chunk[::2].tobytes() == LETTERS[::2]
    with pytest.raises(IndexError):
        chunk[26]


def test_views_do_not_copy(a_chunk: Callable[[], ftcore.Chunk]) -> None:
    chunk = a_chunk()
    assert address(chunk) == address(memoryview(chunk)) == address(chunk[3:]) - 3


def test_a_chunk_is_read_only(a_chunk: Callable[[], ftcore.Chunk]) -> None:
    chunk = a_chunk()
    view = memoryview(chunk)
    assert view.readonly
    assert view.contiguous
    assert (view.format, view.itemsize, view.ndim) == ("B", 1, 1)
    with pytest.raises(TypeError):
        view[0] = 0
    with pytest.raises(TypeError):
        chunk[0] = 0  # type: ignore[index]
    with pytest.raises(BufferError):
        ffi.from_buffer(chunk, require_writable=True)


def test_a_chunk_is_never_hashable(a_chunk: Callable[[], ftcore.Chunk]) -> None:
    chunk = a_chunk()
    with pytest.raises(TypeError, match="unhashable"):
        hash(chunk)


def test_a_chunk_cannot_be_made_or_derived_from() -> None:
    with pytest.raises(TypeError):
        ftcore.Chunk()
    with pytest.raises(TypeError):
        type("Mine", (ftcore.Chunk,), {})


@pytest.mark.parametrize(
    ("use", "result"),
    [
        (lambda chunk: hashlib.sha256(chunk).digest(), hashlib.sha256(LETTERS).digest()),
        (zlib.crc32, zlib.crc32(LETTERS)),
        (lambda chunk: struct.unpack_from("2s", chunk, 4), (b"ef",)),
        (lambda chunk: int.from_bytes(chunk[:2], "big"), 0x6162),
        (lambda chunk: io.BytesIO().write(chunk), 26),
        (lambda chunk: b"".join([chunk, chunk]), LETTERS * 2),
        (lambda chunk: bytearray(b">") + chunk, b">" + LETTERS),
        (lambda chunk: str(chunk, "ascii"), LETTERS.decode()),
        (lambda chunk: b"|".join([chunk[:1], chunk[-1:]]), b"a|z"),
    ],
    ids=["hash", "crc", "struct", "int", "file", "join", "bytearray", "str", "slices"],
)
def test_what_takes_bytes_like_objects_takes_a_chunk(
    a_chunk: Callable[[], ftcore.Chunk], use: Callable[[ftcore.Chunk], Any], result: Any
) -> None:
    assert use(a_chunk()) == result


def test_a_chunk_can_be_sent_as_it_is(
    plain: ft.Client, server: Any, a_chunk: Callable[[], ftcore.Chunk]
) -> None:
    chunk = a_chunk()
    response = fetch(plain, f"{server.http}/echo", method="POST", data=chunk)
    assert response.data["body_text"] == LETTERS.decode()


# --- its memory -----------------------------------------------------------------------------------


def test_chunks_survive_the_task_the_client_and_later_traffic(server: Any) -> None:
    with ft.Client(trust_env=False) as client:
        _, chunks = stream(client, f"{server.http}/stream/20/30000")
        for _ in range(30):
            fetch(client, f"{server.http}/bytes/60000", responseType="arraybuffer")
            stream(client, f"{server.http}/bytes/60000")
    assert b"".join(chunks) == pattern(600_000)


def test_memory_goes_back_when_the_last_view_dies(plain: ft.Client, server: Any) -> None:
    _, chunks = stream(plain, f"{server.http}/stream/1/5000")
    whole = chunks[-1]
    last = len(whole)
    view = memoryview(whole)[last - 100 : last]
    part = view[50:60]
    del chunks, whole, view
    gc.collect()
    eventually(lambda: ftcore.counters()["slabs"] == 1, "one view holds one slab")
    assert part.tobytes() == pattern(5000)[-50:-40]
    part.release()
    del part
    gc.collect()
    assert ftcore.counters()["slabs"] == 0
    assert ftcore.counters()["chunks"] == 0


def test_an_arraybuffer_holds_its_memory_until_it_dies(plain: ft.Client, server: Any) -> None:
    response = fetch(plain, f"{server.http}/bytes/100000", responseType="arraybuffer")
    assert ftcore.counters()["slabs"] > 0
    view = memoryview(response.data)[-10:]
    del response
    assert view.tobytes() == pattern(100_000)[-10:]
    del view
    gc.collect()
    eventually(lambda: ftcore.counters()["slabs"] == 0, "all memory is back")


def test_dropped_chunks_do_not_pile_up(plain: ft.Client, server: Any) -> None:
    most = [0]

    def look(_: object) -> None:
        most[0] = max(most[0], ftcore.counters()["slabs"])

    task = listen(plain, f"{server.http}/bytes/{50 * MEGABYTE}", look)
    assert task.result().statusCode == 200
    assert 0 < most[0] < 200


def test_python_allocates_nothing_for_the_bytes_of_chunks(plain: ft.Client, server: Any) -> None:
    received = [0]

    def count(event: Any) -> None:
        received[0] += len(event.data)

    tracemalloc.start()
    try:
        listen(plain, f"{server.http}/bytes/{30 * MEGABYTE}", count)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert received[0] == 30 * MEGABYTE
    assert peak < MEGABYTE
