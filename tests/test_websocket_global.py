"""The global socket functions: bound to the earliest socket that is not closed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import ftnet as ft
from ftnet import websocket_global as module_of_sockets
from ftnet.client import default_client
from tests.servers.websocket import serving
from tests.sockets import LIMIT, OPEN, Story, opened, socket

NOT_CONNECTED = "fail WebSocket is not connected"


@pytest.fixture
def story(plain: ft.Client) -> Story:
    """What the four slots of the client are told."""
    heard = Story()
    plain.onSocketOpen(heard.note("open"))
    plain.onSocketMessage(heard.note("message"))
    plain.onSocketError(heard.note("error"))
    plain.onSocketClose(heard.note("close"))
    return heard


@pytest.fixture
def module() -> Iterator[Any]:
    """The module's own functions, their slots empty afterwards."""
    yield ft
    for kind in ("open", "message", "error", "close"):
        setattr(default_client().sockets, kind, None)


# --- the reference's examples ---------------------------------------------------------------------


def test_the_example_of_send_socket_message(module: Any, sockets: Any) -> None:
    state = {"open": False}
    waiting: list[str] = []
    told = Story()

    def send(message: str) -> None:
        if state["open"]:
            module.sendSocketMessage({"data": message, "success": told.note("sent")})
        else:
            waiting.append(message)

    def on_open(event: Any) -> None:
        state["open"] = True
        told.note("open")(event)
        for message in waiting:
            send(message)

    def on_message(event: Any) -> None:
        told.note("message")(event)
        if len(told.of("message")) == 2:
            module.closeSocket()

    def start() -> None:
        module.onSocketOpen(on_open)
        module.onSocketMessage(on_message)
        module.onSocketClose(told.note("close"))
        module.connectSocket({"url": sockets.url + "/echo"})
        send("first")
        send("second")

    ft.run(start)
    told.check()
    assert told.messages == ["first", "second"]
    assert told.of("sent")[0].errMsg == "sendSocketMessage:ok"
    assert told.of("open")[0].header["upgrade"] == "websocket"
    assert told.of("close")[0].code == 1000


def test_close_socket_before_open_fails_and_does_not_close(
    plain: ft.Client, sockets: Any, story: Story
) -> None:
    task = plain.connectSocket(url=sockets.url + "/late")
    plain.closeSocket(code=4000, **story.callbacks())
    story.until("complete")
    (error,) = story.of("fail")
    assert (error.errMsg, error.errno) == (f"closeSocket:{NOT_CONNECTED}", ft.Errno.INTERRUPTED)
    sockets.open_gate()
    task.wait_opened(LIMIT)
    story.until("open")
    plain.closeSocket(code=4001, reason="now", **story.callbacks("late "))
    end = story.until("close")
    assert (end.code, end.reason) == (4001, "now")
    assert story.until("late success").errMsg == "closeSocket:ok"
    assert story.of("success") == []


def test_success_comes_before_open_however_slow_the_caller_is(
    plain: ft.Client, sockets: Any, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    def call(*arguments: Any) -> Any:
        story.ended.wait(0.2)  # the caller's thread was stopped here: the socket opens meanwhile
        return original(*arguments)

    original = module_of_sockets.Call
    monkeypatch.setattr(module_of_sockets, "Call", call)
    plain.connectSocket(url=sockets.url + "/echo", success=story.note("success"))
    story.until("success")
    story.until("open")
    assert story.names == ["success", "open"]
    plain.closeSocket()
    story.until("close")


def test_send_socket_message_before_open_fails(
    plain: ft.Client, sockets: Any, story: Story
) -> None:
    task = plain.connectSocket(url=sockets.url + "/late")
    plain.sendSocketMessage(data="x", **story.callbacks())
    assert story.until("fail").errMsg == f"sendSocketMessage:{NOT_CONNECTED}"
    task.close()
    assert task.wait_closed(LIMIT).code == 1000


# --- with no socket, or a wrong one ---------------------------------------------------------------


@pytest.mark.parametrize("api", ["sendSocketMessage", "closeSocket"])
def test_without_a_socket_they_fail(
    plain: ft.Client, sockets: Any, api: str, caplog: pytest.LogCaptureFixture
) -> None:
    options = {"data": "x"} if api == "sendSocketMessage" else {}
    calls = Story()
    getattr(plain, api)(**options, **calls.callbacks())
    error = calls.until("complete")
    assert calls.names == ["fail", "complete"]
    assert error.errMsg == f"{api}:{NOT_CONNECTED}"
    task, _ = opened(plain, sockets.url)
    task.close()
    task.wait_closed(LIMIT)
    getattr(plain, api)(**options, **calls.callbacks("closed "))
    assert calls.until("closed fail").errMsg == f"{api}:{NOT_CONNECTED}"
    getattr(plain, api)(**options)
    records = [record.getMessage() for record in caplog.records if record.name == "ftnet"]
    assert records == [f"{api}:{NOT_CONNECTED}"]


def test_wrong_options_are_refused_at_the_call_whether_there_is_a_socket_or_not(
    plain: ft.Client, sockets: Any
) -> None:
    for _ in range(2):
        with pytest.raises(TypeError, match="sendSocketMessage: data is required"):
            plain.sendSocketMessage()
        with pytest.raises(ValueError, match="sendSocketMessage: data must be"):
            plain.sendSocketMessage(data="\ud800")
        with pytest.raises(ValueError, match="closeSocket: code must be 1000 or 3000 to 4999"):
            plain.closeSocket(code=1001)
        with pytest.raises(ValueError, match="closeSocket: reason must be"):
            plain.closeSocket(reason="r" * 124)
        for name in ("Open", "Message", "Error", "Close"):
            with pytest.raises(TypeError, match=f"onSocket{name} takes a callable"):
                getattr(plain, f"onSocket{name}")(None)
        task, _ = opened(plain, sockets.url)
    assert task.readyState == OPEN


# --- which socket they are about ------------------------------------------------------------------


def test_they_are_about_the_earliest_socket_and_move_on(
    plain: ft.Client, sockets: Any, story: Story
) -> None:
    tasks = [opened(plain, sockets.url + "/echo")[0] for _ in range(3)]
    assert len(story.of("open")) == 1  # of the first: the others were not the earliest
    for number, task in enumerate(tasks):
        plain.sendSocketMessage(data=f"to {number}")
        assert sockets.peer(number).next() == f"to {number}"
        assert story.until("message", number + 1).data == f"to {number}"
        plain.closeSocket(code=3000 + number)
        assert story.until("close", number + 1).code == 3000 + number
        assert task.wait_closed(LIMIT).code == 3000 + number
    assert story.messages == ["to 0", "to 1", "to 2"]


def test_events_of_other_sockets_are_not_heard(
    plain: ft.Client, sockets: Any, story: Story
) -> None:
    first, _ = opened(plain, sockets.url + "/echo")
    other, others = opened(plain, sockets.url + "/say?text=a&code=1000")
    other.wait_closed(LIMIT)
    _, failed = socket(plain, sockets.url + "/status/404")
    failed.end()
    others.end()
    first.send(data="mine")
    assert story.until("message").data == "mine"
    assert story.names == ["open", "message"]
    first.close()
    assert story.until("close").code == 1000


def test_closing_another_socket_does_not_move_them(
    plain: ft.Client, sockets: Any, story: Story
) -> None:
    tasks = [opened(plain, sockets.url + "/echo")[0] for _ in range(3)]
    tasks[1].close()
    tasks[1].wait_closed(LIMIT)
    plain.closeSocket()
    story.until("close")
    plain.sendSocketMessage(data="to the third")
    assert sockets.peer(2).next() == "to the third"
    tasks[2].close()
    tasks[2].wait_closed(LIMIT)


def test_a_socket_that_cannot_be_opened_is_heard_of_and_left(
    plain: ft.Client, sockets: Any, story: Story
) -> None:
    plain.connectSocket(url=sockets.url + "/status/403")
    end = story.until("close")
    assert story.names == ["error", "close"]
    assert "403" in story.of("error")[0].errMsg
    assert (end.code, end.reason) == (1006, "")
    opened(plain, sockets.url + "/echo")
    story.until("open")
    plain.closeSocket()
    story.until("close", 2)


def test_a_socket_that_is_closing_is_still_the_one(unbounded: ft.Client, socket_loop: Any) -> None:
    with serving(socket_loop, max_queue=1) as server:
        first, _ = opened(unbounded, server.url + "/gate")
        second, _ = opened(unbounded, server.url + "/echo")
        for _ in range(4):
            first.send(data=bytes(4 << 20))  # the server does not read as far as the close frame
        first.close()
        calls = Story()
        unbounded.sendSocketMessage(data="x", **calls.callbacks())
        assert calls.until("fail").errMsg == f"sendSocketMessage:{NOT_CONNECTED}"
        unbounded.closeSocket(**calls.callbacks("close "))
        assert calls.until("close fail").errMsg == f"closeSocket:{NOT_CONNECTED}"
        assert second.readyState == OPEN


def test_messages_of_other_sockets_are_kept_for_their_own_listeners(
    plain: ft.Client, sockets: Any, story: Story
) -> None:
    opened(plain, sockets.url + "/echo")
    other = plain.connectSocket(url=sockets.url + "/say?text=a&code=1000")
    other.wait_closed(LIMIT)
    own = Story().listen(other)
    own.end()
    assert own.messages == ["a"]
    plain.closeSocket()
    story.until("close")


# --- slots ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["Open", "Message", "Error", "Close"])
def test_a_slot_holds_one_listener_the_last(plain: ft.Client, sockets: Any, kind: str) -> None:
    heard: list[str] = []
    for name in "abc":
        getattr(plain, f"onSocket{kind}")(lambda _, name=name: heard.append(name))
    path = "/status/500" if kind == "Error" else "/say?text=a&code=1000"
    task = plain.connectSocket(url=sockets.url + path)
    calls = Story().listen(task)
    calls.end()
    barrier = Story()
    task.close(success=barrier.note("told"))
    barrier.until("told")
    assert heard == ["c"]


def test_the_sockets_own_listeners_are_told_too(
    plain: ft.Client, sockets: Any, story: Story
) -> None:
    _, own = socket(plain, sockets.url + "/say?text=a&text=b&code=3000&reason=r")
    own.end()
    story.until("close")
    assert own.names == story.names == ["open", "message", "message", "close"]
    assert story.messages == ["a", "b"]
    assert ft.to_dict(story.of("close")[0]) == {"code": 3000, "reason": "r"}


def test_listeners_may_be_there_before_any_socket_and_stay(
    plain: ft.Client, sockets: Any, story: Story
) -> None:
    for round_number in range(1, 4):
        plain.connectSocket(url=sockets.url + "/say?text=a&code=1000")
        story.until("close", round_number)
    assert story.names == ["open", "message", "close"] * 3


def test_a_listener_that_raises_stops_nothing(
    plain: ft.Client, sockets: Any, caplog: pytest.LogCaptureFixture
) -> None:
    heard = Story()
    plain.onSocketOpen(lambda _: 1 / 0)
    plain.onSocketMessage(lambda _: 1 / 0)
    plain.onSocketClose(lambda _: 1 / 0)
    _, own = socket(plain, sockets.url + "/say?text=a&code=1000")
    own.end()
    plain.onSocketClose(heard.note("close"))
    plain.connectSocket(url=sockets.url + "/say?code=1000")
    heard.until("close")
    assert sum(record.name == "ftnet" for record in caplog.records) >= 3
    caplog.clear()


def test_the_close_listener_may_connect_again(plain: ft.Client, sockets: Any, story: Story) -> None:
    ends: list[int] = []

    def again(event: Any) -> None:
        ends.append(event.code)
        if len(ends) < 10:
            plain.connectSocket(url=sockets.url + f"/say?code={3000 + len(ends)}")
        else:
            story.note("close")(event)

    plain.onSocketClose(again)
    plain.connectSocket(url=sockets.url + "/say?code=3000")
    story.until("close")
    assert ends == list(range(3000, 3010))


def test_clients_do_not_hear_of_each_others_sockets(sockets: Any) -> None:
    with ft.Client(trust_env=False) as one, ft.Client(trust_env=False) as two:
        heard = {client: Story() for client in (one, two)}
        for client, story in heard.items():
            client.onSocketMessage(story.note("message"))
            client.onSocketClose(story.note("close"))
        opened(one, sockets.url + "/echo")
        calls = Story()
        two.sendSocketMessage(data="x", **calls.callbacks())
        assert calls.until("fail").errMsg == f"sendSocketMessage:{NOT_CONNECTED}"
        opened(two, sockets.url + "/echo")
        two.sendSocketMessage(data="two")
        one.sendSocketMessage(data="one")
        assert heard[two].until("message").data == "two"
        assert heard[one].until("message").data == "one"
        two.closeSocket()
        heard[two].until("close")
        one.sendSocketMessage(data="still")
        assert heard[one].until("message", 2).data == "still"
        assert heard[one].of("close") == []
        one.closeSocket()
        heard[one].until("close")
