"""Options of load: what each takes, and what is said of one that can't be."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from ftnet import load
from ftnet.load import Options
from ftnet.load.options import CLIENT_NAMES, LOAD_OPTIONS
from ftnet.load.plan import head_of, share, stages_of
from ftnet.plan.model import Load, Plan

URL = "http://localhost/"


@pytest.mark.parametrize(
    ("options", "kind", "says"),
    [
        ({"rate": -1}, ValueError, "rate must be requests a second, up to 1e8, or None, got -1"),
        ({"rate": 0}, ValueError, "rate must be more than 0"),
        ({"rate": "5"}, TypeError, "rate must be requests a second"),
        ({"rate": float("nan")}, ValueError, "got nan"),
        ({"connections": 0}, ValueError, "connections must be an int from 1 to 1000000, got 0"),
        ({"connections": True}, TypeError, "connections must be"),
        ({"duration": 0}, ValueError, "duration must be a number of seconds > 0"),
        ({"requests": 1.5}, TypeError, "requests must be an int >= 1, got 1.5"),
        ({"stages": [(1, 2, 3)]}, TypeError, "stages must be a sequence of"),
        ({"stages": [(1, 0)]}, ValueError, "no rate of them is more than 0"),
        ({"arrivals": "poisson"}, ValueError, "arrivals must be 'constant' without"),
        ({"arrivals": "often", "rate": 5}, ValueError, "'constant' or 'poisson', got 'often'"),
        ({"think": 1, "rate": 5}, ValueError, "think must be 0"),
        ({"workers": 3, "connections": 2}, ValueError, "workers must be at most connections"),
        ({"streams": 2}, ValueError, "streams must be 1 over HTTP/1.1"),
        ({"http_version": "4"}, ValueError, "http_version must be"),
        ({"header": {"a b": "c"}}, ValueError, "'a b' is no header name"),
        ({"header": {"a": "b\r\nc: d"}}, ValueError, "holds a line break"),
        ({"header": {"content-length": "5"}}, ValueError, "is the engine's to set"),
        ({"method": "CONNECT"}, ValueError, "a tunnel is no request"),
        ({"method": "GE T"}, ValueError, "method must be"),
        ({"data": 5}, TypeError, "data must be a str or bytes-like"),
        ({"expect_status": 99}, ValueError, "expect_status must be"),
        ({"verify": "no"}, TypeError, "verify"),
        ({"cookies": True}, TypeError, "unknown option 'cookies'; it takes method,"),
        ({"ratee": 5}, TypeError, "unknown option 'ratee'"),
    ],
)
def test_what_cannot_be_is_refused_by_name(
    options: dict[str, Any], kind: type[Exception], says: str
) -> None:
    with pytest.raises(kind) as caught:
        load.start(URL, **options)
    assert says in str(caught.value)


@pytest.mark.parametrize("url", ["", "localhost", "ftp://localhost/", "http://", 5])
def test_a_url_that_is_none(url: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="url"):
        load.run(url)


def test_defaults() -> None:
    made = Options.of(URL)
    assert (made.connections, made.streams, made.workers) == (64, 1, 1)
    assert (made.duration, made.requests, made.open_model) == (10.0, None, False)
    assert Options.of(URL, requests=5).duration is None
    assert Options.of(URL, http_version="2").streams == 100
    assert Options.of(URL, stages=[(1, 5), (2, 5)]).duration == 3.0
    assert Options.of(URL, expect_status=200).expect_status == (200,)


def test_every_option_is_a_field_and_has_a_default() -> None:
    fields = {one.name for one in dataclasses.fields(Options)} - {"url", "settings", "plan"}
    assert fields == set(LOAD_OPTIONS.rows)
    assert "verify" in CLIENT_NAMES
    assert not fields & set(CLIENT_NAMES)
    made = Options(URL)
    for name, row in LOAD_OPTIONS.rows.items():
        assert getattr(made, name) == row.default


def test_credentials_are_not_told() -> None:
    header = {"authorization": "Bearer secret", "Cookie": "a=secret", "X-A": "told"}
    url, proxy = URL.replace("//", "//user:secret@"), "http://user:secret@localhost/"
    made = Options.of(url, header=header, proxy=proxy, verify=False)
    assert "secret" not in str(made.to_dict())
    assert made.to_dict()["header"]["X-A"] == "told"
    assert made.to_dict()["verify"] is False


def test_a_scenarios_load_has_an_end() -> None:
    """Whatever that of the plan is."""
    whole = Options.of_plan(Plan(base_url=URL, load=Load(iterations=5)))
    assert whole.duration is None
    assert whole.with_load(Load(rate=1)).duration == Options.of(URL).duration == 10
    assert whole.with_load(Load(stages=((2, 1), (1, 0)))).duration == 3
    assert whole.with_load(Load(iterations=3)).duration is None
    whole = Options.of_plan(Plan(base_url=URL, load=Load(duration=4)))
    assert whole.with_load(Load(rate=1)).duration == 4


def test_the_warm_up_goes_at_the_first_rate_there_is() -> None:
    assert stages_of(Options.of(URL, rate=5, warmup=2)) == [(2.0, 5.0, 5.0)]
    made = Options.of(URL, warmup=1, stages=[(2, 0), (3, 7)])
    assert stages_of(made) == [(1.0, 7.0, 7.0), (2.0, 0.0, 0.0), (3.0, 0.0, 7.0)]


@pytest.mark.parametrize("workers", [1, 2, 3, 7])
def test_shares_sum_up(workers: int) -> None:
    for whole in (0, 1, 6, 7, 100):
        shares = [share(whole, index, workers) for index in range(workers)]
        assert sum(shares) == whole
        assert max(shares) - min(shares) <= 1


def test_the_head_of_a_request() -> None:
    made = Options.of("https://h\u00f6st:8080?q=1", header={"host": "other", "Empty": ""})
    assert head_of(made, "me") == (
        b"GET /?q=1 HTTP/1.1\r\nUser-Agent: me\r\nAccept: */*\r\nhost: other\r\nEmpty: \r\n\r\n"
    )
    made = Options.of("http://me%40x:p@h/")
    assert b"Host: h\r\n" in head_of(made, "me")
    assert b"\r\nAuthorization: Basic bWVAeDpw\r\n" in head_of(made, "me")  # me@x:p
    made = Options.of("http://hey@h/a", header={"Authorization": "mine"})
    assert head_of(made, "me").count(b"Authorization: ") == 1
    assert head_of(made, "me").startswith(b"GET /a HTTP/1.1\r\nHost: h\r\n")
    made = Options.of("http://[::1]:8080/a?b", method="POST")
    assert head_of(made, "me") == (
        b"POST /a?b HTTP/1.1\r\nHost: [::1]:8080\r\nUser-Agent: me\r\nAccept: */*\r\n"
        b"Content-Length: 0\r\n\r\n"
    )
