"""WebSocket messages: what can be sent, and that it arrives as it was."""

from __future__ import annotations

import array
import ctypes
import gc
import mmap
from collections.abc import Callable
from typing import Any

import pytest

import ftnet as ft
from tests.servers.websocket import frames_in, relaying, serving
from tests.sockets import LIMIT, OPEN, Story, as_sent, closed, echoes, opened, socket

MIB = 1 << 20
SIZES = (0, 1, 125, 126, 127, 65535, 65536, 65537, MIB, 16 * MIB)
TEXT, BINARY, CONTINUE, FINAL = 1, 2, 0, 0x80
NOT_OPEN = "SocketTask.send:fail SocketTask.readyState is not OPEN"


def binary(size: int) -> bytes:
    """Bytes that no two places of have the same surroundings."""
    return b"".join(n.to_bytes(4, "big") for n in range(size // 4 + 1))[:size]


def text(size: int) -> str:
    """A str of so many bytes of UTF-8, of 1 to 4 bytes each."""
    piece = "aé€😀"
    whole = piece * (size // 10)
    return whole + "x" * (size - 10 * (size // 10))


def awaited(story: Story, number: int) -> Any:
    """The data of that message."""
    return story.until("message", number + 1).data


# --- both ways, every size ------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("make", [text, binary])
def test_a_message_of_any_size_comes_back_equal(
    plain: ft.Client, sockets: Any, make: Callable[[int], str | bytes], size: int
) -> None:
    message = make(size)
    task, story = opened(plain, sockets.url + "/echo")
    task.send(data=message)
    (data,) = [awaited(story, 0)]
    assert as_sent(data) == message
    assert type(data) is type(message) or isinstance(data, ft.Chunk)
    assert sockets.peer().next() == message
    assert closed(task).code == 1000


def test_all_sizes_in_a_row_over_tls(secure_sockets: Any, certificates: Any) -> None:
    messages = [make(size) for size in SIZES[:-1] for make in (text, binary)]
    with ft.Client(ca=str(certificates.ca), trust_env=False) as client:
        task, story = echoes(client, secure_sockets.url + "/echo", messages)
        assert task.wait_closed(LIMIT).code == 1000
        story.end()
    assert story.messages == messages


@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_all_sizes_through_nginx(nginx_sockets: Any, certificates: Any, scheme: str) -> None:
    messages = [make(size) for size in SIZES[:-1] for make in (text, binary)]
    with ft.Client(ca=str(certificates.ca), trust_env=False) as client:
        task, story = echoes(client, getattr(nginx_sockets, scheme) + "/echo", messages)
        assert task.wait_closed(LIMIT).code == 1000
        story.end()
    assert story.messages == messages


def test_all_sizes_with_aiohttp(plain: ft.Client, aiohttp_sockets: Any) -> None:
    messages = [make(size) for size in SIZES[:-1] for make in (text, binary)]
    task, story = echoes(plain, aiohttp_sockets.url + "/echo", messages)
    assert task.wait_closed(LIMIT).code == 1000
    story.end()
    assert story.messages == messages


def test_messages_under_way_at_once_keep_their_order(
    plain: ft.Client, sockets: Any, drive_sockets: Any
) -> None:
    stories: list[Story] = []

    def start() -> list[ft.SocketTask]:
        task, story = socket(plain, sockets.url + "/echo")
        stories.append(story)
        task.onOpen(lambda _: [task.send(data=f"{number}") for number in range(1000)])
        task.onMessage(lambda event: event.data == "999" and task.close())
        return [task]

    drive_sockets(start)
    assert stories[0].messages == [str(number) for number in range(1000)]


# --- what data may be -----------------------------------------------------------------------------

ARRAY = array.array("I", range(1000))
KINDS: dict[str, Any] = {
    "bytes": b"abc\0def",
    "bytearray": bytearray(b"abc"),
    "memoryview": memoryview(b"0123456789")[3:7],
    "array": ARRAY,
    "shaped": memoryview(bytes(24)).cast("I", (2, 3)),
    "ctypes": (ctypes.c_uint16 * 5)(1, 2, 3, 4, 5),
    "mmap": mmap.mmap(-1, 4096),
    "empty": memoryview(b""),
}


@pytest.mark.parametrize("kind", KINDS)
def test_anything_bytes_like_goes_as_binary(plain: ft.Client, sockets: Any, kind: str) -> None:
    task, story = opened(plain, sockets.url + "/echo")
    task.send({"data": KINDS[kind]})
    expected = bytes(memoryview(KINDS[kind]).cast("B")) if kind != "empty" else b""
    assert bytes(awaited(story, 0)) == expected
    assert sockets.peer().next() == expected
    closed(task)


def test_what_came_can_be_sent_again(plain: ft.Client, sockets: Any) -> None:
    task, story = opened(plain, sockets.url + "/echo")
    task.send(data=b"round and round")
    task.send(data=awaited(story, 0))
    assert bytes(awaited(story, 1)) == b"round and round"
    closed(task)


def test_data_is_taken_at_the_call(plain: ft.Client, sockets: Any) -> None:
    data = bytearray(b"before" * 1000)
    task, story = opened(plain, sockets.url + "/echo")
    task.send(data=data)
    data[:6] = b"after!"
    data.clear()  # which a buffer that somebody holds would refuse
    assert bytes(awaited(story, 0)) == b"before" * 1000
    closed(task)


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        ({}, TypeError, "data is required: a str or bytes-like"),
        ({"data": None}, TypeError, "data is required: a str or bytes-like"),
        ({"data": 5}, TypeError, "data must be a str or bytes-like, got 5"),
        ({"data": {"a": 1}}, TypeError, "data must be a str or bytes-like"),
        ({"data": ["a"]}, TypeError, "data must be a str or bytes-like"),
        ({"data": "a\ud800b"}, ValueError, "data must be a str or bytes-like.*surrogates"),
        ({"data": memoryview(b"abcdef")[::2]}, ValueError, "the buffer is not contiguous"),
        ({"data": "x", "final": 1}, TypeError, "final must be True or False"),
        ({"data": "x", "success": 1}, TypeError, "success must be callable or None"),
        ({"data": "x", "code": 1}, TypeError, "unknown option 'code'; it takes data, success"),
    ],
)
def test_a_wrong_send_is_refused_at_the_call(
    plain: ft.Client, sockets: Any, options: dict[str, Any], kind: type[Exception], words: str
) -> None:
    task, story = opened(plain, sockets.url + "/echo")
    with pytest.raises(kind, match=words) as caught:
        task.send(options)
    assert str(caught.value).startswith("SocketTask.send: ")
    task.send(data="on we go")
    assert awaited(story, 0) == "on we go"
    closed(task)


def test_a_binary_message_is_a_read_only_buffer_that_lives_on(
    plain: ft.Client, sockets: Any
) -> None:
    task, story = opened(plain, sockets.url + "/echo")
    for number in range(50):
        task.send(data=bytes([number]) * 3000)
    story.until("message", 50)
    closed(task)
    kept = story.of("message")
    del task
    gc.collect()
    for number, event in enumerate(kept):
        view = memoryview(event.data)
        assert view.readonly
        assert len(event.data) == view.nbytes == 3000
        assert view == bytes([number]) * 3000
        assert bytes(event.data[10:20]) == bytes([number]) * 10
        with pytest.raises(TypeError):
            view[0] = 1
        with pytest.raises(TypeError):
            hash(event.data)
    assert ft.to_dict(kept[0]).keys() == {"data"}


# --- callbacks of send ----------------------------------------------------------------------------


def test_success_of_send_comes_when_the_kernel_has_it(
    plain: ft.Client, sockets: Any, drive_sockets: Any
) -> None:
    stories: list[Story] = []

    def start() -> list[ft.SocketTask]:
        task, story = socket(plain, sockets.url + "/echo")
        stories.append(story)

        def send(_: Any) -> None:
            for number in range(3):
                task.send(data="x" * 200, **story.callbacks(f"{number} "))
            assert not story.of("0 success"), "called inside of send"

        task.onOpen(send)
        task.onMessage(lambda _: len(story.messages) == 3 and task.close())
        return [task]

    drive_sockets(start)
    (story,) = stories
    names = [name for name in story.names if "complete" in name or "success" in name]
    assert names == [f"{n} {name}" for n in range(3) for name in ("success", "complete")]
    assert story.of("0 success")[0].errMsg == "SocketTask.send:ok"
    assert story.of("0 success") == story.of("0 complete")
    assert story.names[0] == "open"
    assert story.names.index("0 success") < story.names.index("message")


def test_send_before_open_fails_and_sends_nothing(
    plain: ft.Client, sockets: Any, drive_sockets: Any
) -> None:
    stories: list[Story] = []

    def start() -> list[ft.SocketTask]:
        task, story = socket(plain, sockets.url + "/echo")
        task.send(data="too early", **story.callbacks())
        task.onOpen(lambda _: task.send(data="in time"))
        task.onMessage(lambda _: task.close())
        stories.append(story)
        return [task]

    drive_sockets(start)
    (story,) = stories
    (error,) = story.of("fail")
    assert (error.errMsg, error.errno) == (NOT_OPEN, ft.Errno.INTERRUPTED)
    assert story.of("complete") == [error]
    assert story.messages == ["in time"]


def test_send_after_close_fails(plain: ft.Client, sockets: Any) -> None:
    task, story = opened(plain, sockets.url + "/echo")
    calls = Story()
    task.close()
    task.send(data="x", **calls.callbacks("closing "))
    story.end()
    task.send(data="x", **calls.callbacks("closed "))
    calls.until("closed complete")
    names = [f"{when} {name}" for when in ("closing", "closed") for name in ("fail", "complete")]
    assert calls.names == names
    assert {error.errMsg for _, error in calls.events} == {NOT_OPEN}
    assert story.messages == []


def test_a_failure_that_nobody_listens_to_is_logged(
    plain: ft.Client, sockets: Any, caplog: pytest.LogCaptureFixture
) -> None:
    task, _ = socket(plain, sockets.url + "/late")
    task.send(data="x")
    task.close()
    task.wait_closed(LIMIT)
    assert [record.getMessage() for record in caplog.records if record.name == "ftnet"] == [
        NOT_OPEN
    ]


def test_what_could_not_be_sent_any_more_fails(unbounded: ft.Client, socket_loop: Any) -> None:
    with serving(socket_loop, max_queue=1) as server:
        task, story = opened(unbounded, server.url + "/gate")
        calls = Story()
        for _ in range(6):  # the server and the buffers of both kernels hold no more than half
            task.send(data=bytes(8 * MIB), **calls.callbacks())
        peer = server.peer()
        assert task.bufferedAmount > 0
        peer.drop()
        story.end()
    calls.until("complete", 6)
    assert len(calls.of("success")) + len(calls.of("fail")) == 6
    assert calls.of("fail")[0].errMsg == "SocketTask.send:fail the socket was closed first"


# --- fragments ------------------------------------------------------------------------------------


def test_a_message_can_be_sent_in_parts(plain: ft.Client, sockets: Any, socket_loop: Any) -> None:
    with relaying(socket_loop, sockets.port) as relay:
        task, story = opened(plain, relay.url + "/echo")
        for part in ("a", "", "bé", "c"):
            task.send(data=part, final=False)
        task.send(data="d")
        task.send(data=b"1", final=False)
        task.send(data=b"2")
        task.send(data="", final=False)
        task.send(data="")
        story.until("message", 3)
        closed(task)
        frames = frames_in(bytes(relay.sent))
    assert story.messages == ["abécd", b"12", ""]
    texts = [(TEXT, b"a"), (CONTINUE, b""), (CONTINUE, "bé".encode()), (CONTINUE, b"c")]
    texts.append((CONTINUE | FINAL, b"d"))
    assert frames[:5] == texts
    assert frames[5:7] == [(BINARY, b"1"), (CONTINUE | FINAL, b"2")]
    assert frames[7:9] == [(TEXT, b""), (CONTINUE | FINAL, b"")]


@pytest.mark.parametrize("size", [1, 7, 4096, 40_000])
def test_fragments_of_the_server_come_as_one_message(
    plain: ft.Client, sockets: Any, size: int
) -> None:
    task, story = opened(plain, f"{sockets.url}/pieces?size={size}")
    count = 100_000 if size > 100 else 500
    messages = [text(count), binary(count), "", b"", "x"]
    for message in messages:
        task.send(data=message)
    story.until("message", len(messages))
    assert story.messages == messages
    closed(task)


def test_pings_between_fragments_are_answered(plain: ft.Client, sockets: Any) -> None:
    task, story = opened(plain, sockets.url + "/echo")
    peer = sockets.peer()
    peer.ping()
    peer.send(["a", "b"])
    for _ in range(20):
        peer.ping()
    assert awaited(story, 0) == "ab"
    closed(task)


# --- enableChunked --------------------------------------------------------------------------------


def test_with_enable_chunked_messages_come_in_pieces(plain: ft.Client, sockets: Any) -> None:
    task, story = opened(plain, sockets.url + "/echo", enableChunked=True)
    sent = [text(200_000), binary(MIB), "", b"", "ü"]
    for message in sent:
        task.send(data=message)
    whole: list[tuple[bool, bytes]] = []
    parts: list[bytes] = []
    number = 0
    while len(whole) < len(sent):
        event = story.until("message", number + 1)
        number += 1
        assert isinstance(event.data, ft.Chunk)
        parts.append(bytes(event.data))
        if event.final:
            whole.append((event.text, b"".join(parts)))
            parts = []
    assert number > len(sent), "nothing came in pieces"
    expected = [(type(m) is str, m.encode() if isinstance(m, str) else m) for m in sent]
    assert whole == expected
    closed(task)


def test_a_chunked_message_may_be_larger_than_max_message_bytes(sockets: Any) -> None:
    with ft.Client(max_message_bytes=1000, trust_env=False) as client:
        task, story = opened(client, sockets.url + "/echo", enableChunked=True)
        task.send(data=bytes(100_000))
        got = 0
        while got < 100_000:
            number = len(story.of("message"))
            got = sum(len(event.data) for event in story.of("message"))
            if got < 100_000:
                story.until("message", number + 1)
        assert got == 100_000
        assert closed(task).code == 1000


def test_a_message_larger_than_max_message_bytes_closes_with_1009(sockets: Any) -> None:
    with ft.Client(max_message_bytes=1000, trust_env=False) as client:
        task, story = opened(client, sockets.url + "/echo")
        task.send(data=bytes(1000))
        assert len(awaited(story, 0)) == 1000
        task.send(data=bytes(1001))
        assert story.end().code == 1006
        (error,) = story.of("error")
        assert error.errno == ft.Errno.INVALID_DATA
        assert "larger than" in error.errMsg
        assert sockets.peer().wait_over()[0] == 1009


# --- flow -----------------------------------------------------------------------------------------


def test_a_paused_socket_reads_no_more_until_it_is_resumed(plain: ft.Client, sockets: Any) -> None:
    task, story = opened(plain, sockets.url + "/echo")
    peer = sockets.peer()
    task.pause()
    barrier = Story()
    task.send(data="x", success=barrier.note("sent"))  # the engine has seen the pause by then
    barrier.until("sent")
    peer.next()
    for number in range(10):
        peer.send(str(number))
    with pytest.raises(TimeoutError):
        task.wait_closed(0.05)
    assert len(story.messages) <= 1
    task.resume()
    story.until("message", 11)
    assert story.messages == ["x", *[str(number) for number in range(10)]]
    assert closed(task).code == 1000


# --- bufferedAmount and the bounded queue ---------------------------------------------------------


def test_buffered_amount_grows_and_drains(unbounded: ft.Client, socket_loop: Any) -> None:
    with serving(socket_loop, max_queue=1) as server:
        task, story = opened(unbounded, server.url + "/gate")
        assert task.bufferedAmount == 0
        calls = Story()
        for _ in range(8):  # more than kernels and the server take
            task.send(data=bytes(4 * MIB), **calls.callbacks())
        assert 0 < task.bufferedAmount <= 32 * MIB
        assert len(calls.of("success")) < 8
        server.open_gate()
        calls.until("success", 8)
        assert task.bufferedAmount == 0
        story.until("message", 8)
        closed(task)


def test_a_full_queue_refuses_more(socket_loop: Any) -> None:
    with (
        serving(socket_loop, max_queue=1) as server,
        ft.Client(max_buffered_bytes=MIB, trust_env=False) as client,
    ):
        task, story = opened(client, server.url + "/gate")
        calls = Story()
        while not calls.of("fail"):  # the kernel takes some megabytes
            task.send(data=bytes(MIB // 2), **calls.callbacks())
        error = calls.of("fail")[0]
        assert error.errno == ft.Errno.TOO_MANY_TASKS
        assert error.errMsg.startswith("SocketTask.send:fail ")
        assert error.errMsg.endswith(" bytes wait to be sent already")
        assert task.readyState == OPEN
        server.open_gate()
        sent = 0
        while "again" not in story.messages:
            task.send(data="again" if task.bufferedAmount < MIB else b"")
            sent += 1
            story.until("message", sent)
        closed(task)
