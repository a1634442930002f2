"""Steps of plans that are not requests: files, sockets, and functions in Python."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ftnet import load
from ftnet.errors import Errno
from ftnet.plan.model import Action, Download, Http, Python, Tcp, Udp, Upload, WebSocket
from tests import datagrams
from tests.loads import LIMIT
from tests.plans import balanced, plan, run
from tests.servers.awkward import AwkwardServer, Peer, eventually
from tests.servers.counting import OK, CountingServer, answer
from tests.servers.shop import Shop
from tests.servers.websocket import serving
from tests.tcp_sockets import echo


@pytest.fixture
def shop(socket_loop: Any) -> Iterator[Shop]:
    with Shop(socket_loop) as server:
        yield server


def once(base: str, *steps: Any, **given: Any) -> Any:
    return run(plan(base, *steps, users=1, **({"iterations": 1} | given)))


# --- files ------------------------------------------------------------------------------------


def test_an_upload_is_a_form_with_a_file(forms: Any, tmp_path: Path) -> None:
    (tmp_path / "cat.txt").write_text("meow")
    step = Upload(
        name="up",
        upload="/post",
        file="cat.txt",
        field="photo",
        form={"album": "${a}"},
        expect={"status": 200, "json:$.files.photo": "meow", "json:$.form.album": "cats"},
    )
    result = once(forms.http, step, folder=str(tmp_path), variables={"a": "cats"}, iterations=5)
    up = result.steps["up"]
    assert (up.kind, up.counts.completed, up.counts.wrong) == ("upload", 5, 0)
    assert up.counts.bytes_sent > 5 * len("meow")


def test_a_download_goes_to_a_file_that_is_given_up(server: Any) -> None:
    before = set(os.listdir(tempfile.gettempdir()))
    step = Download(
        name="down",
        download="/bytes/100000",
        expect={"status": 200, "length": 100_000},
        extract={"first": "regex:(AB)"},
    )
    result = once(server.http, step, Http(request="/echo?${first|urlencode}"), iterations=3)
    assert result.wrong == 0
    assert result.steps["down"].counts.bytes_received > 300_000
    left = set(os.listdir(tempfile.gettempdir())) - before
    assert not [name for name in left if name.startswith("ftnet-plan-")]


def test_a_download_that_fails_is_counted(server: Any) -> None:
    result = once("http://127.0.0.1:1", Download(name="down", download="/x"))
    assert [one.errno for one in result.errors] == [Errno.CONNECT]
    assert result.steps["down"].counts.failed == 1


def cookies_of(server: CountingServer) -> list[tuple[str, str]]:
    """Method and cookies of each request."""
    out = []
    for head in server.heads.elements():
        first, *lines = head.decode().split("\r\n")
        got = [line[8:] for line in lines if line.lower().startswith("cookie: ")]
        out.append((first.partition(" ")[0], *got))
    return out


def test_uploads_and_downloads_keep_cookies_and_send_them(tmp_path: Path) -> None:
    (tmp_path / "cat.txt").write_text("meow")
    own = {"Cookie": "own=1"}
    with CountingServer(lambda number: answer(200, b"ok", f"Set-Cookie: c{number}=1")) as server:
        steps = (
            Download(download="/"),
            Upload(upload="/", file="cat.txt", header=own),
            Http(request="PUT /"),
        )
        once(server.url, *steps, folder=str(tmp_path))
        assert cookies_of(server) == [
            ("GET",),
            ("POST", "own=1; c0=1"),
            ("PUT", "c0=1; c1=1"),
        ]


def test_a_redirects_cookie_is_not_taken_for_the_first_hosts() -> None:
    there = answer(200, b"ok", "Set-Cookie: there=1")
    with CountingServer(lambda number: there) as other:
        leaving = answer(302, b"", f"Location: {other.url}")
        with CountingServer(lambda number: leaving if not number else OK) as server:
            once(server.url, Download(download="/"), Http(request="PUT /"))
            assert cookies_of(server) == [("GET",), ("PUT",)]


def test_the_plans_content_type_is_not_a_forms(forms: Any, tmp_path: Path) -> None:
    (tmp_path / "cat.txt").write_text("meow")
    step = Upload(upload="/post", file="cat.txt", expect={"json:$.files.file": "meow"})
    header = {"content-type": "application/json"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not once(forms.http, step, folder=str(tmp_path), header=header).wrong


# --- WebSocket --------------------------------------------------------------------------------


def test_a_websocket_opens_sends_expects_and_closes(sockets: Any) -> None:
    step = WebSocket(
        name="chat",
        websocket=sockets.url + "/",
        actions=(
            Action(send='{"say": "${word}"}'),
            Action(receive=True, name="reply", expect={"json:$.say": "hello"},
                   extract={"said": "json:$.say"}),
            Action(send="${said} again"),
            Action(receive=True, expect={"body": "hello again"}),
            Action(close=3001),
        ),
    )  # fmt: skip
    result = run(plan("http://x", step, variables={"word": "hello"}, users=2, iterations=6))
    chat, reply = result.steps["chat"], result.steps["chat: reply"]
    assert (chat.kind, chat.counts.completed, result.wrong) == ("websocket", 6, 0)
    assert chat.statuses == {101: 6}
    assert (reply.kind, reply.counts.completed, reply.checks) == (
        "action", 6, {'json:$.say = "hello"': (6, 0)},
    )  # fmt: skip
    assert chat.phases["connect"]["all"].count == chat.phases["ttfb"]["all"].count == 6
    assert 0 < reply.service.max < chat.service.max
    eventually(lambda: [peer.code for peer in sockets.peers] == [3001] * 6, "their close frames")


@pytest.mark.parametrize("text", ["plain", "müß 😀"])
def test_bytes_are_counted_and_named_closes(sockets: Any, text: str) -> None:
    with AwkwardServer(echo) as server:
        closes = [Action(close=True, name="bye") for _ in range(3)]
        acts = (Action(send=text), Action(receive=len(text.encode())), *closes[:2])
        address = f"127.0.0.1:{server.port}"
        web = WebSocket(
            name="web",
            websocket=sockets.url + "/",
            actions=(Action(send=text), Action(receive=True), closes[2]),
        )
        result = once("", Tcp(name="tcp", tcp=address, actions=acts), web, iterations=3)
    assert not result.errors
    for name in ("tcp", "web"):
        counts = result.steps[name].counts
        assert counts.bytes_sent == counts.bytes_received == 3 * len(text.encode())
    for name in ("tcp: bye", "tcp: bye 2", "web: bye"):
        assert result.steps[name].counts.completed == 3


@pytest.mark.parametrize("kind", ["tcp", "udp"])
def test_a_port_that_is_none_is_the_plans_fault(kind: str) -> None:
    place = "127.0.0.1:${port}"
    step = Tcp(tcp=place) if kind == "tcp" else Udp(udp=place)
    (failure,) = once("", step, variables={"port": 99999}).errors
    assert failure.cause.name == "FT_PLAN"
    assert "got 99999" in failure.cause.text


def test_a_websocket_keeps_cookies_and_sends_them_beside_its_own(socket_loop: Any) -> None:
    def baked(_: Any, request: Any, response: Any) -> None:
        response.headers["Set-Cookie"] = "w=1"

    with serving(socket_loop, process_response=baked) as server:
        step = WebSocket(
            websocket=server.url + "/told",
            header={"Cookie": "own=1"},
            actions=(Action(receive=True, extract={"told": "body"}), Action(close=True)),
        )
        once("", step, iterations=2)
        sent = [peer.header.get_all("Cookie") for peer in server.peers]
    assert sent == [["own=1"], ["own=1; w=1"]]


def test_a_message_that_is_not_the_expected_one_is_wrong(sockets: Any) -> None:
    step = WebSocket(
        name="chat",
        websocket=sockets.url + "/",
        actions=(Action(send="a"), Action(receive=True, name="ask", expect={"body": "b"})),
    )
    result = once("", step, Http(request="http://127.0.0.1:1/", name="never"))
    assert result.steps["chat"].counts.wrong_content == result.wrong == 1
    assert result.steps["chat: ask"].checks == {'body = "b"': (0, 1)}
    assert result.steps["never"].counts.scheduled == 0


def test_a_message_that_does_not_come_times_out(sockets: Any) -> None:
    step = WebSocket(
        name="chat",
        websocket=sockets.url + "/quiet",
        actions=(Action(send="a"), Action(receive=True, name="ask", within=0.1)),
    )
    result = once("", step)
    assert [one.errno for one in result.errors] == [Errno.TIMEOUT]
    assert result.steps["chat: ask"].counts.failed == 1


def test_a_websocket_that_the_server_closes_first_fails(sockets: Any) -> None:
    step = WebSocket(
        websocket=sockets.url + "/say?code=4000&reason=no", actions=(Action(receive=True),)
    )
    (failure,) = once("", step).errors
    assert failure.errno == Errno.INTERRUPTED
    assert "the peer closed it first, with code 4000" in failure.cause.text


def test_a_websocket_that_is_refused_fails(sockets: Any) -> None:
    (failure,) = once("", WebSocket(websocket=sockets.url + "/status/403")).errors
    assert failure.errno == Errno.PROTOCOL
    assert "403" in failure.cause.text


def test_a_run_ends_sockets_that_wait(sockets: Any) -> None:
    step = WebSocket(
        name="chat",
        websocket=sockets.url + "/quiet",
        actions=(Action(send="a"), Action(receive=True, name="ask")),
    )
    started = load.start(plan("", step, users=3, duration=1000, grace=0.1))
    eventually(lambda: sum(peer.got.qsize() for peer in sockets.peers) == 3, "all users ask")
    started.stop()
    result = balanced(started.result(LIMIT))
    assert result.steps["chat"].counts.unfinished == 3
    assert result.steps["chat: ask"].counts.unfinished == 3


# --- TCP and UDP ------------------------------------------------------------------------------


def test_a_tcp_step_sends_and_receives_by_length_and_through_a_text() -> None:
    with AwkwardServer(echo) as server:
        step = Tcp(
            name="line",
            tcp=f"127.0.0.1:{server.port}",
            actions=(
                Action(send="PING ${n}\r\nrest", name="send"),
                Action(receive="\r\n", name="line", extract={"line": "body"}),
                Action(receive=4, expect={"body": "rest"}),
                Action(send_hex="00ff"),
                Action(receive=2, expect={"length": 2}),
            ),
        )
        result = once("", step, variables={"n": 7}, iterations=3)
    assert result.wrong == 0
    assert result.steps["line"].counts.completed == 3
    assert result.steps["line: line"].counts.completed == 3
    assert result.steps["line"].counts.bytes_received == 3 * len("PING 7\r\nrest  ")
    assert result.steps["line"].statuses == {}


def test_a_tcp_peer_that_leaves_fails_the_step() -> None:
    def leaves(peer: Peer) -> None:
        peer.read()

    with AwkwardServer(leaves) as server:
        step = Tcp(tcp=f"127.0.0.1:{server.port}", actions=(Action(send="x"), Action(receive=5)))
        (failure,) = once("", step).errors
    assert failure.errno == Errno.INTERRUPTED


def test_a_tcp_step_to_nobody_fails() -> None:
    (failure,) = once("", Tcp(tcp="127.0.0.1:1", actions=(Action(send="x"),))).errors
    assert failure.cause.os_errno or failure.errno in (Errno.CONNECT, Errno.PROTOCOL)


def test_a_udp_step_asks_and_is_answered() -> None:
    with datagrams.echo() as place:
        step = Udp(
            name="ask",
            udp=f"{place['address']}:{place['port']}",
            actions=(
                Action(send="q${iteration}"),
                Action(receive=True, name="answer", expect={"body": "q${iteration}"}),
            ),
        )
        result = run(plan("", step, users=2, iterations=10))
    assert result.wrong == 0
    assert result.steps["ask"].counts.completed == 10
    assert result.steps["ask: answer"].response.max > 0


def test_a_datagram_that_does_not_come_times_out() -> None:
    with datagrams.peer() as silent:
        place = datagrams.place(silent)
        step = Udp(
            udp=f"{place['address']}:{place['port']}",
            actions=(Action(send="q"), Action(receive=True, within=0.1)),
        )
        (failure,) = once("", step).errors
    assert failure.errno == Errno.TIMEOUT


# --- Python -----------------------------------------------------------------------------------

FUNCTIONS = """
def sets(user):
    user.variables["word"] = f"w{user.number}-{user.iteration}"

def asks(user):
    return {"request": "/echo?" + user.variables["word"], "name": "ask"}

def walks(user):
    answer = yield {"name": "log in", "request": "POST /login", "json": {"user": "p"},
                    "extract": {"token": "json:$.token"}}
    for item in answer.json["cart"]["items"]:
        yield {"name": "item", "request": f"/items/{item}",
               "header": {"Authorization": "Bearer ${token}"}, "expect": {"status": 200}}

def breaks(user):
    raise KeyError("no such thing")

def strange(user):
    return 5

def thinks(user):
    yield {"name": "first", "request": "/echo?1", "think": 0.3}
    user.variables["seen"] = yield {"name": "never", "request": "/echo?2", "when": "${no}"}
    yield {"name": "last", "request": "/echo?3-${seen}"}

def asks_when(user):
    yield {"request": "/echo", "when": "${nothing}"}

def counts(user):
    for n in range(7):
        yield {"name": "item", "request": f"/echo?{user.iteration}-{n}", "on_fail": "continue",
               "expect": {"json:$.path": "/echo?3-3"}}

def waits(user):
    yield {"name": "wait", "request": "/wait/60000"}
"""


@pytest.fixture
def folder(tmp_path: Path) -> str:
    (tmp_path / "steps.py").write_text(FUNCTIONS)
    return str(tmp_path)


def test_a_function_sets_variables_and_makes_up_a_step(shop: Shop, folder: str) -> None:
    steps = Python(name="set", python="steps.py:sets"), Python(name="do", python="steps.py:asks")
    result = once(shop.url, *steps, folder=folder, iterations=2)
    assert shop.paths() == ["/echo?w0-0", "/echo?w0-1"]
    assert result.steps["do: ask"].counts.completed == 2
    assert (result.steps["set"].kind, result.steps["do: ask"].kind) == ("python", "step")


def test_a_generator_gets_the_answer_to_each_step(shop: Shop, folder: str) -> None:
    result = once(shop.url, Python(name="walk", python="steps.py:walks"), folder=folder)
    assert shop.paths() == ["/login", "/items/11", "/items/22"]
    assert result.steps["walk: item"].counts.completed == 2
    assert result.steps["walk"].counts.completed == 1
    assert result.wrong == 0


def test_a_step_that_is_made_up_may_think_and_is_left_out_when_it_is_not_wanted(
    shop: Shop, folder: str
) -> None:
    step = Python(name="py", python="steps.py:thinks")
    result = once(shop.url, step, variables={"no": ""}, folder=folder)
    assert shop.paths() == ["/echo?1", "/echo?3-"]
    assert result.duration - result.steps["py"].service.max / 1e9 >= 0.29
    assert result.steps["py: never"].counts.scheduled == 0
    (failure,) = once(
        shop.url, Python(name="py", python="steps.py:asks_when"), folder=folder
    ).errors
    assert "nothing is not defined" in failure.cause.text


def test_steps_of_one_name_are_counted_together_however_many_there_are(
    shop: Shop, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ftnet.plan.python_work._KEPT", 5)
    step = Python(name="f", python="steps.py:counts")
    result = run(plan(shop.url, step, folder=folder, users=3, iterations=30))
    assert len(set(shop.paths())) == 210
    assert result.steps["f: item"].counts.completed == 210
    assert result.steps["f: item"].checks == {'json:$.path = "/echo?3-3"': (1, 209)}


@pytest.mark.parametrize(
    ("function", "text"),
    [("breaks", "KeyError: 'no such thing'"), ("strange", "takes a step as in a plan file")],
)
def test_what_a_function_raises_is_a_failure_that_names_it(
    shop: Shop, folder: str, function: str, text: str
) -> None:
    result = once(shop.url, Python(name="f", python=f"steps.py:{function}"), folder=folder)
    (failure,) = result.errors
    assert failure.errno == Errno.ARGUMENT
    assert text in failure.cause.text


def test_a_function_is_left_alone_at_the_end(shop: Shop, folder: str) -> None:
    step = Python(name="f", python="steps.py:waits")
    started = load.start(plan(shop.url, step, folder=folder, users=2, duration=1000, grace=0))
    eventually(lambda: len(shop.paths("/wait")) == 2, "all users wait")
    started.stop()
    result = balanced(started.result(LIMIT))
    assert result.steps["f"].counts.unfinished == 2
    assert result.steps["f: wait"].counts.unfinished == 2


def test_all_kinds_go_in_one_schedule(sockets: Any, shop: Shop, folder: str) -> None:
    with datagrams.echo() as place:
        steps = (
            Http(name="http", request="/echo"),
            WebSocket(
                name="ws", websocket=sockets.url + "/",
                actions=(Action(send="a"), Action(receive=True)),
            ),
            Udp(
                name="udp", udp=f"{place['address']}:{place['port']}",
                actions=(Action(send="a"), Action(receive=True)),
            ),
            Python(name="python", python="steps.py:sets"),
        )  # fmt: skip
        result = run(plan(shop.url, *steps, folder=folder, users=20, rate=200.0, iterations=100))
    assert result.iterations is not None
    assert result.iterations.completed == 100
    assert {name: step.counts.completed for name, step in result.steps.items()} == dict.fromkeys(
        ("http", "ws", "udp", "python"), 100
    )
    assert result.wrong == 0
