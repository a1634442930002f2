"""WebSocket: how a socket is opened, what it tells of that, and how it is closed."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

import ftnet as ft
from tests.drivers import in_callback
from tests.servers.websocket import serving
from tests.sockets import (
    CLOSED,
    CLOSING,
    LIMIT,
    OPEN,
    START,
    Story,
    closed,
    echoes,
    failure,
    opened,
    socket,
)

TIMES = ("fetchStart", "domainLookUpStart", "domainLookUpEnd", "connectStart", "connectEnd")


def seen(client: ft.Client, url: str, **options: Any) -> dict[str, Any]:
    """What the server saw of a client; `header` as a mapping to lists."""
    task, story = opened(client, url, **options)
    told: dict[str, Any] = json.loads(story.until("message").data)
    closed(task)
    header: dict[str, list[str]] = {}
    for name, value in told["header"]:
        header.setdefault(name, []).append(value)
    return {**told, "header": header}


# --- options --------------------------------------------------------------------------------------

WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({}, TypeError, "url is required: a str, an absolute ws:// or wss:// URL"),
    ({"url": 5}, TypeError, "url must be a str, an absolute ws:// or wss:// URL, got 5"),
    ({"url": "http://localhost/"}, ValueError, "takes ws or wss"),
    ({"url": "localhost"}, ValueError, "url must be an absolute ws or wss URL"),
    ({"url": "ws://"}, ValueError, "url"),
    ({"url": "ws://local host/"}, ValueError, "url must not hold a space"),
    ({"url": "ws://localhost:99999/"}, ValueError, "the port is not a number from 0 to 65535"),
    ({"header": "x: y"}, TypeError, "header must be a mapping of names to values"),
    ({"header": {"x\n": "y"}}, ValueError, "is not a token"),
    ({"header": {"x": "a\r\nb: c"}}, ValueError, "holds the control character U\\+000D"),
    ({"header": {"x": None}}, TypeError, "header x must be a str, a number"),
    ({"header": {"Upgrade": "h2c"}}, ValueError, "header Upgrade cannot be given"),
    ({"header": {"Connection": "close"}}, ValueError, "header Connection cannot be given"),
    ({"header": {"Sec-WebSocket-Key": "x"}}, ValueError, "header Sec-WebSocket-Key cannot be"),
    ({"header": {"Sec-WebSocket-Protocol": "x"}}, ValueError, "Sec-WebSocket-Protocol cannot be"),
    ({"header": {"Content-Length": "5"}}, ValueError, "header Content-Length cannot be given"),
    ({"protocols": "chat"}, TypeError, "protocols must be a sequence of tokens, each once"),
    ({"protocols": [5]}, TypeError, "protocols must be a sequence of tokens, each once"),
    ({"protocols": ["a b"]}, ValueError, "'a b' is no token"),
    ({"protocols": [""]}, ValueError, "'' is no token"),
    ({"protocols": ["a", "b", "a"]}, ValueError, "one of them comes twice"),
    ({"tcpNoDelay": 1}, TypeError, "tcpNoDelay must be True or False, got 1"),
    ({"perMessageDeflate": "yes"}, TypeError, "perMessageDeflate must be True, False or a mapping"),
    ({"perMessageDeflate": {"window": 9}}, TypeError, "'window' is none of serverNoContext"),
    ({"perMessageDeflate": {"serverMaxWindowBits": 8}}, ValueError, "must be from 9 to 15"),
    ({"perMessageDeflate": {"clientMaxWindowBits": 16}}, ValueError, "must be from 9 to 15"),
    ({"perMessageDeflate": {"clientMaxWindowBits": "9"}}, TypeError, "must be of type int"),
    ({"perMessageDeflate": {"serverNoContextTakeover": 1}}, TypeError, "must be of type bool"),
    ({"timeout": 0}, ValueError, "timeout must be a number of milliseconds > 0, got 0"),
    ({"timeout": -5}, ValueError, "timeout must be a number of milliseconds > 0, got -5"),
    ({"timeout": "5"}, TypeError, "timeout must be a number of milliseconds > 0, got '5'"),
    ({"timeout": True}, TypeError, "timeout must be a number of milliseconds > 0, got True"),
    ({"pingInterval": 0}, ValueError, "pingInterval must be a number of milliseconds > 0"),
    ({"closeTimeout": float("nan")}, ValueError, "closeTimeout must be a number of milliseconds"),
    ({"enableChunked": "no"}, TypeError, "enableChunked must be True or False"),
    ({"success": 5}, TypeError, "success must be callable or None, got 5"),
    ({"fail": "f"}, TypeError, "fail must be callable or None, got 'f'"),
    ({"complete": ()}, TypeError, "complete must be callable or None"),
    ({"method": "GET"}, TypeError, "unknown option 'method'; it takes url, header, protocols"),
]


@pytest.mark.parametrize(("options", "kind", "words"), WRONG)
def test_a_wrong_option_is_refused_at_the_call(
    plain: ft.Client, options: dict[str, Any], kind: type[Exception], words: str
) -> None:
    given = {"url": "ws://127.0.0.1:1/", **options} if options else {}
    with pytest.raises(kind, match=words) as caught:
        plain.connectSocket(given)
    assert str(caught.value).startswith("connectSocket: ")
    with pytest.raises(kind, match=words):
        plain.connectSocket(**given)
    assert plain.sockets.bound() is None


def test_options_come_as_one_mapping_or_as_keywords(plain: ft.Client, sockets: Any) -> None:
    url = sockets.url + "/echo"
    for task in (plain.connectSocket({"url": url}), plain.connectSocket(url=url)):
        task.wait_opened(LIMIT)
        assert closed(task).code == 1000
    with pytest.raises(TypeError, match="as one mapping or as keywords, not as both"):
        plain.connectSocket({"url": url}, timeout=5)
    with pytest.raises(TypeError, match="must be a mapping"):
        plain.connectSocket(url)


def test_the_scheme_may_be_in_upper_case(plain: ft.Client, sockets: Any) -> None:
    task, _ = opened(plain, sockets.url.replace("ws:", "WS:"))
    assert closed(task).code == 1000


def test_none_stands_for_an_option_that_is_not_given(plain: ft.Client, sockets: Any) -> None:
    names = ("header", "protocols", "tcpNoDelay", "perMessageDeflate", "timeout", "success")
    names += ("fail", "complete", "enableChunked", "pingInterval", "closeTimeout")
    task, _ = opened(plain, sockets.url, **dict.fromkeys(names))
    assert closed(task).code == 1000


def test_a_referer_is_dropped_with_a_warning(plain: ft.Client, sockets: Any) -> None:
    with pytest.warns(UserWarning, match="connectSocket: the Referer header cannot be set"):
        told = seen(plain, sockets.url + "/told", header={"Referer": "x", "X-Other": "y"})
    assert "referer" not in told["header"]
    assert told["header"]["x-other"] == ["y"]


def test_a_name_that_only_begins_like_connection_may_be_given(
    plain: ft.Client, sockets: Any
) -> None:
    told = seen(plain, sockets.url + "/told", header={"Connection-Id": "7"})
    assert told["header"]["connection-id"] == ["7"]


# --- success and complete -------------------------------------------------------------------------


def test_success_and_complete_say_that_the_call_was_accepted(
    plain: ft.Client, sockets: Any, drive_sockets: Any
) -> None:
    stories: list[Story] = []

    def start() -> list[ft.SocketTask]:
        story = Story()
        task = plain.connectSocket(url=sockets.url + "/say?code=1000", **story.callbacks())
        stories.append(story.listen(task))
        assert story.names == []
        return [task]

    drive_sockets(start)
    (story,) = stories
    assert story.names == ["success", "complete", "open", "close"]
    result = story.of("success")[0]
    assert ft.to_dict(result) == {"errMsg": "connectSocket:ok"}
    assert story.of("complete") == [result]


def test_they_are_called_for_a_socket_that_cannot_be_opened_too(
    plain: ft.Client, sockets: Any
) -> None:
    story = Story()
    task = plain.connectSocket(url=sockets.url + "/status/403", **story.callbacks())
    story.listen(task).end()
    assert story.names == ["success", "complete", "error", "close"]


def test_fail_is_never_called_for_an_accepted_call(plain: ft.Client) -> None:
    story = Story()
    task = plain.connectSocket(url="ws://127.0.0.1:1/", fail=story.note("fail"))
    story.listen(task).end()
    assert story.names == ["error", "close"]
    assert story.of("error")[0].errno == ft.Errno.CONNECT


# --- what the server sees -------------------------------------------------------------------------


def test_the_opening_request_is_what_rfc_6455_asks_for(plain: ft.Client, sockets: Any) -> None:
    told = seen(plain, sockets.url + "/told")
    header = told["header"]
    assert header["host"] == [sockets.netloc]
    assert header["upgrade"] == ["websocket"]
    assert header["connection"] == ["Upgrade"]
    assert header["sec-websocket-version"] == ["13"]
    assert len(base64.b64decode(header["sec-websocket-key"][0])) == 16
    assert header["user-agent"] == ["ftnet/" + ft.__version__]
    never = {"sec-websocket-extensions", "sec-websocket-protocol", "authorization", "origin"}
    assert not never & header.keys()
    assert "content-type" not in header
    again = seen(plain, sockets.url + "/told")["header"]
    assert again["sec-websocket-key"] != header["sec-websocket-key"]


def test_the_header_of_the_caller_is_sent(plain: ft.Client, sockets: Any) -> None:
    given = {
        "Content-Type": "application/json",
        "Origin": "https://example.com",
        "Cookie": "a=1; b=2",
        "Authorization": "Bearer t",
        "User-Agent": "me/1",
        "X-List": ["1", "2"],
        "X-Empty": "",
        "X-Number": 5,
        "X-Word": "ü",
    }
    header = seen(plain, sockets.url + "/told", header=given)["header"]
    assert header["content-type"] == ["application/json"]
    assert header["origin"] == ["https://example.com"]
    assert header["cookie"] == ["a=1; b=2"]
    assert header["authorization"] == ["Bearer t"]
    assert header["user-agent"] == ["me/1"]
    assert header["x-list"] == ["1", "2"]
    assert header["x-empty"] == [""]
    assert header["x-number"] == ["5"]
    assert "x-word" in header


def test_a_host_of_the_callers_own_replaces_ours(plain: ft.Client, sockets: Any) -> None:
    header = seen(plain, sockets.url + "/told", header={"Host": "example.test"})["header"]
    assert header["host"] == ["example.test"]


@pytest.mark.parametrize(
    ("rest", "target"),
    [
        ("", "/"),
        ("/", "/"),
        ("/told", "/told"),
        ("/told?a=b&c", "/told?a=b&c"),
        ("?a=/b", "/?a=/b"),
        ("/a%20b/ü?ä#fragment", "/a%20b/%C3%BC?%C3%A4"),
    ],
)
def test_path_and_query_go_as_they_are(
    plain: ft.Client, sockets: Any, rest: str, target: str
) -> None:
    task, _ = opened(plain, sockets.url + rest)
    assert sockets.peer().target == target
    closed(task)


def test_user_and_password_of_the_url_are_sent_as_basic(plain: ft.Client, sockets: Any) -> None:
    url = sockets.url.replace("//", "//m%40x:p%3Aw@") + "/told"
    header = seen(plain, url)["header"]
    assert base64.b64decode(header["authorization"][0].removeprefix("Basic ")) == b"m@x:p:w"
    assert header["host"] == [sockets.netloc]
    alone = seen(plain, sockets.url.replace("//", "//mercury@") + "/told")["header"]
    assert base64.b64decode(alone["authorization"][0].removeprefix("Basic ")) == b"mercury:"
    given = seen(plain, url, header={"Authorization": "Bearer t"})["header"]
    assert given["authorization"] == ["Bearer t"]


def test_the_user_agent_of_the_client_is_sent(sockets: Any) -> None:
    with ft.Client(user_agent="mine/1", trust_env=False) as client:
        assert seen(client, sockets.url + "/told")["header"]["user-agent"] == ["mine/1"]


# --- sub-protocols --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [(["chat", "superchat"], "chat"), (("superchat", "x"), "superchat"), (["x"], None), ([], None)],
)
def test_a_sub_protocol_is_agreed_on(
    plain: ft.Client, aiohttp_sockets: Any, offered: list[str], chosen: str | None
) -> None:
    task, story = opened(plain, aiohttp_sockets.url + "/echo", protocols=offered)
    assert story.of("open")[0].header.get("Sec-WebSocket-Protocol") == chosen
    closed(task)


def test_the_server_chooses_among_those_offered(plain: ft.Client, socket_loop: Any) -> None:
    with serving(socket_loop, subprotocols=["b", "a"]) as server:
        told = seen(plain, server.url + "/told", protocols=["a", "b", "c"])
    assert told["header"]["sec-websocket-protocol"] == ["a, b, c"]
    assert told["subprotocol"] == "b"


def test_a_sub_protocol_that_was_not_offered_is_no_good_answer(
    plain: ft.Client, socket_loop: Any
) -> None:
    options = {"subprotocols": ["x"], "select_subprotocol": lambda *_: "x"}
    with serving(socket_loop, **options) as server:
        for offered in (["y"], []):
            error = failure(plain, server.url, protocols=offered)
            assert error.errno == ft.Errno.PROTOCOL
            assert "sub-protocol that was not offered: 'x'" in error.errMsg


# --- onOpen ---------------------------------------------------------------------------------------


def check_times(profile: ft.SocketProfile, tls: bool) -> None:
    times = [getattr(profile, name) for name in TIMES]
    if tls:
        times += [profile.SSLconnectionStart, profile.SSLconnectionEnd]
        assert profile.SSLconnectionStart == profile.connectEnd
    else:
        assert profile.SSLconnectionStart == profile.SSLconnectionEnd == 0
    assert all(times), times
    assert times == sorted(times), times
    assert 0 < profile.rtt < profile.cost
    assert 0 < profile.handshakeCost < profile.cost
    assert profile.peerIP == "127.0.0.1"


def gap(profile: ft.SocketProfile) -> float:
    """What `cost` has beyond its parts."""
    dns = profile.domainLookUpEnd - profile.domainLookUpStart
    tcp = profile.connectEnd - profile.connectStart
    return profile.cost - (dns + tcp + profile.handshakeCost)


@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_on_open_tells_header_and_profile(request: Any, scheme: str) -> None:
    server = request.getfixturevalue("sockets" if scheme == "ws" else "secure_sockets")
    certificates = request.getfixturevalue("certificates")
    with ft.Client(ca=str(certificates.ca), trust_env=False) as client:
        for _ in range(3):
            task, story = opened(client, server.url + "/echo")
            (event,) = story.of("open")
            assert event.header["upgrade"] == "websocket"
            assert event.header.get("Sec-WebSocket-Accept")
            assert event.profile.port == server.port
            check_times(event.profile, tls=scheme == "wss")
            assert ft.to_dict(event)["profile"]["cost"] == event.profile.cost
            closed(task)


def test_no_connection_takes_no_time(plain: ft.Client, sockets: Any) -> None:
    for _ in range(60):
        task, story = opened(plain, sockets.url + "/echo")
        profile = story.of("open")[0].profile
        assert profile.connectEnd > profile.connectStart
        assert profile.rtt > 0
        closed(task)


def test_cost_is_the_sum_of_its_parts(plain: ft.Client, sockets: Any) -> None:
    gaps = []
    for _ in range(15):
        task, story = opened(plain, sockets.url + "/echo")
        gaps.append(gap(story.of("open")[0].profile))
        closed(task)
    assert min(gaps) > -0.002, gaps  # the fields are floats of microseconds
    assert min(gaps) < 1.0, gaps  # between the parts: threads that wake each other


def test_cost_counts_from_fetch_start(plain: ft.Client, sockets: Any) -> None:
    task, story = opened(plain, sockets.url + "/echo")
    profile = story.of("open")[0].profile
    opened_at = profile.connectEnd + profile.handshakeCost
    assert profile.fetchStart + profile.cost == pytest.approx(opened_at, abs=0.002)
    closed(task)


# --- readyState -----------------------------------------------------------------------------------


def test_the_ready_state_goes_from_0_to_3(
    plain: ft.Client, sockets: Any, drive_sockets: Any
) -> None:
    states: list[tuple[str, int]] = []

    def start() -> list[ft.SocketTask]:
        task, _ = echoes(plain, sockets.url + "/echo", ["x"])
        states.append(("start", task.readyState))
        task.onOpen(lambda _: states.append(("open", task.readyState)))
        task.onMessage(lambda _: states.append(("message", task.readyState)))
        task.onClose(lambda _: states.append(("close", task.readyState)))
        return [task]

    drive_sockets(start)
    expected = [("start", START), ("open", OPEN), ("message", CLOSING), ("close", CLOSED)]
    assert states == expected
    names = ("CONNECTING", "OPEN", "CLOSING", "CLOSED")
    assert [getattr(ft.SocketTask, name) for name in names] == [START, OPEN, CLOSING, CLOSED]


def test_the_ready_state_of_a_socket_that_cannot_be_opened(plain: ft.Client, sockets: Any) -> None:
    states: list[int] = []

    def start() -> tuple[ft.SocketTask, Story]:
        task = plain.connectSocket(url=sockets.url + "/status/500")
        task.onError(lambda _: states.append(task.readyState))
        task.onClose(lambda _: states.append(task.readyState))
        return task, Story().listen(task)

    task, story = in_callback(start)
    story.end()
    assert task.wait_closed(LIMIT).code == 1006
    assert states[0] != OPEN
    assert states[1] == CLOSED == task.readyState


# --- how it is closed -----------------------------------------------------------------------------


@pytest.mark.parametrize("code", [1000, 3000, 4000, 4999])
def test_a_socket_is_closed_with_code_and_reason(plain: ft.Client, sockets: Any, code: int) -> None:
    task, story = opened(plain, sockets.url + "/echo")
    calls = Story()
    task.close(code=code, reason="gründe", **calls.callbacks())
    assert task.readyState in (CLOSING, CLOSED)
    end = story.end()
    assert (end.code, end.reason) == (code, "gründe")
    assert ft.to_dict(end) == {"code": code, "reason": "gründe"}
    assert sockets.peer().wait_over() == (code, "gründe")
    assert calls.names == ["success", "complete"]
    assert calls.of("success")[0].errMsg == "SocketTask.close:ok"
    assert story.names == ["open", "close"]


def test_without_options_the_code_is_1000(plain: ft.Client, sockets: Any) -> None:
    task, story = opened(plain, sockets.url)
    task.close()
    assert story.end().code == 1000
    assert sockets.peer().wait_over() == (1000, "")


@pytest.mark.parametrize("reason", ["r" * 123, "é" * 61 + "x", "", "€" * 41])
def test_a_reason_may_have_123_bytes(plain: ft.Client, sockets: Any, reason: str) -> None:
    task, story = opened(plain, sockets.url)
    task.close({"code": 3001, "reason": reason})
    assert story.end().reason == reason
    assert sockets.peer().wait_over() == (3001, reason)


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        *[
            ({"code": code}, ValueError, "code must be 1000 or 3000 to 4999")
            for code in (0, -1, 999, 1001, 1004, 1005, 1006, 1011, 1015, 2999, 5000, 66536)
        ],
        ({"code": "1000"}, TypeError, "code must be 1000 or 3000 to 4999, got '1000'"),
        ({"code": True}, TypeError, "code must be 1000 or 3000 to 4999, got True"),
        ({"code": 3000.0}, TypeError, "code must be 1000 or 3000 to 4999"),
        ({"reason": "r" * 124}, ValueError, "at most 123 bytes of UTF-8.*it has 124 bytes"),
        ({"reason": "é" * 62}, ValueError, "it has 124 bytes"),
        ({"reason": b"bye"}, TypeError, "reason must be a str of at most 123 bytes"),
        ({"reason": "\ud800"}, ValueError, "reason must be a str of at most 123 bytes"),
        ({"success": 1}, TypeError, "success must be callable or None"),
        ({"why": 1}, TypeError, "unknown option 'why'; it takes code, reason"),
    ],
)
def test_a_wrong_close_is_refused_and_leaves_the_socket_open(
    plain: ft.Client, sockets: Any, options: dict[str, Any], kind: type[Exception], words: str
) -> None:
    task, story = opened(plain, sockets.url + "/echo")
    with pytest.raises(kind, match=words) as caught:
        task.close(**options)
    assert str(caught.value).startswith("SocketTask.close: ")
    assert task.readyState == OPEN
    task.send(data="still here")
    assert story.until("message").data == "still here"
    assert closed(task).code == 1000


@pytest.mark.parametrize(
    ("query", "code", "reason"),
    [
        ("code=1000&reason=bye", 1000, "bye"),
        ("code=1001", 1001, ""),
        ("code=1011&reason=broken", 1011, "broken"),
        ("code=3000", 3000, ""),
        ("code=4999&reason=" + "r" * 123, 4999, "r" * 123),
        ("code=1005", 1005, ""),
    ],
)
def test_on_close_tells_what_the_server_said(
    plain: ft.Client, sockets: Any, query: str, code: int, reason: str
) -> None:
    _, story = socket(plain, f"{sockets.url}/say?{query}")
    end = story.end()
    assert (end.code, end.reason) == (code, reason)
    assert story.names == ["open", "close"]
    assert sockets.peer().wait_over()[0] == code  # which is sent back


def test_a_connection_that_breaks_is_an_error_and_1006(plain: ft.Client, sockets: Any) -> None:
    _, story = socket(plain, sockets.url + "/say?text=a&drop=1")
    end = story.end()
    assert (end.code, end.reason) == (1006, "")
    assert story.names in (["open", "message", "error", "close"], ["open", "error", "close"])
    error = story.of("error")[0]
    assert error.errno == ft.Errno.INTERRUPTED
    assert error.errMsg.startswith("connectSocket:fail ")
    assert error.profile.cost > 0


def test_a_close_behind_messages_waits_until_they_are_sent(plain: ft.Client, sockets: Any) -> None:
    task, story = opened(plain, sockets.url + "/quiet")
    for number in range(100):
        task.send(data=f"{number}")
    task.close(code=4000)
    assert story.end().code == 4000
    peer = sockets.peer()
    peer.wait_over()
    assert [peer.next() for _ in range(100)] == [str(number) for number in range(100)]


def test_a_second_close_changes_nothing(plain: ft.Client, sockets: Any) -> None:
    task, story = opened(plain, sockets.url + "/echo")
    calls = Story()
    task.close(code=3001, reason="first")
    task.close(code=3002, reason="second", **calls.callbacks())
    end = story.end()
    assert (end.code, end.reason) == (3001, "first")
    task.close(code=3003, **calls.callbacks("late "))
    calls.until("late complete")
    assert calls.names == ["success", "complete", "late success", "late complete"]
    assert story.names == ["open", "close"]
    assert sockets.peer().wait_over() == (3001, "first")


def test_a_close_before_open_cancels(plain: ft.Client, sockets: Any, drive_sockets: Any) -> None:
    stories: list[Story] = []

    def start() -> list[ft.SocketTask]:
        task, story = socket(plain, sockets.url + "/late")
        task.close(code=4321, reason="changed my mind", **story.callbacks())
        assert task.readyState == CLOSING
        stories.append(story)
        return [task]

    drive_sockets(start)
    (story,) = stories
    story.check()
    assert sorted(story.names) == ["close", "complete", "success"]
    end = story.of("close")[0]
    assert (end.code, end.reason) == (4321, "changed my mind")


def test_a_cancelled_socket_cannot_be_waited_open(plain: ft.Client, sockets: Any) -> None:
    task, _ = socket(plain, sockets.url + "/late")
    task.close()
    with pytest.raises(ft.FtError, match="connectSocket:fail closed before it was open"):
        task.wait_opened(LIMIT)
    assert task.wait_closed(LIMIT).code == 1000


def test_a_server_that_does_not_answer_a_close_is_not_waited_for_long(
    unbounded: ft.Client, socket_loop: Any
) -> None:
    with serving(socket_loop, max_queue=1) as server:
        task, story = opened(unbounded, server.url + "/gate", closeTimeout=200)
        for _ in range(4):
            task.send(data=bytes(4 << 20))  # the server does not read as far as the close frame
        task.close(code=3000)
        end = story.end()
    assert (end.code, end.reason) == (1006, "")
    assert story.names == ["open", "close"]
