"""Plans carried out: what reaches the server, what is counted, and how users go on."""

from __future__ import annotations

import json
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ftnet import load
from ftnet.errors import Errno
from ftnet.plan.jar import Jar
from ftnet.plan.model import Feed, Http, Load, Plan, Scenario
from tests.loads import LIMIT, checked
from tests.plans import balanced, plan, run
from tests.servers.awkward import eventually
from tests.servers.counting import CountingServer, answer
from tests.servers.shop import Shop


@pytest.fixture
def shop(socket_loop: Any) -> Iterator[Shop]:
    with Shop(socket_loop) as server:
        yield server


def test_steps_are_chained_by_what_is_taken_from_answers(shop: Shop) -> None:
    result = run(
        plan(
            shop.url,
            Http(
                name="login",
                request="POST /login",
                json={"user": "u${user}"},
                extract={
                    "token": "json:$.token",
                    "item": "json:$.cart.items[1]",
                    "x": "header:X-Id",
                },
            ),
            Http(
                name="item",
                request="/items/${item}?x=${x}",
                header={"Authorization": "Bearer ${token}"},
                expect={"status": 200, "json:$.ok": True, "json:$.id": "${item}"},
            ),
            Http(name="order", request="POST /orders", expect={"status": 201}),
            users=3,
            iterations=12,
        )
    )
    assert result.iterations is not None
    assert result.iterations.completed == 12
    assert result.counts.completed == len(shop.seen) == 36
    assert Counter(shop.paths("/items")) == {"/items/22?x=id-7": 12}
    assert result.wrong == 0
    assert result.steps["item"].checks == {
        "status = 200": (12, 0),
        "json:$.ok = true": (12, 0),
        "json:$.id = ${item}": (12, 0),
    }
    assert list(result.steps) == ["login", "item", "order"]
    assert result.statuses == {200: 24, 201: 12}


def test_each_user_has_its_own_cookies(shop: Shop) -> None:
    run(
        plan(
            shop.url,
            Http(request="POST /login", json={"user": "${user}"}),
            Http(request="POST /orders"),
            users=4,
            iterations=16,
        )
    )
    logins = Counter(
        f"s-{json.loads(body)['user']}" for _, path, _, body in shop.seen if path == "/login"
    )
    assert shop.orders == logins
    assert len(logins) == 4
    assert logins.total() == 16


@pytest.mark.parametrize("name", ["Set-Cookie", "set-cookie", "SET-COOKIE", "sEt-CoOkIe"])
def test_a_cookie_is_kept_however_its_field_is_written(name: str) -> None:
    setting = answer(200, b"ok", f"{name}: a=1", "X-Set-Cookie: b=2")
    with CountingServer(lambda number: setting) as server:
        run(plan(server.url, Http(request="/"), users=1, iterations=2))
        sent = [line for head in server.heads for line in head.lower().split(b"\r\n")]
    assert [line for line in sent if line.startswith(b"cookie:")] == [b"cookie: a=1"]


@pytest.mark.parametrize(
    ("url", "line", "there", "sent"),
    [
        ("http://a.shop.example/", "a=1; Domain=shop.example", "http://b.shop.example/", "a=1"),
        ("http://a.shop.example/", "a=1; Domain=example", "http://evil.example/", ""),
        ("http://10.0.0.1/", "a=1; Domain=0.0.1", "http://11.0.0.1/", ""),
        ("http://10.0.0.1/", "a=1; Domain=10.0.0.1", "http://10.0.0.1/", "a=1"),
        ("http://h/", "a=1; Max-Age=x; Expires=Thu, 01 Jan 1970 00:00:00 GMT", "http://h/", ""),
        ("http://h/", "a=1; Max-Age=9; Expires=Thu, 01 Jan 1970 00:00:00 GMT", "http://h/", "a=1"),
    ],
)
def test_where_and_how_long_a_cookie_is_sent(url: str, line: str, there: str, sent: str) -> None:
    jar = Jar()
    jar.take(url, [line])
    assert jar.header(there) == sent


def test_what_stands_around_the_values_stays_as_it_is() -> None:
    header = {"X-A": "50% of ü ${v}", "X-B": "${v}${w} {}"}
    with CountingServer() as server:
        step = Http(request="/100%25/${v}?w=${w}&e=%20", header=header)
        run(plan(server.url, step, variables={"v": "a%41", "w": 7}, users=1, iterations=1))
        (head,) = server.heads
    first, *lines = head.split(b"\r\n")
    assert first == b"GET /100%25/a%41?w=7&e=%20 HTTP/1.1"
    assert [line for line in lines if line.lower().startswith(b"x-")] == [
        "X-A: 50% of ü a%41".encode("latin-1"),
        b"X-B: a%417 {}",
    ]


def test_a_referer_is_sent() -> None:
    with CountingServer() as server, warnings.catch_warnings():
        warnings.simplefilter("error")
        run(plan(server.url, Http(request="/", header={"Referer": "http://from/"}), users=1,
                 iterations=1))  # fmt: skip
        assert lines_of(server) == [["get / http/1.1", "referer: http://from/"]]


def test_without_cookies_none_is_sent_back(shop: Shop) -> None:
    made = plan(
        shop.url,
        Http(request="POST /login", json={"user": "a"}),
        Http(request="POST /orders"),
        cookies=False,
        users=1,
        iterations=2,
    )
    run(made)
    assert shop.orders == {"nobody": 2}


def test_a_check_that_breaks_ends_the_iteration(shop: Shop) -> None:
    shop.broken = 3
    result = run(
        plan(
            shop.url,
            Http(name="order", request="POST /orders", expect={"status": 201}),
            Http(name="after", request="/echo"),
            users=1,
            iterations=9,
        )
    )
    assert result.iterations is not None
    assert (result.iterations.completed, result.iterations.failed) == (6, 3)
    assert result.steps["order"].checks == {"status = 201": (6, 3)}
    assert result.steps["order"].counts.wrong_status == result.wrong == 3
    assert result.steps["after"].counts.completed == len(shop.paths("/echo")) == 6


def test_one_may_go_on_all_the_same(shop: Shop) -> None:
    result = run(
        plan(
            shop.url,
            Http(request="/items/1", name="item", on_fail="continue"),
            Http(request="/echo", name="after"),
            users=2,
            iterations=4,
        )
    )
    assert result.iterations is not None
    assert result.iterations.completed == 4
    assert result.steps["item"].counts.wrong_status == 4
    assert result.steps["after"].counts.completed == 4


def test_what_is_not_there_to_be_taken_is_wrong_content(shop: Shop) -> None:
    result = run(
        plan(
            shop.url,
            Http(request="/echo", name="one", extract={"token": "json:$.token"}),
            Http(request="/echo", name="two"),
            users=1,
            iterations=3,
        )
    )
    assert result.steps["one"].counts.wrong_content == result.wrong == 3
    assert result.steps["one"].checks == {"token = json:$.token": (0, 3)}
    assert result.steps["two"].counts.scheduled == 0


def test_a_variable_that_is_not_there_fails_the_step_by_name(shop: Shop) -> None:
    result = run(
        plan(shop.url, Http(request="/items/${nothing}", name="one"), users=2, iterations=4)
    )
    (failure,) = result.errors
    assert (failure.errno, failure.count) == (Errno.ARGUMENT, 4)
    assert "nothing is not defined" in failure.cause.text
    assert not shop.seen


def test_redirects_are_followed_and_their_cookies_kept(shop: Shop) -> None:
    result = run(
        plan(
            shop.url,
            Http(request="/moved", name="moved", expect={"json:$.path": "/echo?from=moved"}),
            Http(request="/cookies", expect={"json:$.hop": "1"}, name="cookies"),
            Http(request="/moved", name="as it is", follow=False, expect={"status": 302}),
            users=1,
            iterations=2,
        )
    )
    assert result.wrong == 0
    assert shop.paths() == ["/moved", "/echo?from=moved", "/cookies", "/moved"] * 2
    moved = result.steps["moved"]
    assert moved.counts.completed == 2
    assert moved.service.max > moved.phases["ttfb"]["all"].max


def test_credentials_stay_with_the_origin_they_were_given_for(shop: Shop) -> None:
    """Also behind a second redirect, which leads to where the first one has."""
    leaving = answer(302, b"", f"Location: {shop.url}/moved")
    with CountingServer(lambda number: leaving) as server:
        header = {"Authorization": "Bearer secret", "Cookie": "mine=1", "X-Kept": "yes"}
        result = run(plan(server.url, Http(request="/", header=header), users=1, iterations=1))
    assert result.wrong == 0
    assert shop.paths() == ["/moved", "/echo?from=moved"]
    for _, _, sent, _ in shop.seen:
        assert "Authorization" not in sent
        assert "mine" not in sent.get("Cookie", "")
        assert sent["X-Kept"] == "yes"


def test_redirects_without_end_fail(shop: Shop) -> None:
    result = run(plan(shop.url, Http(request="/round"), users=1, iterations=1))
    assert [one.errno for one in result.errors] == [Errno.TOO_MANY_REDIRECTS]
    assert len(shop.seen) == 21


def led(*lines: str, status: int = 302) -> Callable[[int], bytes]:
    """Answers the first request with a redirect, and the next ones."""
    return lambda number: answer(200, b"ok") if number else answer(status, b"", *lines)


def lines_of(server: CountingServer) -> list[list[str]]:
    """Of each request, without what the engine adds: lines of its header block, in lower case."""
    ours = ("host:", "user-agent:", "accept:", "accept-encoding:", "content-length:")
    every = [head.decode("latin-1").lower().split("\r\n") for head in server.heads.elements()]
    return [[line for line in lines if not line.startswith(ours)] for lines in every]


def test_a_post_becomes_a_get_by_a_302() -> None:
    with CountingServer(led("Location: /there")) as server:
        step = Http(request="POST /here", body="first", header={"Content-Encoding": "identity"})
        run(plan(server.url, step, users=1, iterations=1))
        assert lines_of(server) == [
            [
                "post /here http/1.1",
                "content-encoding: identity",
                "content-type: text/plain; charset=utf-8",
            ],
            ["get /there http/1.1"],
        ]
        assert list(server.bodies) == [b"first", b""]


def test_a_header_made_for_one_host_stays_with_it() -> None:
    with CountingServer() as other:
        with CountingServer(led(f"Location: {other.url}there")) as server:
            run(plan(server.url, Http(request="/", header={"Host": "me"}), users=1, iterations=1))
        (head,) = other.heads
        assert f"Host: 127.0.0.1:{other.port}\r\n".encode() in head


def test_a_login_goes_on_where_a_redirect_stays() -> None:
    server = CountingServer(lambda number: led(f"Location: {server.url}there")(number))
    with server:
        step = Http(request=server.url.replace("//", "//me:pass@"))
        run(plan("", step, users=1, iterations=1))
        assert [lines[1] for lines in lines_of(server)] == ["authorization: basic bwu6cgfzcw=="] * 2


def test_a_place_with_a_space_is_found() -> None:
    with CountingServer(led("Location: /a place")) as server:
        run(plan(server.url, Http(request="/"), users=1, iterations=1))
        assert lines_of(server)[1] == ["get /a%20place http/1.1"]


def test_a_step_has_one_timeout_for_all_its_redirects() -> None:
    def answers(number: int) -> bytes:
        time.sleep(0.03)  # as a slow server does
        return answer(302, b"", f"Location: /{number}")

    with CountingServer(answers) as server:
        made = plan(server.url, Http(request="/", timeout=0.4), users=1, iterations=1)
        (failure,) = run(made).errors
    assert failure.errno == Errno.TIMEOUT


def test_what_was_sent_before_a_redirect_that_fails_is_counted() -> None:
    with CountingServer(led("Location: http://127.0.0.1:1/")) as server:
        result = run(plan(server.url, Http(request="/"), users=1, iterations=1))
        (head,) = server.heads
    assert result.counts.failed == 1
    assert result.counts.bytes_sent == len(head) + 4


@pytest.mark.parametrize("path", ["/a", "/${v}"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH"])
def test_no_type_is_said_of_what_is_not_there(path: str, method: str) -> None:
    with CountingServer(led("Location: /there", status=307)) as server:
        step = Http(request=f"{method} {path}")
        run(plan(server.url, step, variables={"v": "a"}, users=1, iterations=1))
        start = f"{method} /%s http/1.1".lower()
        assert lines_of(server) == [[start % "a"], [start % "there"]]


@pytest.mark.parametrize("body", [None, "text"])
def test_a_connection_field_is_sent_beside_variables(body: str | None) -> None:
    with CountingServer() as server:
        step = Http(request="POST /${v}", body=body, header={"Connection": "close", "X-A": "1"})
        run(plan(server.url, step, variables={"v": "a"}, users=1, iterations=1))
        (lines,) = lines_of(server)
        assert "connection: close" in lines


BODIES: dict[str, tuple[dict[str, Any], str, bytes]] = {
    "text": ({"body": "a ${b} c"}, "text/plain; charset=utf-8", b"a B c"),
    "json": ({"json": {"k": ["${b}", 1]}}, "application/json", b'{"k":["B",1]}'),
    "form": ({"form": {"k": "${b} d"}}, "application/x-www-form-urlencoded", b"k=B%20d"),
}


@pytest.mark.parametrize("kind", BODIES)
def test_bodies(shop: Shop, kind: str) -> None:
    given, content_type, sent = BODIES[kind]
    made = plan(
        shop.url, Http(request="POST /echo", **given), variables={"b": "B"}, users=1, iterations=1
    )
    run(made)
    ((method, _, header, body),) = shop.seen
    assert (method, body) == ("POST", sent)
    assert header["Content-Type"] == content_type


def test_a_file_as_the_body(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "order.bin").write_bytes(b"\x00\xff" * 500)
    step = Http(
        request="PUT /echo", body_file="order.bin", header={"Content-Type": "x/y"}, name="put"
    )
    made = plan(shop.url, step, folder=str(tmp_path), users=1, iterations=1)
    load.run(made)
    ((method, _, header, body),) = shop.seen
    assert (method, header["Content-Type"], body) == ("PUT", "x/y", b"\x00\xff" * 500)


ODD = ["a b", "ü", "x\r\nInjected: 1", "a/../b", "#f", "", " led", "\x00", "q?x=1&y=@"]


@pytest.mark.parametrize("value", ODD)
def test_odd_values_reach_the_server_as_the_long_way_has_them(
    shop: Shop, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    """The header block that is filled in is what the engine itself would have written."""

    def steps() -> Plan:
        return plan(
            shop.url,
            Http(request="/echo?v=${v}&w=${w|urlencode}", name="in the URL", on_fail="continue"),
            Http(request="/echo", header={"X-V": "${v}", "B": "${w}"}, name="in the header"),
            variables={"v": value, "w": value},
            users=1,
            iterations=1,
        )

    filled = run(steps())
    seen, shop.seen = shop.seen, []
    monkeypatch.setattr("ftnet.plan.http_work._pattern_of", lambda *_: None)
    written = run(steps())
    assert seen == shop.seen
    assert [(one.name, one.count) for one in filled.errors] == [
        (one.name, one.count) for one in written.errors
    ]
    assert not any("Injected" in header for _, _, header, _ in seen)


def test_rows_of_data_go_to_iterations(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "users.csv").write_text("name,item\nann,1\nbob,2\ncid,3\n")
    made = plan(
        shop.url,
        Http(request="/echo?${people.name}=${people.item}"),
        data={"people": Feed(file="users.csv")},
        folder=str(tmp_path),
        users=2,
        iterations=6,
    )
    run(made)
    assert Counter(shop.paths()) == {"/echo?ann=1": 2, "/echo?bob=2": 2, "/echo?cid=3": 2}


@pytest.mark.parametrize("model", [{}, {"rate": 500.0}])
def test_data_that_is_there_once_ends_the_run(
    shop: Shop, tmp_path: Path, model: dict[str, Any]
) -> None:
    (tmp_path / "users.csv").write_text("name\n" + "".join(f"u{n}\n" for n in range(20)))
    made = plan(
        shop.url,
        Http(request="/echo?${people.name}"),
        data={"people": Feed(file="users.csv", order="once")},
        folder=str(tmp_path),
        users=3,
        duration=100,
        **model,
    )
    result = run(made)
    assert sorted(shop.paths()) == sorted(f"/echo?u{n}" for n in range(20))
    assert result.iterations is not None
    assert result.iterations.completed == 20


def test_scenarios_are_mixed_by_weight() -> None:
    with CountingServer() as server:
        scenarios = (
            Scenario(name="a", weight=3, step=(Http(request="/a", name="a"),)),
            Scenario(name="b", weight=1, step=(Http(request="/b", name="b"),)),
        )
        result = run(plan(server.url, scenario=scenarios, users=4, iterations=400))
    assert result.steps["a"].counts.completed == pytest.approx(300, abs=3)
    assert result.steps["b"].counts.completed == pytest.approx(100, abs=3)


def test_a_user_thinks_after_its_last_step_too() -> None:
    with CountingServer() as server:
        steps = (Http(request="/"), Http(request="/last", think=0.2))
        result = run(plan(server.url, *steps, users=1, iterations=3))
        assert result.duration >= 0.4
        steps = (Http(request="/"), Http(request="/never", think=100, when="${no}"))
        run(plan(server.url, *steps, users=1, iterations=3, variables={"no": ""}))
        gone = Http(request="/gone", think=0.001, when="${gone}", on_fail="continue")
        run(plan(server.url, gone, users=1, iterations=2))
        assert server.requests == 9


def test_each_user_has_a_number_of_its_own() -> None:
    step, own = Http(request="/${user}"), Load(users=3, iterations=9)
    scenarios = (
        Scenario(name="own", step=(step,), load=own),
        Scenario(name="shared", step=(Http(request="/${user}?shared"),)),
    )
    with CountingServer() as server:
        run(plan(server.url, scenario=scenarios, users=2, iterations=4))
        seen = {head.split()[1] for head in server.heads}
    assert seen == {b"/0?shared", b"/1?shared", b"/2", b"/3", b"/4"}


def test_a_load_of_its_own_ends_with_its_stages() -> None:
    own = Load(users=2, stages=((0.2, 50), (0.1, 50)))
    with CountingServer() as server:
        made = plan(server.url, scenario=(Scenario(name="a", step=(Http(request="/"),), load=own),))
        result = run(made)
    assert result.duration == pytest.approx(0.3)
    assert result.iterations is not None
    assert result.iterations.scheduled == result.iterations.completed == server.requests == 10


def test_a_scenario_may_have_a_load_of_its_own() -> None:
    with CountingServer() as server:
        scenarios = (
            Scenario(name="a", step=(Http(request="/a", name="a"),)),
            Scenario(name="b", step=(Http(request="/b", name="b"),), load=Load(rate=50, users=25)),
        )
        made = plan(server.url, scenario=scenarios, users=100, rate=200, duration=0.5)
        result = run(made)
    assert result.steps["a"].counts.completed == 100
    assert result.steps["b"].counts.completed == 25


def test_iterations_are_due_whatever_the_answers_take(shop: Shop) -> None:
    """No coordinated omission: the wait for a free user is in the first step's response time."""
    result = run(
        plan(shop.url, Http(request="/wait/20", name="wait"), users=2, rate=400.0, iterations=50)
    )
    response, service = result.steps["wait"].response, result.steps["wait"].service
    assert service.percentile(50) < 200_000_000
    assert response.max > 300_000_000  # two users carry out 100 a second of the 400
    assert result.phases["queue"]["all"].max > 200_000_000


def test_what_is_due_and_finds_no_user_is_unsent(shop: Shop) -> None:
    """Two users carry out 20 a second at most, of 100."""
    result = run(
        plan(shop.url, Http(request="/wait/100", name="wait"), users=2, rate=100.0, duration=0.5)
    )
    assert result.iterations is not None
    assert result.iterations.scheduled == 50
    assert result.iterations.unsent == 50 - result.iterations.completed >= 35


def test_time_to_think_is_no_answers_time(shop: Shop) -> None:
    began = time.monotonic()
    result = run(
        plan(
            shop.url,
            Http(request="/echo", name="one", think=0.15),
            Http(request="/echo", name="two"),
            users=4,
            iterations=20,
        )
    )
    assert time.monotonic() - began > 5 * 0.15
    assert result.steps["two"].response.percentile(50) < 150_000_000


def test_what_was_due_in_the_warm_up_is_not_counted(shop: Shop) -> None:
    result = run(
        plan(shop.url, Http(request="/echo"), users=2, rate=100.0, warmup=0.2, iterations=30)
    )
    assert result.counts.completed == 30
    assert len(shop.seen) == 50
    before, *measured = result.intervals
    assert not before.measured
    assert measured
    assert all(one.measured for one in measured)


def test_what_is_under_way_at_the_end_gets_its_grace(shop: Shop) -> None:
    made = plan(
        shop.url,
        Http(request="/echo", name="one"),
        Http(request="/wait/60000", name="two"),
        users=3,
        duration=1000,
        grace=0.1,
    )
    started = load.start(made)
    eventually(lambda: len(shop.paths("/wait")) == 3, "all users wait")
    started.stop()
    result = balanced(started.result(LIMIT))
    assert result.iterations is not None
    assert result.iterations.unfinished == 3
    assert result.steps["two"].counts.unfinished == result.counts.unfinished == 3
    assert result.steps["one"].counts.completed == 3


def test_a_run_can_be_stopped(shop: Shop) -> None:
    started = load.start(plan(shop.url, Http(request="/echo"), users=2, duration=1000))
    eventually(lambda: bool(shop.seen), "a request")
    started.stop()
    result = checked(started.result(LIMIT))
    assert result.interrupted
    assert result.counts.completed == len(shop.seen)


def test_the_rate_can_be_changed_while_it_runs() -> None:
    with CountingServer() as server:
        started = load.start(plan(server.url, Http(request="/"), users=20, rate=10, iterations=300))
        started.set_rate(2000)
        assert checked(started.result(LIMIT)).counts.completed == 300


def test_a_server_that_is_not_there() -> None:
    result = run(plan("http://127.0.0.1:1", Http(request="/"), users=2, iterations=20))
    (failure,) = result.errors
    assert failure.errno == Errno.CONNECT
    assert result.counts.failed == result.counts.connect_failed == 20
    assert result.duration > 0.07  # each one pauses


def test_a_step_that_is_not_wanted_is_left_out(shop: Shop) -> None:
    result = run(
        plan(
            shop.url,
            Http(request="/echo?a", name="a", when="${yes}"),
            Http(request="/echo?b", name="b", when="${no}"),
            variables={"yes": True, "no": False},
            users=1,
            iterations=2,
        )
    )
    assert shop.paths() == ["/echo?a"] * 2
    assert result.steps["b"].counts.scheduled == 0


@pytest.mark.parametrize("version", ["2", "3"])
def test_over_other_versions_of_http(request: pytest.FixtureRequest, version: str) -> None:
    server = request.getfixturevalue("caddy" if version == "3" else "nginx")
    settings = {"trust_env": False, "verify": False, "http_version": version}
    url = server.https if version == "3" else server.h2
    result = run(plan(url, Http(request="/hello"), users=3, iterations=9, settings=settings))
    assert result.counts.completed == 9
    assert result.wrong == 0
    assert result.protocol == {"2": "h2", "3": "h3"}[version]


def test_options_stand_for_what_the_plan_says(shop: Shop) -> None:
    made = plan(shop.url, Http(request="/echo"), users=2, duration=1000)
    assert run(made, requests=7, connections=1).counts.completed == 7
    with pytest.raises(TypeError, match="a plan says method itself"):
        load.start(made, method="POST")
